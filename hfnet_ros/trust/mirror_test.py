"""Does a map look like itself in a mirror? Show it its own keyframes, mirrored.

What is found is wrong, always. A localizer then knows that an answer in this map is to be compared with what the
mirrored image says; elsewhere it may spare that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.mirrored import mirror_image, mirrored_view
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ImageArray, Progress, RigCamera, ignore_progress

# Spread over the map. Of a map of which a tenth is symmetric, all miss it with a probability of 1.5 %.
_MAX_SHOWN = 40
_EVEN = 0.5  # probability of being wrong


@dataclass(frozen=True)
class ShownImage:
    """The image of a keyframe, to be looked at again.

    Attributes:
        read: reads it.
        turn_rad: by how much it was turned upright before it was described.
    """

    read: Callable[[], ImageArray]
    turn_rad: float


def with_mirror_test(
    visual_map: VisualMap,
    images: Mapping[str, ShownImage],
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress = ignore_progress,
) -> VisualMap:
    """Return the map with `mirrored_share` of its consistency measured.

    A pose counts that is no likelier wrong than right, since whoever asks may allow more than the builder does.

    Args:
        visual_map: as built.
        images: of its keyframes, by name.
        extractor: the map's extractor.
        config: parameters of localization.
        progress: called with stage "mirror test".

    Raises:
        ImageError: an image cannot be read any more.
        EngineError: the network failed.
    """
    count = visual_map.num_keyframes
    rows = np.linspace(0, count - 1, min(_MAX_SHOWN, count)).round().astype(int).tolist()
    allowed = max(config.verification.max_false_probability, _EVEN)
    limits = dataclasses.replace(config.verification, max_false_probability=allowed)
    localizer = Localizer(visual_map, extractor, dataclasses.replace(config, verification=limits))
    num_found = 0
    for done, row in enumerate(rows):
        progress("mirror test", done, len(rows))
        image = images[visual_map.keyframe_names[row]]
        described = extract_turned(extractor, mirror_image(image.read()), -image.turn_rad)
        camera = visual_map.cameras[int(visual_map.keyframe_camera_idx[row])].refined
        view, features = mirrored_view(RigCamera(camera), described)
        num_found += localizer.localize_features(features, view.camera, done).is_valid
    progress("mirror test", len(rows), len(rows))
    consistency = dataclasses.replace(visual_map.consistency, mirrored_share=num_found / max(len(rows), 1))
    return dataclasses.replace(visual_map, consistency=consistency)
