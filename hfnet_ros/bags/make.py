"""Turn a folder of images, with poses or without, into a bag as a robot would have recorded it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.bags.simulated_odometry import (
    OdometryNoise,
    SimulatedOdometry,
    simulate_odometry,
)
from hfnet_ros.bags.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    POSE,
    TF,
)
from hfnet_ros.bags.writer import BagWriter
from hfnet_ros.errors import BagError, DatasetError
from hfnet_ros.files.images import list_images
from hfnet_ros.files.posed_images import PosedImage, load_frame, pair_images_with_poses
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import compressed_to_message, image_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message
from hfnet_ros.messages.topics import camera_info_topic
from hfnet_ros.types import Progress

# A robot that is nothing but a camera looking ahead: x forward is the camera's z (REP-103).
LOOKING_AHEAD = Rigid3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))

_NS_PER_S = 1_000_000_000
_DEFAULT_RATE_HZ = 10.0
_MAX_STAMP_NS = 2**31 * _NS_PER_S - 1  # builtin_interfaces/Time holds an int32 of seconds
_SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89P": "png"}


@dataclass(frozen=True, slots=True)
class BagRecipe:
    """What goes into the bag.

    Attributes:
        storage: mcap or sqlite3.
        compressed: files of JPEG or PNG as they are, on <image_topic>/compressed; else raw pixels.
        rate_hz: images per second instead of the poses' stamps.
        base_from_camera: mounting of the optical frame on the robot.
        odometry: how odometry is simulated from the poses; None leaves it out.
        image_topic: of raw images; CameraInfo is beside it.
        ground_truth_topic: PoseStamped of `ground_truth_frame` in `map_frame`.
        ground_truth_frame: `base_frame`, as REP-105 would have it, or `camera_frame`.
    """

    storage: str = "mcap"
    compressed: bool = False
    rate_hz: float | None = None
    base_from_camera: Rigid3 = field(default=LOOKING_AHEAD)
    odometry: OdometryNoise | None = None
    image_topic: str = "/camera/image_raw"
    ground_truth_topic: str = "/ground_truth/pose"
    ground_truth_frame: str = "base_link"
    odometry_topic: str = "/odom"
    map_frame: str = "map"
    odom_frame: str = "odom"
    base_frame: str = "base_link"
    camera_frame: str = "camera_optical"


def make_bag(
    out: Path | str,
    images: Path,
    camera: Camera,
    poses: Path | None = None,
    recipe: BagRecipe | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a bag of the images of a folder; the same input gives the same bytes.

    Stamps of headers and of receipt are those of the poses. Without poses the images are taken
    `rate_hz` a second (10 unless given) from one second on, with neither truth nor odometry.

    Args:
        out: folder to write; an older bag there is replaced.
        images: folder; sorted images and lines of `poses` pair in order.
        camera: calibration of all images.
        poses: TUM file of map_from_camera.
        recipe: what goes in, `BagRecipe()` if not given.
        progress: called with (stage, images written, images in total).

    Returns:
        The number of images.

    Raises:
        BagError: the bag cannot be written, or cannot hold what was asked for.
        DatasetError: images and poses do not fit, or a stamp is out of ROS's range.
        ImageError: an image is damaged or not of the calibration's size.
    """
    recipe = recipe or BagRecipe()
    known = (recipe.base_frame, recipe.camera_frame)
    if recipe.ground_truth_frame not in known:
        raise BagError(f"ground truth is of '{recipe.ground_truth_frame}', expected {' or '.join(known)}")
    if recipe.odometry is not None and poses is None:
        raise BagError("odometry is simulated from poses; give the poses, too")
    frames = _stamped_images(images, poses, recipe.rate_hz)
    with BagWriter(out, recipe.storage) as bag:
        _BagMaker(bag, camera, recipe).write(frames, has_poses=poses is not None, progress=progress)
    return len(frames)


def _stamped_images(images: Path, poses: Path | None, rate_hz: float | None) -> list[PosedImage]:
    if rate_hz is not None and not 0.001 <= rate_hz <= 10_000.0:
        raise BagError(f"rate is {rate_hz} Hz, expected 0.001 to 10000")
    if poses is not None:
        frames = pair_images_with_poses(images, poses)
    else:
        frames = [PosedImage(path, _NS_PER_S, Rigid3.identity()) for path in list_images(images)]
        rate_hz = rate_hz or _DEFAULT_RATE_HZ
    if rate_hz is not None:
        first_ns = frames[0].stamp_ns
        frames = [
            PosedImage(frame.path, first_ns + round(index * _NS_PER_S / rate_hz), frame.map_from_camera)
            for index, frame in enumerate(frames)
        ]
    if frames[0].stamp_ns < 0 or frames[-1].stamp_ns > _MAX_STAMP_NS:
        seconds = [frame.stamp_ns / _NS_PER_S for frame in (frames[0], frames[-1])]
        raise DatasetError(
            f"stamps run from {seconds[0]:.3f} to {seconds[1]:.3f} s, expected 0 to 2147483647 s, which is what ROS "
            "can hold; shift them, or give a rate"
        )
    return frames


class _BagMaker:
    """Writes the topics of one bag."""

    def __init__(self, bag: BagWriter, camera: Camera, recipe: BagRecipe) -> None:
        self._bag, self._camera, self._recipe = bag, camera, recipe
        self._factory = RosbagsMessages()

    def write(self, frames: Sequence[PosedImage], *, has_poses: bool, progress: Progress | None) -> None:
        """Write everything in order of time; what an image needs comes before it."""
        recipe = self._recipe
        self._write_mounting(frames[0].stamp_ns)
        camera_from_base = recipe.base_from_camera.inverse()
        odometry: list[SimulatedOdometry] = []
        if recipe.odometry is not None:
            bases = [frame.map_from_camera @ camera_from_base for frame in frames]
            odometry = simulate_odometry([frame.stamp_ns for frame in frames], bases, recipe.odometry)
        next_sample = 0
        for index, frame in enumerate(frames):
            while next_sample < len(odometry) and odometry[next_sample].stamp_ns <= frame.stamp_ns:
                self._write_odometry(odometry[next_sample])
                next_sample += 1
            if has_poses:
                is_camera = recipe.ground_truth_frame == recipe.camera_frame
                truth = frame.map_from_camera if is_camera else frame.map_from_camera @ camera_from_base
                self._write_truth(frame.stamp_ns, truth)
            self._write_image(frame)
            if progress is not None:
                progress("write bag", index + 1, len(frames))

    def _write_image(self, frame: PosedImage) -> None:
        recipe, factory = self._recipe, self._factory
        image = load_frame(frame, self._camera, recipe.camera_frame).image
        header = header_to_message(factory, frame.stamp_ns, recipe.camera_frame)
        info = camera_to_message(factory, self._camera, header)
        self._bag.write(camera_info_topic(recipe.image_topic), CAMERA_INFO, frame.stamp_ns, info)
        if not recipe.compressed:
            message = image_to_message(factory, image, frame.stamp_ns, recipe.camera_frame)
            self._bag.write(recipe.image_topic, IMAGE, frame.stamp_ns, message)
            return
        data = frame.path.read_bytes()
        kind = _SIGNATURES.get(data[:2])
        if kind is None:
            raise BagError(f"{frame.path}: neither JPEG nor PNG, which is all that compressed images can be")
        message = compressed_to_message(factory, data, kind, frame.stamp_ns, recipe.camera_frame)
        self._bag.write(recipe.image_topic + "/compressed", COMPRESSED_IMAGE, frame.stamp_ns, message)

    def _write_truth(self, stamp_ns: int, truth: Rigid3) -> None:
        header = header_to_message(self._factory, stamp_ns, self._recipe.map_frame)
        message = self._factory.make(POSE, header=header, pose=pose_to_message(self._factory, truth))
        self._bag.write(self._recipe.ground_truth_topic, POSE, stamp_ns, message)

    def _write_mounting(self, stamp_ns: int) -> None:
        recipe = self._recipe
        self._bag.add_topic("/tf_static", TF, latched=True)
        self._write_transform(
            "/tf_static", stamp_ns, recipe.base_from_camera, recipe.base_frame, recipe.camera_frame
        )

    def _write_odometry(self, sample: SimulatedOdometry) -> None:
        recipe, factory, stamp_ns = self._recipe, self._factory, sample.stamp_ns
        pose = factory.make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=pose_to_message(factory, sample.odom_from_base),
            covariance=np.diag(sample.variances).reshape(36),
        )
        twist = factory.make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=factory.make(
                "geometry_msgs/msg/Twist",
                linear=self._vector(sample.velocity[:3]),
                angular=self._vector(sample.velocity[3:]),
            ),
            covariance=np.diag(sample.velocity_variances).reshape(36),
        )
        header = header_to_message(factory, stamp_ns, recipe.odom_frame)
        message = factory.make(
            ODOMETRY, header=header, child_frame_id=recipe.base_frame, pose=pose, twist=twist
        )
        self._bag.write(recipe.odometry_topic, ODOMETRY, stamp_ns, message)
        if stamp_ns > 0:  # time 0 means "newest" in tf, which refuses a transform of that time
            self._write_transform(
                "/tf", stamp_ns, sample.odom_from_base, recipe.odom_frame, recipe.base_frame
            )

    def _write_transform(
        self, topic: str, stamp_ns: int, parent_from_child: Rigid3, parent: str, child: str
    ) -> None:
        transform = transform_to_message(self._factory, parent_from_child, stamp_ns, parent, child)
        self._bag.write(topic, TF, stamp_ns, self._factory.make(TF, transforms=[transform]))

    def _vector(self, values: Any) -> Any:
        x, y, z = values.tolist()
        return self._factory.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
