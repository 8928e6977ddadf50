import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.map.arrangement import arranged
from hfnet_ros.map.scene_network import SceneNetwork
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap

OBSERVED = ((0, 2, 4), (1, 2), (), (0, 1, 3, 4))


def unit_rows(rng, count, size, dtype=np.float32):
    rows = rng.normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def cameras():
    given = Camera(DistortionModel.PLUMB_BOB, (640, 480), [525.1, 525.2], [319.5, 239.5], [0.1, -0.2, 1e-3])
    refined = Camera(DistortionModel.PLUMB_BOB, (640, 480), [520.0, 519.0], [318.0, 241.0], [0.05])
    fisheye = Camera(DistortionModel.EQUIDISTANT, (800, 600), [300.0, 300.0], [400.0, 300.0], [0.01, 0, 0, 0])
    return MapCamera(given, refined), MapCamera(None, fisheye)


@pytest.fixture
def visual_map():
    """Four keyframes, one of which sees nothing, and five landmarks."""
    rng = np.random.default_rng(7)
    num_keyframes, num_landmarks = len(OBSERVED), 5
    seen = np.concatenate([np.array(idxs, np.int32) for idxs in OBSERVED]).astype(np.int32)
    poses = np.concatenate([rng.normal(size=(num_keyframes, 3)), unit_rows(rng, num_keyframes, 4, float)], 1)
    built = VisualMap(
        frame_id="map",
        extractor_id="xfeat-0123456789ab",
        cameras=cameras(),
        keyframe_names=("1.png", "Bücher.png", "folder/3.png", "not text \udcff.png"),
        keyframe_stamps_ns=np.array([-5, 0, 1, 1_700_000_000_123_456_789], np.int64),
        keyframe_camera_idx=np.array([0, 0, 1, 1], np.int32),
        keyframe_poses=poses,
        observation_offsets=np.cumsum([0, *map(len, OBSERVED)]).astype(np.int64),
        observation_landmark_idx=seen,
        observation_xy=rng.uniform(0, 480, (len(seen), 2)).astype(np.float32),
        landmark_xyz=rng.normal(size=(num_landmarks, 3)),
        landmark_descriptors=unit_rows(rng, num_landmarks, 64),
        landmark_view_directions=unit_rows(rng, num_landmarks, 3),
        landmark_distance_ranges=np.sort(rng.uniform(1, 5, (num_landmarks, 2)), 1).astype(np.float32),
        landmark_colors=rng.integers(0, 256, (num_landmarks, 3)).astype(np.uint8),
        global_descriptors=unit_rows(rng, num_keyframes, 3),
        consistency=MapConsistency(0.9, 0.01, 0.002, 3, tuple(rng.normal(size=36).tolist())),
        aggregation={"vocabulary": unit_rows(rng, 2, 64), "projection": unit_rows(rng, 3, 128)},
        build_info={
            "seconds": 1.25,
            "config": {"mapping": {"num_neighbors": 12}},
            "images": ["a", None, True],
        },
    )
    return arranged(built)


@pytest.fixture
def scene():
    """A network of three leaves for `visual_map`; its file is none, which nobody looks at here."""
    rng = np.random.default_rng(8)
    arrays = {
        "centers": rng.normal(size=(3, 3)).astype(np.float32),
        "parents": np.array([0, 0, 1], np.int32),
        "scales": np.array([0.1, 0.2, 0.05], np.float32),
        "identities": rng.normal(size=(len(OBSERVED), 6)).astype(np.float32),
        "weights.input.weight": rng.normal(size=(4, 5)).astype(np.float32),
        "weights.norm.count": np.array(7, np.int64),
    }
    facts = {"network": "hybrid", "seconds": 3.5, "curves": [{"step": 10, "near": 0.5}]}
    return SceneNetwork(
        "features", b"\x08\x07 not an ONNX file", arrays, facts, MapConsistency(4.0, 0.02, 0.01, 4)
    )


@pytest.fixture
def changed(visual_map):
    """Return a function that gives the map with some fields replaced, and what it is searched with made anew."""
    return lambda **fields: dataclasses.replace(visual_map, **{"search": None, **fields})
