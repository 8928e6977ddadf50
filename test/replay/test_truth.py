"""True poses of camera and base, whatever frame the bag or the file gives them of."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.bags import BagReader, CameraFrames
from hfnet_ros.bags.make import LOOKING_AHEAD, BagRecipe, make_bag
from hfnet_ros.bags.pose_samples import PoseCollector
from hfnet_ros.config import Config
from hfnet_ros.errors import BagError, DatasetError
from hfnet_ros.files import StampedPose, write_tum
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.replay import BagChoices, BagMounting, open_camera, open_sources
from hfnet_ros.replay.keyframes import posed_images
from hfnet_ros.replay.truth import BagTruth, check_overlap, read_truth

S = 1_000_000_000
MOUNTING = Rigid3(LOOKING_AHEAD.rotation, np.array([0.2, -0.1, 0.5]))
STAMPS = [S, S + S // 10, S + 2 * S // 10]
POSES = [Rigid3.from_rotvec([0.1, -1.2 + 0.1 * index, 1.1], [index, 2.0, 1.0]) for index in range(3)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A folder with three images, poses.tum and camera."""
    import cv2

    folder = tmp_path_factory.mktemp("recording")
    (folder / "images").mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), np.full((48, 64), 50, np.uint8))
    write_tum(folder / "poses.tum", [StampedPose(*pair) for pair in zip(STAMPS, POSES, strict=True)])
    return folder


@pytest.fixture(scope="module")
def bag_of(recording, tmp_path_factory):
    """Return a function that makes a bag whose ground truth is of a frame."""
    camera = Camera(
        DistortionModel.NONE, (64, 48), np.array([50.0, 50.0]), np.array([31.5, 23.5]), np.zeros(0)
    )
    made = {}

    def make(frame):
        if frame not in made:
            made[frame] = tmp_path_factory.mktemp("bag") / "made"
            recipe = BagRecipe(base_from_camera=MOUNTING, ground_truth_frame=frame)
            make_bag(made[frame], recording / "images", camera, recording / "poses.tum", recipe)
        return made[frame]

    return make


def same(first, second):
    return first.translation_to(second) < 1e-9 and first.rotation_to(second) < 1e-9


def read(path, *, with_base=True, **options):
    with BagReader(path) as bag:
        opened = open_sources if with_base else open_camera
        sources = opened(bag, BagChoices(), Config())
        return read_truth(bag, sources.first, Config(), base_mounting=sources.mounting, **options)


@pytest.mark.parametrize(
    ("made_of", "options"),
    [
        ("base_link", {"source": "/ground_truth/pose"}),
        ("camera_optical", {"source": "/ground_truth/pose", "frame": "camera_optical"}),
    ],
)
def test_a_topic_gives_poses_of_camera_and_base(bag_of, made_of, options):
    truth = read(bag_of(made_of), **options)
    for stamp_ns, pose in zip(STAMPS, POSES, strict=True):
        assert same(truth.camera_at(stamp_ns), pose)
        assert same(truth.base_at(stamp_ns), pose @ MOUNTING.inverse())
    assert truth.camera_at(STAMPS[0] - 1) is None
    assert truth.camera_at(STAMPS[-1] + 1) is None
    middle = truth.base_at((STAMPS[0] + STAMPS[1]) // 2)
    ends = [(POSES[index] @ MOUNTING.inverse()).translation for index in (0, 1)]
    if made_of == "base_link":
        np.testing.assert_allclose(middle.translation, np.mean(ends, axis=0), atol=1e-9)
    assert [stamp_ns for stamp_ns, _ in truth.cameras()] == STAMPS
    assert all(same(found, pose) for (_, found), pose in zip(truth.cameras(), POSES, strict=True))
    assert all(
        same(found, pose @ MOUNTING.inverse()) for (_, found), pose in zip(truth.bases(), POSES, strict=True)
    )


def test_a_file_gives_poses_of_the_camera_unless_told_otherwise(bag_of, recording, tmp_path):
    truth = read(bag_of("base_link"), tum=recording / "poses.tum")
    assert same(truth.camera_at(STAMPS[1]), POSES[1])
    assert same(truth.base_at(STAMPS[1]), POSES[1] @ MOUNTING.inverse())
    of_base = read(bag_of("base_link"), tum=recording / "poses.tum", frame="base_link")
    assert same(of_base.base_at(STAMPS[1]), POSES[1])
    assert same(of_base.camera_at(STAMPS[1]), POSES[1] @ MOUNTING)
    (tmp_path / "empty.tum").write_text("# nothing\n")
    with pytest.raises(DatasetError, match="no pose"):
        read(bag_of("base_link"), tum=tmp_path / "empty.tum")


def test_without_a_base_only_the_camera_is_known(bag_of, recording):
    truth = read(bag_of("base_link"), with_base=False, tum=recording / "poses.tum")
    assert same(truth.camera_at(STAMPS[1]), POSES[1])
    assert truth.base_at(STAMPS[1]) is None
    assert truth.bases() == []


def test_a_frame_nobody_knows_is_refused(bag_of):
    with pytest.raises(BagError, match="attic"):
        read(bag_of("base_link"), source="/ground_truth/pose", frame="attic")
    with pytest.raises(BagError, match="/ground_truth/pose"):
        read(bag_of("base_link"), source="/nowhere")


def test_a_run_without_any_true_pose_is_refused(make_result):
    collector = PoseCollector()
    collector.add(5 * S, Rigid3.identity())
    truth = BagTruth(collector.samples("map", ""), BagMounting(Rigid3.identity()), None)
    with pytest.raises(BagError, match=r"poses from 5.000 to 5.000 s"):
        check_overlap(truth, [make_result(truth=None), make_result(truth=None, number=1)])
    check_overlap(truth, [make_result(truth=None), make_result(number=1)])
    check_overlap(truth, [])


def test_images_of_which_only_the_mounting_is_unknown_are_told_so(bag_of):
    collector = PoseCollector()
    for stamp_ns, pose in zip(STAMPS, POSES, strict=True):
        collector.add(stamp_ns, pose)
    truth = BagTruth(collector.samples("map", "base_link"), BagMounting(), None)
    with BagReader(bag_of("base_link")) as bag:
        frames = CameraFrames(bag)
        with pytest.raises(
            BagError, match=r"none of 3 images .*; of 3 of them .* mounting .* --base-from-camera"
        ):
            list(posed_images(bag, frames, truth, next(iter(frames)).camera))


def read_poses(tmp_path, apart_m):
    """Return what is noted of poses, every other one of which is so far aside."""
    rng = np.random.default_rng(0)
    poses = [
        Rigid3.from_rotvec(rng.normal(0.0, 1e-3, 3), [0.02 * number, apart_m * (number % 2), 0.0])
        for number in range(60)
    ]
    write_tum(
        tmp_path / "poses.tum", [StampedPose(S + number * S // 20, pose) for number, pose in enumerate(poses)]
    )
    notes = []
    bag, first = SimpleNamespace(note=notes.append), SimpleNamespace(camera_frame_id="camera")
    read_truth(bag, first, Config(), tum=tmp_path / "poses.tum")
    return notes


def test_poses_of_two_publishers_are_told(tmp_path):
    (note,) = read_poses(tmp_path, 0.3)
    assert "poses of 'camera' jump back and forth by 0.30 m" in note


def test_poses_of_one_are_not_told(tmp_path):
    assert read_poses(tmp_path, 0.0) == []
