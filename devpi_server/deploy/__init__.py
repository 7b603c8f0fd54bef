"""Deploying: a folder that runs by itself, and configuration for everything around it."""
