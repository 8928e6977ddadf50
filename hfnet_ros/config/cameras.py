"""Parameters of a robot with several cameras."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from hfnet_ros.config.schema import parameter
from hfnet_ros.errors import ConfigError

DEFAULT = "-"  # in the place of a word: what it would be without the list
_NAME = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*\Z")
_TRANSPORTS = ("raw", "compressed")
_POSE_LENGTH = 7


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """What is said of one camera; a text is empty where the default holds.

    Attributes:
        name: empty where the robot has one camera.
        image_topic: before remapping, without /compressed.
        camera_info_topic: beside the images by default.
        transport: raw or compressed; as `node.image_transport` by default.
        frame: optical frame; as the images say by default.
        base_from_camera: 'x y z qx qy qz qw' (m), where TF has no mounting.
    """

    name: str = ""
    image_topic: str = "image"
    camera_info_topic: str = ""
    transport: str = ""
    frame: str = ""
    base_from_camera: str = ""


@dataclass(frozen=True)
class CamerasConfig:
    """The cameras of a robot that has several; lists are in the order of the names, '-' keeps a default."""

    names: str = parameter(
        "",
        "Names of the cameras; images of each are on <name>/image, calibrations on <name>/camera_info. Empty is one "
        "camera, on image.",
        level="basic",
        is_list=True,
    )
    image_topics: str = parameter("", "Topics of the images where they are others.", is_list=True)
    camera_info_topics: str = parameter(
        "", "Topics of the calibrations where they are not beside the images.", is_list=True
    )
    transports: str = parameter(
        "",
        "Kinds of image messages, raw or compressed, where not all are node.image_transport.",
        is_list=True,
    )
    frames: str = parameter(
        "", "Optical frames, where the headers of the images do not name them.", is_list=True
    )
    base_from_camera: str = parameter(
        "",
        "Mountings of the optical frames, 'x y z qx qy qz qw' (m) one after the other, used where TF has none.",
        is_list=True,
    )
    masks: str = parameter(
        "",
        "Pictures of what is not scene in a camera's images, as the robot's own arm or a caption: FILE of the only "
        "camera, NAME=FILE of each of several that has one. Black is painted over, white is seen (docs/masks.md).",
        level="basic",
        is_list=True,
    )
    sync_tolerance_s: float = parameter(
        0.02,
        "How far stamps of images may be apart to be of one time; half a period of the cameras, and a bit, where "
        "they are not triggered together. Odometry, where there is some, makes up for the motion between.",
        unit="s",
        low=0.0,
        high=0.5,
    )
    sync_wait_s: float = parameter(
        0.1,
        "How long images of one time wait for those of the other cameras; then they are localized without. That long "
        "a missing camera delays answers, a few times only: it is then not waited for until it is back.",
        unit="s",
        low=0.0,
        high=1.0,
    )

    def __post_init__(self) -> None:
        """Refuse lists that do not go with the names.

        Raises:
            ConfigError: says which.
        """
        _ = self.each, self.mask_files

    @property
    def each(self) -> tuple[CameraConfig, ...]:
        """Return the cameras in the order of their names; without names the only one."""
        names = self.names.split()
        for name, count in Counter(names).items():
            if count > 1 or not _NAME.match(name):
                problem = "named twice" if count > 1 else "no name that a topic can have"
                raise ConfigError(f"cameras.names is '{self.names}': '{name}' is {problem}")
        topics = self._words("image_topics")
        transports = self._words("transports")
        for word in transports:
            if word not in ("", *_TRANSPORTS):
                raise ConfigError(f"cameras.transports holds '{word}', expected {' or '.join(_TRANSPORTS)}")
        mountings = self._mountings(len(names))
        if not names:
            return (CameraConfig(),)
        return tuple(
            CameraConfig(name, topic or f"{name}/image", *others)
            for name, topic, *others in zip(
                names, topics, self._words("camera_info_topics"), transports, self._words("frames"), mountings,
                strict=True,
            )
        )  # fmt: skip

    @property
    def mask_files(self) -> dict[str, str]:
        """Return the files of masks by the names of cameras, which need not be those of `names`; '' is the only one.

        Raises:
            ConfigError: a camera has two.
        """
        found = dict[str, str]()
        for word in self.masks.split():
            name, is_named, file = word.partition("=")
            if not (is_named and _NAME.match(name)):
                name, file = "", word
            if name in found:
                of = f"of '{name}'" if name else "without a camera's name"
                raise ConfigError(f"cameras.masks is '{self.masks}': it holds two files {of}, expected one")
            found[name] = file
        return found

    def chosen(self, words: Sequence[str]) -> CamerasConfig:
        """Return some of these cameras, or others: each NAME, or NAME=TOPIC of its images.

        Raises:
            ConfigError: a name is none, or is there twice.
        """
        known, cameras = {camera.name: camera for camera in self.each}, list[CameraConfig]()
        for word in words:
            name, _, topic = word.partition("=")
            camera = known.get(name) or CameraConfig(name, f"{name}/image")
            cameras.append(replace(camera, image_topic=topic) if topic else camera)

        def joined(field: str) -> str:
            return " ".join(getattr(camera, field) or DEFAULT for camera in cameras)

        return replace(
            self,
            names=" ".join(camera.name for camera in cameras),
            image_topics=joined("image_topic"),
            camera_info_topics=joined("camera_info_topic"),
            transports=joined("transport"),
            frames=joined("frame"),
            base_from_camera=joined("base_from_camera"),
            masks=" ".join(self._masks_of({camera.name for camera in cameras})),
        )

    def _masks_of(self, chosen: Set[str]) -> list[str]:
        """Return the words of masks without those of cameras that were named and are not chosen."""
        left = set(self.names.split()) - chosen
        return [
            f"{name}={file}" if name else file for name, file in self.mask_files.items() if name not in left
        ]

    def _words(self, field: str) -> list[str]:
        names, given = self.names.split(), str(getattr(self, field)).split()
        if given and len(given) != len(names):
            raise ConfigError(
                f"cameras.{field} holds {len(given)} words for {len(names)} cameras (cameras.names); expected one "
                f"each, '{DEFAULT}' for the default"
            )
        return ["" if word == DEFAULT else word for word in given] or [""] * len(names)

    def _mountings(self, num_cameras: int) -> list[str]:
        """Split the mountings, seven numbers or '-' each."""
        words, found = self.base_from_camera.replace(",", " ").split(), list[str]()
        while words:
            length = 1 if words[0] == DEFAULT else _POSE_LENGTH
            taken, words = words[:length], words[length:]
            found.append("" if taken == [DEFAULT] else " ".join(taken))
        if found and len(found) != num_cameras:
            raise ConfigError(
                f"cameras.base_from_camera holds {len(found)} mountings for {num_cameras} cameras (cameras.names); "
                f"expected seven numbers each, '{DEFAULT}' for none"
            )
        return found or [""] * num_cameras
