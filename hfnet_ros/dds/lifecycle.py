"""ROS 2's managed life cycle, so that `ros2 lifecycle set` works on a node without rclpy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.errors import HfnetRosError

_logger = logging.getLogger(__name__)

# lifecycle_msgs/State and lifecycle_msgs/Transition
UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = 1, 2, 3, 4
LABELS = {UNCONFIGURED: "unconfigured", INACTIVE: "inactive", ACTIVE: "active", FINALIZED: "finalized"}
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
_SHUTDOWNS = {5: UNCONFIGURED, 6: INACTIVE, 7: ACTIVE}
_TRANSITIONS = {
    CONFIGURE: ("configure", UNCONFIGURED, INACTIVE),
    CLEANUP: ("cleanup", INACTIVE, UNCONFIGURED),
    ACTIVATE: ("activate", INACTIVE, ACTIVE),
    DEACTIVATE: ("deactivate", ACTIVE, INACTIVE),
}


class Lifecycle:
    """The state, and the services that show and change it."""

    def __init__(
        self, node: DdsNode, actions: Mapping[int, Callable[[], None]], shut_down: Callable[[], None]
    ) -> None:
        """Offer `~/get_state` and `~/change_state`.

        Args:
            node: offers the services.
            actions: what configure, cleanup, activate and deactivate do; HfnetRosError is a failure.
            shut_down: called after any shutdown transition.
        """
        self._node = node
        self._actions = actions
        self._shut_down = shut_down
        self._state = UNCONFIGURED
        self._changing = threading.Lock()
        name = node.full_name
        node.create_service(f"{name}/get_state", "lifecycle_msgs/srv/GetState", self._get_state)
        node.create_service(f"{name}/change_state", "lifecycle_msgs/srv/ChangeState", self._change_state)

    @property
    def state(self) -> int:
        """Return the state by its number."""
        return self._state

    def change(self, transition: int) -> None:
        """Go through a transition.

        Raises:
            HfnetRosError: it failed, or does not start from this state; the state is as before.
        """
        label, start, end = _TRANSITIONS[transition]
        with self._changing:
            if self._state != start:
                raise HfnetRosError(
                    f"cannot {label}: the node is {LABELS[self._state]}, expected {LABELS[start]}"
                )
            self._actions[transition]()
            self._state = end
            _logger.info("%s", LABELS[end])

    def _get_state(self, _request: Any) -> Any:
        make = self._node.messages.make
        state = make("lifecycle_msgs/msg/State", id=self._state, label=LABELS[self._state])
        return make("lifecycle_msgs/srv/GetState_Response", current_state=state)

    def _change_state(self, request: Any) -> Any:
        return self._node.messages.make(
            "lifecycle_msgs/srv/ChangeState_Response", success=self._try(request.transition)
        )

    def _try(self, transition: Any) -> bool:
        if _SHUTDOWNS.get(transition.id) == self._state:
            self._state = FINALIZED
            self._shut_down()
            return True
        labels = {label: number for number, (label, _, _) in _TRANSITIONS.items()}
        number = transition.id if transition.id in _TRANSITIONS else labels.get(transition.label)
        if number is None:
            return False
        try:
            self.change(number)
        except HfnetRosError as error:
            _logger.error("%s", error)
            return False
        return True
