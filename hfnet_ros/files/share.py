"""Find the files that are installed beside the package: interfaces, parameters, middleware settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hfnet_ros.errors import ConfigError


def share_path(name: str) -> Path:
    """Return a file such as `msg/MapInfo.msg` or `config/cyclonedds.xml`.

    A source checkout has it beside the package, a colcon workspace in `share/hfnet_ros` of one of
    $AMENT_PREFIX_PATH, pip in `share/hfnet_ros` of the environment.

    Raises:
        ConfigError: it is in none of these.
    """
    checkout = Path(__file__).resolve().parents[2]
    prefixes = [
        Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    prefixes += [Path(sys.prefix), Path.home() / ".local"]
    candidates = [checkout / name, *(prefix / "share" / "hfnet_ros" / name for prefix in prefixes)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise ConfigError(f"{name} of hfnet_ros is not installed (looked at {looked}); install the package again")
