"""XFeat*'s cells against a definition in plain numpy."""

import numpy as np
import pytest
from xfeat_definition import mean_gray, reference_cells

from hfnet_ros.config import Config, ExtractorConfig
from hfnet_ros.errors import ImageError
from hfnet_ros.features.xfeat_star import SemiDenseExtractor, scale_image

SIZE_WH = (136, 96)  # at 0.6: 81x57, then 64x32; at 1.3: 176x124, then 160x96


@pytest.fixture
def make_extractor():
    made = []

    def make(weights, max_keypoints=2048):
        config = Config(extractor=ExtractorConfig(max_keypoints=max_keypoints))
        made.append(SemiDenseExtractor(weights, config))
        return made[-1]

    yield make
    for extractor in made:
        extractor.close()


def test_cells_equal_the_definition(weights, make_image, make_extractor):
    image = make_image(SIZE_WH, seed=1)
    cells = make_extractor(weights).cells(image)
    assert len(cells.points) == 8 * 4 + 20 * 12
    start = 0
    for factor, count in ((0.6, 32), (1.3, 240)):
        corners, reliability, features = reference_cells(weights, mean_gray(image), factor)
        part = slice(start, start + count)
        start += count
        # By the published corner: half a cell from its middle, and half a pixel that it leaves out.
        of_middles = cells.points[part] + 0.5 - 4.0 * cells.pixel_sizes[part]
        mine = np.lexsort(np.round(of_middles, 2).T)
        np.testing.assert_allclose(of_middles[mine], corners, atol=1e-3)
        np.testing.assert_allclose(cells.reliability[part][mine], reliability, atol=1e-4)
        np.testing.assert_allclose(cells.features[part][mine], features, atol=1e-4 * np.abs(features).max())
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        mine_unit = cells.features[part][mine] / np.linalg.norm(cells.features[part][mine], axis=1)[:, None]
        np.testing.assert_allclose(mine_unit, unit, atol=1e-4)
        assert np.all(np.diff(cells.reliability[part]) <= 0.0)


def test_a_fifth_is_of_the_smaller_scale_while_there_are_enough(random_weights, make_image, make_extractor):
    image = make_image(SIZE_WH)
    extractor = make_extractor(random_weights)
    every, some = extractor.cells(image), extractor.cells(image, 100)
    assert len(some.points) == 20 + 80
    np.testing.assert_array_equal(some.points[:20], every.points[:20])
    np.testing.assert_array_equal(some.points[20:], every.points[32:112])
    assert len(extractor.cells(image, 200).points) == 32 + 160


def test_keypoints_are_the_most_reliable_cells(random_weights, make_image, make_extractor):
    image = make_image(SIZE_WH)
    extractor = make_extractor(random_weights, 64)
    cells, features = extractor.cells(image), extractor.extract(image)
    local = features.local
    np.testing.assert_allclose(local.scores, np.sort(cells.reliability)[::-1][:64])
    np.testing.assert_allclose(np.linalg.norm(local.descriptors, axis=1), 1.0, atol=1e-5)
    assert {local.keypoints.dtype, local.scores.dtype, local.descriptors.dtype} == {np.dtype(np.float32)}
    assert features.extractor_id.startswith("xfeatstar-")
    assert features.global_descriptor is None


def test_a_picture_is_scaled_by_hand():
    row = np.array([[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]], np.float32)
    # Half of it: the mean of each two. 0.6 of six are three; the rest is cut off.
    np.testing.assert_allclose(scale_image(np.repeat(row, 4, 0), 0.5)[0], [5.0, 25.0, 45.0])
    expected = [(x + 0.5) / 0.6 * 10.0 - 5.0 for x in range(3)]
    np.testing.assert_allclose(scale_image(np.repeat(row, 4, 0), 0.6), [expected] * 2, rtol=1e-5)


def test_an_image_that_is_too_small_is_refused(random_weights, make_extractor):
    with pytest.raises(ImageError, match="at least 64 px a side"):
        make_extractor(random_weights).extract(np.zeros((40, 300), np.uint8))
