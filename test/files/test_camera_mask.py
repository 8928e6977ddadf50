"""What a camera carries with it is painted over, by a picture that says where it is."""

import cv2
import numpy as np
import pytest

from hfnet_ros.config import CamerasConfig
from hfnet_ros.errors import ConfigError, ImageError
from hfnet_ros.features.keypoints import detect_peaks
from hfnet_ros.files.camera_mask import CameraMask, masks_of, read_mask, read_masked

SEEN = np.ones((120, 160), bool)
SEEN[80:, 40:110] = False


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


@pytest.fixture
def write(tmp_path):
    def write(picture, name="mask.png"):
        path = tmp_path / name
        assert cv2.imwrite(str(path), picture)
        return path

    return write


@pytest.mark.parametrize("is_gray", [False, True])
@pytest.mark.parametrize("is_smooth", [False, True])
@pytest.mark.parametrize("seen", [SEEN, np.arange(120)[:, None] < np.full(160, 80)])
def test_what_is_hidden_changes_nothing(image, is_gray, is_smooth, seen):
    if is_smooth:
        image = cv2.GaussianBlur(image, (0, 0), 3.0)
    other = image.copy()
    other[~seen] = np.random.default_rng(1).integers(0, 256, other[~seen].shape)
    pair = [cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) if is_gray else one for one in (image, other)]
    assert (pair[0] != pair[1]).any()
    first, second = map(CameraMask(seen).hide, pair)
    assert first.shape == pair[0].shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_what_is_seen_stays(image):
    hidden = CameraMask(SEEN).hide(image)
    away = cv2.dilate((~SEEN).astype(np.uint8), np.ones((41, 41))) == 0
    assert away.mean() > 0.3
    np.testing.assert_array_equal(hidden[away], image[away])


def test_paint_has_no_corners():
    """Beside a bright and a dark wall there is neither a peak within the paint nor at its end."""
    scene = np.repeat(np.linspace(30, 220, 640)[None], 480, axis=0).astype(np.uint8)
    seen = np.ones((480, 640), bool)
    seen[300:, 200:400] = False
    carried = scene.copy()
    carried[~seen] = np.random.default_rng(1).integers(0, 256, int((~seen).sum()))

    def corners(image):
        response = cv2.cornerMinEigenVal(image, 5)
        return len(detect_peaks(response, 4, 1e-4))

    assert corners(carried) > 100
    assert corners(CameraMask(seen).hide(carried)) == 0


def test_images_of_the_same_form_take_the_same_mask(image):
    mask = CameraMask(SEEN)
    large = mask.hide(cv2.resize(image, (320, 240)))
    assert large[200:, 100:200].std() < 0.3 * large[:100].std()
    with pytest.raises(
        ImageError, match="images are 160x100 px, but the mask is 160x120; draw the mask on one"
    ):
        mask.hide(image[:100])


def test_read_only_images_are_not_written_to(image):
    image.flags.writeable = False
    before = image.copy()
    CameraMask(SEEN).hide(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (20, 200)])
@pytest.mark.parametrize("is_colour", [False, True])
def test_dark_is_left_out_whatever_the_program_wrote(write, image, values, is_colour):
    picture = np.where(SEEN, values[1], values[0]).astype(np.uint8)
    if is_colour:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    mask = read_mask(write(picture))
    assert mask.hidden_share == pytest.approx((~SEEN).mean())
    np.testing.assert_array_equal(mask.hide(image), CameraMask(SEEN).hide(image))


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (np.full((4, 4), 255, np.uint8), "leaves out nothing; paint what is not scene black"),
        (np.zeros((4, 4), np.uint8), "is black all over"),
        (np.where(SEEN, 0, 255).astype(np.uint8), "leaves out 85 % of the image; .* are they exchanged"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused(write, picture, sentence):
    with pytest.raises(ConfigError, match=rf"mask\.png: {sentence}.* \(cameras\.masks, option --mask\)"):
        read_mask(write(picture))


def test_a_mask_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.png: cannot be read.*cameras\.masks"):
        read_mask(tmp_path / "nowhere.png")


def test_a_mask_of_dust_all_over_hides_everything(image):
    dust = np.ones((120, 160), bool)
    dust[::5, ::5] = False
    with pytest.raises(ImageError, match="nearly all, with its margin"):
        CameraMask(dust).hide(image)


def test_masks_belong_to_cameras_by_name(write):
    path = write(np.where(SEEN, 255, 0).astype(np.uint8))
    config = CamerasConfig(names="front left", masks=f"left={path}")
    assert list(masks_of(config, ["front", "left"])) == ["left"]
    assert list(masks_of(CamerasConfig(masks=str(path)))) == [""]
    assert masks_of(CamerasConfig()) == {}


@pytest.mark.parametrize(
    ("said", "names", "sentence"),
    [
        ("rear=m.png", ["front", "left"], r"'rear=m\.png'; there are front, left: expected NAME=FILE"),
        ("m.png", ["front", "left"], r"'m\.png' without a name; .*expected NAME=FILE"),
        ("left=m.png", [""], r"'left=m\.png'; there are no names, but one camera: expected FILE alone"),
    ],
)
def test_masks_of_no_camera_are_refused(said, names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        masks_of(CamerasConfig(masks=said), names)


@pytest.mark.parametrize("said", ["a.png b.png", "left=a.png left=b.png"])
def test_a_camera_has_one_mask(said):
    with pytest.raises(ConfigError, match="it holds two files"):
        CamerasConfig(masks=said)


def test_masks_of_cameras_that_are_not_chosen_are_left_out():
    config = CamerasConfig(names="front left", masks="left=l.png front=f.png")
    assert config.chosen(["front=/front/image"]).mask_files == {"front": "f.png"}
    # What was never a camera is said where masks are read.
    assert CamerasConfig(names="front", masks="rear=r.png").chosen(["front"]).mask_files == {"rear": "r.png"}


def test_a_file_is_read_with_its_mask(write, image):
    path = write(image, "image.png")
    np.testing.assert_array_equal(read_masked(path, None), image)
    np.testing.assert_array_equal(read_masked(path, CameraMask(SEEN)), CameraMask(SEEN).hide(image))
