"""ROS 2's managed life cycle, so that `ros2 lifecycle` works on a node without rclpy."""

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
_SHUTDOWNS = {UNCONFIGURED: 5, INACTIVE: 6, ACTIVE: 7}
_TRANSITIONS = {
    CONFIGURE: ("configure", UNCONFIGURED, INACTIVE),
    CLEANUP: ("cleanup", INACTIVE, UNCONFIGURED),
    ACTIVATE: ("activate", INACTIVE, ACTIVE),
    DEACTIVATE: ("deactivate", ACTIVE, INACTIVE),
    **{number: ("shutdown", start, FINALIZED) for start, number in _SHUTDOWNS.items()},
}
_ANSWER_S = 0.2  # for the answer to a shutdown to reach who asked for it


class Lifecycle:
    """The state, and the services that show and change it."""

    def __init__(
        self, node: DdsNode, actions: Mapping[int, Callable[[], None]], shut_down: Callable[[], None]
    ) -> None:
        """Offer `~/get_state`, `~/change_state` and `~/get_available_transitions`.

        Args:
            node: offers the services.
            actions: what configure, cleanup, activate and deactivate do; HfnetRosError is a failure.
            shut_down: called soon after a shutdown that somebody asked for by service.
        """
        self._node = node
        self._actions = actions
        self._shut_down = shut_down
        self._state = UNCONFIGURED
        self._changing = threading.Lock()
        for name, type_name, answer in (
            ("get_state", "GetState", self._get_state),
            ("change_state", "ChangeState", self._change_state),
            ("get_available_transitions", "GetAvailableTransitions", self._get_available_transitions),
        ):
            node.create_service(f"{node.full_name}/{name}", f"lifecycle_msgs/srv/{type_name}", answer)

    @property
    def state(self) -> int:
        """Return the state by its number."""
        return self._state

    def change(self, transition: int) -> None:
        """Go through a transition by its number; a shutdown starts from any state.

        Raises:
            HfnetRosError: it failed, or does not start from this state; the state is as before.
        """
        with self._changing:
            self._change(transition)

    def change_if(self, transition: int, is_wanted: Callable[[], bool]) -> None:
        """Go through a transition, unless it is not wanted any more when no other one is under way."""
        with self._changing:
            if self._state == _TRANSITIONS[transition][1] and is_wanted():
                self._go_through(transition)

    def end(self) -> None:
        """Go to FINALIZED from whatever state, where nothing can be changed any more."""
        with self._changing:
            self._finalize()

    def _change(self, transition: int) -> None:
        label, start, _ = _TRANSITIONS[transition]
        if self._state != start:
            raise HfnetRosError(
                f"cannot {label}: the node is {LABELS[self._state]}, expected {LABELS[start]}"
            )
        self._go_through(transition)

    def _go_through(self, transition: int) -> None:
        end = _TRANSITIONS[transition][2]
        if end == FINALIZED:
            self._finalize()
        else:
            self._actions[transition]()
            self._state = end
        _logger.info("%s", LABELS[end])

    def _finalize(self) -> None:
        for transition in (DEACTIVATE, CLEANUP):
            _, start, end = _TRANSITIONS[transition]
            if self._state == start:
                try:
                    self._actions[transition]()
                except Exception:
                    _logger.exception("unexpected failure on the way to the end")
                self._state = end
        self._state = FINALIZED

    def _get_state(self, _request: Any) -> Any:
        return self._make("srv/GetState_Response", current_state=self._state_message(self._state))

    def _get_available_transitions(self, _request: Any) -> Any:
        described = [
            self._make(
                "msg/TransitionDescription",
                transition=self._make("msg/Transition", id=number, label=label),
                start_state=self._state_message(start),
                goal_state=self._state_message(end),
            )
            for number, (label, start, end) in _TRANSITIONS.items()
            if start == self._state
        ]
        return self._make("srv/GetAvailableTransitions_Response", available_transitions=described)

    def _change_state(self, request: Any) -> Any:
        return self._make("srv/ChangeState_Response", success=self._try(request.transition))

    def _try(self, wanted: Any) -> bool:
        try:
            with self._changing:  # which shutdown is meant depends on how a transition under way ends
                number = self._number(wanted)
                if number is None:
                    raise HfnetRosError(f"there is no transition {wanted.id} '{wanted.label}' here")
                self._change(number)
        except HfnetRosError as error:
            _logger.error("%s", error)
            return False
        except Exception:
            _logger.exception("a transition failed unexpectedly")
            return False
        if self._state == FINALIZED:
            threading.Timer(_ANSWER_S, self._shut_down).start()
        return True

    def _number(self, wanted: Any) -> int | None:
        """Return which transition is meant; as in ROS, its label goes before its number."""
        if not wanted.label:
            return wanted.id if wanted.id in _TRANSITIONS else None
        numbers = {
            label: number
            for number, (label, start, end) in _TRANSITIONS.items()
            if end != FINALIZED or start == self._state
        }
        return numbers.get(wanted.label)

    def _state_message(self, state: int) -> Any:
        return self._make("msg/State", id=state, label=LABELS[state])

    def _make(self, name: str, **fields: Any) -> Any:
        return self._node.messages.make(f"lifecycle_msgs/{name}", **fields)
