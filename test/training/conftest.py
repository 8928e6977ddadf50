import contextlib

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Compute with one thread: tensors this small only make threads wait for each other."""
    with contextlib.suppress(ImportError):
        from hfnet_ros.training.trainer import set_threads

        set_threads(1)


@pytest.fixture(scope="session")
def tiny_options():
    """Return the small preset cut down to seconds: one generated apartment, no photos, no published weights."""
    from hfnet_ros.training.options import read_options

    return read_options(
        "small",
        None,
        {
            "network": {"width": 0.5, "global_size": 16, "clusters": 4, "local_clusters": 4, "cluster_channels": 16,
                        "head_channels": 16,
                        "descriptor_size": 16},
            "data": {"scenes": 1, "views_per_scene": 12, "view_wh": [128, 96], "max_keypoints": 64, "aside_m": 0.9,
                     "boxes_per_room": 0, "photo_share": 0.0},
            "teachers": {"local": "sift", "global_parts": ["vlad"], "vocabulary_size": 8},
            "schedule": {"steps": 32, "pairs": 4, "warmup_steps": 4, "learning_rate": 3e-3, "points_per_pair": 32,
                         "save_every": 8, "log_every": 4, "average_decay": 0.9, "turned_share": 0.0,
                         "head_start": 8},
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory, tiny_options):
    from hfnet_ros.config import InferenceConfig
    from hfnet_ros.training.teaching import build_cache

    folder = tmp_path_factory.mktemp("teachers") / "cache"
    build_cache(folder, tiny_options, InferenceConfig(), lambda *_: None)
    return folder


@pytest.fixture(scope="session")
def make_photo():
    """Return a function that paints [H, W, 3] uint8 of boxes."""
    import cv2
    import numpy as np

    def paint(size_wh, seed=0):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 60, (size_wh[1], size_wh[0], 3)).astype(np.uint8)
        for _ in range(60):
            x, y = int(rng.integers(size_wh[0])), int(rng.integers(size_wh[1]))
            cv2.rectangle(image, (x, y), (x + 15, y + 11), rng.integers(0, 256, 3).tolist(), -1)
        return image

    return paint
