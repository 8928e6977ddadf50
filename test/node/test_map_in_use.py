"""What only the core shows of an engine that takes long; the rest is in test/contracts."""

import gc
import itertools
import logging
import shutil
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.localization import landmark_model, query_extractor
from hfnet_ros.map import map_io
from hfnet_ros.messages import topics
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.node import map_in_use

LOAD_MAP = "hfnet_ros/srv/LoadMap"
WAIT_S = 30.0


@pytest.fixture
def building(monkeypatch):
    """Let every engine take until `go` is set, without patience of the node."""
    go, create = threading.Event(), query_extractor.create_extractor

    def slow(config, progress):
        progress("building")
        assert go.wait(WAIT_S)
        return create(config, progress)

    monkeypatch.setattr(query_extractor, "create_extractor", slow)
    monkeypatch.setattr(map_in_use, "PATIENCE_S", 0.0)
    yield go
    go.set()


def test_a_map_for_a_node_without_one_serves_when_its_engine_is_ready(start_rig, building, room_map):
    rig = start_rig(map_path="")
    responses = []
    request = rig.request(LOAD_MAP, path=str(room_map))
    call = threading.Thread(target=lambda: responses.append(rig.call(topics.LOAD_MAP, request)))
    call.start()
    rig.wait_for_diagnostics("map", lambda level, message, _: level == 1 and "building" in message)
    assert responses == []
    building.set()
    call.join(WAIT_S)
    assert [response.success for response in responses] == [True]
    rig.wait_for(lambda: rig.received[topics.MAP_INFO], "map_info")
    rig.localize()


def test_a_map_whose_engine_fails_is_not_kept_by_a_node_without_one(start_rig, room_map, monkeypatch):
    def fail(*_):
        raise EngineError("no memory left")

    rig = start_rig(map_path="")
    monkeypatch.setattr(query_extractor, "create_extractor", fail)
    response = rig.call(topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(room_map)))
    assert (response.success, response.message, response.map.path) == (False, "no memory left", "")
    rig.wait_for_diagnostics("map", lambda level, message, _: level == 2 and "no memory left" in message)


def test_a_hint_for_an_engine_that_is_not_ready_is_ignored_with_a_line(start_rig, building, caplog):
    rig = start_rig(map_path="")
    request = rig.request(LOAD_MAP, path=str(rig.map_path))
    call = threading.Thread(target=lambda: rig.call(topics.LOAD_MAP, request))
    call.start()
    rig.wait_for_diagnostics("map", lambda level, message, _: "building" in message)
    with caplog.at_level(logging.WARNING, "hfnet_ros"):
        rig.send_initial_pose(0, rig.stamp(0))
    assert "initialpose ignored: the engine is not ready yet: building" in caplog.text
    building.set()
    call.join(WAIT_S)


def test_an_engine_for_images_of_another_size_is_not_ready_either(rig, building, monkeypatch):
    """It is built when the first of them comes, in the middle of the work on an image."""
    rig.localize()
    extractor = rig.node._map.live._relocalizer._localizer._turning._extractor
    extract = extractor.extract
    report = rig.node._map.live._preparation.report

    def build_and_extract(image):
        report("building for 320x240")
        assert building.wait(WAIT_S)
        report("")
        return extract(image)

    monkeypatch.setattr(extractor, "extract", build_and_extract)
    rig.step(0, rig.stamp(50), wait=False)
    rig.wait_for_diagnostics("map", lambda level, message, _: "building for 320x240" in message)
    status = rig.step(0, rig.stamp(51))
    assert (status.outcome, status.state) == ("NOT_READY", "TRACKING")
    assert "building for 320x240" in status.reason
    building.set()
    rig.wait_for(lambda: len(rig.received[topics.STATUS]) > 4, "a status")
    rig.wait_for(
        lambda: stamp_from_message(rig.received[topics.STATUS][-1].header.stamp) == rig.stamp(50),
        "the status of the image in work",
    )
    assert rig.received[topics.STATUS][-1].outcome == "LOCALIZED"
    assert rig.step().outcome == "LOCALIZED"


def test_the_end_of_a_process_takes_along_what_cannot_be_stopped():
    program = (
        "import threading; from hfnet_ros.node.process_exit import exit_at_once\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('said'); exit_at_once()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60.0, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "said\n", "")


def test_the_whole_map_is_not_read_for_every_image(rig, monkeypatch):
    """What can be drawn of a map is as large as the map; the name of a prior frame is not."""

    asked, points = [], landmark_model.LandmarkModel.points

    def read_all(model):
        asked.append(model)
        return points.fget(model)

    monkeypatch.setattr(landmark_model.LandmarkModel, "points", property(read_all))
    rig.localize()
    rig.step()
    assert len(asked) <= 1, "once for a listener that draws the map"
    assert rig.received[topics.STATUS][-1].prior_frame in rig.node._map.served.model.keyframe_names


@pytest.fixture
def without_collector():
    """Let nothing be freed but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def mapped_maps():
    """Return the folders whose arrays this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).parents[1].name for line in lines if line.endswith(".npy")}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_a_replaced_map_is_freed_at_once_with_its_engine_and_its_files(
    start_rig, room_map, tmp_path, without_collector, monkeypatch
):
    monkeypatch.setattr(map_io, "ALWAYS_VERIFIED_BYTES", 0)  # as of large maps, whose files are mapped
    maps = [tmp_path / f"{name}.map" for name in ("first", "second", "third")]
    for path in maps:
        shutil.copytree(room_map, path)
    rig = start_rig(map_path=maps[0])
    for before, path in itertools.pairwise(maps):
        in_use = rig.node._map
        localizer = in_use.live._relocalizer._localizer
        held = {
            "map": in_use.served,
            "model": in_use.served.model,
            "arrays": in_use.served.model.visual_map,
            "localizer": localizer,
            "extractor": localizer._turning._extractor,
        }
        freed = {name: weakref.ref(value) for name, value in held.items()}
        del localizer, held
        assert rig.call(topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(path))).success
        assert [name for name, value in freed.items() if value() is not None] == []
        assert mapped_maps() & {maps[0].name, before.name, path.name} == {path.name}
    rig.localize()
