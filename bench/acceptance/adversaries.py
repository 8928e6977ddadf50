"""Images that have no place in a map, and look as if they had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from acceptance.asks import Ask, always_wrong
from acceptance.scenes import Scene, plain_camera
from acceptance.workspace import Workspace
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.geometry import Camera
from hfnet_ros.types import ImageArray

PHOTO_SIZE_WH = (640, 480)
_PHOTOS_PLACE = "kitchen"  # is asked all photographs, every other map each n-th of them
_PHOTOS_EVERY = 8
_FROM_EACH_PLACE = 25
_NUM_POSTERS = 30
_POSTER_SHARE = (0.35, 0.75)  # of the image's width
_LEAN = 0.12  # by how much of the poster's size its corners are off a rectangle


def adversaries(workspace: Workspace, scene: Scene, own: Sequence[Ask], others: Sequence[Scene]) -> list[Ask]:
    """Return photographs, mirrored queries, posters of the place, and images of other places."""
    return [
        *photographs(workspace, 1 if scene.name == _PHOTOS_PLACE else _PHOTOS_EVERY),
        *mirrored([ask for ask in own if ask.is_answerable and ask.kind in ("own", "hard")]),
        *posters(workspace, scene),
        *of_other_places(workspace, scene, others),
    ]


def photographs(workspace: Workspace, every: int) -> list[Ask]:
    """Return unrelated photographs at one size."""
    camera = plain_camera(PHOTO_SIZE_WH)
    return [
        Ask(path.name, "photograph", partial(_resized, path, PHOTO_SIZE_WH), camera, always_wrong, False)
        for path in _photo_files(workspace)[::every]
    ]


def mirrored(asks: Sequence[Ask]) -> list[Ask]:
    """Return the images as a mirror shows them, of the mirrored camera."""
    return [
        Ask(
            ask.name,
            "mirrored",
            partial(_flipped, ask.read),
            _mirrored_camera(ask.camera),
            always_wrong,
            False,
        )
        for ask in asks
    ]


def posters(workspace: Workspace, scene: Scene) -> list[Ask]:
    """Return unrelated photographs in which a picture of the mapped place hangs, leaning a little."""
    photos = _photo_files(workspace)
    mapped = scene.mapped(workspace) if photos else []
    rng = np.random.default_rng(len(mapped))
    rows = np.linspace(0, len(mapped) - 1, min(_NUM_POSTERS, len(mapped))).astype(int)
    asked = []
    for row in rows:
        picture, photo = mapped[row], photos[int(rng.integers(len(photos)))]
        camera = picture.camera or plain_camera(_size_of(picture.read()))
        share, lean = float(rng.uniform(*_POSTER_SHARE)), rng.uniform(-_LEAN, _LEAN, (4, 2))
        place = rng.uniform(0.0, 1.0, 2)
        read = partial(_poster, picture.read, photo, share, lean, place)
        asked.append(Ask(picture.name, "poster", read, camera, always_wrong, False))
    return asked


def of_other_places(workspace: Workspace, scene: Scene, others: Sequence[Scene]) -> list[Ask]:
    """Return images taken at other places."""
    asked = []
    for other in others:
        if other.place == scene.place:
            continue
        pictures = other.pictures(workspace)
        for picture in pictures[:: max(1, len(pictures) // _FROM_EACH_PLACE)]:
            camera = picture.camera or plain_camera(_size_of(picture.read()))
            name = f"{other.name}/{picture.name}"
            asked.append(Ask(name, "other place", picture.read, camera, always_wrong, False))
    return asked


def _photo_files(workspace: Workspace) -> list[Path]:
    folder = workspace.data / "photos"
    return list_images(folder) if folder.is_dir() else []


def _resized(path: Path, size_wh: tuple[int, int]) -> ImageArray:
    return np.asarray(cv2.resize(read_image(path), size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _flipped(read: Callable[[], ImageArray]) -> ImageArray:
    return np.ascontiguousarray(read()[:, ::-1])


def _mirrored_camera(camera: Camera) -> Camera:
    """Return the camera with its centre where the mirror puts it; the tangential part of a lens is left alone."""
    centre = np.array([camera.size_wh[0] - 1.0 - camera.center[0], camera.center[1]])
    return Camera(camera.model, camera.size_wh, camera.focal, centre, camera.distortion)


def _size_of(image: ImageArray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _poster(
    read: Callable[[], ImageArray], photo: Path, share: float, lean: np.ndarray, place: np.ndarray
) -> ImageArray:
    image = _colored(read())
    width, height = _size_of(image)
    wall = cv2.resize(_colored(read_image(photo)), (width, height), interpolation=cv2.INTER_AREA)
    size = share * np.array([width, height])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    target = place * (np.array([width, height]) - size) + (corners + lean) * size
    source = corners * np.array([width, height])
    warp = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    small = cv2.GaussianBlur(image, (0, 0), 0.4 / share)
    hung = cv2.warpPerspective(small, warp, (width, height))
    mask = cv2.warpPerspective(np.full((height, width), 255, np.uint8), warp, (width, height))
    return np.where(mask[:, :, None] > 127, hung, wall).astype(np.uint8)


def _colored(image: ImageArray) -> ImageArray:
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
