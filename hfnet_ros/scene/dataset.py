"""Write rendered sequences the way recorded ones are stored: images, poses, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.scene.model import Scene
from hfnet_ros.scene.render import render
from hfnet_ros.scene.sensor import SensorModel
from hfnet_ros.scene.trajectory import StampedPose
from hfnet_ros.types import Progress

ImageFormat = Literal["jpg", "png"]

_JPEG_QUALITY = 95


def demo_camera(size_wh: tuple[int, int] = (640, 480)) -> Camera:
    """Return a wide, slightly distorting camera (about 73 degrees across) of a given size."""
    vga = Camera(
        DistortionModel.PLUMB_BOB,
        (640, 480),
        np.array([430.0, 430.0]),
        np.array([319.5, 239.5]),
        np.array([-0.12, 0.03, 0.0005, -0.0005, 0.0]),
    )
    return vga if size_wh == (640, 480) else vga.resized(size_wh)


def write_dataset(
    folder: Path,
    scene: Scene,
    camera: Camera,
    mapping: Sequence[StampedPose],
    query: Sequence[StampedPose],
    *,
    sensor: SensorModel | None = None,
    seed: int = 0,
    image_format: ImageFormat = "jpg",
    oversampling: int = 2,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Write `mapping/` and `query/` below `folder`, each by `write_sequence`.

    Args:
        folder: created if needed.
        scene: what to draw.
        camera: calibration of both sequences.
        mapping: poses of the images a map is built from.
        query: poses of the images to localize; noise and exposure come from another seed.
        sensor: imperfections; `SensorModel()` if not given.
        seed: of noise and exposure.
        image_format: "jpg" (quality 95) or "png".
        oversampling: see `render`.
        progress: called with (sequence name, images written, images in total).

    Returns:
        The two sequence folders.

    Raises:
        DatasetError: a sequence is empty or a file cannot be written.
    """
    sequences = [("mapping", mapping), ("query", query)]
    for offset, (name, poses) in enumerate(sequences):
        write_sequence(
            folder / name,
            scene,
            camera,
            poses,
            sensor=sensor,
            seed=2 * seed + offset,
            image_format=image_format,
            oversampling=oversampling,
            progress=progress,
        )
    return folder / "mapping", folder / "query"


def write_sequence(
    folder: Path,
    scene: Scene,
    camera: Camera,
    poses: Sequence[StampedPose],
    *,
    sensor: SensorModel | None = None,
    seed: int = 0,
    image_format: ImageFormat = "jpg",
    oversampling: int = 2,
    progress: Progress | None = None,
) -> None:
    """Write `images/000000.jpg ...`, `poses.tum` and `camera.yaml`.

    Lines of `poses.tum` are `stamp tx ty tz qx qy qz qw` (s, m), T_map_camera of the optical
    frame; sorted images and lines pair in order. Arguments are those of `write_dataset`.

    Raises:
        DatasetError: there is no pose, the folder holds images already, or a file cannot be
            written.
    """
    if not poses:
        raise DatasetError(f"sequence '{folder.name}' has no poses, expected at least one")
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    # Older images would pair with the wrong poses.
    if any(images.iterdir()):
        raise DatasetError(f"{images} is not empty; choose another folder or remove it")
    (folder / "camera.yaml").write_text(_calibration_yaml(camera, folder.name))
    (folder / "poses.tum").write_text("".join(_tum_line(*stamped) for stamped in poses))
    sensor, rng = sensor or SensorModel(), np.random.default_rng(seed)
    for index, (_, map_from_camera) in enumerate(poses):
        image = sensor.expose(render(scene, camera, map_from_camera, oversampling), rng)
        path = images / f"{index:06d}.{image_format}"
        if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise DatasetError(f"image {path} cannot be written; is the disk full?")
        if progress is not None:
            progress(folder.name, index + 1, len(poses))


def _tum_line(stamp_ns: int, map_from_camera: Rigid3) -> str:
    numbers = np.concatenate([map_from_camera.translation, map_from_camera.quat_xyzw])
    return " ".join([format_stamp(stamp_ns), *(f"{number:.9f}" for number in numbers)]) + "\n"


def _calibration_yaml(camera: Camera, name: str) -> str:
    """Return the text that ROS camera_calibration would save; doubles are written exactly."""
    # camera_calibration knows no "none": an ideal lens is a plumb_bob with zeros.
    ideal = camera.model is DistortionModel.NONE
    model = DistortionModel.PLUMB_BOB if ideal else camera.model
    distortion = [0.0] * 5 if ideal else camera.distortion.tolist()
    projection = np.hstack([camera.intrinsics, np.zeros((3, 1))])
    lines = [
        "# ROS camera_calibration YAML; pixel centre convention: top-left pixel centre is (0, 0)",
        f"image_width: {camera.size_wh[0]}",
        f"image_height: {camera.size_wh[1]}",
        f"camera_name: {name}",
        f"distortion_model: {model.value}",
        f"camera_matrix: {_yaml_matrix(3, 3, camera.intrinsics.ravel().tolist())}",
        f"distortion_coefficients: {_yaml_matrix(1, len(distortion), distortion)}",
        f"rectification_matrix: {_yaml_matrix(3, 3, np.eye(3).ravel().tolist())}",
        f"projection_matrix: {_yaml_matrix(3, 4, projection.ravel().tolist())}",
    ]
    return "\n".join(lines) + "\n"


def _yaml_matrix(rows: int, cols: int, data: list[float]) -> str:
    return f"{{rows: {rows}, cols: {cols}, data: [{', '.join(map(repr, data))}]}}"
