"""Measurements: what this server does next to others, in one run on one machine."""
