"""How much may be believed of what a learned matcher answers where nearest neighbours found no pose?

    export HFNET_ROS_WEIGHTS=weights    # the folder of xfeat.pt and lighterglue_L3.onnx
    python bench/learned_doubt.py --cache /tmp/doubt --seeds 100 101 102 103 104 105 106 107 108 109 110 111

Matches that a network agrees on lie as a scene does even where they are wrong: they carry more evidence against
chance than wrong ones of descriptors. In generated apartments, of whose mapping walk every 18th image is mapped, views
aside of the walk and those of another apartment are asked with the acceptance test off, where `nearest` refuses.
Fitted is what is added to the log odds of `false_probability_model.FITTED`: a constant and a weight of the evidence.
The last lines say, each apartment judged by the others, what limits would let through. A minute each on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from matching import SETS, Asked, map_of, off_by
from scipy.optimize import minimize

from hfnet_ros.config import Config
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.pose.false_probability_model import FITTED
from hfnet_ros.types import Frame

WRONG_M, WRONG_DEG = 0.5, 10.0
MOST_EVIDENCE = 120.0
LIMITS = (0.05, 0.1, 0.125, 0.25)
_OFF = {"max_false_probability": 1.0, "max_rival_ratio": 1.0, "max_twin_ratio": 1.0, "max_rematch_ratio": 1.0}
_LOWEST = {"min_evidence": 0.0, "min_lead_over_rival": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for maps and answers")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="apartments")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in options.seeds for row in _rows(seed, options.cache)]
    kept = [row for row in rows if row.get("valid") and _passes(row["scores"])]
    is_wrong = np.array([not (row["off"][0] <= WRONG_M and row["off"][1] <= WRONG_DEG) for row in kept])
    seeds = np.array([row["seed"] for row in kept])
    before = np.array([_log_odds(FITTED.probability(row["scores"])) for row in kept])
    evidence = np.array([row["scores"]["evidence"] for row in kept])
    features = np.stack([np.ones(len(kept)), np.log(MOST_EVIDENCE / np.minimum(evidence, MOST_EVIDENCE))], 1)
    print(f"{len(kept)} answers, {is_wrong.sum()} wrong; fitted: {_fit(before, features, is_wrong).round(4)}")
    judged = np.empty(len(kept))
    for seed in set(seeds):
        others = seeds != seed
        weights = _fit(before[others], features[others], is_wrong[others])
        judged[seeds == seed] = (before + features @ weights)[seeds == seed]
    print("limit   right given, wrong given: as it was | both")
    for limit in LIMITS:
        for_one, for_both = before <= _log_odds(limit), np.maximum(before, judged) <= _log_odds(limit)
        counts = [
            np.count_nonzero(given & (is_wrong == wrong)) for given in (for_one, for_both) for wrong in (0, 1)
        ]
        print(f"{limit:5.3f}   {counts[0]:4d} {counts[1]:4d} | {counts[2]:4d} {counts[3]:4d}")


def _rows(seed: int, cache: Path) -> list[dict[str, Any]]:
    """Return what became of the queries of one apartment; asked once."""
    path = cache / f"{seed}.json"
    if not path.exists():
        own = _asked(seed)
        visual_map = map_of(
            own.source, argparse.Namespace(seed=seed, build="nearest", cache=cache), "aside-18"
        )
        rows = _ask(LandmarkModel(visual_map), own, seed, is_there=True)
        rows += _ask(LandmarkModel(visual_map), _asked(seed + 1), seed, is_there=False)
        path.write_text(json.dumps(rows))
    return json.loads(path.read_text())


def _asked(seed: int) -> Asked:
    return SETS["aside-18"](argparse.Namespace(seed=seed))


def _ask(model: LandmarkModel, asked: Asked, seed: int, *, is_there: bool) -> list[dict[str, Any]]:
    nearest = model.configured(Config())
    learned = model.configured(
        Config.from_dict({"matching": {"method": "learned"}, "retrieval": {"max_turned": 0}})
    )
    verification = dataclasses.replace(learned.verification, **_OFF, **_LOWEST)
    learned = dataclasses.replace(learned, verification=verification)
    size_wh, rows = asked.camera.size_wh, []
    with (
        contextlib.closing(model.open(nearest, size_wh)) as first,
        contextlib.closing(model.open(learned, size_wh)) as second,
    ):
        for image, truth in asked.images:
            frame = Frame(0, image, asked.camera)
            if first.localizer.localize(frame).is_valid:
                continue
            answer = second.localizer.localize(frame)
            off = off_by(answer, truth if is_there else None)
            scores = {name: float(value) for name, value in answer.evidence.scores.items()}
            rows.append({"seed": seed, "off": off, "valid": answer.is_valid, "scores": scores})
    return rows


def _passes(scores: dict[str, float]) -> bool:
    """Tell whether an answer passes the other limits; the second of two matchers has log10(2) less evidence."""
    limits = Config().verification
    scores["evidence"] -= np.log10(2.0)
    return (
        scores["evidence"] >= limits.min_evidence
        and scores["rival_ratio"] <= limits.max_rival_ratio
        and scores["lead_over_rival"] >= limits.min_lead_over_rival
        and scores["twin_ratio"] <= limits.max_twin_ratio
        and scores["rematch_ratio"] <= limits.max_rematch_ratio
    )


def _fit(before: np.ndarray, features: np.ndarray, is_wrong: np.ndarray) -> np.ndarray:
    sign = np.where(is_wrong, -1.0, 1.0)

    def loss(weights: np.ndarray) -> float:
        odds = before + features @ weights
        return float(np.logaddexp(0.0, sign * odds).sum() + 0.05 * weights @ weights)

    return minimize(loss, np.zeros(2)).x


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))


if __name__ == "__main__":
    main()
