"""The relocalizer as a ROS 2 lifecycle node; what it does is in `hfnet_ros.node.core`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future

from hfnet_ros.errors import HfnetRosError
from hfnet_ros.node import interface
from hfnet_ros.node.core import RelocalizerNode
from hfnet_ros.node.dynamic import changes_that_need_a_restart
from hfnet_ros.node.interface import Topic
from hfnet_ros.ros.bond import NavBond
from hfnet_ros.ros.cv_bridge_images import image_decoder
from hfnet_ros.ros.logs import RosLogHandler
from hfnet_ros.ros.messages import message_class
from hfnet_ros.ros.parameters import declare_parameters, read_config
from hfnet_ros.ros.transport import QOS, RclpyTransport


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
        logging.getLogger("hfnet_ros").setLevel(logging.INFO)
        # A service of a group that is not reentrant would be alone in it until it has answered.
        self._service_group = ReentrantCallbackGroup()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hfnet-service")
        self._core: RelocalizerNode | None = None
        self._transport: RclpyTransport | None = None
        self._bound: list[Callable[[], object]] = []  # what undoes `configure`
        self._listening: list[Callable[[], object]] = []  # what undoes `activate`

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the map, offer topics and services."""
        try:
            config = read_config(self)
            self._transport = RclpyTransport(self, config.odometry.history_s)
            self._bound.append(self._transport.close)
            self._core = RelocalizerNode(config, self._transport, decode_image=image_decoder())
            self._core.configure()
            self._offer_services(self._core)
            self._start_timers(self._core)
        except HfnetRosError as error:
            self.get_logger().error(str(error))
            self._unbind()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the engine, listen to images."""
        core = self._core
        if core is None:
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)  # publishers first: the map is announced on activation
        try:
            core.activate()
        except HfnetRosError as error:
            self.get_logger().error(str(error))
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        for topic, take in core.subscriptions():
            subscription = self.create_subscription(
                message_class(topic.type_name),
                self._topic_name(topic),
                take,
                QOS[topic.qos],
            )
            self._listening.append(lambda entity=subscription: self.destroy_subscription(entity))
        if core.config.node.bond:
            bond = NavBond(self)
            self._listening.append(bond.close)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, free the engine."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the map, take topics and services back."""
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

    # What the transitions do

    def _offer_services(self, core: RelocalizerNode) -> None:
        for service, answer in core.services():
            entity = self.create_service(
                message_class(service.type_name),
                service.name,
                self._in_background(answer),
                callback_group=self._service_group,
            )
            self._bound.append(lambda entity=entity: self.destroy_service(entity))

    def _in_background(self, answer: Callable[[Any], Any]) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
        """Return a service callback that leaves the executor free while it waits, e.g. for an image."""

        async def respond(request: Any, _response: Any) -> Any:
            answered = Future()

            def work() -> None:
                try:
                    answered.set_result(answer(request))
                except Exception as error:
                    answered.set_exception(error)
                executor = self.executor
                if executor is not None:
                    executor.wake()

            self._pool.submit(work)
            return await answered

        return respond

    def _start_timers(self, core: RelocalizerNode) -> None:
        # Not ROS time: a simulation that has stopped is no reason to fall silent.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, act in core.timers():
            timer = self.create_timer(period_s, act, clock=steady)
            self._bound.append(lambda timer=timer: self.destroy_timer(timer))

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

    def _topic_name(self, topic: Topic) -> str:
        """Return the calibration's place beside the image, unless it was remapped itself."""
        if topic is interface.COMPRESSED_IMAGE:
            return interface.compressed_topic(self.resolve_topic_name(interface.IMAGE.name))
        own = self.resolve_topic_name(topic.name)
        if topic is not interface.CAMERA_INFO or own != self.resolve_topic_name(topic.name, only_expand=True):
            return own
        return interface.camera_info_topic(self.resolve_topic_name(interface.IMAGE.name))

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
        return SetParametersResult(successful=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    rclpy.init(args=arguments)
    node = RelocalizerLifecycleNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.close()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
