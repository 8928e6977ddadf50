import dataclasses
import re

import pytest

from hfnet_ros.config import CameraConfig, Config, ExtractorConfig, RetrievalConfig, load_config
from hfnet_ros.errors import ConfigError

SECTIONS = {section.name: section for section in dataclasses.fields(Config)}
PARAMETERS = [
    pytest.param(section, entry, id=f"{section}.{entry.name}")
    for section in SECTIONS
    for entry in dataclasses.fields(getattr(Config(), section))
]


def write(tmp_path, content):
    path = tmp_path / "relocalizer.yaml"
    path.write_text(content)
    return path


# The declarations


@pytest.mark.parametrize(("section", "entry"), PARAMETERS)
def test_every_parameter_says_what_it_is(section, entry):
    meta = entry.metadata
    assert set(meta) == {"sentence", "unit", "low", "high", "choices", "level", "is_list"}
    assert meta["level"] in ("basic", "advanced")
    assert re.fullmatch(r"[A-Z].{15,}\.", meta["sentence"]), "one sentence, from a capital to a full stop"
    assert type(entry.default) in (bool, int, float, str), "a type that a ROS parameter can have"
    suffix = re.search(r"_(px|deg|m_s|deg_s|m|s|hz)$", entry.name)
    assert meta["unit"] == ({"hz": "Hz"}.get(suffix[1], suffix[1].replace("_s", "/s")) if suffix else "")


@pytest.mark.parametrize(("section", "entry"), PARAMETERS)
def test_every_default_is_within_its_bounds(section, entry):
    meta, default = entry.metadata, entry.default
    if type(default) in (int, float):
        assert meta["low"] <= default <= meta["high"]
        assert not meta["choices"]
    else:
        assert meta["low"] is None
        assert meta["high"] is None
    if meta["choices"]:
        assert default in meta["choices"]
    assert Config.from_dict({section: {entry.name: default}}) == Config()


@pytest.mark.parametrize(("section", "entry"), PARAMETERS)
def test_bounds_belong_to_the_range_and_beyond_is_an_error(section, entry):
    kind, meta = type(entry.default), entry.metadata
    if kind not in (int, float):
        return
    low, high = kind(meta["low"]), kind(meta["high"])
    for value in (low, high):
        config = Config.from_dict({section: {entry.name: value}})
        assert getattr(getattr(config, section), entry.name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=rf"^{section}\.{entry.name} is .*expected {meta['low']} to"):
            Config.from_dict({section: {entry.name: value}})


def test_a_few_parameters_are_basic():
    """What the user of a robot sets; defaults that were measured are not among it."""
    basic = {
        f"{section}.{entry.name}"
        for section in SECTIONS
        for entry in dataclasses.fields(getattr(Config(), section))
        if entry.metadata["level"] == "basic"
    }
    assert basic == {
        "extractor.name", "extractor.weights", "inference.backend", "inference.num_threads",
        "map.areas", "node.map", "node.mode", "node.max_rate_hz", "node.image_transport", "cameras.names",
        "cameras.masks",
        "frames.map_frame", "frames.odom_frame", "frames.base_frame", "frames.base_from_camera", "frames.publish_tf",
        "odometry.source", "gate.axes", "pose.answer_frame", "verification.max_false_probability",
    }  # fmt: skip


def test_sections_have_a_sentence_too():
    for name in SECTIONS:
        assert getattr(Config(), name).__doc__.strip().endswith(".")


def test_the_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().pose.seed = 1


# From dictionaries


def test_nothing_given_is_all_defaults():
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"pose": None, "mapping": {}}) == Config()


def test_what_is_given_is_taken_and_the_rest_stays():
    config = Config.from_dict({"extractor": {"name": "sift"}, "inference": {"allow_spinning": True}})
    assert config.extractor == ExtractorConfig(name="sift")
    assert config.inference.allow_spinning is True
    assert config.pose == Config().pose


def test_a_dictionary_comes_back():
    config = Config.from_dict({"pose": {"seed": 7}, "matching": {"ratio": 0.9}})
    assert Config.from_dict(config.to_dict()) == config
    assert config.to_dict()["pose"]["seed"] == 7


def test_an_integer_may_stand_for_a_float():
    ratio = Config.from_dict({"matching": {"ratio": 1}}).matching.ratio
    assert ratio == 1.0
    assert type(ratio) is float


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"poes": {}}, ("'poes' is no section", "known are", "pose")),
        ({"pose": {"sed": 1}}, ("'sed' is no parameter of section 'pose'", "known are", "seed")),
        ({"pose": 3}, ("section 'pose' is 3", "expected names and values")),
        ({"pose": ["seed"]}, ("section 'pose'",)),
        ({"pose": {"seed": 1.0}}, ("pose.seed is 1.0 (float), expected int",)),
        ({"pose": {"seed": "1"}}, ("pose.seed is '1' (str), expected int",)),
        ({"pose": {"seed": True}}, ("pose.seed is True (bool), expected int",)),
        ({"pose": {"seed": None}}, ("pose.seed is None",)),
        ({"pose": {"seed": [1]}}, ("pose.seed is [1] (list), expected int",)),
        ({"matching": {"ratio": True}}, ("matching.ratio is True (bool), expected float",)),
        ({"matching": {"ratio": "high"}}, ("matching.ratio is 'high' (str), expected float",)),
        ({"matching": {"ratio": float("nan")}}, ("matching.ratio is nan, expected 0.1 to 1.0",)),
        ({"matching": {"ratio": float("inf")}}, ("matching.ratio is inf",)),
        ({"inference": {"allow_spinning": 1}}, ("inference.allow_spinning is 1 (int), expected bool",)),
        ({"extractor": {"name": "orb"}}, ("extractor.name is 'orb', expected one of", "xfeat", "sift")),
        ({"extractor": {"max_keypoints": 10}}, ("extractor.max_keypoints is 10, expected 64 to 8192",)),
        ({"xfeat": {"nms_radius_px": 99}}, ("expected 1 to 16 px",)),
        ({"extractor": {"nms_radius_px": 3}}, ("extractor.nms_radius_px is now xfeat.nms_radius_px",)),
        (
            {"extractor": {"detection_threshold": 0.1}},
            ("extractor.detection_threshold is now xfeat.detection_threshold",),
        ),
    ],
)
def test_what_does_not_fit_is_named(values, words):
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(values)
    for word in words:
        assert word in str(caught.value)


# From files


@pytest.mark.parametrize("word", ["off", '"off"', "'off'"])
def test_off_needs_no_quotes(tmp_path, word):
    """YAML reads a bare off as false."""
    path = write(tmp_path, f"inference: {{gpu_matching: {word}}}\n")
    assert load_config(path).inference.gpu_matching == "off"


def test_plain_yaml(tmp_path):
    path = write(tmp_path, "pose:\n  seed: 5  # a comment\nmatching:\n  ratio: 1\n")
    assert load_config(path) == Config.from_dict({"pose": {"seed": 5}, "matching": {"ratio": 1.0}})


@pytest.mark.parametrize("node", ["/**", "relocalizer", "/robot/relocalizer"])
def test_ros_yaml(tmp_path, node):
    path = write(tmp_path, f"{node}:\n  ros__parameters:\n    pose:\n      seed: 5\n")
    assert load_config(path).pose.seed == 5


@pytest.mark.parametrize(
    ("section", "node_name", "is_for_it"),
    [
        ("/**", "/robot/relocalizer", True),
        ("/**/relocalizer", "/a/b/relocalizer", True),
        ("/*/relocalizer", "/robot/relocalizer", True),
        ("/*/relocalizer", "/a/b/relocalizer", False),
        ("relocalizer", "/relocalizer", True),
        ("relocalizer", "/robot/relocalizer", False),
        ("/robot/relocalizer", "/relocalizer", False),
        ("relocaliser", "relocalizer", False),
    ],
)
def test_sections_are_those_of_nodes_as_in_ros(tmp_path, section, node_name, is_for_it):
    path = write(tmp_path, f"{section}:\n  ros__parameters:\n    pose.seed: 5\n    use_sim_time: true\n")
    if is_for_it:
        assert load_config(path, node_name).pose.seed == 5
    else:
        with pytest.raises(ConfigError, match=rf"none of its sections \('.*'\) is of the node {node_name}"):
            load_config(path, node_name)


def test_what_ros_itself_reads_is_left_to_it_with_a_word(tmp_path, caplog):
    path = write(
        tmp_path, "/**:\n  ros__parameters: {use_sim_time: true, qos_overrides: {a: 1}, pose: {seed: 5}}\n"
    )
    assert load_config(path).pose.seed == 5
    assert "give --use-sim-time" in caplog.text


def test_a_file_of_several_nodes_gives_each_its_own(tmp_path):
    path = write(
        tmp_path,
        "amcl:\n  ros__parameters: {alpha1: 0.2}\n"
        "/**:\n  ros__parameters: {pose: {seed: 5}, matching: {ratio: 1.0}}\n"
        "robot:\n  relocalizer:\n    ros__parameters: {pose: {seed: 6}}\n",
    )
    config = load_config(path, "/robot/relocalizer")
    assert (config.pose.seed, config.matching.ratio) == (6, 1.0)
    assert load_config(path, "/other/relocalizer").pose.seed == 5


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "---\n", "{}", "/**:\n  ros__parameters:\n", "pose:\n"]
)
def test_empty_files_are_all_defaults(tmp_path, content):
    assert load_config(write(tmp_path, content)) == Config()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("pose: {seed: -1}", ("pose.seed is -1",)),
        ("pose:\n  sed: 1\n", ("'sed' is no parameter",)),
        ("- pose\n", ("holds list", "expected sections")),
        ("42", ("holds int",)),
        ("pose: [", ("not YAML",)),
        ("pose: !!python/object/apply:os.getcwd []", ("not YAML",)),
        ("/**:\n  ros__parameters:\n    poes: {}\n", ("'poes' is no section",)),
        ("/**:\n  parameters:\n    pose: {}\n", ("'/**' is no section",)),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize("body", ["5", "[1, 2]", "text"])
def test_ros_parameters_that_are_no_sections(tmp_path, body):
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, f"/**:\n  ros__parameters: {body}\n"))


@pytest.mark.parametrize("value", ["0", "false", "''", "[]"])
def test_a_section_that_is_empty_in_another_way_is_an_error(tmp_path, value):
    with pytest.raises(ConfigError, match="section 'pose'"):
        load_config(write(tmp_path, f"pose: {value}\n"))


def test_vlad_retrieves_more_keyframes_than_a_network():
    config = RetrievalConfig(num_prior_frames=7, num_prior_frames_vlad=19)
    assert (config.count(by_vlad=False), config.count(by_vlad=True)) == (7, 19)
    assert RetrievalConfig().count(by_vlad=True) > RetrievalConfig().count(by_vlad=False)


def test_frames_lose_the_slash_that_tf_1_allowed():
    frames = {"map_frame": "/map", "odom_frame": "/robot/odom", "base_frame": "/base_link"}
    read = Config.from_dict({"frames": frames}).frames
    assert (read.map_frame, read.odom_frame, read.base_frame) == ("map", "robot/odom", "base_link")
    assert dataclasses.replace(read, base_frame="/base").base_frame == "base"


# Several cameras


def cameras(**given):
    return Config.from_dict({"cameras": given}).cameras.each


def test_without_names_there_is_one_camera():
    assert cameras() == (CameraConfig(),)
    assert CameraConfig().image_topic == "image"


@pytest.mark.parametrize("names", ["front left", ["front", "left"], ("front", "left")])
def test_names_are_words_or_a_list_and_name_the_topics(names):
    assert [(camera.name, camera.image_topic) for camera in cameras(names=names)] == [
        ("front", "front/image"),
        ("left", "left/image"),
    ]


def test_lists_are_in_the_order_of_the_names_and_a_dash_keeps_a_default():
    front, left = cameras(
        names="front left",
        image_topics="/a/rgb -",
        camera_info_topics="- /left/info",
        transports="- compressed",
        frames=["-", "left_optical"],
        base_from_camera=["0 1 2 0 0 0 1", "-"],
    )
    assert front == CameraConfig("front", "/a/rgb", base_from_camera="0 1 2 0 0 0 1")
    assert left == CameraConfig("left", "left/image", "/left/info", "compressed", "left_optical")


def test_mountings_may_be_a_list_of_numbers():
    numbers = [0.5, 1, 2, 0, 0, 0, 1]
    front, left = cameras(names="front left", base_from_camera=[*numbers, *numbers])
    assert front.base_from_camera == left.base_from_camera == "0.5 1 2 0 0 0 1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": "front front"}, "'front' is named twice"),
        ({"names": "front 2nd"}, "'2nd' is no name that a topic can have"),
        ({"names": "front/"}, "no name"),
        ({"names": "front left", "frames": "a"}, "cameras.frames holds 1 words for 2 cameras"),
        ({"image_topics": "/a"}, "holds 1 words for 0 cameras"),
        ({"names": "front", "transports": "theora"}, "cameras.transports holds 'theora'"),
        ({"names": "a b", "base_from_camera": "0 0 0 0 0 0 1"}, "1 mountings for 2 cameras"),
        ({"names": 3}, "cameras.names is 3 (int), expected str"),
    ],
)
def test_lists_that_do_not_go_with_the_names_are_named(given, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        cameras(**given)
