"""How much may be believed of what a scene-coordinate network answers alone?

    export HFNET_ROS_WEIGHTS=weights
    python bench/scene_doubt.py --data ../shared/data --cache /tmp/scene --sets walk-6@61 aside-6@61 walk-6@62 \\
        aside-6@62 euroc-1 --elsewhere aside-6@63 walk-6@62 walk-6@61

Asks the networks of bench/scene_coordinates.py (the same cache) with the acceptance test off: images of their own
scene, and of other generated apartments. Fits the probability that a pose is wrong (0.5 m or 10 deg) to the evidence
and the lead over other poses, and says what limits would let through, each scene judged by the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from matching import Asked, off_by
from scene_sets import asked_of, map_with_scene
from scipy.optimize import minimize

from hfnet_ros.config import Config
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.pose.scene_doubt import FITTED
from hfnet_ros.types import Frame

_LIMITS = (0.05, 0.1, 0.25)
_OFF = {
    "localization": {"method": "scene"},
    "retrieval": {"max_turned": 0},
    "verification": {
        "max_false_probability": 1.0,
        "max_rematch_ratio": 1.0,
        "min_evidence": 0.0,
        "max_translation_sigma_m": 5.0,
        "max_rotation_sigma_deg": 60.0,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", required=True, help="whose networks are asked")
    parser.add_argument(
        "--elsewhere", nargs="*", default=[], help="images that have no place in others' scenes"
    )
    options = parser.parse_args()
    rows = [row for name in options.sets for row in _rows(name, options)]
    is_wrong = np.array([not (row["off"][0] <= 0.5 and row["off"][1] <= 10.0) for row in rows])
    is_right = np.array([row["off"][0] <= 0.25 and row["off"][1] <= 5.0 for row in rows])
    scenes = np.array([row["scene"] for row in rows])
    features = np.array(
        [[1.0] + [term.badness(row["scores"][term.score]) for term in FITTED.terms[:2]] for row in rows]
    )
    print(f"{len(rows)} answers, {is_wrong.sum()} wrong; fitted: {_fit(features, is_wrong).round(2)}")
    odds = np.empty(len(rows))
    for scene in set(scenes):
        odds[scenes == scene] = features[scenes == scene] @ _fit(
            features[scenes != scene], is_wrong[scenes != scene]
        )
    print("limit   right given of all right, wrong given")
    for limit in _LIMITS:
        given = odds <= np.log(limit / (1.0 - limit))
        print(f"{limit:5.2f}   {(given & is_right).sum()} of {is_right.sum()}, {(given & is_wrong).sum()}")


def _rows(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    path = options.cache / f"doubt-{name}.json"
    if not path.exists():
        own = asked_of(name, options.data)
        model = LandmarkModel(map_with_scene(name, own.source, options.cache, "hfnet", {}))
        scene = name.partition("@")[2] or name
        rows = _ask(model, own, scene, is_there=True)
        for other in options.elsewhere:
            if other.partition("@")[2] != scene:
                rows += _ask(model, asked_of(other, options.data), scene, is_there=False)
        path.write_text(json.dumps(rows))
    return json.loads(path.read_text())


def _ask(model: LandmarkModel, asked: Asked, scene: str, *, is_there: bool) -> list[dict[str, Any]]:
    rows = []
    config = model.configured(Config.from_dict(_OFF))
    with contextlib.closing(model.open(config, asked.camera.size_wh)) as opened:
        for image, truth in asked.images:
            answer = opened.localizer.localize(Frame(0, image, asked.camera))
            if answer.is_valid:
                scores = {name: float(value) for name, value in answer.evidence.scores.items()}
                off = off_by(answer, truth if is_there else None)
                rows.append({"scene": scene, "off": [float(value) for value in off], "scores": scores})
    return rows


def _fit(features: np.ndarray, is_wrong: np.ndarray) -> np.ndarray:
    sign = np.where(is_wrong, -1.0, 1.0)

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0.0, sign * (features @ weights)).sum() + 0.05 * weights[1:] @ weights[1:])

    bounds = [(None, None)] + [(0.0, None)] * (features.shape[1] - 1)
    return minimize(loss, np.zeros(features.shape[1]), bounds=bounds).x


if __name__ == "__main__":
    main()
