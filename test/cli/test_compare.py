"""Verb `compare`, and `--rerun` of `evaluate`."""

import re
import shutil

import pytest


@pytest.fixture(scope="module")
def runs(built, query, tmp_path_factory):
    """Two evaluations of the same map, of all queries and of every other one."""
    from hfnet_ros.cli.main import main

    folder = tmp_path_factory.mktemp("runs")
    for name, every in (("all", 1), ("half", 2)):
        options = ["--map", built.path, *query.options(), "--every", every, "--out", folder / name]
        assert main([str(option) for option in ("evaluate", *options)]) == 0
    return folder


def test_compare_prints_a_table_and_writes_a_page(run, runs, tmp_path):
    answer = run("compare", runs / "all", runs / "half", "--out", tmp_path / "a" / "b")
    assert (answer.status, answer.err) == (0, "")
    assert "all 8, half 4" in answer.lines[0]
    assert "4 stamps" in answer.lines[0]
    assert re.search(r"^queries +4 +4$", answer.out, re.MULTILINE)
    assert re.search(r"^recall 0.05 m, 5° +1.000 +1.000$", answer.out, re.MULTILINE)
    assert answer.lines[-1] == f"comparison: {tmp_path / 'a' / 'b' / 'compare.html'}"
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["compare.html"]


def test_one_run_is_not_enough(run, runs, tmp_path):
    assert "expected 2 or more" in run("compare", runs / "all", "--out", tmp_path).error
    assert run("compare", runs / "all").status == 2, "without --out"


def test_a_damaged_run_is_named_and_nothing_is_written(run, runs, tmp_path):
    shutil.copytree(runs / "half", tmp_path / "cut")
    (tmp_path / "cut" / "results.json").write_text("{")
    error = run("compare", runs / "all", tmp_path / "cut", "--out", tmp_path / "out").error
    assert str(tmp_path / "cut" / "results.json") in error
    assert not (tmp_path / "out").exists()


def test_rerun_is_refused_before_the_work_where_it_is_not_installed(run, built, query, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rerun", None)
    options = ["--map", built.path, *query.options(), "--out", tmp_path / "out"]
    assert "rerun-sdk" in run("evaluate", *options, "--rerun", tmp_path / "x.rrd").error
    assert not (tmp_path / "out").exists()
