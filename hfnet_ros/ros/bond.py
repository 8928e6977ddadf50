"""The bond by which Nav2's lifecycle manager notices that a node has died."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode

_TOPIC = "bond"
_HEARTBEAT_PERIOD_S, _HEARTBEAT_TIMEOUT_S = 0.25, 4.0  # Nav2's own


class NavBond:
    """Sends heartbeats while it lives; without bondpy it says so once and does nothing."""

    def __init__(self, node: LifecycleNode) -> None:
        """Start."""
        self._node = node
        self._bond = None
        try:
            from bondpy.bondpy import Bond
        except ImportError:
            node.get_logger().info(
                "no bond: the ROS package bondpy is not installed; set bond_timeout: 0.0 in Nav2's lifecycle manager"
            )
            return
        self._bond = Bond(node, _TOPIC, node.get_name())
        self._bond.set_heartbeat_period(_HEARTBEAT_PERIOD_S)
        self._bond.set_heartbeat_timeout(_HEARTBEAT_TIMEOUT_S)
        self._bond.start()

    def close(self) -> None:
        """Break the bond.

        bondpy destroys its subscription and publisher without a word to the node, whose executor then
        stumbles over them.
        """
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.shutdown()
            self._node.destroy_subscription(bond.sub)
            self._node.destroy_publisher(bond.pub)
