"""Fixtures that several folders share."""

pytest_plugins = ["browsers", "generated_maps", "live_room", "scored_queries"]
