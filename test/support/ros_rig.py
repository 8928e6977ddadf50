"""The rclpy node and a robot around it, in this process."""

import os
import threading
import time

import rclpy
from dds_domain import DOMAIN_ID
from lifecycle_msgs.msg import Transition
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from relocalizer_rigs import LONGEST_S, WATCHED, Rig
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from hfnet_ros.messages import topics
from hfnet_ros.ros.messages import RclpyMessages, message_class
from hfnet_ros.ros.relocalizer_node import RelocalizerLifecycleNode
from hfnet_ros.ros.transport import QOS


class RosRig(Rig):
    """Node and robot on executors of their own, so that neither waits for the other."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.factory = RclpyMessages()
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = os.environ.get(
            "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"
        )
        rclpy.init(domain_id=DOMAIN_ID)
        overrides = [
            Parameter(f"{section}.{name}", value=value)
            for section, entries in self.parameters.items()
            for name, value in entries.items()
        ]
        self.node = RelocalizerLifecycleNode(parameter_overrides=overrides)
        self.robot = rclpy.create_node("robot")
        self.spinning = [self._spin(self.node), self._spin(self.robot)]
        for topic in WATCHED:
            self.watch(topic)
        reliable = QoSProfile(depth=10)
        self.publishers = {
            topic: self.robot.create_publisher(message_class(topic.type_name), "/" + topic.name, reliable)
            for topic in self.sent()
        }
        self.transforms = {
            False: TransformBroadcaster(self.robot),
            True: StaticTransformBroadcaster(self.robot),
        }
        self.robot.create_subscription(
            TFMessage, "/tf", lambda message: self.take_transforms(message.transforms), 100
        )
        self.clients = {}
        self.change_state(Transition.TRANSITION_CONFIGURE)
        self.activate()

    def _spin(self, node):
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        return executor, thread

    def watch(self, topic, take=None):
        name = topic.name.replace("~", "/relocalizer")
        take = take or (lambda message: self.take(topic, message))
        return self.robot.create_subscription(message_class(topic.type_name), name, take, QOS[topic.qos])

    def send(self, topic, message):
        self.publishers[topic].publish(message)

    def send_transforms(self, transforms, *, static):
        self.transforms[static].sendTransform(transforms)
        self.flush()

    def flush(self):
        # Executors know no order between topics.
        time.sleep(0.2)

    def call(self, service, request):
        name = service.name.replace("~", "/relocalizer")
        if name not in self.clients:
            self.clients[name] = self.robot.create_client(message_class(service.type_name), name)
        assert self.clients[name].wait_for_service(LONGEST_S)
        answered = threading.Event()  # Humble's `Client.call` waits for ever
        future = self.clients[name].call_async(request)
        future.add_done_callback(lambda _: answered.set())
        assert answered.wait(LONGEST_S), f"{name} does not answer"
        return future.result()

    def change_state(self, transition):
        service = topics.Service("~/change_state", "lifecycle_msgs/srv/ChangeState")
        request = self.request(service.type_name, transition=Transition(id=transition))
        assert self.call(service, request).success

    def activate(self):
        with self.until_ready():
            self.change_state(Transition.TRANSITION_ACTIVATE)
            until = time.monotonic() + LONGEST_S
            while not all(publisher.get_subscription_count() for publisher in self.publishers.values()):
                assert time.monotonic() < until, "the node does not listen"
                time.sleep(0.02)

    def deactivate(self):
        self.change_state(Transition.TRANSITION_DEACTIVATE)

    def close(self):
        for executor, thread in self.spinning:
            executor.shutdown()
            thread.join(5.0)
        self.node.close()
        self.node.destroy_node()
        self.robot.destroy_node()
        rclpy.try_shutdown()
