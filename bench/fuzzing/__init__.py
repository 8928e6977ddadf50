"""Damaged and hostile inputs for every reader of the package; `bench/fuzz.py` runs them."""

import sys
from pathlib import Path

# The generated map and the node without a middleware are those of the tests.
sys.path.append(str(Path(__file__).resolve().parents[2] / "test" / "support"))
