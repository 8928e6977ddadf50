import dataclasses
import re
from pathlib import Path

import pytest

from hfnet_ros.messages.diagnostics import diagnostics_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.health import (
    ImageHealth,
    Level,
    LocalizationHealth,
    MapHealth,
    NodeHealth,
    OdometryHealth,
    find,
)
from hfnet_ros.messages.image_health import ViewHealth
from hfnet_ros.types import TrackingState

TYPE = "diagnostic_msgs/msg/DiagnosticArray"
DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnostics.md"
GOOD = NodeHealth(
    hardware_id="camera_optical_frame",
    lifecycle="active",
    localization=LocalizationHealth(
        state=TrackingState.TRACKING,
        outcome="LOCALIZED",
        verdict="ACCEPTED",
        reason="3.1 below 22.5",
        age_s=0.2,
        distance_m=0.1,
        position_sigma_m=0.03,
        rotation_sigma_rad=0.01,
        num_processed=40,
        latency_p50_s=0.05,
        latency_p99_s=0.09,
    ),
    images=(
        ImageHealth(
            topic="/camera/image",
            num_received=100,
            age_s=0.03,
            rate_hz=29.9,
            size_wh=(640, 480),
            camera_info_error="",
            extrinsic_error="",
            superseded_share=0.8,
        ),
    ),
    odometry=OdometryHealth(source="tf", age_s=0.01),
    map=MapHealth(
        path="/maps/office",
        frame_id="map",
        num_keyframes=100,
        num_landmarks=9000,
        residual_px=0.8,
        backend="onnxruntime-cpu",
    ),
)

VIEW = ViewHealth(
    delay_s=0.01, group_share=1.0, num_keypoints=400, num_matches=90, num_inliers=60, problem=""
)
RIG = dataclasses.replace(
    GOOD,
    images=tuple(
        dataclasses.replace(GOOD.images[0], camera=camera, among=VIEW) for camera in ("front", "left")
    ),
)

# What is changed of GOOD, or of RIG, and the keys that then are no longer good.
CASES = [
    ("", {"lifecycle": "inactive"}, {"lifecycle": Level.WARN}),
    ("localization", {"state": TrackingState.STALE}, {"state": Level.WARN}),
    ("localization", {"state": TrackingState.LOST, "verdict": ""}, {"state": Level.ERROR}),
    ("localization", {"state": TrackingState.LOST, "on_demand": True}, {"state": Level.WARN}),
    ("localization", {"state": TrackingState.LOST, "not_ready": "building"}, {"state": Level.WARN}),
    (
        "localization",
        {"state": TrackingState.LOST, "verdict": "AWAITING_AGREEMENT"},
        {"state": Level.WARN, "last verdict": Level.WARN},
    ),
    ("localization", {"verdict": "AWAITING_AGREEMENT"}, {"last verdict": Level.WARN}),
    ("localization", {"verdict": "REJECTED_INNOVATION"}, {"last verdict": Level.WARN}),
    ("localization", {"verdict": "NO_ODOMETRY"}, {"last verdict": Level.WARN}),
    ("localization", {"verdict": "NO_EXTRINSIC"}, {"last verdict": Level.ERROR}),
    ("localization", {"rival": "another node broadcasts map->odom"}, {"map to odom": Level.ERROR}),
    ("localization", {"broadcasts": True}, {}),
    ("localization", {"rejected_in_a_row": 2}, {"not accepted in a row": Level.WARN}),
    ("localization", {"outcome": "TOO_FEW_MATCHES", "verdict": ""}, {}),
    ("images", {"age_s": None}, {"image age (s)": Level.ERROR}),
    ("images", {"age_s": 2.5}, {"image age (s)": Level.ERROR}),
    ("images", {"age_s": float("nan")}, {"image age (s)": Level.ERROR}),
    ("images", {"num_lost": 3, "lost_share": 0.03}, {}),
    ("images", {"num_lost": 3, "lost_share": 0.1}, {"images lost": Level.WARN}),
    ("images", {"last_error": "encoding 'x' is unknown"}, {"last image error": Level.WARN}),
    ("images", {"camera_info_error": "K is all zeros"}, {"camera info": Level.ERROR}),
    ("images", {"doubts": ("the lens looks up",)}, {"doubts": Level.WARN}),
    ("images", {"extrinsic_error": "frame 'camera' is unknown"}, {"camera mounting": Level.ERROR}),
    ("images", {"clock_error": "another clock"}, {"clock": Level.WARN}),
    ("images", {"superseded_share": 1.0}, {}),
    ("images front", {"delay_s": 0.3}, {"delay (s)": Level.WARN}),
    ("images front", {"delay_s": 0.3, "group_share": 0.0}, {"delay (s)": Level.WARN}),
    ("images front", {"delay_s": -5.0}, {"delay (s)": Level.WARN}),
    ("images front", {"delay_s": -0.3}, {"delay (s)": Level.WARN}),
    ("images front", {"delay_s": -0.05}, {}),
    ("images front", {"group_share": 0.4}, {"in groups (share)": Level.WARN}),
    ("images front", {"picture_error": "frozen"}, {"picture": Level.WARN}),
    ("images front", {"contradiction": "contradicts the other views"}, {"contradiction": Level.WARN}),
    ("images front", {"unproven": "cannot be checked: it has not seen anything of the map"}, {}),
    ("images front", {"mounting": "turned by x 0.1 +- 0.2 deg"}, {}),
    (
        "images front",
        {"mounting": "turned by x 2.1 +- 0.2 deg", "is_askew": True},
        {"mounting by views": Level.WARN},
    ),
    ("images front", {"problem": "no keypoint found", "num_keypoints": 0}, {}),
    ("odometry", {"age_s": None}, {"odometry age (s)": Level.WARN}),
    ("odometry", {"age_s": None, "silence": "/odom: nobody publishes it"}, {"odometry age (s)": Level.WARN}),
    ("odometry", {"age_s": 1.5}, {"odometry age (s)": Level.WARN}),
    ("odometry", {"age_s": None, "source": "none"}, {}),
    ("odometry", {"last_error": "pose is not finite"}, {"last odometry error": Level.WARN}),
    ("odometry", {"doubt": "poses jump back and forth"}, {"doubts": Level.WARN}),
    ("map", {"scale_error": "it was built of images alone"}, {"scale": Level.WARN}),
    ("map", {"elsewhere_share": 0.1}, {"self-test elsewhere (share)": Level.WARN}),
    ("map", {"path": ""}, {"map": Level.ERROR}),
    ("map", {"error": "map.json is missing"}, {"last map error": Level.WARN}),
    ("map", {"changed_on_disk": "another map is in its folder now"}, {"map on disk": Level.WARN}),
    ("map", {"engine_progress": "building, 40 %"}, {"engine": Level.WARN}),
    ("map", {"engine_error": "out of memory"}, {"engine": Level.ERROR}),
]


def changed(section: str, changes: dict) -> NodeHealth:
    if not section:
        return dataclasses.replace(GOOD, **changes)
    if section == "images":
        return dataclasses.replace(GOOD, images=(dataclasses.replace(GOOD.images[0], **changes),))
    if section == "images front":
        front, left = RIG.images
        front = dataclasses.replace(front, among=dataclasses.replace(front.among, **changes))
        return dataclasses.replace(RIG, images=(front, left))
    return dataclasses.replace(GOOD, **{section: dataclasses.replace(getattr(GOOD, section), **changes)})


def level_of(status) -> Level:
    return Level(status.level)


def documented() -> dict[str, dict[str, dict[str, str]]]:
    """Return the tables of docs/diagnostics.md: status -> key -> column -> cell, in their order."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    columns: list[str] = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## (relocalizer: \w+(?: NAME)?)", line):
            table = tables.setdefault(heading[1], {})
        elif line.startswith("| key |"):
            columns = [cell.strip() for cell in line.strip("|").split("|")]
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            table[cells[0].strip("`")] = dict(zip(columns, cells, strict=True))
    return tables


def test_a_robot_that_knows_where_it_is(factory):
    message = diagnostics_message(factory, GOOD, stamp_ns=12_000_000_034)
    received = factory.deserialize(factory.serialize(message, TYPE), TYPE)
    assert (received.header.stamp.sec, received.header.stamp.nanosec) == (12, 34)
    assert [status.name for status in received.status] == [
        "relocalizer: localization",
        "relocalizer: images",
        "relocalizer: odometry",
        "relocalizer: map",
    ]
    assert [level_of(status) for status in received.status] == [Level.OK] * 4
    assert received.status[0].message == "localized"
    assert {status.hardware_id for status in received.status} == {"camera_optical_frame"}
    values = {pair.key: pair.value for status in received.status for pair in status.values}
    assert values["rotation sigma (deg)"] == "0.57"
    assert values["size (px)"] == "640x480"
    assert values["latency 99 % (s)"] == "0.0900"
    assert values["camera mounting"] == "known"
    assert values["engine"] == "ready"


@pytest.mark.parametrize(("section", "changes", "expected"), CASES)
def test_what_is_wrong_is_said_and_nothing_else(factory, section, changes, expected):
    health = changed(section, changes)
    findings = find(health)
    not_good = {
        finding.key: finding.level for group in findings.values() for finding in group if finding.level
    }
    assert not_good == expected
    message = diagnostics_message(factory, health, stamp_ns=0)
    name = f"relocalizer: {section or 'localization'}"
    status = next(status for status in message.status if status.name == name)
    assert level_of(status) == max(expected.values(), default=Level.OK)
    sentences = [finding.sentence for group in findings.values() for finding in group if finding.level]
    assert all(sentences)
    worst = max(expected.values(), default=Level.OK)
    for finding in findings[section or "localization"]:
        if finding.level and finding.level is worst:
            assert finding.sentence in status.message


def test_a_lost_robot_is_not_told_why_its_last_fix_was_good(factory):
    changes = {"state": TrackingState.LOST, "reason": "0.1 within 22.5", "age_s": 45.0, "distance_m": 12.0}
    status = diagnostics_message(factory, changed("localization", changes), stamp_ns=0).status[0]
    assert "0.1 within 22.5" not in status.message
    assert "the last fix, 45.0 s ago and 12.0 m back" in status.message


def test_silence_is_explained(factory):
    changes = {"age_s": None, "silence": "/camera/image: nobody publishes it"}
    status = diagnostics_message(factory, changed("images", changes), stamp_ns=0).status[1]
    assert status.message == "no image has come on /camera/image: nobody publishes it"


def test_a_node_that_just_started_says_what_it_lacks(factory):
    message = diagnostics_message(factory, NodeHealth(lifecycle="active"), stamp_ns=0)
    assert [level_of(status) for status in message.status] == [
        Level.ERROR,
        Level.ERROR,
        Level.WARN,
        Level.ERROR,
    ]
    assert "no image has come" in message.status[1].message
    assert "no calibration: none received" in message.status[1].message


def test_an_inactive_node_complains_of_its_map_only(factory):
    message = diagnostics_message(factory, NodeHealth(lifecycle="inactive"), stamp_ns=0)
    assert [level_of(status) for status in message.status] == [Level.WARN, Level.OK, Level.OK, Level.ERROR]
    assert message.status[0].message == "the node is inactive: it localizes when activated"
    assert message.status[1].message == "not active"


def test_the_document_lists_the_keys_in_their_order():
    produced = {
        f"relocalizer: {name}": [finding.key for finding in group] for name, group in find(GOOD).items()
    }
    of_one, of_several = (
        produced["relocalizer: images"],
        [finding.key for finding in find(RIG)["images left"]],
    )
    assert of_several[: len(of_one)] == of_one
    produced["relocalizer: images NAME"] = of_several[len(of_one) :]
    assert {name: list(table) for name, table in documented().items()} == produced


def test_the_document_lists_the_levels_that_occur():
    seen = {Level.WARN: set(), Level.ERROR: set()}
    for section, changes, _ in CASES:
        for name, group in find(changed(section, changes)).items():
            for finding in group:
                if finding.level is not Level.OK:
                    seen[finding.level].add((f"relocalizer: {name.replace('front', 'NAME')}", finding.key))
    for level, keys in seen.items():
        column = f"{level.name} when"
        told = {
            (name, key) for name, table in documented().items() for key, row in table.items() if row[column]
        }
        assert told == keys, column


def test_the_document_says_what_happens_to_the_pose_wherever_something_is_bad():
    for table in documented().values():
        for key, row in table.items():
            if row["WARN when"] or row["ERROR when"]:
                assert "none" in row["pose?"] or "continue" in row["pose?"], key


def test_levels_are_what_the_library_wants():
    class RclpyLike(RosbagsMessages):
        def byte(self, value: int) -> bytes:
            return bytes([value])

    message = diagnostics_message(RclpyLike(), changed("map", {"path": ""}), stamp_ns=0)
    assert [status.level for status in message.status] == [b"\x00", b"\x00", b"\x00", b"\x02"]


def test_several_cameras_have_a_status_each(factory):
    message = diagnostics_message(factory, changed("images front", {"delay_s": 0.31}), stamp_ns=0)
    by_name = {status.name: status for status in message.status}
    assert list(by_name)[1:3] == ["relocalizer: images front", "relocalizer: images left"]
    front = by_name["relocalizer: images front"]
    assert "its images come 0.31 s behind the other cameras', expected 0.1 s at most" in front.message
    assert level_of(by_name["relocalizer: images left"]) is Level.OK


def test_a_camera_that_is_silent_is_not_told_to_be_out_of_time_too(factory):
    front = dataclasses.replace(RIG.images[0], age_s=9.0, among=dataclasses.replace(VIEW, group_share=0.0))
    message = diagnostics_message(
        factory, dataclasses.replace(RIG, images=(front, RIG.images[1])), stamp_ns=0
    )
    assert "no image for 9.0 s" in message.status[1].message
    assert "share" not in message.status[1].message
