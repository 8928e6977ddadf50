"""The default extractor from images to poses, with the weights of the package and nothing else."""

import json

import pytest

from hfnet_ros.map.map_io import load_map, verify_map


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A machine on which nobody put weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HFNET_ROS_WEIGHTS", raising=False)
        yield


@pytest.fixture(scope="module")
def hfnet_map(alone, mapping, tmp_path_factory):
    from hfnet_ros.cli.main import main

    path = tmp_path_factory.mktemp("map") / "room.map"
    options = ("--no-self-test", "--refine-intrinsics", "off", "--out", path)
    assert main(["map", "build", *map(str, (*mapping.options(), *options))]) == 0
    return path


def test_the_map_is_described_by_the_networks_own_global_descriptor_and_by_keypoints(run, hfnet_map):
    visual_map = load_map(hfnet_map)
    assert visual_map.extractor_id.startswith("hfnet-")
    assert visual_map.head_size == 1024
    assert verify_map(hfnet_map) == []
    facts = json.loads(run("map", "info", hfnet_map, "--json").out)
    assert facts["retrieval"].startswith(
        "global descriptor of the network, 1024 dimensions, and VLAD over the keypoints"
    )


def test_a_map_of_sift_tells_of_its_words(run, built):
    facts = json.loads(run("map", "info", built.path, "--json").out)
    assert facts["retrieval"].startswith("VLAD over the keypoints, 64 words")


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "int8"])
def test_every_image_of_another_walk_is_localized(run, hfnet_map, query, precision, tmp_path):
    """With the numbers that the map was made with, and with the others."""
    report, params = tmp_path / "report", tmp_path / "params.yaml"
    params.write_text(f"inference:\n  cpu_precision: {precision}\n")
    answer = run("evaluate", "--map", hfnet_map, *query.options(), "--params", params, "--out", report)
    assert (answer.status, answer.err) == (0, "")
    results = json.loads((report / "results.json").read_text())
    assert results["extractor_id"].startswith("hfnet-")
    assert results["false_fixes"] == 0
    assert results["recall"]["0.25m_5deg"] == 1.0
    assert results["median_translation_m"] < 0.05


def test_sift_cannot_be_used_in_it(run, hfnet_map, query):
    answer = run("localize", "--map", hfnet_map, "--extractor", "sift", query.files[0])
    assert "the map was built with 'hfnet-" in answer.error
