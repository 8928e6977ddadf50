"""By how much keyframes are turned to be described: cameras that roll see the same things at all angles."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from hfnet_ros.config import MappingConfig
from hfnet_ros.features.extractor import FeatureExtractor, knows_turned
from hfnet_ros.features.turning import MAX_ROLL_RAD
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.roll import common_up, roll_against

_logger = logging.getLogger(__name__)


def turns_upright(
    map_from_camera: Sequence[Rigid3],
    extractor: FeatureExtractor,
    config: MappingConfig,
    reference: Sequence[Rigid3] | None = None,
) -> list[float] | None:
    """Return by how much, rad clockwise, each image is turned upright; None where all stay as they are.

    Those that have rolled by no more than an extractor stands stay as they are.

    Args:
        map_from_camera: poses of the images.
        extractor: what will describe them.
        config: whether images are turned.
        reference: poses that say what is up; those of the images unless given.
    """
    if not config.turn_keyframes or knows_turned(extractor.extractor_id):
        return None
    rotations = np.array([pose.rotation for pose in reference or map_from_camera])
    up = common_up(rotations)
    rolls = [roll_against(pose.rotation, up) for pose in map_from_camera]
    turns = [roll if abs(roll) > MAX_ROLL_RAD else 0.0 for roll in rolls]
    num_turned = sum(turn != 0.0 for turn in turns)
    if num_turned == 0:
        return None
    _logger.info(
        "%d of %d images are described upright, the camera had rolled by up to %.0f deg",
        num_turned,
        len(turns),
        math.degrees(max(abs(turn) for turn in turns)),
    )
    return turns
