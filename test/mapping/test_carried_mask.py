"""A mask is drawn of what stays in place while a camera moves."""

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError, MappingError
from hfnet_ros.mapping.carried_mask import draw_mask

HEIGHT, WIDTH = 240, 320
BODY = np.zeros((HEIGHT, WIDTH), bool)
BODY[180:, 60:200] = True


def wall(rng):
    """Return a wall with things on it, larger than an image."""
    picture = np.full((500, 900), 128, np.uint8)
    for _ in range(400):
        x, y, w, h = rng.integers(0, [880, 480, 40, 40])
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), int(rng.integers(20, 236)), -1)
    return picture


def drive(num=40, body=BODY, step=13, waits=0):
    """Return the images of a camera that moves along a wall under light that changes."""
    rng = np.random.default_rng(0)
    picture = wall(rng)
    painted = cv2.resize(rng.integers(0, 256, (30, 40)).astype(np.uint8), (WIDTH, HEIGHT))
    places = [0] * waits + list(range(num))

    def image(number):
        left, top = places[number] * step % 500, places[number] * 7 % 200
        seen = picture[top : top + HEIGHT, left : left + WIDTH].astype(float)
        seen[body] = painted[body]
        lit = seen * (0.7 + 0.3 * np.sin(number))
        return np.clip(lit + np.random.default_rng(number).normal(0.0, 2.0, lit.shape), 0, 255).astype(
            np.uint8
        )

    return [image(number) for number in range(len(places))]


def overlap(hidden, body=BODY):
    return (hidden & body).sum() / (hidden | body).sum()


@pytest.mark.parametrize("waits", [0, 60])
def test_the_body_is_found_whatever_the_light_and_however_long_the_robot_waits(waits):
    drawn = draw_mask(drive(waits=waits))
    assert overlap(~drawn.seen) > 0.8
    assert 30 <= drawn.num_views <= 41
    assert drawn.hidden_share == pytest.approx((~drawn.seen).mean())


def test_the_preview_is_red_where_it_is_hidden():
    drawn = draw_mask(drive())
    preview = drawn.preview().astype(int)
    assert preview.shape == (HEIGHT, WIDTH, 3)
    redness = preview[:, :, 2] - preview[:, :, 0]
    assert redness[~drawn.seen].min() > 50
    assert abs(redness[drawn.seen]).max() == 0


def test_a_camera_that_carries_nothing_needs_no_mask():
    drawn = draw_mask(drive(body=np.zeros_like(BODY)))
    assert drawn.seen.all()
    assert drawn.hidden_share == 0.0


def test_colour_images_and_other_sizes_are_as_good():
    drawn = draw_mask(cv2.cvtColor(cv2.resize(image, (640, 480)), cv2.COLOR_GRAY2BGR) for image in drive())
    large = cv2.resize(BODY.astype(np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST) > 0
    assert drawn.seen.shape == (480, 640)
    assert overlap(~drawn.seen, large) > 0.8


def test_a_camera_that_hardly_moves_tells_nothing():
    with pytest.raises(MappingError, match="found 1 views among 40 images, expected 10 or more"):
        draw_mask(drive(step=0, num=1, waits=39))


def test_a_scene_of_which_half_stays_is_no_drive():
    body = np.zeros_like(BODY)
    body[:, :200] = True
    with pytest.raises(MappingError, match="half of all that the images show stays in place"):
        draw_mask(drive(body=body))


def test_images_of_two_cameras_are_refused():
    images = [*drive(), np.zeros((100, 100), np.uint8)]
    with pytest.raises(ImageError, match="several sizes, 320x240 and 100x100 px; a mask is of one camera"):
        draw_mask(images)


def test_images_without_any_edge_tell_nothing():
    with pytest.raises(MappingError, match="found 1 views among 12 images"):
        draw_mask([np.zeros((HEIGHT, WIDTH), np.uint8)] * 12)


def test_no_image_is_too_few():
    with pytest.raises(MappingError, match="found 0 views among 0 images"):
        draw_mask([])
