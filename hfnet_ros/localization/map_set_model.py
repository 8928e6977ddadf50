"""A set of maps as a scene model: sub-maps are opened when a query touches them, and may be exchanged meanwhile.

All sub-maps are searched as one map (`JoinedMap`): prior frames come from the set's index, an answer in one sub-map is
tried against the prior frames of all others as against other places of its own, and the network describes an image
once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.extractor import with_extractor_of
from hfnet_ros.localization.areas import asked_areas
from hfnet_ros.localization.map_set_localizer import FollowedSet, SetLocalizer
from hfnet_ros.localization.query_extractor import create_query_extractor, warm_up
from hfnet_ros.localization.scene_model import OpenedLocalizer
from hfnet_ros.map.joined_map import join_set
from hfnet_ros.map.manifest import SET, PathLike
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.map.map_set import MapSet, SubMap, pooled_self_test, pose_to_json
from hfnet_ros.map.open_maps import OpenMaps
from hfnet_ros.map.visual_map import MapCamera
from hfnet_ros.types import ReportProgress

_logger = logging.getLogger(__name__)

_MOST_DRAWN = 400_000  # landmarks; more are drawn by every second, third, ... of each sub-map


class SetModel:
    """A set of maps behind the face of `SceneModel`; follows the set on disk as long as it is open."""

    def __init__(self, path: Path) -> None:
        """Read what the set says of itself; raises as `read_map_set`."""
        self._path = path
        self._following = FollowedSet(path)

    @classmethod
    def load(cls, path: PathLike) -> SetModel:
        """Read a set; see `read_map_set`."""
        return cls(Path(path))

    @property
    def kind(self) -> str:
        """Return `set`."""
        return SET

    @property
    def _found(self) -> MapSet:
        """What the manifest said when it was read last."""
        return self._following.found

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest that the last answer is by, hexadecimal; another after every change of the set."""
        return self._following.digest_answered

    @property
    def frame_id(self) -> str:
        """Name of the set's frame."""
        return self._found.frame_id

    @property
    def extractor_id(self) -> str:
        """Whose descriptors are inside."""
        return self._found.extractor_id

    @property
    def cameras(self) -> tuple[MapCamera, ...]:
        """The cameras of all sub-maps, each once."""
        # Those that are alike in a manifest are one object.
        pairs = [pair for sub_map in self._found.sub_maps for pair in sub_map.cameras]
        return tuple({id(pair): pair for pair in pairs}.values())

    @property
    def extent(self) -> NDArray[np.float64]:
        """[2, 3] smallest and largest position of a keyframe, m."""
        extents = np.stack([sub_map.extent for sub_map in self._found.sub_maps])
        return np.stack([extents[:, 0].min(axis=0), extents[:, 1].max(axis=0)])

    @property
    def sizes(self) -> Mapping[str, int]:
        """Keyframes, landmarks and sub-maps."""
        sub_maps = self._found.sub_maps
        return {
            "keyframes": sum(sub_map.num_keyframes for sub_map in sub_maps),
            "landmarks": sum(sub_map.num_landmarks for sub_map in sub_maps),
            "sub_maps": len(sub_maps),
        }

    @property
    def residual_px(self) -> float | None:
        """Mean of the sub-maps' self-tests; None where none was tested."""
        residual_px, num_keyframes, _, _ = pooled_self_test(self._found.sub_maps)
        return residual_px if num_keyframes else None

    @property
    def elsewhere_share(self) -> float:
        """Share of the keyframes held out by the sub-maps' self-tests that were localized elsewhere."""
        _, _, num_asked, num_elsewhere = pooled_self_test(self._found.sub_maps)
        return num_elsewhere / max(num_asked, 1)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Sub-maps and overlaps."""
        return {
            "sub_maps": [_facts_of(sub_map) for sub_map in self._found.sub_maps],
            "areas": self._found.area_names,
            "overlaps": [
                {
                    "between": list(between),
                    "keyframes": overlap.num_pairs,
                    "distance_m": float(np.linalg.norm(overlap.first_from_second.translation)),
                    "sigma_m": float(np.sqrt(np.diag(overlap.covariance)[:3].max())),
                }
                for between, overlap in self._found.overlaps.items()
            ],
        }

    @property
    def keyframe_names(self) -> Sequence[str]:
        """Names of the keyframes, `SUB_MAP/KEYFRAME`, by the rows of the last answers."""
        return self._following.names()

    @property
    def points(self) -> MapPoints:
        """Landmarks and keyframes in the frame of the set; opens one sub-map after the other.

        Sub-maps that cannot be used are left out, with a warning.
        """
        opener = OpenMaps(self._path, 1, 1)
        joined = self._following.opened(lambda found: join_set(self._path, found, opener))
        step = max(1, -(-joined.num_landmarks // _MOST_DRAWN))
        xyz, colors = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
        for part_idx, sub_map in enumerate(joined.found.sub_maps):
            try:
                opened = joined.part_of(part_idx)
                xyz.append(sub_map.set_from_map @ opened.given_landmark_xyz()[::step])
                colors.append(opened.landmark_colors[::step])
            except MapFormatError as error:  # noqa: PERF203 (the others are drawn)
                _logger.warning("%s: not drawn: %s", self._path, error)
        return MapPoints(
            np.concatenate(xyz), np.concatenate(colors), joined.keyframe_names, np.array(joined.given_poses)
        )

    def configured(self, config: Config) -> Config:
        """Return the parameters with the set's extractor; see `SceneModel.configured`."""
        return with_extractor_of(config, self.extractor_id)

    def open(
        self,
        config: Config,
        image_wh: tuple[int, int] | None = None,
        report: ReportProgress | None = None,
    ) -> OpenedLocalizer:
        """Make the extractor and a localizer; no sub-map is opened before the first image. See `SceneModel.open`.

        Raises:
            ConfigError: `map.areas` names what the set does not have.
        """
        opener = OpenMaps(self._path, config.map.max_open, round(config.map.max_open_mb * 1e6))
        joined = self._following.opened(lambda found: join_set(self._path, found, opener))
        asked_areas(joined, config)
        with contextlib.ExitStack() as opened:
            extractor = create_query_extractor(joined, config, report)
            opened.callback(extractor.close)
            warm_up(joined, extractor, image_wh)
            localizer = SetLocalizer(self._following, extractor, config, opener, joined)
            opened.callback(localizer.close)
            return OpenedLocalizer(localizer, extractor.backend, opened.pop_all().close)


def _facts_of(sub_map: SubMap) -> dict[str, Any]:
    return {
        "name": sub_map.name,
        "keyframes": sub_map.num_keyframes,
        "landmarks": sub_map.num_landmarks,
        "bytes": sub_map.bytes,
        "extent": np.round(sub_map.extent, 3).tolist(),
        "set_from_map": np.round(pose_to_json(sub_map.set_from_map), 6).tolist(),
        "sigma_m": float(np.sqrt(np.diag(sub_map.covariance)[:3].max())),
        "areas": list(sub_map.areas),
    }
