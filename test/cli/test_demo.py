"""`hfnet-ros demo`: from nothing to a report, without fetching anything."""

import argparse
import importlib.util
import json

import pytest
from dds_domain import DOMAIN_ID

from hfnet_ros.cli import demo
from hfnet_ros.config import Config
from hfnet_ros.errors import WeightsError
from hfnet_ros.features import weights


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """A machine without weights and without a network."""

    def no_network(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HFNET_ROS_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "weights_folders", lambda: [tmp_path / "cache", weights.shipped_folder()])
    monkeypatch.setattr("urllib.request.urlopen", no_network)


def chosen(name, **extractor):
    return Config.from_dict({"extractor": {"name": name, **extractor}})


def test_the_demo_maps_localizes_and_reports(run, nothing_here, monkeypatch, tmp_path):
    from hfnet_ros import scene

    small = scene.demo_camera((256, 192))
    monkeypatch.setattr(scene, "demo_camera", lambda: small)
    monkeypatch.setattr(demo, "_QUERY_RATE_HZ", demo._QUERY_RATE_HZ / 2.0)
    out = tmp_path / "demo"
    answer = run("demo", "--out", out, "--rooms", 1, "--domain", DOMAIN_ID)
    assert (answer.status, answer.err) == (0, "")
    assert answer.lines[0] == f"extractor: hfnet, weights {weights.shipped_folder() / 'hfnet.onnx'}"
    files = {
        "scene",
        "apartment.map",
        "map.html",
        "map.png",
        "query.bag",
        "relocalizer.yaml",
        "relocalizer.log",
        "report",
    }
    if importlib.util.find_spec("cyclonedds") is None:
        files -= {"relocalizer.yaml", "relocalizer.log"}
    assert {path.name for path in out.iterdir()} == files
    results = json.loads((out / "report" / "results.json").read_text())
    assert results["extractor_id"].startswith("hfnet-")
    assert results["false_fixes"] == 0
    assert results["recall"]["0.25m_5deg"] >= 0.9


def test_other_extractors_say_which_weights_they_use(nothing_here, tmp_path):
    assert demo._ready_extractor(chosen("sift")) == "extractor: sift, without weights"
    own = tmp_path / "cache" / "xfeat.pt"
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"weights")
    assert demo._ready_extractor(chosen("xfeat")) == f"extractor: xfeat, weights {own}"
    assert demo._ready_extractor(chosen("xfeat+hfnet")) == f"extractor: xfeat+hfnet, weights {own}"


@pytest.mark.parametrize("name", ["xfeat", "xfeat+hfnet"])
def test_published_weights_that_cannot_be_fetched_end_the_demo(nothing_here, name):
    with pytest.raises(WeightsError, match=r"xfeat\.pt: cannot be downloaded: no network"):
        demo._ready_extractor(chosen(name))


def test_a_named_file_that_is_missing_is_not_replaced_by_a_fetched_one(nothing_here, tmp_path):
    with pytest.raises(WeightsError, match="no such weights file"):
        demo._ready_extractor(chosen("xfeat", weights=str(tmp_path / "none.pt")))


def test_extractors_of_the_option_are_those_of_the_parameters():
    parser = argparse.ArgumentParser()
    demo.add_verbs(parser.add_subparsers())
    for name in ("hfnet", "xfeat", "xfeat+hfnet", "sift"):
        assert parser.parse_args(["demo", "--extractor", name]).extractor == name
