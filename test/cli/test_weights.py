import argparse
import hashlib

import pytest

from hfnet_ros.cli import train, weights
from hfnet_ros.errors import ConfigError, WeightsError
from hfnet_ros.features.weights import HFNET, XFEAT, shipped_folder


@pytest.fixture
def run_verb(monkeypatch, tmp_path):
    """Return a function that runs `train` or `weights` with an empty cache of weights."""
    monkeypatch.setenv("HFNET_ROS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments):
        parser = argparse.ArgumentParser()
        verbs = parser.add_subparsers(dest="verb", required=True)
        for module in (train, weights):
            module.add_verbs(verbs)
        options = parser.parse_args([str(argument) for argument in arguments])
        return options.run(options)

    return run


def test_the_list_says_publisher_licence_and_digest(run_verb, capsys):
    assert run_verb("weights", "list") == 0
    shown = capsys.readouterr().out
    for part in (XFEAT.url, XFEAT.licence, XFEAT.publisher, *XFEAT.known_sha256):
        assert part in shown
    for part in (HFNET.about, HFNET.licence, *HFNET.known_sha256, "comes with this package"):
        assert part in shown
    assert f"{shipped_folder() / 'hfnet.onnx'} (genuine)" in shown


def test_the_list_tells_a_users_file_from_the_genuine_one(run_verb, tmp_path, capsys):
    own = tmp_path / "weights" / "hfnet.onnx"
    own.parent.mkdir()
    own.write_bytes(b"weights")
    assert run_verb("weights", "list") == 0
    assert (
        f"{own} (another file, SHA-256 {hashlib.sha256(b'weights').hexdigest()})" in capsys.readouterr().out
    )
    with pytest.raises(WeightsError, match=f"{own}: SHA-256 is"):
        run_verb("weights", "check", "hfnet.onnx")


def test_shipped_weights_are_checked_and_need_no_fetching(run_verb, capsys, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    assert run_verb("weights", "check", "hfnet.onnx") == 0
    shown = capsys.readouterr().out
    for part in (HFNET.about, HFNET.known_sha256[0], "Apache-2.0"):
        assert part in shown
    assert run_verb("weights", "fetch", "hfnet.onnx") == 0
    assert "nothing to fetch" in capsys.readouterr().out


def test_another_file_is_not_taken_for_the_published_one(run_verb, tmp_path):
    other = tmp_path / "xfeat.pt"
    other.write_bytes(b"something else")
    for verb in ("check", "fetch"):
        with pytest.raises(WeightsError, match="SHA-256 is"):
            run_verb("weights", verb, "xfeat.pt", "--file", other)
    assert not (tmp_path / "weights" / "xfeat.pt").exists()


def test_a_copy_with_the_published_digest_is_installed(run_verb, tmp_path, monkeypatch):
    import dataclasses

    copy = tmp_path / "copy.pt"
    copy.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    published = dataclasses.replace(XFEAT, known_sha256=(digest,))
    monkeypatch.setattr(weights, "_known", lambda: (published,))
    assert run_verb("weights", "fetch", "xfeat.pt", "--file", copy) == 0
    assert (tmp_path / "weights" / "xfeat.pt").read_bytes() == b"weights"
    assert run_verb("weights", "check", "xfeat.pt") == 0


def test_unknown_weights_are_named(run_verb):
    with pytest.raises(ConfigError, match=r"known are hfnet\.onnx, hfnet-int8\.onnx, xfeat\.pt"):
        run_verb("weights", "check", "yfeat.pt")


def test_training_without_torch_says_what_to_install(run_verb, tmp_path, monkeypatch):
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs PyTorch"):
        run_verb("train", "hfnet", "--out", tmp_path / "run")
