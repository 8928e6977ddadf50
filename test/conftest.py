"""Fixtures that several folders share, and published weights where they lie beside the checkout."""

import os
from pathlib import Path

SHARED_WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights"
if SHARED_WEIGHTS.is_dir():
    os.environ.setdefault("HFNET_ROS_WEIGHTS", str(SHARED_WEIGHTS))

pytest_plugins = ["browsers", "generated_maps", "live_room", "scored_queries"]
