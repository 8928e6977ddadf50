"""How many keyframes are retrieved, which depends on what describes them."""

from __future__ import annotations

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.map.visual_map import VisualMap


def num_prior_frames(visual_map: VisualMap, config: RetrievalConfig) -> int:
    """Return the number of keyframes to retrieve per image from a map."""
    return config.num_prior_frames_vlad if visual_map.aggregation else config.num_prior_frames
