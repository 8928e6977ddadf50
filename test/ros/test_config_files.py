"""The files of config/ against the code that they configure."""

import dataclasses
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from hfnet_ros.config import Config, load_config
from hfnet_ros.messages import topics
from hfnet_ros.messages.topics import Qos
from hfnet_ros.node.dynamic import changes_that_need_a_restart
from hfnet_ros.node.mounting import parse_mounting
from hfnet_ros.tracking.gate import chi_square_quantile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config"
OWN_TOPICS = {topic.name.replace("~", "/relocalizer"): topic for topic in topics.PUBLISHED}


def parameters(file, node):
    return yaml.safe_load((FOLDER / file).read_text())[node]["ros__parameters"]


def tutorial_lines():
    """What is behind each value of relocalizer.yaml, by section and name."""
    lines, section = {}, ""
    for line in (FOLDER / "relocalizer.yaml").read_text().splitlines():
        if found := re.fullmatch(r" {4}(\w+):", line):
            section = found[1]
        elif found := re.fullmatch(r" {6}(\w+): (\S+?)(?:  # (.*))?", line):
            lines[section, found[1]] = found[3] or ""
    return lines


def other_value(entry):
    """A valid value of a parameter that is not its default."""
    meta, default = entry.metadata, entry.default
    if isinstance(default, bool):
        return not default
    if meta["choices"]:
        return next(choice for choice in meta["choices"] if choice != default)
    if isinstance(default, str):
        return default + "x"
    return type(default)(meta["high"] if default != meta["high"] else meta["low"])


# relocalizer.yaml


def test_tutorial_holds_the_defaults():
    assert load_config(FOLDER / "relocalizer.yaml") == Config()


def test_tutorial_covers_every_section_that_only_the_node_has():
    node = {"node", "cameras", "frames", "odometry", "gate", "staleness", "prior"}
    assert {section for section, _ in tutorial_lines()} == node
    given = parameters("relocalizer.yaml", "/**")
    assert {(section, name) for section in given for name in given[section]} == set(tutorial_lines())


@pytest.mark.parametrize(("section", "name"), tutorial_lines())
def test_tutorial_says_unit_and_when_a_change_is_taken(section, name):
    entry = next(e for e in dataclasses.fields(getattr(Config(), section)) if e.name == name)
    note = tutorial_lines()[section, name]
    marks = re.findall(r"\[(.+?)\]", note)
    unit = entry.metadata["unit"]
    assert [mark for mark in marks if mark != "now"] == ([unit] if unit else [])
    changed = Config.from_dict({section: {name: other_value(entry)}})
    assert ("now" in marks) == (not changes_that_need_a_restart(Config(), changed))


# four_cameras.yaml


def test_the_example_of_four_cameras_says_something_of_each():
    front, left, right, rear = load_config(FOLDER / "four_cameras.yaml").cameras.each
    assert (front.image_topic, front.transport) == ("/front/color/image_raw", "compressed")
    assert (left.image_topic, right.camera_info_topic) == ("/left/image_raw", "")
    assert (rear.image_topic, rear.camera_info_topic) == ("rear/image", "/rear/calibration")
    mounted = parse_mounting(rear.base_from_camera)
    assert mounted.rotation @ [0.0, 0.0, 1.0] == pytest.approx([-1.0, 0.0, 0.0]), "it looks back"
    assert mounted.rotation @ [0.0, 1.0, 0.0] == pytest.approx([0.0, 0.0, -1.0]), "its image is upright"


# nav2_params.yaml


def test_nav2_relocalizer_takes_the_place_of_amcl():
    config = load_config(FOLDER / "nav2_params.yaml")
    assert config.frames.publish_tf
    assert config.node.bond
    assert config.frames.base_frame == Config().frames.base_frame


def test_nav2_manager_knows_the_nodes_of_the_file():
    manager = parameters("nav2_params.yaml", "/**/lifecycle_manager_localization")
    document = yaml.safe_load((FOLDER / "nav2_params.yaml").read_text())
    managed = {name.removeprefix("/**/") for name in document} - {"lifecycle_manager_localization"}
    assert set(manager["node_names"]) == managed
    assert manager["bond_timeout"] > 0.0


# ekf.yaml


@pytest.fixture(params=["ekf_local", "ekf_global"])
def ekf(request):
    return parameters("ekf.yaml", f"/**/{request.param}")


def test_ekf_matrices_have_the_filters_size(ekf):
    for name, value in ekf.items():
        if name.endswith("_config"):
            assert len(value) == 15
            assert all(type(used) is bool for used in value)
        if name.endswith("_covariance"):
            assert len(value) == 15
            assert min(value) > 0.0


def test_ekf_has_the_nodes_frames(ekf):
    frames = Config().frames
    assert (ekf["odom_frame"], ekf["base_link_frame"]) == (frames.odom_frame, frames.base_frame)


def test_ekf_one_filter_owns_each_transform():
    local, world = parameters("ekf.yaml", "/**/ekf_local"), parameters("ekf.yaml", "/**/ekf_global")
    assert (local["world_frame"], world["world_frame"]) == ("odom", "map")
    assert local["publish_tf"]
    assert world["publish_tf"]
    assert not Config().frames.publish_tf, "map->odom would have two owners"
    assert "pose0" not in local, "odom must not jump with fixes"


def test_ekf_takes_fixes_as_they_are_meant():
    world = parameters("ekf.yaml", "/**/ekf_global")
    assert f"/{world['pose0']}" in OWN_TOPICS
    assert not world["pose0_differential"]
    assert not world["pose0_relative"]
    assert world["smooth_lagged_data"]
    # A fix from before the filter's history would be fused as one of its beginning.
    assert world["history_length"] >= Config().odometry.history_s


def test_ekf_threshold_is_a_distance_that_passes_right_fixes():
    world = parameters("ekf.yaml", "/**/ekf_global")
    assert world["two_d_mode"]
    wanted = math.sqrt(chi_square_quantile(Config().gate.probability, 3))
    assert wanted < world["pose0_rejection_threshold"] < 2.0 * wanted


def test_ekf_comment_on_recovery_is_right():
    world = parameters("ekf.yaml", "/**/ekf_global")
    per_second = world["process_noise_covariance"][0]
    seconds = 10.0**2 / (per_second * world["pose0_rejection_threshold"] ** 2)
    assert f"{seconds:.0f} s for 10 m" in (FOLDER / "ekf.yaml").read_text()


# Viewers

DISPLAYS = {
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Image": "sensor_msgs/msg/Image",
}


def rviz_displays():
    document = yaml.safe_load((FOLDER / "relocalizer.rviz").read_text())
    displays = document["Visualization Manager"]["Displays"]
    return [display for display in displays if "/relocalizer/" in str(display.get("Topic", ""))]


def test_rviz_shows_everything_that_can_be_shown():
    pictures = {topics.POSE, topics.MATCHES, topics.MAP_POINTS, topics.DEBUG_IMAGE}
    assert {OWN_TOPICS[display["Topic"]["Value"]] for display in rviz_displays()} == pictures


@pytest.mark.parametrize("display", rviz_displays(), ids=lambda display: display["Name"])
def test_rviz_display_fits_its_topic(display):
    topic = OWN_TOPICS[display["Topic"]["Value"]]
    assert DISPLAYS[display["Class"].removeprefix("rviz_default_plugins/")] == topic.type_name
    durability = "Transient Local" if topic.qos is Qos.LATCHED else "Volatile"
    assert display["Topic"]["Durability Policy"] == durability
    assert display["Topic"]["Reliability Policy"] == "Reliable"


def panels_of(layout):
    if isinstance(layout, str):
        return [layout]
    return panels_of(layout["first"]) + panels_of(layout["second"])


def test_foxglove_layout_places_every_panel_once():
    document = json.loads((FOLDER / "foxglove.json").read_text())
    assert sorted(panels_of(document["layout"])) == sorted(document["configById"])


def test_foxglove_topics_and_fields_exist():
    text = (FOLDER / "foxglove.json").read_text()
    status = (ROOT / "msg" / "RelocalizationStatus.msg").read_text()
    for topic, field in re.findall(r'"(/relocalizer/\w+)(?:\.(\w+))?"', text):
        assert topic in OWN_TOPICS
        if field:
            assert topic == "/relocalizer/status"
            assert re.search(rf"^\w+ {field}\b(?!=)", status, re.MULTILINE)


# fastdds.xml


def test_fast_dds_has_room_for_several_images_of_a_usual_size():
    text = (FOLDER / "fastdds.xml").read_text()
    root, space = (
        ElementTree.fromstring(text.encode()),
        "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}",
    )
    transports = {
        found.findtext(f"{space}transport_id"): found for found in root.iter(f"{space}transport_descriptor")
    }
    (user,) = root.iter(f"{space}userTransports")
    assert [entry.text for entry in user] == list(transports)
    image = 1920 * 1080 * 3
    sizes = {
        entry.tag.removeprefix(space): int(entry.text) for each in transports.values() for entry in each[2:]
    }
    assert sizes["segment_size"] >= 2 * image
    assert sizes["receiveBufferSize"] >= 4 * 640 * 480 * 3
    assert f"net.core.rmem_max={sizes['receiveBufferSize']}" in text
    assert f"net.core.wmem_max={sizes['sendBufferSize']}" in text
