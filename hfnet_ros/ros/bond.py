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
        self._was_formed = False
        try:
            from bondpy.bondpy import Bond, Constants
        except ImportError:
            node.get_logger().info(
                "no bond: the ROS package bondpy is not installed; set bond_timeout: 0.0 in Nav2's lifecycle manager"
            )
            return
        # bondpy declares it whenever a manager falls silent: the second time it would stumble over the first, and
        # take the bond for whole.
        if node.has_parameter(Constants.DISABLE_HEARTBEAT_TIMEOUT_PARAM):
            node.undeclare_parameter(Constants.DISABLE_HEARTBEAT_TIMEOUT_PARAM)
        self._bond = Bond(
            node, _TOPIC, node.get_name(), on_formed=self._note_formed, on_broken=self._tell_of_silence
        )
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

    def _note_formed(self) -> None:
        self._was_formed = True

    def _tell_of_silence(self) -> None:
        """Say that the manager fell silent; not where it ended the bond, or never began one."""
        bond = self._bond
        if bond is not None and self._was_formed and not bond.sister_died_first:
            self._node.get_logger().warning(
                f"Nav2's lifecycle manager has sent no heartbeat for {_HEARTBEAT_TIMEOUT_S:g} s: it hangs or has died. "
                "This node goes on, unwatched; start the manager again, and have it reset and start its nodes"
            )
