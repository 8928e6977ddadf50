import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.status import map_info_message, status_message, worst_sigmas
from hfnet_ros.types import (
    Answer,
    Belief,
    CameraView,
    Correspondences,
    Evidence,
    GateDecision,
    ImageCounters,
    Localization,
    Outcome,
    Place,
    PoseEstimate,
    Relocalization,
    Search,
    Tracking,
    TrackingState,
    Verdict,
    ViewShare,
)

TYPE = "hfnet_ros/msg/RelocalizationStatus"
COVARIANCE = np.diag([0.01, 0.04, 0.0025, 1e-4, 4e-4, 9e-4])


def localized(rmse=1.25) -> Localization:
    estimate = PoseEstimate(Rigid3.identity(), COVARIANCE, np.array([True, True, False]), rmse)
    matches = Correspondences(
        np.zeros((3, 2)), np.zeros((3, 3)), np.arange(3), np.arange(3), np.ones(3, np.float32)
    )
    return Localization(
        stamp_ns=12_000_000_034,
        outcome=Outcome.LOCALIZED,
        estimate=estimate,
        place=Place((4, 2), 0.75, 1.25),
        evidence=Evidence(100, 3, 2, "2 inliers, needed 1", {"false_probability": 0.0625}),
        timings_s={"extract": 0.01, "retrieve": 0.02, "match": 0.03, "pose": 0.04, "total": 0.1},
        correspondences=matches,
        search=Search.PRIOR,
    )


def lost() -> Localization:
    evidence = Evidence(90, 5, 0, "5 matches, needed 12")
    return Localization(7, Outcome.TOO_FEW_MATCHES, None, None, evidence, {"extract": 0.01, "total": 0.02})


def relocalization(localization, **changes) -> Relocalization:
    decision = GateDecision(Verdict.ACCEPTED, "3.5 below 22.5", 3.5, 22.5, np.arange(6) * 0.1, 6)
    fields = {
        "localization": localization,
        "decision": decision if localization.estimate else None,
        "map_from_base": Rigid3.identity() if localization.estimate else None,
        "base_covariance": COVARIANCE if localization.estimate else None,
        "state": TrackingState.TRACKING,
        "belief": Belief(12_000_000_034, Rigid3.identity(), COVARIANCE, None),
        "age_s": 0.5,
        "distance_m": 0.25,
    }
    return Relocalization(**{**fields, **changes})


def answer(result, **changes) -> Answer:
    fields = {
        "stamp_ns": 12_000_000_034,
        "relocalization": result,
        "error": "",
        "camera_frame_id": "camera",
        "wait_s": 0.001,
        "decode_s": 0.002,
        "gate_s": 0.003,
        "total_s": 0.2,
        "counters": ImageCounters(9, 4, 5),
        "frame": None,
    }
    return Answer(**{**fields, **changes})


def status_of(factory, result, prior_frame="000017.jpg", **changes):
    return status_message(factory, answer(result, **changes), map_frame="map", prior_frame=prior_frame)


def over_the_wire(factory, status):
    return factory.deserialize(factory.serialize(status, TYPE), TYPE)


def numbers_of(message) -> dict[str, float]:
    found = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}": number for name, number in numbers_of(value).items()}
        elif isinstance(value, (float, np.ndarray)):
            found |= {f"{field.name}{index}": float(item) for index, item in enumerate(np.ravel(value))}
    return found


def test_every_field_of_a_localized_image(factory):
    status = over_the_wire(factory, status_of(factory, relocalization(localized())))
    assert (status.header.stamp.sec, status.header.stamp.nanosec, status.header.frame_id) == (12, 34, "map")
    assert (status.outcome, status.verdict, status.state) == ("LOCALIZED", "ACCEPTED", "TRACKING")
    assert (status.reason, status.search, status.relocated) == ("3.5 below 22.5", "prior", False)
    assert (status.num_keypoints, status.num_matches, status.num_inliers) == (100, 3, 2)
    assert (status.reprojection_rmse_px, status.similarity, status.prior_frame) == (1.25, 0.75, "000017.jpg")
    assert status.false_probability == 0.0625
    assert (status.mahalanobis_sq, status.gate_threshold, status.gate_dof) == (3.5, 22.5, 6)
    np.testing.assert_allclose(status.innovation, np.arange(6) * 0.1)
    assert (status.age, status.distance) == (0.5, 0.25)
    assert (status.position_sigma, status.rotation_sigma) == pytest.approx((0.2, 0.03))
    assert (status.num_received, status.num_superseded, status.num_processed) == (9, 4, 5)
    timings = status.timings
    assert (timings.wait, timings.decode, timings.gate) == (0.001, 0.002, 0.003)
    assert (timings.extract, timings.retrieve, timings.match, timings.pose) == (0.01, 0.02, 0.03, 0.04)
    assert timings.total == 0.2  # the node's, which includes the localizer's


def test_an_image_without_a_pose(factory):
    result = relocalization(lost(), state=TrackingState.LOST, belief=None, age_s=None, distance_m=None)
    status = status_of(factory, result, prior_frame="")
    assert (status.outcome, status.verdict, status.state) == ("TOO_FEW_MATCHES", "", "LOST")
    assert status.reason == "5 matches, needed 12"
    assert status.false_probability == -1.0
    assert (status.age, status.distance, status.position_sigma, status.rotation_sigma) == (-1, -1, -1, -1)
    assert (status.reprojection_rmse_px, status.similarity, status.mahalanobis_sq, status.gate_dof) == (
        0,
        0,
        0,
        0,
    )
    assert not status.innovation.any()


def test_an_image_that_could_not_be_used(factory):
    belief = Belief(5, Rigid3.identity(), COVARIANCE, None)
    known = Tracking(TrackingState.STALE, belief, age_s=3.0)
    status = status_of(factory, None, prior_frame="", error="encoding 'x' is unknown", tracking=known)
    assert (status.outcome, status.verdict, status.reason) == ("BAD_INPUT", "", "encoding 'x' is unknown")
    assert (status.state, status.age, status.distance) == ("STALE", 3.0, -1.0)
    assert status.position_sigma == pytest.approx(0.2)
    assert status.timings.decode == 0.002


def test_a_fix_that_was_rejected(factory):
    decision = GateDecision(Verdict.REJECTED_INNOVATION, "99 above 22.5", 99.0, 22.5, np.ones(6), 6)
    status = status_of(factory, relocalization(localized(), decision=decision, relocated=True))
    assert (status.outcome, status.verdict, status.reason) == (
        "LOCALIZED",
        "REJECTED_INNOVATION",
        "99 above 22.5",
    )
    assert status.relocated is True


def test_a_verdict_without_prediction(factory):
    result = relocalization(localized(), decision=GateDecision(Verdict.NO_ODOMETRY, "none at that time"))
    status = status_of(factory, result)
    assert (status.mahalanobis_sq, status.gate_threshold, status.gate_dof) == (0.0, 0.0, 0)
    assert not status.innovation.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_every_number_is_finite(factory, bad):
    decision = GateDecision(Verdict.REJECTED_INNOVATION, "", bad, bad, np.full(6, bad), 6)
    belief = Belief(5, Rigid3.identity(), np.full((6, 6), bad), None)
    result = relocalization(localized(rmse=bad), decision=decision, belief=belief, age_s=bad, distance_m=bad)
    status = over_the_wire(factory, status_of(factory, result, wait_s=bad, total_s=bad))
    numbers = numbers_of(status)
    assert {"mahalanobis_sq0", "innovation5", "timings.wait0"} <= set(numbers)
    assert [name for name, value in numbers.items() if not np.isfinite(value)] == []
    assert (status.mahalanobis_sq, status.gate_threshold, status.reprojection_rmse_px) == (-1, -1, -1)
    assert (status.timings.wait, status.age, status.position_sigma) == (-1, -1, -1)
    assert not status.innovation.any()


def test_words_are_those_of_the_message_definition(factory):
    constants = {name for name, kind, _ in factory.store.fielddefs[TYPE][0] if kind == "string"}
    words = {word.value for kind in (Outcome, Verdict, TrackingState) for word in kind}
    assert constants == words | {"BAD_INPUT", "NOT_READY"}


def test_the_worst_direction_counts():
    turn = Rigid3.from_rotvec([0.3, -0.5, 0.9], np.zeros(3)).rotation
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = turn @ np.diag([0.01, 0.01, 0.09]) @ turn.T
    covariance[3:, 3:] = turn @ np.diag([1e-4, 4e-4, 1e-4]) @ turn.T
    assert worst_sigmas(covariance) == pytest.approx((0.3, 0.02))
    assert worst_sigmas(None) is None


def test_map_info(factory):
    message = map_info_message(
        factory,
        path="/maps/office",
        frame_id="map",
        extractor_id="xfeat-1",
        digest="ab",
        num_keyframes=10,
        num_landmarks=1000,
        extent_min=np.array([-1.0, -2.0, -3.0]).tolist(),
        extent_max=[1.0, 2.0, 3.0],
        residual_px=float("nan"),
    )
    received = factory.deserialize(
        factory.serialize(message, "hfnet_ros/msg/MapInfo"), "hfnet_ros/msg/MapInfo"
    )
    assert (received.path, received.frame_id, received.extractor_id) == ("/maps/office", "map", "xfeat-1")
    assert (received.num_keyframes, received.num_landmarks, received.digest) == (10, 1000, "ab")
    assert (received.extent_min.y, received.extent_max.z) == (-2.0, 3.0)
    assert received.residual_px == -1.0


def test_doubts_stand_behind_the_reason_whatever_the_outcome(factory):
    for localization, reason in ((localized(), "3.5 below 22.5"), (lost(), "5 matches, needed 12")):
        result = relocalization(localization, warnings=("the lens looks up", "K is odd"))
        assert status_of(factory, result).reason == f"{reason}; warning: the lens looks up; warning: K is odd"


def test_each_camera_of_several_has_its_share(factory, frame_at):
    shares = (ViewShare(100, 40, 30), ViewShare(80, 0, 0, "none of 80 keypoints was matched in the map"))
    found = dataclasses.replace(localized(), views=shares)
    views = (
        CameraView("front", frame_at(12_000_000_034), view_idx=0),
        CameraView("left", frame_at(12_010_000_034), problem="frozen: it repeats itself"),
        CameraView("right", frame_at(11_995_000_034), view_idx=1),
        CameraView("rear", problem="no image of this time has come", is_missing=True),
    )
    status = over_the_wire(factory, status_of(factory, relocalization(found), views=views))
    assert [view.camera for view in status.views] == ["front", "left", "right", "rear"]
    assert [view.num_inliers for view in status.views] == [30, 0, 0, 0]
    assert [view.num_keypoints for view in status.views] == [100, 0, 80, 0]
    assert [view.offset for view in status.views] == pytest.approx([0.0, 0.01, -0.005, 0.0])
    assert [view.problem for view in status.views] == [
        "",
        views[1].problem,
        shares[1].problem,
        views[3].problem,
    ]


def test_one_camera_has_no_share(factory, frame_at):
    found = dataclasses.replace(localized(), views=(ViewShare(100, 40, 30),))
    views = (CameraView(frame=frame_at(1), view_idx=0),)
    assert len(status_of(factory, relocalization(found), views=views).views) == 0
