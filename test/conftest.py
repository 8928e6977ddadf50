"""Fixtures that several folders share."""

pytest_plugins = ["generated_maps", "live_room"]
