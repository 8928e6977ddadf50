"""Localizing a list of images with a localizer that answers from memory."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.evaluation.run import localize_images
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.types import Evidence, Localization, Outcome

CAMERA = Camera(DistortionModel.NONE, (8, 6), np.array([8.0, 8.0]), np.array([3.5, 2.5]), np.empty(0))


class FakeLocalizer:
    """Takes note of the frames; refuses images of another size as the real one does."""

    def __init__(self):
        self.frames = []

    def localize(self, frame):
        self.frames.append(frame)
        if frame.image.shape[1::-1] != frame.camera.size_wh:
            raise ImageError("image is of another size")
        return Localization(frame.stamp_ns, Outcome.NO_CONSENSUS, None, None, Evidence(), {})


@pytest.fixture
def images(tmp_path):
    """Three images: [path, stamp, truth], gray levels 10, 20, 30."""
    listed = []
    for number, truth in enumerate([Rigid3.from_rotvec([0, 0, 0.1], [1.0, 2.0, 3.0]), None, None], start=1):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((6, 8), 10 * number, np.uint8))
        listed.append((path, 100 * number, truth))
    return listed


def test_every_image_comes_back_with_what_belongs_to_it(images):
    localizer = FakeLocalizer()
    results = list(localize_images(localizer, images, CAMERA))
    assert [(result.name, result.image_path) for result in results] == [
        (path.name, path) for path, _, _ in images
    ]
    assert [result.stamp_ns for result in results] == [100, 200, 300]
    assert [result.localization.stamp_ns for result in results] == [100, 200, 300]
    assert [result.groundtruth for result in results] == [truth for _, _, truth in images]
    assert [int(frame.image[0, 0]) for frame in localizer.frames] == [10, 20, 30]
    assert all(frame.camera is CAMERA for frame in localizer.frames)


def test_images_are_read_one_by_one(images):
    localizer = FakeLocalizer()
    results = localize_images(localizer, images, CAMERA)
    assert localizer.frames == []
    next(results)
    assert len(localizer.frames) == 1


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def shrink(path):
    cv2.imwrite(str(path), np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize("spoil", [cut, shrink, lambda path: path.unlink()])
def test_a_bad_image_ends_the_run_and_is_named_once(images, spoil):
    spoil(images[1][0])
    results = localize_images(FakeLocalizer(), images, CAMERA)
    next(results)
    with pytest.raises(ImageError) as caught:
        next(results)
    assert str(caught.value).count(str(images[1][0])) == 1


@pytest.mark.parametrize("spoil", [cut, shrink, lambda path: path.unlink()])
def test_a_bad_image_is_reported_and_left_out_if_wished(images, spoil):
    spoil(images[1][0])
    told = []
    results = list(localize_images(FakeLocalizer(), images, CAMERA, lambda *report: told.append(report)))
    assert [result.stamp_ns for result in results] == [100, 300]
    ((path, error),) = told
    assert path == images[1][0]
    assert isinstance(error, ImageError)
