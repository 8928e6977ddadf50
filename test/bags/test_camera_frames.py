import numpy as np
import pytest

from hfnet_ros.bags import BagReader, CameraFrames
from hfnet_ros.errors import BagError, CalibrationError, ImageError
from hfnet_ros.geometry import Camera
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import compressed_to_message, image_to_message

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@pytest.fixture
def open_frames(tmp_path, write_bag):
    """Write entries and return their bag, opened, and its frames."""
    opened = []

    def open_frames(entries, **topics):
        bag = BagReader(write_bag(tmp_path / f"bag{len(opened)}", entries))
        opened.append(bag)
        bag.__enter__()
        return bag, CameraFrames(bag, **topics)

    yield open_frames
    for bag in opened:
        bag.__exit__()


@pytest.fixture
def image_entry(messages, stamp_of):
    """An entry of an image whose corner says which one it is."""

    def image_entry(index, received=None, topic="/camera/image_raw", header_ns=None):
        stamp_ns = stamp_of(index) if header_ns is None else header_ns
        image = np.full((480, 640), 7, np.uint8)
        image[0, 0] = index
        message = image_to_message(messages, image, stamp_ns, "camera_optical")
        return (topic, IMAGE, stamp_of(index if received is None else received), message)

    return image_entry


@pytest.fixture
def info_entry(messages, stamp_of, camera):
    def info_entry(index, topic="/camera/camera_info", given=None):
        header = header_to_message(messages, stamp_of(index), "camera_optical")
        return (topic, CAMERA_INFO, stamp_of(index), camera_to_message(messages, given or camera, header))

    return info_entry


def corners(frames):
    return [int(frame.image()[0, 0]) for frame in frames]


def test_frames_have_pixels_stamps_and_calibration(open_frames, entries, stamp_of, camera):
    _, frames = open_frames(entries)
    first = next(iter(frames)).frame()
    assert (first.stamp_ns, first.camera_frame_id, first.image.shape) == (
        stamp_of(0),
        "camera_optical",
        (480, 640),
    )
    np.testing.assert_array_equal(first.camera.intrinsics, camera.intrinsics)
    np.testing.assert_array_equal(first.camera.distortion, camera.distortion)
    assert corners(frames) == list(range(12))
    assert len(frames) == 12
    assert next(iter(frames)).name == "1700000000.000000000"


def test_frames_of_ros1(tmp_path, write_ros1_bag, camera):
    with BagReader(write_ros1_bag(tmp_path / "old.bag")) as bag:
        frames = list(CameraFrames(bag))
    assert corners(frames) == [0, 1, 2]
    assert frames[0].camera_frame_id == "camera_optical"  # tf 1 wrote a slash before it
    np.testing.assert_array_equal(frames[0].camera.intrinsics, camera.intrinsics)


def test_a_compressed_image_is_decoded(open_frames, messages, stamp_of, info_entry):
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    data = cv2.imencode(".png", image)[1].tobytes()
    message = compressed_to_message(messages, data, "png", stamp_of(0), "camera_optical")
    entries = [info_entry(0), ("/camera/image_raw/compressed", COMPRESSED, stamp_of(0), message)]
    for topic in ("", "/camera/image_raw/compressed", "/camera/image_raw"):
        _, frames = open_frames(entries, image_topic=topic)
        np.testing.assert_array_equal(next(iter(frames)).image(), image)


def test_raw_is_chosen_before_its_compressed_copy(open_frames, entries, messages, stamp_of):
    copy = compressed_to_message(messages, b"", "jpeg", stamp_of(0), "camera_optical")
    _, frames = open_frames([*entries, ("/camera/image_raw/compressed", COMPRESSED, stamp_of(0), copy)])
    assert frames.topic.name == "/camera/image_raw"


def test_two_cameras_must_be_told_apart(open_frames, image_entry, info_entry):
    entries = [
        info_entry(0),
        image_entry(0, topic="/left/image_raw"),
        image_entry(0, topic="/right/image_raw"),
    ]
    with pytest.raises(BagError, match=r"several topics .*/left/image_raw, /right/image_raw.*--image-topic"):
        open_frames(entries)
    _, frames = open_frames(entries, image_topic="/right/image_raw")
    assert frames.camera_info.name == "/camera/camera_info"  # not beside it, but the only one


def test_the_sibling_is_the_calibration(open_frames, image_entry, info_entry, camera):
    other = Camera(camera.model, camera.size_wh, camera.focal * 2.0, camera.center, camera.distortion)
    entries = [
        info_entry(0, "/left/camera_info", other),
        info_entry(0, "/right/camera_info"),
        image_entry(0, topic="/right/image_raw"),
    ]
    _, frames = open_frames(entries)
    assert frames.camera_info.name == "/right/camera_info"
    assert next(iter(frames)).camera.focal[0] == 430.0


def test_a_bag_without_calibration_needs_one(open_frames, image_entry, camera):
    with pytest.raises(
        BagError, match=r"CameraInfo for the calibration of /camera/image_raw: give it by --camera"
    ):
        open_frames([image_entry(0)])
    _, frames = open_frames([image_entry(0)], camera=camera)
    assert next(iter(frames)).camera is camera


def test_a_calibration_of_zeros_is_refused(open_frames, image_entry, info_entry):
    info = info_entry(0)
    info[3].k = np.zeros(9)
    with pytest.raises(CalibrationError, match="all zeros"):
        open_frames([info, image_entry(0)])


def test_the_first_usable_calibration_is_that_of_the_images_before_it(open_frames, image_entry, info_entry):
    entries = [entry for index in range(3) for entry in (info_entry(index), image_entry(index))]
    for index in (0, 4):  # in the middle, the one before stays
        entries[index][3].k, entries[index][3].p = np.zeros(9), np.zeros(12)
    bag, frames = open_frames(entries)
    assert [frame.camera.focal[0] for frame in frames] == [430.0] * 3
    (note,) = bag.report()
    assert note.startswith("a calibration was left out: /camera/camera_info: K is all zeros")


def test_an_unusable_calibration_names_topic_and_remedy(open_frames, image_entry, info_entry):
    info = info_entry(0)
    info[3].width = info[3].height = 0
    with pytest.raises(
        CalibrationError, match=r"^/camera/camera_info: .* 0x0 px, .*; or give the .* by --camera"
    ):
        open_frames([info, image_entry(0)])


def test_two_drivers_on_one_topic_have_their_own_calibrations(open_frames, image_entry, info_entry, camera):
    other = Camera(camera.model, camera.size_wh, camera.focal * 2.0, camera.center, camera.distortion)
    entries = []
    for index in range(4):
        info, image = info_entry(index, given=other if index % 2 else camera), image_entry(index)
        info[3].header.frame_id = image[3].header.frame_id = f"camera_{index % 2}"
        entries += [info, image]
    _, frames = open_frames(entries)
    assert [frame.camera.focal[0] for frame in frames] == [430.0, 860.0] * 2


def test_a_file_of_a_raw_camera_follows_its_p_for_rectified_images(open_frames, image_entry, camera):
    projection = np.array([[400.0, 0.0, 320.0], [0.0, 400.0, 240.0], [0.0, 0.0, 1.0]])
    stated = Calibration(camera.size_wh, camera.intrinsics, "plumb_bob", camera.distortion, projection)
    for topic, focal in (("/camera/image_raw", 430.0), ("/camera/image_rect", 400.0)):
        _, frames = open_frames([image_entry(0, topic=topic)], camera=stated)
        assert next(iter(frames)).camera.focal[0] == focal


def test_a_changed_calibration_holds_from_then_on(open_frames, image_entry, info_entry, camera):
    zoomed = Camera(camera.model, camera.size_wh, camera.focal * 2.0, camera.center, camera.distortion)
    entries = [image_entry(0), info_entry(1), image_entry(1), info_entry(2, given=zoomed), image_entry(2)]
    _, frames = open_frames(entries)
    for _ in range(2):  # the second pass begins with the first calibration again
        assert [frame.camera.focal[0] for frame in frames] == [430.0, 430.0, 860.0]


def test_an_image_of_another_size_is_an_error_of_its_own(
    open_frames, image_entry, info_entry, messages, stamp_of
):
    small = image_to_message(messages, np.zeros((240, 320), np.uint8), stamp_of(1), "camera_optical")
    entries = [
        info_entry(0),
        image_entry(0),
        ("/camera/image_raw", IMAGE, stamp_of(1), small),
        image_entry(2),
    ]
    _, frames = open_frames(entries)
    first, second, third = frames
    with pytest.raises(ImageError, match=r"320x240 px, expected the calibration's 640x480"):
        second.image()
    assert corners([first, third]) == [0, 2]


def test_images_received_a_little_late_are_put_in_their_place(open_frames, image_entry, info_entry):
    order = [0, 2, 1, 6, 3, 4, 5, 7]
    entries = [info_entry(0), *(image_entry(index, received) for received, index in enumerate(order))]
    bag, frames = open_frames(entries)
    assert corners(frames) == list(range(8))
    assert bag.report() == []


def test_images_received_far_too_late_or_twice_are_left_out(open_frames, image_entry, info_entry):
    order = [5, 6, 7, 8, 9, 10, 11, 0, 12, 13, 13]
    entries = [info_entry(0), *(image_entry(index, received) for received, index in enumerate(order))]
    bag, frames = open_frames(entries)
    assert corners(frames) == [5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert bag.report() == [
        "/camera/image_raw: 1 images with stamps far behind were left out",
        "/camera/image_raw: 1 images with the stamp of another were left out",
    ]


def test_an_image_without_a_stamp_takes_its_receipt(open_frames, image_entry, info_entry, stamp_of):
    bag, frames = open_frames([info_entry(0), image_entry(3, header_ns=0)])
    assert [frame.stamp_ns for frame in frames] == [stamp_of(3)]
    assert "1 images without a stamp" in bag.report()[0]
