"""The recording for the Rerun viewer; the package itself is optional."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import ClassVar

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ConfigError
from hfnet_ros.evaluation import MapPoints, RunContext
from hfnet_ros.report.rerun_file import write_rerun


class FakeRecording:
    """Takes note of what is logged, and when."""

    made: ClassVar[list[FakeRecording]] = []

    def __init__(self, name):
        self.name, self.seconds, self.logged, self.is_open = name, None, [], True
        FakeRecording.made.append(self)

    def save(self, path):
        self.path = path
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"RRF2")

    def set_time(self, timeline, *, duration):
        assert timeline == "run"
        self.seconds = duration

    def log(self, entity, value, static=False):
        self.logged.append((None if static else self.seconds, entity, value))

    def disconnect(self):
        self.is_open = False


@pytest.fixture
def fake_rerun(monkeypatch):
    """A module rerun whose archetypes are (name, arguments)."""

    def archetype(name):
        return lambda *args, **kwargs: (name, args, kwargs)

    names = ("Points3D", "Points2D", "LineStrips3D", "Arrows3D", "Ellipsoids3D", "EncodedImage", "Clear")
    module = types.ModuleType("rerun")
    for name in (*names, "TextLog", "TextDocument", "Scalars", "Quaternion"):
        setattr(module, name, archetype(name))
    module.ViewCoordinates = types.SimpleNamespace(RIGHT_HAND_Z_UP="z up")
    module.RecordingStream = FakeRecording
    monkeypatch.setitem(sys.modules, "rerun", module)
    FakeRecording.made.clear()
    return module


def test_everything_lands_on_the_timeline(tmp_path, make_result, matched_result, fake_rerun):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((480, 1280), np.uint8))
    results = [
        make_result(None, number=5),
        make_result((0.1, 0, 0), number=0, image_path=tmp_path / "a.png"),
        make_result(number=2),
    ]
    keyframes = np.array([[0.0, 0, 0, 0, 0, 0, 1]])
    write_rerun(tmp_path / "x.rrd", results, RunContext(MapPoints(np.zeros((4, 3)), None, ("k",), keyframes)))
    assert (tmp_path / "x.rrd").read_bytes() == b"RRF2"
    (recording,) = FakeRecording.made
    assert not recording.is_open
    at = {(seconds, entity): value for seconds, entity, value in recording.logged}
    assert (None, "map/landmarks") in at
    assert (None, "map/keyframes") in at
    assert (None, "map/path/estimated") in at
    moments = sorted({seconds for seconds, _, _ in recording.logged if seconds is not None})
    assert moments == pytest.approx([0.0, 0.2, 0.5])
    ellipsoid = at[0.0, "map/estimate/sigma"]
    # Sigmas 0.1, 0.1 and 0.2 m; the 95 % quantile of chi-square with 3 degrees of freedom is 7.815.
    np.testing.assert_allclose(
        sorted(ellipsoid[2]["half_sizes"][0]), np.sqrt(7.8147) * np.array([0.1, 0.1, 0.2]), rtol=1e-4
    )
    assert at[0.0, "image"][0] == "EncodedImage"
    assert at[moments[-1], "map/estimate"][0] == "Clear"


def test_matches_are_where_they_are_in_the_smaller_picture(tmp_path, matched_result, fake_rerun):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((960, 1280), np.uint8))
    result = type(matched_result)("q", tmp_path / "a.png", 0, matched_result.localization, None)
    write_rerun(tmp_path / "x.rrd", [result])
    matches = [value for _, entity, value in FakeRecording.made[0].logged if entity == "image/matches"]
    ((_, (points,), _),) = matches
    # 1280 px became 640 px: half of (639.5, 479.5).
    np.testing.assert_allclose(points[1], [319.75, 239.75])


def test_large_coordinates_are_drawn_from_an_origin_that_is_named(tmp_path, make_result, fake_rerun):
    poses = np.array([[458_123.25, 5_428_765.5, 12.0, 0.0, 0.0, 0.0, 1.0]])
    points = MapPoints(landmark_xyz=poses[:, :3] + 1.0, keyframe_poses=poses)
    write_rerun(tmp_path / "run.rrd", [make_result()], RunContext(points))
    logged = {entity: value for _, entity, value in FakeRecording.made[0].logged}
    assert "(458000, 5429000, 0) m" in logged["map/origin"][1][0]
    np.testing.assert_array_equal(logged["map/landmarks"][1][0], [[124.25, -233.5, 13.0]])
    np.testing.assert_array_equal(logged["map/keyframes"][1][0], [[123.25, -234.5, 12.0]])
    x, _, _ = logged["map/estimate"][2]["origins"][0]
    assert x == pytest.approx(4.0 - 458_000.0)


def test_a_failure_leaves_nothing(tmp_path, make_result, fake_rerun, monkeypatch):
    monkeypatch.setattr(FakeRecording, "set_time", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_rerun(tmp_path / "x.rrd", [make_result()])
    assert list(tmp_path.iterdir()) == []
    assert not FakeRecording.made[0].is_open


def test_without_the_package_the_reader_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match="pip install 'rerun-sdk"):
        write_rerun(tmp_path / "x.rrd", [])
    monkeypatch.setitem(sys.modules, "rerun", types.ModuleType("rerun"))
    with pytest.raises(ConfigError, match=r"expected 0\.23 or later"):
        write_rerun(tmp_path / "x.rrd", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed")
def test_the_real_package_writes_a_recording(tmp_path, run_results):
    keyframes = np.array([[0.0, 0, 0, 0, 0, 0, 1], [1.0, 0, 0, 0, 0, 0, 1]])
    scene = MapPoints(np.zeros((9, 3)), np.zeros((9, 3), np.uint8), ("a", "b"), keyframes)
    context = RunContext(scene, fused=[(0, run_results[0].groundtruth)])
    write_rerun(tmp_path / "x.rrd", run_results, context)
    data = (tmp_path / "x.rrd").read_bytes()
    assert data[:3] == b"RRF"
    assert len(data) > 10_000
    assert [file.name for file in tmp_path.iterdir()] == ["x.rrd"]
