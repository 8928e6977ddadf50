"""How far a scene network can be trusted: what it says of keyframes that it was not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.scene_network import SceneNetwork
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import MapConsistency, VisualMap
from hfnet_ros.trust.self_test import HeldOutKeyframe, compare_held_out, summarize_differences
from hfnet_ros.types import ImageFeatures, Progress

_LEAST_TESTED = 4


def with_consistency(
    visual_map: VisualMap,
    scene: SceneNetwork,
    held_out: Sequence[tuple[int, ImageFeatures]],
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress,
) -> SceneNetwork:
    """Return a network with its consistency measured.

    Training was ended by the same keyframes, which makes the figures a little better than those of queries.

    Args:
        visual_map: that the network is of, with its search structure.
        scene: not measured yet.
        held_out: rows of keyframes that it was not trained on, and what they look like as queries.
        extractor: of the map; nothing is extracted.
        config: how queries are localized.
        progress: called with stage "test".
    """
    assert visual_map.search is not None
    # As if it had been tested: what it is off by is what is asked for, not what is assumed.
    tested = MapConsistency(config.pose.assumed_residual_px, 0.0, 0.0, len(held_out))
    # A held-out keyframe must not be found as its own prior frame: nothing is like zeros.
    rows = [row for row, _ in held_out]
    codes = visual_map.global_descriptors.codes.copy()
    codes[rows] = 0
    hidden = dataclasses.replace(
        visual_map,
        global_descriptors=UnitVectors(codes),
        codes=None,
        scene=dataclasses.replace(scene, consistency=tested),
    )
    alone = dataclasses.replace(
        config,
        localization=dataclasses.replace(config.localization, method="scene"),
        pose=dataclasses.replace(config.pose, answer_frame="refined"),
    )
    is_refined = visual_map.given is not None
    asked = [
        HeldOutKeyframe(
            features,
            visual_map.cameras[visual_map.camera_idx_of(row)].refined,
            visual_map.given_map_from_camera(row),
            visual_map.map_from_camera(row) if is_refined else None,
        )
        for row, features in held_out
    ]
    localizer = Localizer(hidden, extractor, alone)
    try:
        found = compare_held_out(
            localizer,
            asked,
            lambda _, done, total: progress("test", done, total),
            hidden if is_refined else None,
        )
    finally:
        localizer.close()
    consistency = summarize_differences(found, visual_map.keyframe_poses[:, :3], _LEAST_TESTED)
    return dataclasses.replace(scene, consistency=consistency)
