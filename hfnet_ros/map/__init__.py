"""The map as data."""
