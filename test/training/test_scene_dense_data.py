"""What a dense network learns of a keyframe stays where it is in the scene, however the image is altered."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.features.scene_dense import cell_centers  # noqa: E402
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3  # noqa: E402
from hfnet_ros.geometry.rotations import rotations_from_rotvecs  # noqa: E402
from hfnet_ros.training import scene_dense_data  # noqa: E402
from hfnet_ros.training.scene_dense_data import DenseKeyframe, example_of, network_size  # noqa: E402
from hfnet_ros.training.scene_depth import RegisteredDepth  # noqa: E402

pytestmark = pytest.mark.torch

TAKEN_WH, SIZE_WH = (320, 240), (160, 120)
CAMERA = Camera(
    DistortionModel.PLUMB_BOB,
    TAKEN_WH,
    np.array([260.0, 262.0]),
    np.array([158.0, 121.0]),
    np.array([-0.1, 0.02, 0.001, 0.0, 0.0]),
)
POSE = Rigid3(rotations_from_rotvecs(np.array([0.3, -0.2, 0.5])), np.array([1.0, 2.0, -0.5]))


def keyframe(depth=None, observed_px=(), observed_m=()):
    """Return one whose image tells by its colours which pixel one looks at."""
    x, y = np.meshgrid(np.arange(240), np.arange(180))
    image = np.stack([x, y, np.full_like(x, 200)], axis=-1).astype(np.uint8)
    return DenseKeyframe(
        image, CAMERA, POSE, np.array(observed_px, float).reshape(-1, 2), np.array(observed_m, float), depth
    )


def a_ramp():
    """Return depth that differs from column to column."""
    depth = np.tile(np.linspace(1.0, 3.0, 320, dtype=np.float32), (240, 1))
    depth[:40] = np.nan
    return RegisteredDepth(depth, TAKEN_WH)


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_what_a_cell_shows_and_where_it_is_belong_together(seed, monkeypatch):
    monkeypatch.setattr(scene_dense_data, "_relit", lambda image, rng: image)
    rng = None if seed is None else np.random.default_rng(seed)
    found = example_of(keyframe(a_ramp()), SIZE_WH, rng)
    known = np.isfinite(found.points).all(axis=1)
    assert known.sum() > 60
    camera = POSE.inverse() @ found.points[known]
    np.testing.assert_allclose(camera[:, :2] / camera[:, 2:], found.rays[known], atol=1e-9)
    taken = CAMERA.project(camera)
    # Depth is of the pixel, and so is the colour: the kept image is three quarters of the one taken.
    column = np.clip(np.floor(taken[:, 0] + 0.5), 0, 319)
    np.testing.assert_allclose(camera[:, 2], 1.0 + 2.0 * column / 319.0, atol=0.01)
    cells = np.round(cell_centers(SIZE_WH)[known]).astype(int)
    shown = found.image[cells[:, 1], cells[:, 0]].astype(float)
    inside = shown[:, 2] == 200
    assert inside.mean() > 0.95
    expected = (taken[inside] + 0.5) * 0.75 - 0.5
    assert np.abs(shown[inside, :2] - expected).max() < 2.0
    assert (taken[:, 1] > 39).all()


def test_images_are_altered_otherwise_with_another_seed_and_alike_with_the_same():
    one, same, other = (
        example_of(keyframe(a_ramp()), SIZE_WH, np.random.default_rng(seed)).image for seed in (5, 5, 6)
    )
    assert (one == same).all() and (one != other).mean() > 0.5


def test_the_nearest_landmark_says_the_depth_of_a_cell_where_no_depth_image_does():
    # Cells of eight pixels of the network are sixteen of the image as it was taken; the first middle is at 7.5.
    seen = [(7.5, 7.5), (9.5, 7.5), (23.5, 14.0), (32.5, 16.5), (200.0, 200.0)]
    found = example_of(keyframe(None, seen, [2.0, 9.0, 3.0, 4.0, -1.0]), SIZE_WH, None)
    depth = (POSE.inverse() @ found.points)[:, 2]
    known = np.flatnonzero(np.isfinite(depth))
    assert known.tolist() == [0, 1]  # the third landmark is too far from a middle, the last behind the camera
    np.testing.assert_allclose(depth[known], [2.0, 3.0])
    with_depth = example_of(keyframe(a_ramp(), seen[:1], [0.5]), SIZE_WH, None)
    depth = (POSE.inverse() @ with_depth.points)[:, 2]
    assert depth[0] == pytest.approx(0.5) and np.isnan(depth[1])
    assert depth[10 * 20] == pytest.approx(1.05, abs=0.01)


def test_sizes_are_whole_cells():
    assert network_size((640, 480), 320) == (320, 240)
    assert network_size((752, 480), 320) == (320, 208)
    assert network_size((540, 960), 320) == (176, 320)
