"""Keypoints and matches in the database file that COLMAP works from.

Ids are positions plus one, because COLMAP has no image 0; a camera's rig has the camera's id
and an image's frame the image's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.pixels import colmap_from_pixels
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.colmap_convention import colmap_camera_from, colmap_pose_from, has_colmap_equal
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.views import PairMatches, View


def image_id_of(view_idx: int) -> int:
    """Return the COLMAP id of an image or a camera by its position."""
    return view_idx + 1


def colmap_cameras_from(cameras: Sequence[Camera]) -> list[pycolmap.Camera]:
    """Return COLMAP's cameras, numbered by position."""
    return [colmap_camera_from(camera, image_id_of(idx)) for idx, camera in enumerate(cameras)]


def posed_reconstruction(
    views: Sequence[View], keypoints: Sequence[NDArray[np.floating]], cameras: Sequence[pycolmap.Camera]
) -> pycolmap.Reconstruction:
    """Return the views with their poses, these keypoints [N, 2] px of each, and cameras; no points yet."""
    reconstruction = pycolmap.Reconstruction()
    for camera in cameras:
        reconstruction.add_camera_with_trivial_rig(camera)
    for view_idx, (view, points) in enumerate(zip(views, keypoints, strict=True)):
        image = _image(view_idx, points, view.camera_idx)
        reconstruction.add_image_with_trivial_frame(image, colmap_pose_from(view.map_from_camera))
    return reconstruction


def rig_reconstruction(
    views: Sequence[View],
    keypoints: Sequence[NDArray[np.floating]],
    cameras: Sequence[pycolmap.Camera],
    frame_idxs: Sequence[int],
    first_from_camera: Sequence[Rigid3],
) -> pycolmap.Reconstruction:
    """Return the views as images of one rig, whose frame is its first camera's; no points yet.

    Args:
        views: with poses that obey the rig, of which a frame's is that of its first view.
        keypoints: [N, 2] px of each.
        cameras: COLMAP's, numbered by position.
        frame_idxs: which views were taken at one time.
        first_from_camera: of each camera its pose in the first one.
    """
    reconstruction = pycolmap.Reconstruction()
    rig = pycolmap.Rig(rig_id=1)
    for idx, (camera, mounting) in enumerate(zip(cameras, first_from_camera, strict=True)):
        reconstruction.add_camera(camera)
        if idx == 0:
            rig.add_ref_sensor(camera.sensor_id)
        else:
            rig.add_sensor(camera.sensor_id, colmap_pose_from(mounting))
    reconstruction.add_rig(rig)
    frames: dict[int, pycolmap.Frame] = {}
    images = [_image(view_idx, keypoints[view_idx], view.camera_idx) for view_idx, view in enumerate(views)]
    for view, frame_idx, image in zip(views, frame_idxs, images, strict=True):
        image.frame_id = image_id_of(frame_idx)
        if frame_idx not in frames:
            map_from_first = view.map_from_camera @ first_from_camera[view.camera_idx].inverse()
            frames[frame_idx] = pycolmap.Frame(
                frame_id=image.frame_id, rig_id=1, rig_from_world=colmap_pose_from(map_from_first)
            )
        frames[frame_idx].add_data_id(image.data_id)
    for frame in frames.values():
        reconstruction.add_frame(frame)
    for image in images:
        reconstruction.add_image(image)
    for frame in frames.values():
        reconstruction.register_frame(frame.frame_id)
    return reconstruction


def write_posed_database(
    path: Path, views: Sequence[View], cameras: Sequence[Camera], matches: PairMatches
) -> pycolmap.Reconstruction:
    """Write matches that are known to be right; return the reconstruction that holds the poses.

    Keypoints of a lens that COLMAP does not know are written where a pinhole camera would see them.

    Raises:
        MappingError: the disk refuses.
    """
    pinholes = {
        idx: Camera(DistortionModel.NONE, camera.size_wh, camera.focal, camera.center, np.zeros(0))
        for idx, camera in enumerate(cameras)
        if not has_colmap_equal(camera)
    }
    keypoints = [
        pinholes[idx].project(cameras[idx].unproject(view.keypoints))
        if (idx := view.camera_idx) in pinholes
        else view.keypoints
        for view in views
    ]
    known = colmap_cameras_from([pinholes.get(idx, camera) for idx, camera in enumerate(cameras)])
    reconstruction = posed_reconstruction(views, keypoints, known)
    with _database(path) as database:
        _write_images(database, reconstruction, keypoints)
        for (first, second), rows in matches.items():
            geometry = _known_geometry(views[first], views[second], rows)
            database.write_two_view_geometry(image_id_of(first), image_id_of(second), geometry)
    return reconstruction


def write_unposed_database(
    path: Path,
    keypoints: Sequence[NDArray[np.float32]],
    camera_idxs: Sequence[int],
    cameras: Sequence[pycolmap.Camera],
    matches: PairMatches,
) -> None:
    """Write tentative matches between images without poses, to be verified by COLMAP.

    Raises:
        MappingError: the disk refuses.
    """
    reconstruction = pycolmap.Reconstruction()
    for camera in cameras:
        reconstruction.add_camera_with_trivial_rig(camera)
    for idx, (points, camera_idx) in enumerate(zip(keypoints, camera_idxs, strict=True)):
        reconstruction.add_image_with_trivial_frame(_image(idx, points, camera_idx))
    with _database(path) as database:
        _write_images(database, reconstruction, keypoints)
        for (first, second), rows in matches.items():
            database.write_matches(image_id_of(first), image_id_of(second), rows.astype(np.uint32))


@contextmanager
def _database(path: Path) -> Iterator[pycolmap.Database]:
    """Give a new database to write to, in one transaction."""
    try:
        database = pycolmap.Database.open(path)
        try:
            with pycolmap.DatabaseTransaction(database):
                yield database
        finally:
            database.close()
    except (RuntimeError, ValueError) as error:  # what pycolmap makes of SQLite's errors
        raise MappingError(
            f"{path}: COLMAP cannot write its database ({' '.join(str(error).split())}); make room there, or set "
            "TMPDIR to a folder that has it"
        ) from error


def _image(view_idx: int, keypoints: NDArray[np.floating], camera_idx: int) -> pycolmap.Image:
    return pycolmap.Image(
        name=f"{view_idx:08d}",
        keypoints=colmap_from_pixels(keypoints),
        camera_id=image_id_of(camera_idx),
        image_id=image_id_of(view_idx),
    )


def _write_images(
    database: pycolmap.Database,
    reconstruction: pycolmap.Reconstruction,
    keypoints: Sequence[NDArray[np.floating]],
) -> None:
    for camera_id in sorted(reconstruction.cameras):
        database.write_camera(reconstruction.cameras[camera_id], use_camera_id=True)
        database.write_rig(reconstruction.rigs[camera_id], use_rig_id=True)
    for view_idx, points in enumerate(keypoints):
        image = reconstruction.images[image_id_of(view_idx)]
        database.write_frame(reconstruction.frames[image.frame_id], use_frame_id=True)
        database.write_image(image, use_image_id=True)
        database.write_keypoints(image.image_id, colmap_from_pixels(points).astype(np.float32))


def _known_geometry(first: View, second: View, rows: NDArray[np.int64]) -> pycolmap.TwoViewGeometry:
    """Describe a pair whose relative pose is known; left UNDEFINED, COLMAP would skip it in silence."""
    geometry = pycolmap.TwoViewGeometry()
    geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
    geometry.inlier_matches = rows.astype(np.uint32)
    second_from_first = second.map_from_camera.inverse() @ first.map_from_camera
    geometry.cam2_from_cam1 = pycolmap.Rigid3d(second_from_first.matrix[:3])
    return geometry
