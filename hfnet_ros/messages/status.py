"""RelocalizationStatus and MapInfo from the records of this package.

Every number of a status is finite: what is absent has the value its message definition names (0 or
-1), and what is not finite is published as -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.poses import pose_to_message
from hfnet_ros.types import Answer, CameraView, GateDecision, Relocalization, Tracking, ViewShare

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory

BAD_INPUT = "BAD_INPUT"
NOT_READY = "NOT_READY"
_STAGES = ("wait", "decode", "extract", "retrieve", "match", "pose", "gate", "total")
_NOT_FINITE = -1.0


def status_message(factory: MessageFactory, answer: Answer, *, map_frame: str, prior_frame: str = "") -> Any:
    """Return a hfnet_ros/RelocalizationStatus.

    Args:
        factory: makes messages.
        answer: what became of an image. The node's total time stands in it, not the localizer's.
        map_frame: name of the map's frame.
        prior_frame: file name of the best prior frame; empty without one.
    """
    result, counters = answer.relocalization, answer.counters
    timings = {
        **(result.localization.timings_s if result else {}),
        "wait": answer.wait_s,
        "decode": answer.decode_s,
        "gate": answer.gate_s,
        "total": answer.total_s,
    }
    stages = {stage: _finite(timings.get(stage), 0.0) for stage in _STAGES}
    return factory.make(
        "hfnet_ros/msg/RelocalizationStatus",
        header=header_to_message(factory, answer.stamp_ns, map_frame),
        prior_frame=prior_frame,
        num_received=counters.num_received,
        num_superseded=counters.num_superseded,
        num_processed=counters.num_processed,
        timings=factory.make("hfnet_ros/msg/StageTimings", **stages),
        outcome=outcome_word(answer),
        **(_outcome_fields(result) if result else {"reason": answer.error}),
        fix=_fix(factory, result) if result else [],
        **_gate_fields(result.decision if result else None),
        **_position_fields(result or answer.tracking or Tracking()),
        views=[_view(factory, answer, view) for view in answer.views if view.camera],
    )


def reason_of(result: Relocalization) -> str:
    """Return why an image ended as it did, and what is doubtful whatever the end."""
    decision = result.decision
    reason = decision.reason if decision is not None else result.localization.evidence.reason
    return "; warning: ".join([reason, *result.warnings])


def outcome_word(answer: Answer) -> str:
    """Return the outcome of an image: the localizer's, or why it was not asked."""
    if answer.relocalization is not None:
        return answer.relocalization.localization.outcome.value
    return NOT_READY if answer.is_refused else BAD_INPUT


def share_of(answer: Answer, view: CameraView) -> ViewShare:
    """Return what one camera brought to an answer; why not may be known without the localizer."""
    asked = answer.relocalization.localization.views if answer.relocalization is not None else ()
    is_asked = view.view_idx is not None and view.view_idx < len(asked)
    share = asked[view.view_idx or 0] if is_asked else ViewShare()
    return replace(share, problem=view.problem or share.problem)


def map_info_message(
    factory: MessageFactory,
    *,
    path: str,
    frame_id: str,
    extractor_id: str,
    digest: str,
    num_keyframes: int,
    num_landmarks: int,
    extent_min: Sequence[float],
    extent_max: Sequence[float],
    residual_px: float,
) -> Any:
    """Return a hfnet_ros/MapInfo; extents are [3] m, the keyframes' smallest and largest coordinates."""
    corners = [
        factory.make("geometry_msgs/msg/Point", x=_finite(x, 0.0), y=_finite(y, 0.0), z=_finite(z, 0.0))
        for x, y, z in (extent_min, extent_max)
    ]
    return factory.make(
        "hfnet_ros/msg/MapInfo",
        path=path,
        frame_id=frame_id,
        extractor_id=extractor_id,
        digest=digest,
        num_keyframes=num_keyframes,
        num_landmarks=num_landmarks,
        extent_min=corners[0],
        extent_max=corners[1],
        residual_px=_finite(residual_px, 0.0),
    )


def worst_sigmas(covariance: NDArray[np.float64] | None) -> tuple[float, float] | None:
    """Return the largest standard deviations of position (m) and orientation (rad) of [6, 6]."""
    if covariance is None or not np.isfinite(covariance).all():
        return None
    blocks = np.stack([covariance[:3, :3], covariance[3:, 3:]])
    position, rotation = np.sqrt(np.maximum(np.linalg.eigvalsh(blocks)[:, -1], 0.0)).tolist()
    return position, rotation


def _view(factory: MessageFactory, answer: Answer, view: CameraView) -> Any:
    share = share_of(answer, view)
    return factory.make(
        "hfnet_ros/msg/ViewShare",
        camera=view.camera,
        offset=0.0 if view.frame is None else 1e-9 * (view.frame.stamp_ns - answer.stamp_ns),
        num_keypoints=share.num_keypoints,
        num_matches=share.num_matches,
        num_inliers=share.num_inliers,
        problem=share.problem,
    )


def _outcome_fields(result: Relocalization) -> dict[str, Any]:
    localization, decision = result.localization, result.decision
    evidence, estimate, place = localization.evidence, localization.estimate, localization.place
    return {
        "verdict": decision.verdict.value if decision else "",
        "reason": reason_of(result),
        "search": localization.search.value,
        "relocated": bool(result.relocated),
        "num_keypoints": int(evidence.num_keypoints),
        "num_matches": int(evidence.num_matches),
        "num_inliers": int(evidence.num_inliers),
        "reprojection_rmse_px": _finite(estimate.reprojection_rmse_px if estimate else None, 0.0),
        "false_probability": _finite(evidence.false_probability, -1.0),
        "similarity": _finite(place.similarity if place else None, 0.0),
    }


def _fix(factory: MessageFactory, result: Relocalization) -> list[Any]:
    pose, covariance = result.map_from_base, result.base_covariance
    if pose is None or covariance is None or not np.isfinite(covariance).all():
        return []
    return [
        factory.make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=pose_to_message(factory, pose),
            covariance=np.array(covariance, np.float64).reshape(36),
        )
    ]


def _gate_fields(decision: GateDecision | None) -> dict[str, Any]:
    if decision is None:
        return {}
    fields: dict[str, Any] = {
        "mahalanobis_sq": _finite(decision.mahalanobis_sq, 0.0),
        "gate_threshold": _finite(decision.threshold, 0.0),
        "gate_dof": int(decision.dof),
    }
    innovation = decision.innovation
    if innovation is not None and np.isfinite(innovation).all():
        fields["innovation"] = np.array(innovation, np.float64)
    return fields


def _position_fields(known: Relocalization | Tracking) -> dict[str, Any]:
    sigmas = worst_sigmas(known.belief.covariance if known.belief else None) or (-1.0, -1.0)
    return {
        "state": known.state.value,
        "age": _finite(known.age_s, -1.0),
        "distance": _finite(known.distance_m, -1.0),
        "position_sigma": sigmas[0],
        "rotation_sigma": sigmas[1],
    }


def _finite(value: float | None, absent: float) -> float:
    if value is None:
        return absent
    return float(value) if math.isfinite(value) else _NOT_FINITE
