"""Fixtures that several folders share."""

pytest_plugins = ["generated_maps"]
