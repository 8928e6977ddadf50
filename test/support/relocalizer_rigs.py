"""A relocalizer node on one of three transports, and what a robot around it publishes."""

import contextlib
import dataclasses
import itertools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import yaml
from dds_domain import DOMAIN_ID
from node_process import NodeProcess

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message
from hfnet_ros.messages.transform_tree import TransformTree
from hfnet_ros.node.core import RelocalizerNode

BASE_FROM_CAMERA = Rigid3.from_quat([-0.5, 0.5, -0.5, 0.5], [0.2, 0.05, 0.6])
CAMERA_FRAME = "camera_optical"
WATCHED = (topics.POSE, topics.STATUS, topics.MAP_INFO, topics.DIAGNOSTICS, topics.MAP_POINTS)
LONGEST_S = 60.0  # a bound of waits that usually take a hundredth of it
GET_STATE = "lifecycle_msgs/srv/GetState"


@dataclasses.dataclass
class Walk:
    """Images of a walk through the mapped room, with the poses they were rendered at."""

    camera: object
    images: list
    map_from_base: list

    @property
    def odom_from_map(self):
        return Rigid3.from_rotvec([0.0, 0.0, 0.7], [3.0, -1.0, 0.0])


class Rig:
    """A node under test and what a robot around it publishes; subclasses bring the transport."""

    factory = None

    def __init__(self, walk, map_path, parameters, *, waits_until_ready=True):
        self.walk = walk
        self.waits_until_ready = waits_until_ready
        self.map_path = map_path
        self.parameters = parameters
        self.received = {topic: [] for topic in WATCHED}
        self.transforms_heard = []  # of map->odom, with the time (ns) they came at
        self.arrived = threading.Condition()
        self.start_ns = time.time_ns()
        self.steps = itertools.count()

    def sent(self):
        """Topics that the node listens to with these parameters."""
        config = Config.from_dict(self.parameters)
        cameras = [topics.camera_topics(camera, config) for camera in config.cameras.each]
        sent = [topic for camera in cameras for topic in (camera.image, camera.camera_infos[0])]
        if self.parameters["odometry"]["source"] in ("auto", "topic"):
            sent.append(topics.ODOMETRY)
        return [*sent, topics.INITIAL_POSE]

    @property
    def is_compressed(self):
        return self.parameters["node"].get("image_transport") == "compressed"

    @property
    def image_topic(self):
        return topics.COMPRESSED_IMAGE if self.is_compressed else topics.IMAGE

    # What the robot does

    def send_camera_info(self, camera=None, stamp_ns=None):
        header = header_to_message(self.factory, stamp_ns or self.start_ns, CAMERA_FRAME)
        self.send(topics.CAMERA_INFO, camera_to_message(self.factory, camera or self.walk.camera, header))
        self.flush()

    def send_mounting(self):
        transform = transform_to_message(self.factory, BASE_FROM_CAMERA, 1, "base_link", CAMERA_FRAME)
        self.send_transforms([transform], static=True)

    def send_odometry(self, odom_from_base, stamp_ns):
        self.send_odometry_pose(pose_to_message(self.factory, odom_from_base), stamp_ns)

    def send_odometry_pose(self, pose, stamp_ns):
        message = self.factory.make(
            "nav_msgs/msg/Odometry",
            header=header_to_message(self.factory, stamp_ns, "odom"),
            child_frame_id="base_link",
            pose=self.factory.make("geometry_msgs/msg/PoseWithCovariance", pose=pose),
        )
        self.send(topics.ODOMETRY, message)

    def image(self, index, stamp_ns):
        if not self.is_compressed:
            return image_to_message(self.factory, self.walk.images[index], stamp_ns, CAMERA_FRAME)
        data = cv2.imencode(".png", self.walk.images[index])[1].reshape(-1)
        return self.factory.make(
            "sensor_msgs/msg/CompressedImage",
            header=header_to_message(self.factory, stamp_ns, CAMERA_FRAME),
            format="png",
            data=self.factory.byte_sequence(data),
        )

    def send_initial_pose(self, index, stamp_ns, frame_id="map"):
        """Point at the place of an image on a plan, as RViz does."""
        covariance = np.zeros(36)
        covariance[[0, 7, 35]] = 0.25, 0.25, 0.07
        pose = self.factory.make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=pose_to_message(self.factory, self.walk.map_from_base[index]),
            covariance=covariance,
        )
        header = header_to_message(self.factory, stamp_ns, frame_id)
        message = self.factory.make("geometry_msgs/msg/PoseWithCovarianceStamped", header=header, pose=pose)
        self.send(topics.INITIAL_POSE, message)
        self.flush()

    def step(self, index=None, stamp_ns=None, *, place=None, message=None, wait=True):
        """Drive to a pose of the walk, there and back again, take an image, and return its status.

        `place` is the image's index where it differs from what odometry says.
        """
        number, end = next(self.steps), len(self.walk.images) - 1
        index = min(number % (2 * end), -number % (2 * end)) if index is None else index
        stamp_ns = self.stamp(number) if stamp_ns is None else stamp_ns
        if stamp_ns > 0:
            self.send_odometry(self.walk.odom_from_map @ self.walk.map_from_base[index], stamp_ns)
        before = len(self.received[topics.STATUS])
        self.send(self.image_topic, message or self.image(index if place is None else place, stamp_ns))
        if wait:
            self.wait_for(lambda: len(self.received[topics.STATUS]) > before, "a status")
            return self.received[topics.STATUS][-1]
        return None

    def stamp(self, number):
        """Return the stamp of the numbered step of a walk at 5 images a second."""
        return self.start_ns + number * 200_000_000

    @contextlib.contextmanager
    def while_stepping(self):
        """Keep walking in the background, as a robot does while a service works."""
        ended = threading.Event()

        def walk():
            while not ended.wait(0.1):
                self.step(wait=False)

        thread = threading.Thread(target=walk)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def send_odometry_numbers(self, xyz, stamp_ns):
        """Send odometry that no `Rigid3` could hold."""
        x, y, z = xyz
        position = self.factory.make("geometry_msgs/msg/Point", x=x, y=y, z=z)
        orientation = self.factory.make("geometry_msgs/msg/Quaternion", w=1.0)
        pose = self.factory.make("geometry_msgs/msg/Pose", position=position, orientation=orientation)
        self.send_odometry_pose(pose, stamp_ns)

    def flush(self):
        """Wait until the node has taken what was sent to it, on whatever topic."""

    def settle(self):
        """Give the node the time to do what it should not do."""
        self.flush()
        time.sleep(0.2)

    def localize(self):
        """Walk until the position is known."""
        self.send_camera_info()
        self.localize_without_camera_info()

    def localize_without_camera_info(self):
        self.send_mounting()
        for _ in range(10):
            if self.step().state == "TRACKING":
                return
        raise AssertionError(f"not localized: {self.received[topics.STATUS][-1]}")

    @contextlib.contextmanager
    def until_ready(self):
        """Wait at the end of the block until the node is ready, which is when it announces its map."""
        before = len(self.received[topics.MAP_INFO])
        yield
        self.wait_until_ready(before)

    def wait_until_ready(self, before=0):
        if self.waits_until_ready and self.parameters["node"]["map"]:
            self.wait_for(lambda: len(self.received[topics.MAP_INFO]) > before, "map_info")

    # What a test asks

    def wait_for(self, condition, what, timeout_s=LONGEST_S):
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout_s), f"{what} did not come"

    def take(self, topic, message):
        with self.arrived:
            self.received.setdefault(topic, []).append(message)
            self.arrived.notify_all()

    def take_transforms(self, transforms):
        with self.arrived:
            self.transforms_heard += [(time.time_ns(), t) for t in transforms if t.child_frame_id == "odom"]
            self.arrived.notify_all()

    @property
    def poses(self):
        return self.received[topics.POSE]

    def error_of(self, message, index):
        """Distance (m) of a pose message from the truth of an image."""
        position = message.pose.pose.position
        return np.linalg.norm(
            np.subtract([position.x, position.y, position.z], self.walk.map_from_base[index].translation)
        )

    def diagnostics(self, name):
        """Return the newest status of diagnostics whose name ends so, as (level, message, values)."""
        for status in self.received[topics.DIAGNOSTICS][-1].status:
            if status.name.endswith(name):
                level = status.level if isinstance(status.level, int) else status.level[0]
                return level, status.message, {value.key: value.value for value in status.values}
        raise AssertionError(f"no diagnostics of {name}")

    def wait_for_diagnostics(self, name, condition):
        self.wait_for(
            lambda: self.received[topics.DIAGNOSTICS] and condition(*self.diagnostics(name)),
            f"diagnostics of {name}",
        )

    def request(self, type_name, **fields):
        return self.factory.make(f"{type_name}_Request", **fields)


@dataclasses.dataclass
class Published:
    """A topic that others publish on."""

    name: str
    type_names: tuple = (topics.IMAGE.type_name,)
    num_publishers: int = 1
    reliable: bool = True
    transient_local: bool = False


class MemoryTransport:
    """A middleware of lists, with the rules of the real ones: while inactive nothing goes out."""

    node_name = "relocalizer"

    def __init__(self):
        self.factory = RosbagsMessages()
        self.tree = TransformTree()
        self.is_active = True
        self.watchers = {}  # by topic: who is called with its messages
        self.published = []  # topics, in order
        self.take_transforms = lambda transforms: None
        self.others_publish = []

    def resolved(self, topic):
        return "/" + topic.name.replace("~", self.node_name).lstrip("/")

    def now_ns(self):
        return time.time_ns()

    def publish(self, topic, message):
        if self.is_active or topic is topics.DIAGNOSTICS:
            self.published.append(topic)
            self.watchers.get(topic, lambda _: None)(message)

    def published_topics(self):
        return self.others_publish

    def has_subscribers(self, topic):
        return topic in self.watchers

    def broadcast_transform(self, message):
        self.take_transforms([message])

    def look_up_transform(self, target, source, stamp_ns):
        if stamp_ns is None:
            return self.tree.look_up_latest(target, source)
        return stamp_ns, self.tree.look_up(target, source, stamp_ns)

    def transform_stamps(self, child):
        return self.tree.stamps_of(child)


class MemoryRig(Rig):
    """The node's core without a middleware."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.transport = MemoryTransport()
        self.transport.take_transforms = self.take_transforms
        self.factory = self.transport.factory
        for topic in WATCHED:
            self.watch(topic)
        self.node = RelocalizerNode(Config.from_dict(self.parameters), self.transport, give_up=self._give_up)
        self.services = {service.name: answer for service, answer in self.node.services()}
        self.transport.is_active = False
        self.node.configure()
        self.ended = threading.Event()
        self.timers = [
            threading.Thread(target=self._tick, args=timer, daemon=True) for timer in self.node.timers()
        ]
        for timer in self.timers:
            timer.start()
        self.activate()

    def _tick(self, period_s, act):
        while not self.ended.wait(period_s):
            act()

    def watch(self, topic, take=None):
        self.transport.watchers[topic] = take or (lambda message: self.take(topic, message))

    def send(self, topic, message):
        dict(self.node.subscriptions())[topic](message)

    def send_transforms(self, transforms, *, static):
        message = self.factory.make("tf2_msgs/msg/TFMessage", transforms=transforms)
        self.transport.tree.add_all(message, static=static)

    def call(self, service, request):
        return self.services[service.name](request)

    def _give_up(self):
        threading.Thread(target=lambda: self.node.has_failed and self.deactivate()).start()

    def activate(self):
        with self.until_ready():
            self.transport.is_active = True
            self.node.activate()

    def deactivate(self):
        self.node.deactivate()
        self.transport.is_active = False

    def close(self):
        self.ended.set()
        for timer in self.timers:
            timer.join()
        self.node.cleanup()


@dataclasses.dataclass(frozen=True)
class Resources:
    threads: int
    files: int
    resident_kb: int


class DdsRig(Rig):
    """`hfnet-ros run` in another process, talked to over DDS on the loopback interface."""

    def __init__(self, *arguments, folder, program=None, prepare=None, **options):
        """Start it: what `program` says, from nothing, or a copy of the server, which calls `prepare` first."""
        from hfnet_ros.dds import qos
        from hfnet_ros.dds.participant import DdsNode

        super().__init__(*arguments, **options)
        self.qos = qos
        parameters = folder / "parameters.yaml"
        parameters.write_text(yaml.safe_dump(self.parameters))
        self.log = (folder / "node.log").open("w+")
        command = ("run", "--params", str(parameters), "--domain", str(DOMAIN_ID), "--loopback")
        if program is None:
            self.process = NodeProcess(command, self.log, prepare)
        else:
            self.process = subprocess.Popen([sys.executable, *program, *command], stderr=self.log)
        self.client = DdsNode("robot", domain_id=DOMAIN_ID, loopback=True)
        self.factory = self.client.messages
        self.publishers = {}
        self.clients = {}
        self.subscriptions = [self.watch(topic) for topic in WATCHED]
        for topic in self.sent():
            self.publisher(topic)
        self.transforms = {
            static: self.client.create_publisher(name, "tf2_msgs/msg/TFMessage", profile)
            for static, name, profile in ((False, "/tf", qos.TF), (True, "/tf_static", qos.TF_STATIC))
        }
        self.client.create_subscription(
            "/tf",
            "tf2_msgs/msg/TFMessage",
            qos.TF,
            lambda message, _: self.take_transforms(message.transforms),
        )
        self.wait_until_listening()
        self.wait_until_ready()

    def watch(self, topic, take=None):
        profile = {topics.Qos.LATCHED: self.qos.LATCHED}.get(topic.qos, self.qos.RELIABLE)
        name = topic.name.replace("~", "/relocalizer")
        take = take or (lambda message: self.take(topic, message))
        return self.client.create_subscription(
            name, topic.type_name, profile, lambda message, _: take(message)
        )

    def publisher(self, topic):
        if topic not in self.publishers:
            self.publishers[topic] = self.client.create_publisher(
                "/" + topic.name, topic.type_name, self.qos.RELIABLE
            )
        return self.publishers[topic]

    def wait_until_listening(self):
        until = time.monotonic() + LONGEST_S
        while not self._is_matched():
            assert self.process.poll() is None, self.log_text()
            assert time.monotonic() < until, "the node does not listen: " + self.log_text()
            time.sleep(0.02)

    def _is_matched(self):
        publishers = (*self.publishers.values(), *self.transforms.values())
        return all(publisher.num_subscribers for publisher in publishers) and all(
            subscription.num_publishers for subscription in self.subscriptions
        )

    def flush(self):
        # What was sent before a request arrives before it, and is taken before what follows its answer.
        self.call(topics.Service("~/get_state", GET_STATE), self.request(GET_STATE))

    def log_text(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def send(self, topic, message):
        self.publisher(topic).publish(message)

    def send_transforms(self, transforms, *, static):
        self.transforms[static].publish(self.factory.make("tf2_msgs/msg/TFMessage", transforms=transforms))
        self.flush()

    def call(self, service, request):
        name = service.name.replace("~", "/relocalizer")
        name = name if name.startswith("/") else "/" + name
        if name not in self.clients:
            self.clients[name] = self.client.create_client(name, service.type_name)
        return self.clients[name].call(request, LONGEST_S)

    def change_state(self, transition):
        service = topics.Service("~/change_state", "lifecycle_msgs/srv/ChangeState")
        wanted = self.factory.make("lifecycle_msgs/msg/Transition", id=transition)
        assert self.call(service, self.request(service.type_name, transition=wanted)).success, self.log_text()

    def activate(self):
        with self.until_ready():
            self.change_state(3)
            self.wait_until_listening()

    def deactivate(self):
        self.change_state(4)

    def resources(self):
        """Return threads, open files and memory of the node's process.

        A thread that was joined stays in /proc until the kernel has let it go, so what counts is the least
        number of threads in several looks.
        """
        proc = Path(f"/proc/{self.process.pid}")
        looks = []
        for _ in range(5):
            looks.append(dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines()))
            time.sleep(0.002)
        num_threads = min(int(fields["Threads"]) for fields in looks)
        resident_kb = int(looks[-1]["VmRSS"].split()[0])
        return Resources(num_threads, len(list((proc / "fd").iterdir())), resident_kb)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONGEST_S)

    def close(self):
        try:
            if self.process.poll() is None:
                self.terminate()
        finally:
            self.process.kill()
            self.client.close()
            self.log.close()
