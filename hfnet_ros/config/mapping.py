"""Parameters of building a map."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter

# mapping.pair_matcher adds those that others register.
PAIR_MATCHER_NAMES = ["nearest", "learned", "semidense"]


@dataclass(frozen=True)
class MappingConfig:
    """How a map is built."""

    matcher: str = parameter(
        "nearest",
        "What matches keyframes: nearest compares descriptors, each other's most similar ones match; learned asks "
        "LighterGlue (XFeat only); semidense keeps those of them, with extractor xfeat-star, of which XFeat's fine "
        "matcher is sure.",
        choices=PAIR_MATCHER_NAMES,
    )
    keep_observations: bool = parameter(
        False,
        "Store what each keyframe saw beside the landmarks' mean: some 90 KB more a keyframe with 64 numbers each, for "
        "matchers that compare images.",
    )
    turn_keyframes: bool = parameter(
        True,
        "Describe keyframes of a camera that has rolled by more than 22.5 deg as if it had not, so that they match the "
        "others; poses must be given.",
    )
    max_keypoints: int = parameter(2048, "Keypoints per keyframe that are matched.", low=64, high=8192)
    num_neighbors: int = parameter(12, "Keyframes each keyframe is matched with.", low=1, high=200)
    max_view_angle_deg: float = parameter(
        60.0,
        "Keyframes that look in directions further apart are not matched.",
        unit="deg",
        low=5.0,
        high=180.0,
    )
    check_poses: bool = parameter(
        True,
        "Hold given poses against the images before mapping: wrong keyframes are corrected or left out; poses "
        "that are all wrong alike, or slip, are refused.",
    )
    max_epipolar_error_px: float = parameter(
        4.0,
        "Distance to the epipolar line of the given poses; at a focal length of 525 px.",
        unit="px",
        low=0.1,
        high=50.0,
    )
    max_reprojection_error_px: float = parameter(
        4.0,
        "Largest error of an observation that stays in a landmark's track; at a focal length of 525 px.",
        unit="px",
        low=0.1,
        high=50.0,
    )
    min_triangulation_angle_deg: float = parameter(
        1.5, "Landmarks seen under a smaller angle have no trustworthy depth.", unit="deg", low=0.1, high=45.0
    )
    min_track_length: int = parameter(2, "Keyframes that must see a landmark.", low=2, high=100)
    min_intrinsics_gain: float = parameter(
        0.02,
        "Part by which refined intrinsics must lower the held-out reprojection error to be kept.",
        low=0.0,
        high=1.0,
    )
