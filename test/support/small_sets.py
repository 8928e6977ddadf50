"""Maps of a few made-up keyframes and sets of them, for what looks at no image."""

import numpy as np

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.mapping.map_sets import write_set

CAMERA = Camera(DistortionModel.NONE, (640, 480), (500.0, 500.0), (320.0, 240.0), ())


def small_map(seed=0, num_keyframes=4, extractor_id="toy-1", **fields):
    """Keyframes with 24-dimensional global descriptors, each of which sees 30 landmarks."""
    rng = np.random.default_rng(seed)
    num_landmarks = 20 * num_keyframes
    seen = [np.sort(rng.choice(num_landmarks, 30, replace=False)) for _ in range(num_keyframes)]
    poses = np.zeros((num_keyframes, 7))
    poses[:, 0], poses[:, 6] = np.arange(num_keyframes), 1.0
    settings = {
        "frame_id": "map",
        "extractor_id": extractor_id,
        "cameras": (MapCamera(CAMERA, CAMERA),),
        "keyframe_names": [f"{row}.png" for row in range(num_keyframes)],
        "keyframe_stamps_ns": np.arange(num_keyframes),
        "keyframe_camera_idx": np.zeros(num_keyframes, np.int32),
        "keyframe_poses": poses,
        "observation_offsets": np.arange(num_keyframes + 1) * 30,
        "observation_landmark_idx": np.concatenate(seen).astype(np.int32),
        "observation_xy": rng.uniform(0.0, 400.0, (30 * num_keyframes, 2)).astype(np.float32),
        "landmark_xyz": rng.normal(size=(num_landmarks, 3)),
        "landmark_descriptors": rng.normal(size=(num_landmarks, 16)).astype(np.float32),
        "landmark_view_directions": np.tile(np.float32([0.0, 0.0, 1.0]), (num_landmarks, 1)),
        "landmark_distance_ranges": np.tile(np.float32([1.0, 3.0]), (num_landmarks, 1)),
        "landmark_colors": np.zeros((num_landmarks, 3), np.uint8),
        "global_descriptors": rng.normal(size=(num_keyframes, 24)).astype(np.float32),
        "consistency": MapConsistency(1.0, 0.01, 0.01, 3, num_asked=4, num_elsewhere=1),
    }
    return VisualMap(**settings | fields)


def save_small_maps(folder, names):
    """Write small maps and return their paths by name."""
    paths = {}
    for seed, name in enumerate(names):
        save_map(small_map(seed, 4 + seed), folder / f"{name}.map")
        paths[name] = folder / f"{name}.map"
    return paths


def small_set(folder, names=("a", "b", "c"), **options):
    """Write a set of small maps and return its path."""
    path = folder / "house.set"
    paths = save_small_maps(folder, names)
    write_set(path, list(paths.items()), options.pop("overlaps", {}), frame_id="map", **options)
    return path
