"""What a scene network is measured with."""

from dataclasses import replace

import numpy as np
import pytest
from memorised_scenes import memorised_scene

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.map.visual_map import MapConsistency, with_search
from hfnet_ros.training.scene_testing import with_consistency
from hfnet_ros.types import ignore_progress

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("leaf_m", [0.1, 2.0])
def test_held_out_keyframes_measure_a_network_however_large_its_leaves(apartment, config, leaf_m):
    """What is assumed of an untested network, the size of its leaves, must not keep it from being tested."""
    visual_map, extractor = with_search(apartment.visual_map), SiftExtractor(config)
    untested = memorised_scene(visual_map, MapConsistency(0.0, 0.0, 0.0, 0))
    untested.arrays["scales"][:] = leaf_m
    rows = range(0, visual_map.num_keyframes, max(visual_map.num_keyframes // 5, 1))
    held_out = [
        (row, extractor.extract(apartment.frame(visual_map.map_from_camera(row)).image)) for row in rows
    ]
    found = with_consistency(visual_map, untested, held_out, extractor, config, ignore_progress).consistency
    assert found.num_asked == len(held_out) and found.num_keyframes >= 4 and found.num_elsewhere == 0
    assert found.translation_m < 0.05 and np.array(found.pose_covariance).shape == (36,)
    # Held-out keyframes were not found as their own prior frames: the map itself is as it was.
    assert np.any(visual_map.global_descriptors.codes[list(rows)], axis=1).all()
    assert replace(untested).consistency.num_keyframes == 0
