"""Workflows and templates of .github, as far as they can be checked without running there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from missing_packages import environment_without

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
FOLDERS = ("scripts", "test", "bench", "launch", "docs", "docker", "hfnet_ros")


def read(path):
    return yaml.safe_load(path.read_text())


def jobs():
    return {f"{path.stem}/{name}": job for path in WORKFLOWS for name, job in read(path)["jobs"].items()}


def scripts_of(job):
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", sorted(GITHUB.rglob("*.yml")), ids=lambda path: path.name)
def test_every_file_is_yaml_with_content(path):
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("job", jobs().values(), ids=jobs())
def test_what_is_run_exists(job):
    scripts = "\n".join(scripts_of(job))
    named = re.findall(rf"(?<![\w./-])(?:src/hfnet_ros/)?((?:{'|'.join(FOLDERS)})/[\w./*-]+)", scripts)
    missing = [name for name in named if not list(ROOT.glob(name))]
    assert not missing


@pytest.mark.parametrize("job", jobs().values(), ids=jobs())
def test_every_job_ends_and_checks_out_first(job):
    assert job["timeout-minutes"] <= 60
    assert job["steps"][0]["uses"].startswith("actions/checkout@")


def test_pythons_begin_with_the_oldest_that_is_supported():
    pythons = jobs()["core/test"]["strategy"]["matrix"]["python"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    numbers = [tuple(map(int, version.split("."))) for version in pythons]
    assert pythons[0] == oldest
    assert numbers == [(3, minor) for minor in range(numbers[0][1], numbers[-1][1] + 1)]
    assert (3, 13) in numbers
    assert any("bash scripts/test" in script for script in scripts_of(jobs()["core/test"]))


def test_aarch64_takes_wheels_alone():
    job = jobs()["core/aarch64"]
    assert job["runs-on"].endswith("-arm")
    installs = re.findall(r"^\s*pip install .*", "\n".join(scripts_of(job)), re.MULTILINE)
    assert installs
    for line in installs:
        assert "--only-binary :all:" in line, line
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.12"]  # of JetPack 6 and 7


@pytest.mark.slow
def test_aarch64_collects_its_tests_without_what_has_no_wheels(tmp_path):
    (script,) = (script for script in scripts_of(jobs()["core/aarch64"]) if "-m pytest" in script)
    done = subprocess.run(
        [sys.executable, *script.split()[1:], "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment_without(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_ros_jobs_do_what_the_document_says():
    job = jobs()["ros/workspace"]
    assert job["strategy"]["matrix"]["distro"] == ["humble", "jazzy"]
    scripts = "\n".join(scripts_of(job))
    document = (ROOT / "docs" / "ros2.md").read_text()
    for line in ("rosdep install .*", "pip install .*onnxruntime.*", "colcon build .*"):
        assert re.search(f"^{line}$", document, re.MULTILINE)[0] in scripts
    for command in ("colcon test ", "colcon test-result ", "--show-args", "ros2 launch hfnet_ros"):
        assert command in scripts


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_templates_ask_for_doctor(path):
    fields = {item.get("id"): item for item in read(path)["body"]}
    assert "hfnet-ros doctor" in fields["doctor"]["attributes"]["label"]


def test_a_bug_report_needs_doctor_and_so_does_a_pull_request():
    fields = {item.get("id"): item for item in read(GITHUB / "ISSUE_TEMPLATE" / "bug_report.yml")["body"]}
    assert fields["doctor"]["validations"]["required"] is True
    assert "hfnet-ros doctor" in (GITHUB / "pull_request_template.md").read_text()


def test_nothing_is_called_nightly_that_no_workflow_runs_at_night():
    """PyYAML reads the key `on` as True."""
    named = [
        path.relative_to(ROOT)
        for path in (ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml", *(ROOT / "test").rglob("conftest.py"))
        if "nightly" in path.read_text()
    ]
    assert not named or any("schedule" in read(path)[True] for path in WORKFLOWS)
