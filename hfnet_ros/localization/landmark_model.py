"""A map of landmarks, of a scene-coordinate network or of both as a scene model: opened with all that it needs.

Everything is made, used and closed, in the right order, in one thread, to which engines and GPU memory belong.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor, with_extractor_of
from hfnet_ros.localization.gpu_search import open_gpu_search
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.map_parts import check_extractor
from hfnet_ros.localization.query_extractor import create_query_extractor, warm_up
from hfnet_ros.localization.scene_matching import method_of
from hfnet_ros.localization.scene_model import (
    OpenedLocalizer,
    SceneModel,
    load_scene_model,
    register_scene_model,
)
from hfnet_ros.map.areas import extent_of
from hfnet_ros.map.manifest import LANDMARKS, SCENE, SET, PathLike
from hfnet_ros.map.map_io import load_map
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.map.scene_map import given_centers, kind_of
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.types import ReportProgress

__all__ = ["LandmarkModel", "load_scene_model", "searching"]


@dataclass(frozen=True, eq=False)
class LandmarkModel:
    """A map behind the face of `SceneModel`; of landmarks, or of kind `scene` without them.

    Attributes:
        visual_map: the map.
        by_network: it is localized in by its network alone, though it may have landmarks.
    """

    visual_map: VisualMap
    by_network: bool = False

    @classmethod
    def load(cls, path: PathLike) -> LandmarkModel:
        """Read a map; see `load_map`."""
        return cls(load_map(path))

    @property
    def kind(self) -> str:
        """`landmarks`; `scene` of a map that has a scene-coordinate network and no landmarks."""
        return kind_of(self.visual_map)

    @property
    def frame_id(self) -> str:
        """Name of the map's frame."""
        return self.visual_map.frame_id

    @property
    def extractor_id(self) -> str:
        """Whose descriptors are inside."""
        return self.visual_map.extractor_id

    @property
    def cameras(self) -> tuple[MapCamera, ...]:
        """The cameras of the mapping run."""
        return self.visual_map.cameras

    @property
    def extent(self) -> NDArray[np.float64]:
        """[2, 3] smallest and largest position of a keyframe, m."""
        return extent_of(self.visual_map.given_poses)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Keyframes and landmarks, and of a scene-coordinate network leaves and bytes."""
        found = {"keyframes": self.visual_map.num_keyframes}
        if self.kind == LANDMARKS:
            found["landmarks"] = self.visual_map.num_landmarks
        scene = self.visual_map.scene
        if scene is not None:
            found |= {"leaves": scene.num_leaves, "network_bytes": len(scene.network)}
        return found

    @property
    def is_metric(self) -> bool:
        """Tell whether its scale is known."""
        return not self.visual_map.has_arbitrary_scale

    @property
    def residual_px(self) -> float | None:
        """Of the self-test; None without one."""
        return self._consistency.measured_residual_px

    @property
    def elsewhere_share(self) -> float:
        """Share of the held-out keyframes that the self-test localized elsewhere."""
        return self._consistency.elsewhere_share

    @property
    def _consistency(self) -> MapConsistency:
        """Of what localizes: the network, where it does so alone."""
        scene = self.visual_map.scene
        is_alone = self.by_network or self.kind == SCENE
        return scene.consistency if scene is not None and is_alone else self.visual_map.consistency

    def asked_by(self, config: Config) -> LandmarkModel:
        """Return the map as parameters ask it; see `scene_model.asked_by`."""
        is_alone = self.visual_map.scene is not None and config.localization.method == SCENE
        return self if is_alone == self.by_network else dataclasses.replace(self, by_network=is_alone)

    @property
    def training_curves(self) -> Sequence[Mapping[str, float]]:
        """What was measured while a scene-coordinate network was trained, in the order of steps; see `scene_model`."""
        scene = self.visual_map.scene
        return [] if scene is None else scene.facts.get("curves", [])

    @property
    def facts(self) -> Mapping[str, Any]:
        """The self-test, and how the map was built."""
        facts = {"self_test": dataclasses.asdict(self._consistency), **self.visual_map.build_info}
        scene = self.visual_map.scene
        if scene is not None:
            facts["scene_network"] = {name: value for name, value in scene.facts.items() if name != "curves"}
        return facts

    @property
    def keyframe_names(self) -> Sequence[str]:
        """Names of the keyframes."""
        return self.visual_map.keyframe_names

    @property
    def points(self) -> MapPoints:
        """Landmarks, without them the middles of leaves, and keyframes, in the frame of the given poses."""
        visual_map, is_scene = self.visual_map, self.kind == SCENE
        return MapPoints(
            given_centers(visual_map) if is_scene else visual_map.given_landmark_xyz(),
            None if is_scene else visual_map.landmark_colors,
            visual_map.keyframe_names,
            visual_map.given_poses,
            None if visual_map.given is None else visual_map.moved_by_refinement(),
        )

    def configured(self, config: Config) -> Config:
        """Return the parameters with the map's extractor; see `SceneModel.configured`."""
        return with_extractor_of(config, self.extractor_id)

    def open(
        self,
        config: Config,
        image_wh: tuple[int, int] | None = None,
        report: ReportProgress | None = None,
    ) -> OpenedLocalizer:
        """Make the extractor and a localizer that searches where its networks run; see `SceneModel.open`.

        Raises:
            ConfigError: `localization.method` asks for what the map does not have.
        """
        method_of(self.visual_map, config)  # before an engine is made, which may take minutes
        with contextlib.ExitStack() as opened:
            extractor = create_query_extractor(self.visual_map, config, report)
            opened.callback(extractor.close)
            localizer = opened.enter_context(searching(self.visual_map, extractor, config, image_wh))
            return OpenedLocalizer(localizer, extractor.backend, opened.pop_all().close)


@contextlib.contextmanager
def searching(
    visual_map: VisualMap,
    extractor: NetworkExtractor,
    config: Config,
    image_wh: tuple[int, int] | None = None,
) -> Iterator[Localizer]:
    """Give a localizer with an extractor that lives on; see `LandmarkModel.open`."""
    check_extractor(visual_map, extractor)
    # What runs the network is known after that.
    warm_up(visual_map, extractor, image_wh)
    search = open_gpu_search(visual_map, config, extractor.backend) if visual_map.num_landmarks else None
    with contextlib.ExitStack() as opened:
        if search is not None:
            opened.enter_context(contextlib.closing(search))
        yield opened.enter_context(contextlib.closing(Localizer(visual_map, extractor, config, search)))


def _load_set(path: PathLike) -> SceneModel:
    # Imported here: it opens maps of landmarks itself, and a map by itself does not wait for it.
    from hfnet_ros.localization.map_set_model import SetModel

    return SetModel.load(path)


register_scene_model(LANDMARKS, LandmarkModel.load)
register_scene_model(SCENE, LandmarkModel.load)
register_scene_model(SET, _load_set)
