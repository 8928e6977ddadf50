"""Images of a bag on their way into a map."""

from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.keyframe_selection import select_by_motion
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.replay.keyframes import KeyframeStore, keep_by_motion


def image(index, read=None):
    pixels = np.full((4, 5, 3), index, np.uint8)
    return MappingImage(f"{index}", index, 0, read or (lambda: pixels))


def test_pixels_are_kept_until_the_map_is_built():
    with KeyframeStore() as store:
        kept = [store.keep(image(index)) for index in range(3)]
        assert [entry.name for entry in kept] == ["0", "1", "2"]
        for _ in range(2):
            for index, entry in enumerate(kept):
                np.testing.assert_array_equal(entry.read(), np.full((4, 5, 3), index, np.uint8))
        folder = Path(store._folder.name)
        assert len(list(folder.iterdir())) == 3
    assert not folder.exists()


def test_a_closed_store_keeps_nothing():
    with pytest.raises(RuntimeError, match="not open"):
        KeyframeStore().keep(image(0))


def test_a_stream_is_thinned_out_as_a_list_is():
    rng = np.random.default_rng(0)
    poses, turn, place = [], 0.0, np.zeros(3)
    for _ in range(200):
        turn, place = turn + rng.normal(0.0, 0.1), place + rng.normal(0.0, 0.05, 3)
        poses.append(Rigid3.from_rotvec([0.0, 0.0, turn], place))
    stream = [(image(index), pose) for index, pose in enumerate(poses)]
    for limits in ((0.3, 0.0), (0.0, 15.0), (0.4, 20.0)):
        chosen = [int(entry.name) for entry, _ in keep_by_motion(iter(stream), *limits)]
        assert chosen == select_by_motion(poses, *limits)
        assert 3 < len(chosen) < 150
    with pytest.raises(MappingError):
        next(keep_by_motion(iter(stream), 0.0, 0.0))
