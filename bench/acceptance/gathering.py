"""Ask every map all its queries, with the acceptance test switched off and with it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acceptance.adversaries import adversaries
from acceptance.asks import Ask
from acceptance.generated_scenes import generated_scenes
from acceptance.posed_scenes import posed_scenes
from acceptance.scenes import Scene
from acceptance.unposed_scenes import unposed_scenes
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.config import Config, VerificationConfig
from hfnet_ros.errors import MappingError
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import Frame


@dataclass(frozen=True)
class Row:
    """What became of one query.

    Attributes:
        scene: whose map was asked.
        place: scenes of one place are left out together.
        kind: of query.
        name: of the image.
        is_answerable: whether a refusal is a loss.
        is_answered: whether a pose came back.
        is_wrong: whether that pose is wrong; False without one.
        scores: of verification; empty where there was no pose to judge.
        reason: why there is no pose.
    """

    scene: str
    place: str
    kind: str
    name: str
    is_answerable: bool
    is_answered: bool
    is_wrong: bool
    scores: dict[str, float]
    reason: str


def all_scenes() -> list[Scene]:
    """Return the scenes, those that take longest first."""
    return [*unposed_scenes(), *posed_scenes(), *generated_scenes()]


def scenes_called(names: Sequence[str]) -> list[Scene]:
    return [scene for scene in all_scenes() if scene.name in names]


def without_limits(config: Config) -> Config:
    """Return the parameters with which every pose that was found is given."""
    everything = VerificationConfig(
        max_false_probability=1.0,
        min_inliers=4,
        min_evidence=-np.inf,
        max_rival_ratio=np.inf,
        min_lead_over_rival=-np.inf,
        max_twin_ratio=np.inf,
        max_rematch_ratio=np.inf,
        max_mirror_ratio=np.inf,
        max_focal_change=np.inf,
        min_seen_of_flat=0.0,
        max_translation_sigma_m=np.inf,
        max_rotation_sigma_deg=np.inf,
    )
    return dataclasses.replace(config, verification=everything)


def gather(workspace: Workspace, name: str, among: Sequence[str]) -> str:
    """Map a scene, ask it everything without limits, and keep the rows; return a line about it."""
    scenes = scenes_called(among)
    scene = next(scene for scene in scenes if scene.name == name)
    extractor, started = RememberingExtractor(workspace), time.perf_counter()
    path = workspace.map_path(name)
    if not (workspace.keeps_maps and path.exists()):
        try:
            save_map(scene.build(workspace, extractor), path)
        except MappingError as error:
            store(workspace, name, [])
            return f"{name}: not mapped, and left out: {error}"
    visual_map = load_map(path)
    built_s = time.perf_counter() - started
    rows = ask(workspace, scene, scenes, without_limits(workspace.config), extractor)
    store(workspace, name, rows)
    tested = visual_map.consistency.num_keyframes
    return (
        f"{name}: {visual_map.num_keyframes} keyframes, {visual_map.num_landmarks} landmarks, self-test by {tested} "
        f"({built_s:.0f} s); {len(rows)} queries ({time.perf_counter() - started - built_s:.0f} s)"
    )


def ask(
    workspace: Workspace,
    scene: Scene,
    scenes: Sequence[Scene],
    config: Config,
    extractor: RememberingExtractor,
) -> list[Row]:
    """Localize all queries of a scene in its stored map."""
    visual_map = load_map(workspace.map_path(scene.name))
    own = list(scene.asks(workspace, visual_map))
    asked = [*own, *adversaries(workspace, scene, own, scenes)]
    asked = [query for row, query in enumerate(asked) if query.is_answerable or row % workspace.thin == 0]
    return ask_all(scene, asked, visual_map, config, extractor)


def ask_all(
    scene: Scene, asked: Sequence[Ask], visual_map: VisualMap, config: Config, extractor: RememberingExtractor
) -> list[Row]:
    """Localize queries in a map of a scene."""
    localizer = Localizer(visual_map, extractor, config)
    return [_row(scene, query, localizer) for query in asked]


def _row(scene: Scene, query: Ask, localizer: Localizer) -> Row:
    answer = localizer.localize(Frame(0, query.read(), query.camera))
    found = answer.estimate is not None
    return Row(
        scene.name,
        scene.place,
        query.kind,
        query.name,
        query.is_answerable,
        found,
        answer.estimate is not None and query.is_wrong(answer.estimate.map_from_camera),
        {name: float(value) for name, value in answer.evidence.scores.items()},
        "" if found else answer.evidence.reason,
    )


def store(workspace: Workspace, name: str, rows: Sequence[Row]) -> None:
    values: list[dict[str, Any]] = [dataclasses.asdict(row) for row in rows]
    workspace.rows_path(name).write_text(json.dumps(values, indent=0))


def stored(workspace: Workspace, name: str) -> list[Row]:
    return [Row(**values) for values in json.loads(workspace.rows_path(name).read_text())]
