"""The map as work."""
