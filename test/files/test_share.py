import pytest

from hfnet_ros.errors import ConfigError
from hfnet_ros.files import share


def test_a_checkout_has_its_files_beside_the_package():
    assert share.share_path("msg/MapInfo.msg").read_text(encoding="utf-8").startswith("#")


def test_an_installation_has_them_in_a_prefix(tmp_path, monkeypatch):
    # The package itself lies where nothing is beside it.
    monkeypatch.setattr(share, "__file__", str(tmp_path / "lib" / "hfnet_ros" / "files" / "share.py"))
    monkeypatch.setattr(share.sys, "prefix", str(tmp_path / "environment"))
    first, second = tmp_path / "overlay", tmp_path / "underlay"
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{first}:{second}")
    for prefix in (second, tmp_path / "environment"):
        (prefix / "share" / "hfnet_ros" / "msg").mkdir(parents=True)
        (prefix / "share" / "hfnet_ros" / "msg" / "Own.msg").touch()
    assert share.share_path("msg/Own.msg") == second / "share" / "hfnet_ros" / "msg" / "Own.msg"
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert share.share_path("msg/Own.msg").is_relative_to(tmp_path / "environment")


def test_a_missing_file_is_told_with_the_places_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"nothing\.msg of hfnet_ros is not installed") as caught:
        share.share_path("msg/nothing.msg")
    assert str(tmp_path) in str(caught.value)
