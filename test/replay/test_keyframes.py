"""Images of a bag on their way into a map."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.errors import BagError, MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.keyframe_selection import select_by_motion
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.replay.keyframes import KeyframeStore, keep_by_motion, of_same_times


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


def companions(stamps_ms, wanted_ms=(0, 100, 200, 300), tolerance_s=0.02):
    """Return the stamps in ms of the images that are taken for keyframes of another camera, and what was noted."""
    notes = []
    bag = SimpleNamespace(path="drive.bag", note=notes.append)
    stream = [(MappingImage("", ms * 1_000_000, 1, None), Rigid3.identity()) for ms in stamps_ms]
    taken = of_same_times(bag, stream, [ms * 1_000_000 for ms in wanted_ms], tolerance_s, "left")
    return [entry.stamp_ns // 1_000_000 for entry, _ in taken], notes


def test_the_nearest_image_of_another_camera_is_taken_for_each_time():
    assert companions(range(5, 400, 33)) == ([5, 104, 203, 302], [])


def test_times_without_an_image_of_another_camera_are_told():
    assert companions([1, 101]) == ([1, 101], [
        "2 of 4 keyframes of the first camera have no image of 'left' within 0.02 s (cameras.sync_tolerance_s): the "
        "nearest is 0.149 s off at the median"
    ])  # fmt: skip


def test_a_camera_whose_images_are_all_of_other_times_is_refused():
    with pytest.raises(BagError, match=r"4 of 4 keyframes .* 'left' .* is 0\.045 s off.*raise the tolerance"):
        companions([45, 145, 245, 345])
