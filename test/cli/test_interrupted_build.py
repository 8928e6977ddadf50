"""A build that is stopped leaves no half map, and an older map as it was."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy.lib.format as arrays
import pytest

from hfnet_ros.map.map_io import load_map
from hfnet_ros.mapping import map_builder
from hfnet_ros.trust import tested_build


@pytest.fixture(params=["no map before", "a map before"])
def target(request, tmp_path):
    """Where the build shall write: a free name, or a map."""
    return request.getfixturevalue("map_copy") if request.param == "a map before" else tmp_path / "copy.map"


@pytest.fixture
def built_already(built, monkeypatch):
    """Leave out the work of a build, for tests of what follows it."""
    ready = load_map(built.path)
    monkeypatch.setattr(tested_build, "build_map", lambda *_: ready)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def after(count, function, fail):
    """Call through `count` times, then fail."""
    calls = iter(range(count))
    return lambda *args, **kwargs: fail() if next(calls, None) is None else function(*args, **kwargs)


def test_ctrl_c_during_triangulation(run, short, kit, tmp_path, target, monkeypatch):
    monkeypatch.setattr(map_builder, "solve_structure", interrupt)
    before = kit.content_of(tmp_path)
    answer = run("map", "build", *short.options(), "--out", target, *kit.FAST)
    assert answer.status == 130
    assert answer.err.count("\n") == 1
    assert "interrupted" in answer.err
    assert kit.content_of(tmp_path) == before


def test_ctrl_c_while_the_map_is_written(run, short, kit, tmp_path, target, built_already, monkeypatch):
    monkeypatch.setattr(arrays, "write_array_header_1_0", after(4, arrays.write_array_header_1_0, interrupt))
    before = kit.content_of(tmp_path)
    assert run("map", "build", *short.options(), "--out", target, *kit.FAST).status == 130
    assert kit.content_of(tmp_path) == before


@pytest.mark.parametrize(
    "module, name, calls", [(arrays, "write_array_header_1_0", 4), (os, "fsync", 0), (os, "fsync", 5)]
)
def test_a_full_disk(run, short, kit, tmp_path, target, built_already, monkeypatch, module, name, calls):
    monkeypatch.setattr(module, name, after(calls, getattr(module, name), full_disk))
    before = kit.content_of(tmp_path)
    answer = run("map", "build", *short.options(), "--out", target, *kit.FAST)
    assert str(target) in answer.error
    assert "No space left on device" in answer.error
    assert kit.content_of(tmp_path) == before


def test_a_full_disk_during_an_evaluation(run, built, query, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    answer = run(
        "evaluate", "--map", built.path, *query.options(), "--every", 8, "--out", tmp_path / "report"
    )
    assert "No space left on device" in answer.error
    assert list((tmp_path / "report").iterdir()) == []


def test_a_build_that_fails_leaves_the_older_map(run, short, kit, map_copy, tmp_path):
    short.files[-1].write_bytes(b"")
    before = kit.content_of(tmp_path)
    assert "000005.jpg" in run("map", "build", *short.options(), "--out", map_copy, *kit.FAST).error
    assert kit.content_of(tmp_path) == before
    assert run("map", "verify", map_copy).status == 0


# The program with a step that says it has begun, then takes for ever.
STUCK = """
import signal, sys, time, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a script starts in the background
import numpy as np
from hfnet_ros.cli.main import main
from hfnet_ros.mapping import map_builder

def hang(*_, **__):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(600)

if sys.argv[1] == "structure":
    map_builder.solve_structure = hang
else:
    write, calls = np.lib.format.write_array_header_1_0, iter(range(3))
    np.lib.format.write_array_header_1_0 = lambda *words: hang() if next(calls, None) is None else write(*words)
sys.exit(main(sys.argv[3:]))
"""


def start_stuck(step, short, target, kit, marker):
    options = ["map", "build", *short.options(), "--out", target, *kit.FAST]
    command = [sys.executable, "-c", STUCK, step, marker, *options]
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("step", "number"),
    [
        pytest.param("structure", signal.SIGTERM, marks=pytest.mark.slow),
        ("structure", signal.SIGINT),
        pytest.param("write", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_terminated_build_cleans_up(run, short, kit, map_copy, tmp_path, step, number):
    before = kit.content_of(tmp_path)
    marker = tmp_path / "begun"
    process = start_stuck(step, short, map_copy, kit, marker)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    marker.unlink()
    assert process.returncode == 130
    assert out == ""
    assert err == "hfnet-ros: error: interrupted; nothing was left half written\n"
    assert kit.content_of(tmp_path) == before
    assert run("map", "verify", map_copy).status == 0


def test_a_terminated_build_is_told_so_though_colmap_was_loaded_after_the_handlers():
    """Its logging had taken SIGTERM for a crash: a native stack was printed, and nothing cleaned up."""
    code = """if True:
        import os, signal
        signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
        from hfnet_ros.mapping import pycolmap_library
        os.kill(os.getpid(), signal.SIGTERM)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "told\n", "")


def test_what_a_killed_build_leaves_is_swept_by_the_next(run, short, kit, map_copy, tmp_path):
    marker = tmp_path / "begun"
    process = start_stuck("write", short, map_copy, kit, marker)
    process.kill()
    process.communicate(timeout=120)
    assert run("map", "verify", map_copy).status == 0, "the older map is as it was"
    assert any(path.name.startswith(".copy.map.tmp-") for path in tmp_path.iterdir())
    assert run("map", "build", *short.options(), "--out", map_copy, *kit.FAST).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "copy.map", "short"}
    assert load_map(map_copy).num_keyframes == 6
