"""What holds for every verb: help, usage, parameters, and manners in a pipe."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hfnet_ros
from hfnet_ros.cli.main import build_parser
from hfnet_ros.config import Config

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "hfnet_ros"]


def verbs_below(parser, path=()):
    """All verbs that do something, as tuples of words."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return [path]
    return [
        verb
        for group in groups
        for name in group.choices
        for verb in verbs_below(group.choices[name], (*path, name))
    ]


VERBS = verbs_below(build_parser())


def test_the_verbs_of_the_contract_are_there():
    expected = {("map", "build"), ("map", "info"), ("map", "verify"), ("map", "view")}
    expected |= {
        ("localize",),
        ("evaluate",),
        ("replay",),
        ("calibrate",),
        ("demo",),
        ("params",),
        ("engine", "export"),
        ("engine", "bench"),
    }
    assert expected <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_shows_an_example_that_begins_with_the_verb(run, verb):
    answer = run(*verb, "--help")
    assert answer.status == 0
    assert answer.err == ""
    example = answer.out.partition("Example:\n")[2].strip()
    assert example.startswith(f"hfnet-ros {' '.join(verb)}")


def test_help_of_the_program_names_every_verb(run):
    answer = run("--help")
    assert answer.status == 0
    for verb in VERBS:
        assert verb[0] in answer.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("map",),
        ("engine",),
        ("fly",),
        ("map", "fly"),
        ("map", "info"),
        ("localize", "photo.jpg"),
        ("map", "info", "x.map", "--fast"),
        (
            "evaluate",
            "--map",
            "m",
            "--images",
            "i",
            "--poses",
            "p",
            "--camera",
            "c",
            "--out",
            "o",
            "--every",
            "x",
        ),
        ("localize", "--map", "m", "--camera", "c", "i.jpg", "--extractor", "orb"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(run, arguments):
    answer = run(*arguments)
    assert answer.status == 2
    assert answer.out == ""
    assert "usage: hfnet-ros" in answer.err
    assert "error: " in answer.err


def test_module_runs_as_a_program():
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hfnet-ros {hfnet_ros.__version__}\n", "")


def test_a_reader_who_leaves_early_is_no_error_of_ours():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "params"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_results_that_cannot_be_printed_are_an_error():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "params"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert (
        done.stderr == "hfnet-ros: error: stdout: No space left on device; the rest of the output is lost\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_work_is_done_though_its_words_are_lost(built, query, tmp_path):
    answers = tmp_path / "answers.json"
    options = ["--map", built.path, "--camera", query.camera, *query.files[:2], "--json", answers]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "localize", *options], stdout=full, stderr=full, check=False)
    assert done.returncode == 1
    assert len(json.loads(answers.read_text())) == 2


def test_a_closed_stdout_is_no_traceback():
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "params"]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_map_whose_name_is_no_text_is_printed_as_it_is(built, tmp_path):
    strange = tmp_path / os.fsdecode(b"w\xff.map")
    strange.symlink_to(built.path)
    done = subprocess.run(
        [*PROGRAM, "map", "verify", strange],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == os.fsencode(strange) + b": sound\n"


def test_params_prints_the_file_of_defaults(run, tmp_path):
    answer = run("params")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == (ROOT / "config" / "parameters.yaml").read_text()
    assert Config.from_dict(yaml.safe_load(answer.out)) == Config()


def test_params_prints_the_few_that_the_user_of_a_robot_sets(run):
    answer = run("params", "--basic")
    assert Config.from_dict(yaml.safe_load(answer.out)) == Config()
    assert set(yaml.safe_load(answer.out)["extractor"]) == {"name", "weights"}
    assert "advanced" not in answer.out
    assert len(answer.lines) < len(run("params").lines) / 4


def test_params_prints_the_page_of_the_documentation(run):
    assert run("params", "--markdown").out == (ROOT / "docs" / "parameters.md").read_text()


def test_printed_parameters_are_accepted_and_an_edited_one_counts(run, built, query, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(run("params").out.replace("max_keypoints: 2048", "max_keypoints: 150"))
    options = ("--map", built.path, "--camera", query.camera, query.files[0], "--params", file)
    answer = run("localize", *options, "--json", tmp_path / "answers.json")
    assert answer.status == 0
    assert json.loads((tmp_path / "answers.json").read_text())[0]["keypoints"] <= 150


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("pose: {sead: 1}", ("'sead'",)),
        ("poes: {seed: 1}", ("'poes'",)),
        ("pose: {seed: many}", ("pose.seed", "many")),
        ("pose: [", ("not YAML",)),
    ],
)
def test_a_wrong_parameter_is_named_with_its_file(run, built, query, tmp_path, content, words):
    file = tmp_path / "my.yaml"
    file.write_text(content)
    options = ("--map", built.path, "--camera", query.camera, query.files[0], "--params", file)
    error = run("localize", *options).error
    for word in (str(file), *words):
        assert word in error


def test_a_missing_parameter_file_and_a_wrong_number_of_threads_are_named(run, built, query, tmp_path):
    options = ("--map", built.path, "--camera", query.camera, query.files[0])
    assert str(tmp_path / "no.yaml") in run("localize", *options, "--params", tmp_path / "no.yaml").error
    assert "num_threads is 0" in run("localize", *options, "--threads", 0).error
