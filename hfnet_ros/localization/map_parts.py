"""What judges poses in a map; of a set of maps in each of them, as its own test of itself says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.errors import ExtractorMismatchError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.localization.looking_around import LookingAround
from hfnet_ros.localization.retrieval import PlaceRetrieval
from hfnet_ros.localization.scene_matching import SceneSecondLook
from hfnet_ros.localization.second_look import MatchLandmarks, SecondLook
from hfnet_ros.map.manifest import SCENE
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import ImageFeatures

# Of the assumed reprojection noise, where what points' depths are off by is counted for itself. Chosen in five
# generated apartments, judged on others (docs/notes/evaluation.md).
_WITHOUT_DEPTHS = 0.6
# Of an untested scene network: points off by so much turn a camera that sees them from 4 m away.
_UNTESTED_RAD_PER_M = 0.25


@dataclass(frozen=True)
class PartJudge:
    """What finds and judges poses among the landmarks of one map.

    Attributes:
        weighs_depths: whether points weigh by how well their depths are known; see `PoseConfig.weights`.
    """

    weighs_depths: bool
    solver: PoseSolver
    looking_around: LookingAround
    second_look: SecondLook
    scene_look: SceneSecondLook


class PartJudges:
    """The judges of a map's parts, each made when it is first asked for; one of a map by itself."""

    def __init__(
        self,
        visual_map: VisualMap,
        config: Config,
        method: str,
        retrieval: PlaceRetrieval,
        landmarks: Landmarks,
        compare: MatchLandmarks,
    ) -> None:
        """Take the map, what localizes in it, and what looks at it again."""
        self._map, self._config, self._method = visual_map, config, method
        self._retrieval, self._landmarks, self._compare = retrieval, landmarks, compare
        self._judges: dict[int, PartJudge] = {}

    def of(self, part_idx: int) -> PartJudge:
        """Return what judges answers in a part.

        Raises:
            MapFormatError: a sub-map of a set cannot be used.
        """
        if part_idx not in self._judges:
            part = self._map.part_of(part_idx)
            errors = _error_model(part, self._config, self._method)
            solver = PoseSolver(self._config.pose, self._config.verification, errors)
            self._judges[part_idx] = PartJudge(
                _weighs_depths(part, self._config),
                solver,
                LookingAround(self._retrieval, self._landmarks, solver),
                SecondLook(self._landmarks, self._compare, solver, self._config.verification),
                SceneSecondLook(solver),
            )
        return self._judges[part_idx]


def check_extractor(visual_map: VisualMap, extractor: FeatureExtractor | ImageFeatures) -> None:
    """Refuse an extractor, or the features of one, that a map was not built with.

    Raises:
        ExtractorMismatchError: it was built with another.
    """
    if visual_map.extractor_id != extractor.extractor_id:
        raise ExtractorMismatchError(
            f"the map was built with '{visual_map.extractor_id}', the extractor is "
            f"'{extractor.extractor_id}': descriptors of two extractors cannot be compared; choose "
            "the map's extractor or build the map anew"
        )


def _weighs_depths(visual_map: VisualMap, config: Config) -> bool:
    tested = visual_map.consistency
    return {"even": False, "by_depth": True}.get(
        config.pose.weights, tested.weighs_depths or not tested.num_keyframes
    )


def _error_model(visual_map: VisualMap, config: Config, method: str) -> ErrorModel:
    """Return what the test of the map, or of its network, on itself and calibration say of its errors."""
    contradicted_share = visual_map.consistency.contradicted_share
    if method == SCENE and visual_map.scene is not None:
        visual_map = dataclasses.replace(visual_map, consistency=visual_map.scene.consistency)
    calibration = visual_map.calibration
    if calibration is not None and (calibration.source.get("method") == SCENE) != (method == SCENE):
        # Calibrated by another method's answers, whose errors are others.
        visual_map = dataclasses.replace(visual_map, calibration=None)
    measured_px = visual_map.consistency.measured_residual_px
    residual_px = config.pose.assumed_residual_px if measured_px is None else measured_px
    if measured_px is None and method != SCENE and _weighs_depths(visual_map, config):
        residual_px *= _WITHOUT_DEPTHS
    is_given = config.pose.answer_frame == "given"
    model = visual_map.covariance_model if is_given else visual_map.refined_covariance_model
    if (
        method == SCENE
        and measured_px is None
        and visual_map.scene is not None
        and visual_map.calibration is None
    ):
        # Nothing but the size of its leaves says how far a network is off that could not be tested.
        model = 1.0, visual_map.scene.radius_m**2 * np.diag([1.0] * 3 + [_UNTESTED_RAD_PER_M**2] * 3)
    return ErrorModel(
        residual_px,
        *model,
        is_self_tested=visual_map.consistency.vouches,
        look_alikes=np.array(visual_map.consistency.look_alikes, np.float64).reshape(-1, 5),
        contradicted_share=contradicted_share,
    )
