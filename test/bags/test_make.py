import cv2
import numpy as np
import pytest

from hfnet_ros.bags import (
    BagReader,
    CameraFrames,
    read_ground_truth,
    read_odometry,
    read_transform,
)
from hfnet_ros.bags.make import LOOKING_AHEAD, BagRecipe, make_bag
from hfnet_ros.bags.simulated_odometry import OdometryNoise
from hfnet_ros.errors import BagError, DatasetError, ImageError
from hfnet_ros.files.images import read_image
from hfnet_ros.files.tum import StampedPose, write_tum
from hfnet_ros.geometry import Camera, Rigid3

SIZE_WH = (64, 48)
NO_NOISE = OdometryNoise(0.0, 0.0)


@pytest.fixture
def small_camera(camera):
    return camera.resized(SIZE_WH)


@pytest.fixture
def recording(tmp_path, trajectory):
    """Images, poses.tum and the true map_from_camera of a robot that looks ahead."""
    stamps, bases = trajectory
    poses = [base @ LOOKING_AHEAD for base in bases]
    write_tum(tmp_path / "poses.tum", [StampedPose(*pair) for pair in zip(stamps, poses, strict=True)])
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(3)
    for index in range(len(stamps)):
        shape = (SIZE_WH[1], SIZE_WH[0], 3)
        cv2.imwrite(str(tmp_path / "images" / f"{index:06d}.jpg"), rng.integers(0, 256, shape, np.uint8))
    return tmp_path / "images", tmp_path / "poses.tum", stamps, poses


def assert_same(pose, expected):
    assert pose is not None
    np.testing.assert_allclose(pose.matrix, expected.matrix, atol=1e-12)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compressed", [False, True])
def test_pixels_stamps_and_calibration_survive(tmp_path, recording, small_camera, storage, compressed):
    images, poses, stamps, _ = recording
    recipe = BagRecipe(storage=storage, compressed=compressed)
    assert make_bag(tmp_path / "bag", images, small_camera, poses, recipe) == 11
    with BagReader(tmp_path / "bag") as bag:
        frames = list(CameraFrames(bag))
    assert [frame.stamp_ns for frame in frames] == stamps
    for frame, path in zip(frames, sorted(images.iterdir()), strict=True):
        np.testing.assert_array_equal(frame.image(), read_image(path))
    np.testing.assert_array_equal(frames[0].camera.intrinsics, small_camera.intrinsics)
    np.testing.assert_array_equal(frames[0].camera.distortion, small_camera.distortion)


def test_gray_images_stay_gray(tmp_path, small_camera):
    (tmp_path / "images").mkdir()
    gray = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "1.png"), gray)
    make_bag(tmp_path / "bag", tmp_path / "images", small_camera)
    with BagReader(tmp_path / "bag") as bag:
        (frame,) = CameraFrames(bag)
    np.testing.assert_array_equal(frame.image(), gray)
    assert frame.message.encoding == "mono8"


def test_files_are_passed_on_byte_by_byte(tmp_path, recording, small_camera):
    images, poses, _, _ = recording
    make_bag(tmp_path / "bag", images, small_camera, poses, BagRecipe(compressed=True))
    with BagReader(tmp_path / "bag") as bag:
        read = [message.data.data.tobytes() for message in bag.messages(["/camera/image_raw/compressed"])]
    assert read == [path.read_bytes() for path in sorted(images.iterdir())]


def test_ground_truth_and_mounting_give_the_poses_back(tmp_path, recording, small_camera):
    images, poses, stamps, map_from_camera = recording
    mounting = Rigid3.from_rotvec([0.3, -0.2, 0.1], [0.2, 0.1, 0.6])
    make_bag(tmp_path / "bag", images, small_camera, poses, BagRecipe(base_from_camera=mounting))
    with BagReader(tmp_path / "bag") as bag:
        truth = read_ground_truth(bag, "/ground_truth/pose")
        base_from_camera = read_transform(bag, "base_link", "camera_optical").pose(0)
    assert truth.parent_frame == "map"
    assert_same(base_from_camera, mounting)
    for stamp_ns, expected in zip(stamps, map_from_camera, strict=True):
        assert_same(truth.at(stamp_ns) @ base_from_camera, expected)


def test_the_robot_looks_ahead_unless_told_otherwise(tmp_path, recording, small_camera, trajectory):
    images, poses, stamps, _ = recording
    make_bag(tmp_path / "bag", images, small_camera, poses)
    with BagReader(tmp_path / "bag") as bag:
        truth = read_ground_truth(bag, "/ground_truth/pose")
    assert_same(truth.at(stamps[4]), trajectory[1][4])


def test_ground_truth_may_be_that_of_the_camera(tmp_path, recording, small_camera):
    images, poses, stamps, map_from_camera = recording
    recipe = BagRecipe(ground_truth_frame="camera_optical", ground_truth_topic="/truth")
    make_bag(tmp_path / "bag", images, small_camera, poses, recipe)
    with BagReader(tmp_path / "bag") as bag:
        assert_same(read_ground_truth(bag, "/truth").at(stamps[2]), map_from_camera[2])


def test_odometry_is_there_at_every_image_and_in_between(tmp_path, recording, small_camera, trajectory):
    images, poses, stamps, _ = recording
    bases = trajectory[1]
    make_bag(tmp_path / "bag", images, small_camera, poses, BagRecipe(odometry=NO_NOISE))
    with BagReader(tmp_path / "bag") as bag:
        odometry = read_odometry(bag)
        transforms = read_transform(bag, "odom", "base_link")
        order = [message.topic for message in bag.messages(["/odom", "/camera/image_raw"], raw=True)]
    assert (odometry.parent_frame, odometry.child_frame, len(odometry)) == ("odom", "base_link", 41)
    for stamp_ns, base in zip(stamps, bases, strict=True):
        assert_same(odometry.at(stamp_ns), bases[0].inverse() @ base)
        assert_same(transforms.at(stamp_ns), bases[0].inverse() @ base)
    # What an image needs is received before it.
    assert order[:7] == ["/odom", "/camera/image_raw", *["/odom"] * 4, "/camera/image_raw"]
    assert order[-1] == "/camera/image_raw"


def test_the_same_input_gives_the_same_bytes(tmp_path, recording, small_camera):
    images, poses, _, _ = recording
    made = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        recipe = BagRecipe(odometry=OdometryNoise(seed=seed))
        make_bag(tmp_path / name, images, small_camera, poses, recipe)
        made.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_images_without_poses_get_stamps_of_a_rate(tmp_path, recording, small_camera):
    images, poses, stamps, _ = recording
    make_bag(tmp_path / "bag", images, small_camera, None, BagRecipe(rate_hz=4.0))
    with BagReader(tmp_path / "bag") as bag:
        assert [frame.stamp_ns for frame in CameraFrames(bag)][:3] == [
            1_000_000_000,
            1_250_000_000,
            1_500_000_000,
        ]
        assert {topic.name for topic in bag.topics} == {
            "/camera/camera_info",
            "/camera/image_raw",
            "/tf_static",
        }
    make_bag(tmp_path / "bag", images, small_camera, poses, BagRecipe(rate_hz=3.0))
    with BagReader(tmp_path / "bag") as bag:
        assert [frame.stamp_ns for frame in CameraFrames(bag)][1] == stamps[0] + 333_333_333


def test_an_image_at_time_zero_has_no_transform_of_time_zero(tmp_path, recording, small_camera):
    """tf takes time 0 for "the newest" and refuses to store it."""
    images, poses, stamps, map_from_camera = recording
    shifted = [
        StampedPose(stamp_ns - stamps[0], pose)
        for stamp_ns, pose in zip(stamps, map_from_camera, strict=True)
    ]
    write_tum(poses, shifted)
    make_bag(tmp_path / "bag", images, small_camera, poses, BagRecipe(odometry=NO_NOISE))
    with BagReader(tmp_path / "bag") as bag:
        assert len(read_odometry(bag)) == 41
        assert {topic.name: topic.count for topic in bag.topics}["/tf"] == 40
        assert next(iter(CameraFrames(bag))).stamp_ns == 0


@pytest.mark.parametrize(
    ("recipe", "error", "found"),
    [
        (BagRecipe(ground_truth_frame="lidar"), BagError, "of 'lidar', expected base_link or camera_optical"),
        (BagRecipe(rate_hz=0.0), BagError, "rate is 0.0 Hz"),
        (BagRecipe(rate_hz=1e-3 / 2), BagError, "rate is"),
        (BagRecipe(storage="zip"), BagError, "storage is 'zip'"),
        (BagRecipe(odometry=OdometryNoise(unaware_at=(11,))), DatasetError, "cannot be carried to pose 11"),
    ],
)
def test_a_recipe_that_cannot_be_made_leaves_nothing(tmp_path, recording, small_camera, recipe, error, found):
    images, poses, _, _ = recording
    with pytest.raises(error, match=found):
        make_bag(tmp_path / "bag", images, small_camera, poses, recipe)
    assert not (tmp_path / "bag").exists()


def test_what_does_not_fit_leaves_nothing(tmp_path, recording, small_camera, camera):
    images, poses, stamps, map_from_camera = recording
    with pytest.raises(ImageError, match="64x48"):
        make_bag(tmp_path / "bag", images, camera, poses)
    with pytest.raises(BagError, match="simulated from poses"):
        make_bag(tmp_path / "bag", images, small_camera, None, BagRecipe(odometry=NO_NOISE))
    late = [
        StampedPose(stamp_ns + 2**31 * 10**9, pose)
        for stamp_ns, pose in zip(stamps, map_from_camera, strict=True)
    ]
    write_tum(poses, late)
    with pytest.raises(DatasetError, match="what ROS can hold"):
        make_bag(tmp_path / "bag", images, small_camera, poses)
    cv2.imwrite(str(images / "000011.bmp"), np.zeros((48, 64), np.uint8))
    with pytest.raises(BagError, match=r"000011.bmp: neither JPEG nor PNG"):
        make_bag(tmp_path / "bag", images, small_camera, None, BagRecipe(compressed=True))
    (images / "000005.jpg").write_bytes((images / "000005.jpg").read_bytes()[:300])
    with pytest.raises(ImageError, match="cut off"):
        make_bag(tmp_path / "bag", images, small_camera, None, BagRecipe(compressed=True))
    assert not (tmp_path / "bag").exists()


def test_a_calibration_without_distortion_comes_back_as_zeros(tmp_path, recording, small_camera):
    images, poses, _, _ = recording
    from hfnet_ros.geometry import DistortionModel

    ideal = Camera(DistortionModel.NONE, SIZE_WH, small_camera.focal, small_camera.center, np.zeros(0))
    make_bag(tmp_path / "bag", images, ideal, poses)
    with BagReader(tmp_path / "bag") as bag:
        camera = next(iter(CameraFrames(bag))).camera
    assert camera.distortion.tolist() == [0.0] * 5
