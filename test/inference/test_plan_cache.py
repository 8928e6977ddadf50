"""Plans on disk: found again, rebuilt when anything differs, refused when somebody else's."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.code_folder import CodeFolder, default_cache_folder
from hfnet_ros.inference.plan_cache import PlanCache, PlanKey

KEY = PlanKey("xfeat-640x480", "ab" * 32, "10.3.0", "Orin 8.7", "Linux-aarch64", "precision=fp16")


@pytest.fixture
def cache(tmp_path):
    return PlanCache(str(tmp_path / "engines"))


@pytest.fixture
def stored(cache):
    return cache.store(KEY, b"plan", seconds=12.3456, log=("one", "two"))


def sidecar(path):
    return path.with_suffix(".json")


def test_what_was_stored_is_found(cache, stored):
    assert cache.load(KEY) == (b"plan", "")
    assert stored.name.startswith("xfeat-640x480-")
    assert cache.record(KEY)["log"] == ["one", "two"]
    (plan,) = cache.plans()
    assert (plan.path, plan.num_bytes, plan.key, plan.seconds) == (stored, 4, KEY, 12.346)


def test_nothing_is_written_by_looking(cache):
    plan, reason = cache.load(KEY)
    assert plan is None
    assert reason == "not built yet on this machine"
    assert cache.plans() == []
    assert not cache.folder.exists()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(PlanKey)])
def test_another_key_is_another_plan(cache, stored, name):
    value = {"library": "tensorrt-rtx"}.get(name, "other")
    other = dataclasses.replace(KEY, **{name: value})
    assert other.file_stem != KEY.file_stem
    plan, reason = cache.load(other)
    assert plan is None
    if name != "onnx_sha256":
        assert reason == f"built otherwise before: {name} is {getattr(KEY, name)!r}, expected {value!r}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: {**record, "format": 2}, "has format 2, expected 1"),
        (
            lambda record: {**record, "key": {**record["key"], "tensorrt": "10.9.0"}},
            "built otherwise: tensorrt is '10.9.0', expected '10.3.0'",
        ),
        (lambda record: {**record, "plan_sha256": "0" * 64}, "its digest differs"),
        (lambda record: {"format": 1}, "is damaged"),
        (lambda record: [], "is damaged"),
    ],
)
def test_a_record_that_does_not_fit_means_no_plan(cache, stored, change, words):
    sidecar(stored).write_text(json.dumps(change(json.loads(sidecar(stored).read_text()))))
    plan, reason = cache.load(KEY)
    assert plan is None
    assert words in reason


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[" * 100000])
def test_a_damaged_record_means_no_plan(cache, stored, damage):
    sidecar(stored).write_bytes(damage)
    plan, reason = cache.load(KEY)
    assert plan is None
    assert "damaged" in reason


@pytest.mark.parametrize("damage", [b"", b"plam", b"plan "])
def test_a_corrupt_plan_is_noticed(cache, stored, damage):
    stored.write_bytes(damage)
    plan, reason = cache.load(KEY)
    assert plan is None
    assert "digest differs" in reason


def test_a_missing_plan_is_noticed(cache, stored):
    stored.unlink()
    assert cache.load(KEY) == (None, "the plan's file is missing")


# Whose it is


@pytest.mark.parametrize("which", ["plan", "record", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_is_refused(cache, stored, which, mode):
    path = {"plan": stored, "record": sidecar(stored), "folder": cache.folder}[which]
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(EngineError, match=r"others may write it .*chmod go-w"):
        cache.load(KEY)


@pytest.mark.parametrize("which", ["plan", "folder"])
def test_what_belongs_to_somebody_else_is_refused(cache, stored, which, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if which == "plan":
        monkeypatch.setattr(CodeFolder, "check", lambda self: None)
    with pytest.raises(EngineError, match=rf"belongs to user {os.getuid()}, expected {os.getuid() + 1}"):
        cache.load(KEY)
    assert cache.folder.exists()


def test_a_link_is_refused(cache, stored, tmp_path):
    stored.rename(tmp_path / "elsewhere")
    stored.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="cannot be opened as a plain file"):
        cache.load(KEY)


def test_a_pipe_is_refused_and_does_not_hang(cache, stored):
    sidecar(stored).unlink()
    os.mkfifo(sidecar(stored), 0o600)
    with pytest.raises(EngineError, match="is no plain file"):
        cache.load(KEY)


@pytest.mark.parametrize("is_record", [True, False])
def test_a_folder_in_the_place_of_a_file_is_refused(cache, stored, is_record):
    path = sidecar(stored) if is_record else stored
    path.unlink()
    path.mkdir()
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(EngineError, match="is no plain file"):
        cache.load(KEY)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_files_are_private_whatever_the_umask(cache):
    before = os.umask(0)
    try:
        path = cache.store(KEY, b"plan")
        cache.store_timing(KEY, b"timing")
    finally:
        os.umask(before)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in cache.folder.iterdir()} == {0o600}
    assert cache.load(KEY)[0] == b"plan"
    assert path.is_file()


def test_a_folder_that_cannot_be_made_is_an_engine_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"cannot be made: .*inference.engine_cache"):
        PlanCache(str(tmp_path / "file" / "engines")).store(KEY, b"plan")


def test_timing_is_shared_by_networks_but_not_by_versions(cache):
    cache.store_timing(KEY, b"measured")
    assert cache.load_timing(dataclasses.replace(KEY, network="hfnet", onnx_sha256="cd")) == b"measured"
    assert cache.load_timing(dataclasses.replace(KEY, tensorrt="10.9.0")) == b""


def test_a_name_cannot_leave_the_folder(cache):
    key = dataclasses.replace(KEY, network="../../etc/passwd\n" + "x" * 300)
    assert cache.store(key, b"plan").parent == cache.folder
    assert cache.load(key)[0] == b"plan"


def test_the_default_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "hfnet_ros" / "engines"
    assert PlanCache().folder == default_cache_folder()


# Kernels that a library compiles where a plan runs

RTX_KEY = dataclasses.replace(KEY, gpu="compute capability 8.6", library="tensorrt-rtx")


def test_plans_of_the_two_libraries_have_names_of_their_own(cache):
    assert cache.store(KEY, b"plan").suffix == ".plan"
    assert cache.store(RTX_KEY, b"plan").suffix == ".rtxplan"
    assert {plan.key.library: plan.path.suffix for plan in cache.plans()} == {
        "tensorrt": ".plan",
        "tensorrt-rtx": ".rtxplan",
    }


def test_kernels_are_found_for_the_same_gpu_only(cache):
    cache.store(RTX_KEY, b"plan")
    cache.store_kernels(RTX_KEY, "RTX 3060, driver 13.0", b"code")
    assert cache.load_kernels(RTX_KEY, "RTX 3060, driver 13.0") == b"code"
    assert cache.load_kernels(RTX_KEY, "RTX 3060, driver 13.1") == b""
    assert cache.load_kernels(dataclasses.replace(RTX_KEY, options="x"), "RTX 3060, driver 13.0") == b""
    assert [plan.key for plan in cache.plans()] == [RTX_KEY]
    (kernels,) = cache.folder.glob("*.kernels")
    assert kernels.stat().st_mode & 0o777 == 0o600


def test_changed_kernels_are_not_used_and_those_of_others_refused(cache):
    cache.store_kernels(RTX_KEY, "gpu", b"code")
    (path,) = cache.folder.glob("*.kernels")
    path.write_bytes(b"other")
    assert cache.load_kernels(RTX_KEY, "gpu") == b""
    path.chmod(0o666)
    with pytest.raises(EngineError, match="others may write it"):
        cache.load_kernels(RTX_KEY, "gpu")
