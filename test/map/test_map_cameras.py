import dataclasses
import logging

import numpy as np
import pytest

from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import MapCamera

MATRIX = np.array([[430.0, 0.0, 319.5], [0.0, 430.0, 239.5], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("offset", [(0, 0), (320, 240), (0, 240)])
def test_a_map_of_a_part_of_an_image_is_kept(visual_map, tmp_path, caplog, offset):
    stated = Calibration((640, 480), MATRIX, "plumb_bob", np.zeros(5), offset=offset, region_wh=(320, 240))
    camera = stated.camera()
    cut = dataclasses.replace(visual_map, cameras=(MapCamera(camera, camera), visual_map.cameras[1]))
    save_map(cut, tmp_path / "map")
    with caplog.at_level(logging.WARNING):
        assert load_map(tmp_path / "map").cameras[0].refined.is_same_as(camera)
    # Nothing tells it from the calibration of another resolution.
    assert "camera 0: the principal point is" in caplog.text
    assert "camera 1" not in caplog.text
