"""The way out to other indexes."""
