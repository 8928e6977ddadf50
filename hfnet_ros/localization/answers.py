"""What becomes of the answers of several places and views: one answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hfnet_ros.config import VerificationConfig
from hfnet_ros.features.preprocess import describe_flatness
from hfnet_ros.pose.flatness import FLAT
from hfnet_ros.pose.verification import doubt_of, with_false_probability
from hfnet_ros.types import (
    Correspondences,
    Evidence,
    ImageFeatures,
    Localization,
    Outcome,
    Place,
    Search,
    View,
    ViewShare,
)

DOUBTED = "its camera is not proven right, and no other view agrees with it now"


def merge_views(matches: Sequence[Correspondences]) -> Correspondences:
    """Return the matches of all views as one, most similar first; those of one view as they are."""
    if len(matches) == 1:
        return matches[0]
    return join_matches(
        *(
            dataclasses.replace(of_view, view_idxs=np.full(len(of_view), view_idx))
            for view_idx, of_view in enumerate(matches)
        )
    )


def join_matches(*matches: Correspondences) -> Correspondences:
    """Return matches of a query as one, most similar first."""
    joined = Correspondences(
        np.concatenate([some.points2d for some in matches]),
        np.concatenate([some.points3d for some in matches]),
        np.concatenate([some.keypoint_idxs for some in matches]),
        np.concatenate([some.landmark_idxs for some in matches]),
        np.concatenate([some.similarity for some in matches]),
        np.concatenate([some.views for some in matches]),
    )
    return joined.chosen(np.argsort(-joined.similarity, kind="stable"))


def better(best: Localization | None, answer: Localization, place: Place, search: Search) -> Localization:
    """Return the answer of a place, if it came further than the best one so far."""
    if best is not None and best.rank >= answer.rank:
        return best
    return dataclasses.replace(answer, place=place, search=search)


def with_second_look(
    answer: Localization,
    measured: Mapping[str, float],
    limits: VerificationConfig,
    num_tried: int = 1,
    elsewhere: str = "",
) -> Localization:
    """Note what was measured with a pose in the map, and refuse it if that makes it too likely wrong.

    Args:
        answer: a valid one.
        measured: `rematch_ratio`, the score of the inliers elsewhere over their own, `seen_share` and `flat_share`, see
            there; of each only if there was something to measure it by.
        limits: of that ratio, of what is seen of something flat, and of the probability that the answer is wrong.
        num_tried: ways in which an answer was sought; each may be wrong with its share of that probability, or a
            query that is asked until there is no doubt would be wrong more often than `limits` says.
        elsewhere: where the inliers fit, too, to be put into a sentence; nothing where that has no name.
    """
    limits = dataclasses.replace(limits, max_false_probability=limits.max_false_probability / num_tried)
    scores = with_false_probability({**answer.evidence.scores, **measured})
    ratio, most = scores.get("rematch_ratio", 0.0), limits.max_rematch_ratio
    if ratio > most:
        doubt = f"the inliers fit another place{elsewhere} {ratio:.2f} times as well, {most:.2f} allowed"
    elif scores.get("flat_share", 0.0) > FLAT and scores["seen_share"] < limits.min_seen_of_flat:
        # Geometry cannot tell a flat scene from a picture of it; but a picture ends where the scene goes on.
        doubt = (
            f"a share of {scores['flat_share']:.2f} of what is seen lies in one plane, and of what should be seen from "
            f"there only a share of {scores['seen_share']:.2f} is, {limits.min_seen_of_flat:.2f} needed: it may be a "
            "picture of the place"
        )
    else:
        doubt = doubt_of(scores, limits)
    scored = dataclasses.replace(answer, evidence=dataclasses.replace(answer.evidence, scores=scores))
    return scored.refused(doubt) if doubt else scored


def with_mirrored(answer: Localization, mirrored: Localization, limits: VerificationConfig) -> Localization:
    """Note how much of the map the mirrored images explain, over what a valid answer does; refuse it if that is more.

    Args:
        answer: of the images.
        mirrored: of the same images as a mirror shows them.
        limits: of that ratio.
    """
    evidence = answer.evidence
    ratio = mirrored.evidence.score / max(evidence.score, 1e-9)
    scored = dataclasses.replace(
        answer, evidence=dataclasses.replace(evidence, scores={**evidence.scores, "mirror_ratio": ratio})
    )
    if ratio <= limits.max_mirror_ratio:
        return scored
    most = limits.max_mirror_ratio
    return scored.refused(
        f"the image explains the map {ratio:.2f} times as well when it is mirrored, {most:.2f} allowed: it shows the "
        "place in a mirror, or its camera flips images"
    )


def without_doubted(answer: Localization, doubted: frozenset[int]) -> Localization:
    """Return a valid answer without its pose where only a doubted view sees the map; its share keeps what it says."""
    seeing = [view_idx for view_idx, share in enumerate(answer.views) if share.agrees]
    if len(seeing) != 1 or seeing[0] not in doubted:
        return answer
    (seer,) = seeing
    return answer.kept_back(seer, DOUBTED, f"view {seer} alone sees the map: {DOUBTED}")


def conclude(
    best: Localization | None,
    stamp_ns: int,
    features: Sequence[ImageFeatures],
    timings_s: Mapping[str, float],
) -> Localization:
    """Return the one answer of a query: that of the best place, or why no place was asked."""
    num_keypoints = sum(len(view.local) for view in features)
    if best is None:
        outcome = Outcome.NO_FEATURES if num_keypoints == 0 else Outcome.NO_CANDIDATES
        reason = "no keypoint found" if num_keypoints == 0 else "the map has no keyframe to compare with"
        best = Localization(stamp_ns, outcome, None, None, Evidence(reason=reason), {})
    return dataclasses.replace(
        best,
        stamp_ns=stamp_ns,
        evidence=dataclasses.replace(best.evidence, num_keypoints=num_keypoints),
        timings_s=timings_s,
        views=_with_keypoints(best, features),
    )


def _with_keypoints(best: Localization, features: Sequence[ImageFeatures]) -> tuple[ViewShare, ...]:
    """Return the share of each view with its keypoints, and why it brought nothing if it did not."""
    shares = best.views or (ViewShare(),) * len(features)
    return tuple(
        dataclasses.replace(
            share,
            num_keypoints=len(view.local),
            problem=share.problem or _why_nothing(share, len(view.local), best),
        )
        for share, view in zip(shares, features, strict=True)
    )


def _why_nothing(share: ViewShare, num_keypoints: int, answer: Localization) -> str:
    if num_keypoints == 0 and share.num_matches == 0:
        return "no keypoint found"
    if share.num_matches == 0:
        where = "in the map" if answer.place is None else "where the other views are"
        return f"none of {num_keypoints} keypoints was matched {where}"
    if answer.is_valid and share.num_inliers == 0:
        return f"none of {share.num_matches} matches fits the pose of the other views"
    return ""


def with_flatness_named(answer: Localization, views: Sequence[View]) -> Localization:
    """Return a refusal that says, too, if an image had next to no contrast."""
    found = (describe_flatness(view.image) for view in views if view.image is not None)
    reason = "; ".join(dict.fromkeys([answer.evidence.reason, *filter(None, found)]))
    return dataclasses.replace(answer, evidence=dataclasses.replace(answer.evidence, reason=reason))


def with_dark_views_named(answer: Localization, views: Sequence[View]) -> Localization:
    """Return an answer whose views that brought nothing say, too, if their image had next to no contrast."""
    shares = tuple(
        share
        if not share.problem or view.image is None or not (flat := describe_flatness(view.image))
        else dataclasses.replace(share, problem=f"{share.problem}; {flat}")
        for share, view in zip(answer.views, views, strict=True)
    )
    return dataclasses.replace(answer, views=shares)


def better_version(best: Localization | None, answer: Localization, turn_rad: float) -> Localization:
    """Return the answer for a query turned by an angle, if it came further than the best one so far."""
    if best is not None and best.rank >= answer.rank:
        return best
    return dataclasses.replace(answer, turn_rad=turn_rad)
