"""The relocalizer as a ROS 2 lifecycle node; what it does is in `hfnet_ros.node.core`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from hfnet_ros.errors import ConfigError, HfnetRosError
from hfnet_ros.messages import topics
from hfnet_ros.messages.topics import Service, Topic
from hfnet_ros.node.core import RelocalizerNode
from hfnet_ros.node.dynamic import changes_that_need_a_restart
from hfnet_ros.node.namesakes import namesake_problem
from hfnet_ros.node.process_exit import exit_at_once, tell_of_crashes
from hfnet_ros.ros.bond import NavBond
from hfnet_ros.ros.cv_bridge_images import decode_image
from hfnet_ros.ros.logs import RosLogHandler
from hfnet_ros.ros.messages import message_class
from hfnet_ros.ros.parameters import declare_parameters, read_config, refuse_files_of_others
from hfnet_ros.ros.transport import QOS, RclpyTransport

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

RCLError = rclpy_implementation.RCLError
_LOOK_AROUND_S = 2.0
_SIGNAL_DELAY_S = 0.5  # rclpy's waiting is not interrupted by a signal


class RelocalizerLifecycleNode(LifecycleNode):
    """Binds `RelocalizerNode` to rclpy: topics, services, timers, parameters, states.

    It belongs in a single-threaded executor: rclpy ends an executor that waits for a subscription
    in one thread while another one destroys it, as deactivating does.
    """

    def __init__(self, **options: Any) -> None:
        """Declare the parameters; nothing is loaded before `configure`."""
        super().__init__("relocalizer", **options)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._log_handler = RosLogHandler(self.get_logger())
        logging.getLogger("hfnet_ros").addHandler(self._log_handler)
        is_debugging = self.get_logger().is_enabled_for(LoggingSeverity.DEBUG)
        logging.getLogger("hfnet_ros").setLevel(logging.DEBUG if is_debugging else logging.INFO)
        # A service of a group that is not reentrant would be alone in it until it has answered.
        self._service_group = ReentrantCallbackGroup()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hfnet-service")
        self._core: RelocalizerNode | None = None
        self._transport: RclpyTransport | None = None
        self._bound: list[Callable[[], object]] = []  # what undoes `configure`
        self._listening: list[Callable[[], object]] = []  # what undoes `activate`
        # They outlive `cleanup`: rclpy ends an executor that answers by a service which has gone meanwhile.
        for service in topics.SERVICES:
            self.create_service(
                message_class(service.type_name),
                service.name,
                self._in_background(service),
                callback_group=self._service_group,
            )
        self._namesakes = ""
        self.create_timer(_LOOK_AROUND_S, self._surviving(self._look_around), clock=_steady())

    # Transitions. rclpy keeps exceptions that leave them to itself.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the map, offer topics."""
        try:
            config = read_config(self)
            self._transport = RclpyTransport(self, config.odometry.history_s)
            self._bound.append(self._transport.close)
            self._core = RelocalizerNode(config, self._transport, decode_image, self._give_up)
            self._core.configure()
            self._start_timers(self._core)
        except Exception as error:
            self._report(error)
            self._unbind()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the engine, listen to images; an engine that takes long is prepared while active."""
        core = self._core
        if core is None:
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)  # publishers first: the map is announced on activation
        try:
            core.activate()
            self._listen(core)
        except Exception as error:
            self._report(error)
            self._stop_listening()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, free the engine."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the map, take topics back."""
        self._unbind()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End from whatever state."""
        self._stop_listening()
        self._unbind()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected error."""
        self._stop_listening()
        self._unbind()
        return super().on_error(state)

    def close(self) -> None:
        """End the engine's thread and forget the log handler, before the node is destroyed."""
        self._stop_listening()
        self._unbind()
        self._pool.shutdown(wait=False, cancel_futures=True)
        logging.getLogger("hfnet_ros").removeHandler(self._log_handler)

    def destroy_node(self) -> None:
        """Destroy the node, and take leave of its peers.

        rclpy leaves its state machine to the garbage collector, and that keeps the node in the middleware: where the
        process ends first, peers believe in it for some seconds more, and Fast DDS leaves its shared memory behind.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:  # noqa: N802
        """Refuse an impossible transition, e.g. deactivate while unconfigured.

        Overrides rclpy's private handler, which lets the error out, and that ends the executor.
        """
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except RCLError as error:
            self.get_logger().error(
                f"transition {request.transition.label or request.transition.id}: {error}"
            )
            response.success = False
            return response

    # What the transitions do

    def _give_up(self) -> None:
        """Deactivate, since the engine cannot be made ready; called by the thread that has tried."""
        executor = self.executor
        if executor is not None:  # transitions belong in its thread
            executor.create_task(self._surviving(self._deactivate_failed))

    def _deactivate_failed(self) -> None:
        core = self._core
        if core is not None and core.has_failed:
            self.trigger_deactivate()

    def _in_background(self, service: Service) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
        """Return a service callback that leaves the executor free while it waits, e.g. for an image."""

        async def respond(request: Any, response: Any) -> Any:
            answered = Future()

            def work() -> None:
                answered.set_result(self._answer(service, request, response))
                executor = self.executor
                if executor is not None:
                    executor.wake()

            self._pool.submit(work)
            return await answered

        return respond

    def _answer(self, service: Service, request: Any, response: Any) -> Any:
        """Return the core's response, or the given one with a reason: an exception would end the executor."""
        core, problem = self._core, "the node is not configured"
        if core is not None:
            try:
                return dict(core.services())[service](request)
            except Exception as error:
                self._report(error)
                problem = f"{type(error).__name__}: {error}"
        if hasattr(response, "message"):
            response.message = problem
        else:
            self.get_logger().warning(f"{service.name}: {problem}")
        return response

    def _start_timers(self, core: RelocalizerNode) -> None:
        for period_s, act in core.timers():
            timer = self.create_timer(period_s, self._surviving(act), clock=_steady())
            self._bound.append(lambda timer=timer: self.destroy_timer(timer))

    def _look_around(self) -> None:
        """Say so when there is another node of this name."""
        known = [
            f"{namespace.rstrip('/')}/{name}" for name, namespace in self.get_node_names_and_namespaces()
        ]
        before, self._namesakes = self._namesakes, namesake_problem(self.get_fully_qualified_name(), known)
        if self._namesakes and not before:
            self.get_logger().error(self._namesakes)
        elif before and not self._namesakes:
            self.get_logger().info(f"this is the only node called {self.get_fully_qualified_name()} now")

    def _listen(self, core: RelocalizerNode) -> None:
        losses = core.losses()
        for topic, take in core.subscriptions():
            try:
                subscription = self._subscribe(topic, take, losses.get(topic))
            except UnsupportedEventTypeError:  # a middleware that cannot tell
                subscription = self._subscribe(topic, take, None)
            self._listening.append(lambda entity=subscription: self.destroy_subscription(entity))
        if core.config.node.bond:
            bond = NavBond(self)
            self._listening.append(bond.close)

    def _subscribe(
        self, topic: Topic, take: Callable[[Any], None], note_lost: Callable[[int], None] | None
    ) -> Any:
        def on_lost(event: Any) -> None:
            note_lost(event.total_count_change)

        return self.create_subscription(
            message_class(topic.type_name),
            self._transport.resolved(topic),
            self._surviving(take),
            QOS[topic.qos],
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=None if note_lost is None else self._surviving(on_lost),
                use_default_callbacks=not topic.is_second,
            ),
        )

    def _surviving(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that logs what goes wrong: an exception would end the executor."""

        def call(*arguments: Any) -> None:
            try:
                act(*arguments)
            except Exception as error:
                self._report(error)

        return call

    def _report(self, error: Exception) -> None:
        """Log an error in one line if it is meant for people, else with its traceback."""
        if isinstance(error, HfnetRosError):
            self.get_logger().error(str(error))
        else:
            logging.getLogger(__name__).error("unexpected failure", exc_info=error)

    def _stop_listening(self) -> None:
        while self._listening:
            self._listening.pop()()
        if self._core is not None:
            self._core.deactivate()

    def _unbind(self) -> None:
        if self._core is not None:
            self._core.cleanup()
        while self._bound:
            self._bound.pop()()
        self._core = self._transport = None

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            config = read_config(self, changes)
            if self._core is not None:
                later = changes_that_need_a_restart(self._core.config, config)
                if later:
                    reason = f"{', '.join(later)}: read when the node is configured; deactivate and clean it up first"
                    return SetParametersResult(successful=False, reason=reason)
                self._core.set_config(config)
        except HfnetRosError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # one that leaves a callback ends the executor
            self._report(error)
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")
        return SetParametersResult(successful=True)


def _steady() -> Clock:
    """Return a clock that is not ROS time: a simulation that has stopped is no reason to fall silent."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(arguments: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    tell_of_crashes()
    # rclpy's own handlers end the context first, and whatever is to be said on the way out, such as the
    # end of the bond, fails then.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        node = RelocalizerLifecycleNode()
        refuse_files_of_others(sys.argv if arguments is None else arguments, node.get_fully_qualified_name())
    except (ParameterException, ConfigError) as error:  # rclpy checks what it is given against the bounds
        rclpy.try_shutdown()
        sys.exit(f"relocalizer: error: {error}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not ended.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=_SIGNAL_DELAY_S)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C shall not disturb the end
            signal.signal(number, signal.SIG_IGN)
        node.close()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    exit_at_once()
