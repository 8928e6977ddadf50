"""What launch files check before anything is started."""

from __future__ import annotations

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import OpaqueFunction

from hfnet_ros.errors import ConfigError


def required_packages(*names: str) -> OpaqueFunction:
    """Return an action that fails where ROS packages are not installed.

    To come first in a launch file: launch finds out itself, but only when it comes to a node of such a
    package, and leaves running what it has started until then.
    """

    def check(_context: object) -> None:
        missing = [name for name in names if not _is_installed(name)]
        if missing:
            debs = " ".join(f"ros-$ROS_DISTRO-{name.replace('_', '-')}" for name in missing)
            raise ConfigError(f"not installed: {', '.join(missing)}; sudo apt install {debs}")

    return OpaqueFunction(function=check)


def _is_installed(package: str) -> bool:
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True
