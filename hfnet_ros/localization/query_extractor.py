"""The extractor that a map is asked with."""

from __future__ import annotations

import dataclasses

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor, create_extractor
from hfnet_ros.features.reduction import is_much_larger
from hfnet_ros.features.scene_dense import DenseNetwork, WithCoordinates
from hfnet_ros.localization.scene_matching import method_of
from hfnet_ros.map.manifest import LANDMARKS
from hfnet_ros.map.scene_network import IMAGE
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ReportProgress


def create_query_extractor(
    visual_map: VisualMap, config: Config, report: ReportProgress | None = None
) -> NetworkExtractor:
    """Make the extractor of a map that describes as many keypoints as are matched; raises as `LandmarkModel.open`.

    Of a network without global head all keypoints describe the image.
    """
    described = config.extractor.max_keypoints
    if visual_map.has_head:
        described = min(described, config.matching.max_query_keypoints)
    of_query = dataclasses.replace(config.extractor, max_keypoints=described)
    extractor = create_extractor(dataclasses.replace(config, extractor=of_query), report)
    scene = visual_map.scene
    if scene is None or scene.takes != IMAGE or method_of(visual_map, config) == LANDMARKS:
        return extractor
    return WithCoordinates(extractor, DenseNetwork(scene, config.inference))


def warm_up(visual_map: VisualMap, extractor: NetworkExtractor, image_wh: tuple[int, int] | None) -> None:
    """Describe a black image of the size of those that will come, so that no robot waits for the first one.

    It takes several times longer than the next. Without a size, and with one that will be reduced, it is that of the
    map's first camera.
    """
    size_wh = visual_map.cameras[0].refined.size_wh
    if image_wh is not None and not is_much_larger(image_wh, size_wh):
        size_wh = image_wh
    extractor.extract(np.zeros(size_wh[::-1], np.uint8))
