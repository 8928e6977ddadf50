"""What an installation from a wheel has: as much as the checkout it was built from."""

import email
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from hfnet_ros.cli.options import INSTALL_DDS
from hfnet_ros.inference.tensorrt_library import TENSORRT_RTX

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
BESIDE_THE_PACKAGE = ("msg", "srv", "config", "launch")
# Of glibc 2.28 and older: Raspberry Pi OS 12, Ubuntu 20.04 and all later ones take these.
ARM_PLATFORMS = (*(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)), "manylinux2014_aarch64")
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy, so that nothing is left in the checkout."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip(f"setuptools is {setuptools.__version__}, pyproject.toml asks for 77")
    copy = tmp_path_factory.mktemp("source")
    for folder in ("hfnet_ros", *BESIDE_THE_PACKAGE):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Deprecat" not in done.stderr
    return zipfile.ZipFile(copy / "dist" / done.stdout.splitlines()[-1])


def files_below(folder):
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    assert files_below("hfnet_ros") - set(wheel.namelist()) == set()


def test_what_lies_beside_the_package_is_installed_where_it_is_looked_for(wheel):
    share = {name.partition("share/hfnet_ros/")[2] for name in wheel.namelist()}
    for folder in BESIDE_THE_PACKAGE:
        assert files_below(folder) <= share


def metadata_of(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_an_index_would_know_licence_page_and_extras(wheel):
    about = metadata_of(wheel)
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Description-Content-Type"] == "text/markdown"
    extras = {"dds", "mapping", "poselib", "rerun", "rtx", "training", "xfeat"}
    assert extras <= set(about.get_all("Provides-Extra"))


def test_what_messages_say_to_install_is_what_the_extra_installs():
    assert re.search(r'^dds = \["([^;" ]+)', PROJECT, re.MULTILINE)[1] == INSTALL_DDS.removeprefix(
        "pip install "
    )


def test_the_extra_of_tensorrt_for_rtx_is_the_one_that_messages_name():
    (listed,) = re.findall(r"^rtx = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    requirements = [line.strip().strip('",') for line in listed.splitlines()]
    assert all("platform_machine == 'x86_64'" in line for line in requirements)  # no wheels for others
    wanted = [line.partition(";")[0] for line in requirements]
    assert len(wanted) == 3
    assert [name for name in wanted if name not in TENSORRT_RTX.install] == []


def arm_environment(python):
    """What markers are asked of on ARM; pip asks them of the machine that it runs on, whatever --platform says."""
    return {
        **default_environment(),
        "platform_machine": "aarch64",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
    }


def needed(lines, environment, extras=("",)):
    """Requirements [R] of metadata that hold in an environment, for any of some extras."""
    wanted = []
    for line in lines or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in extras):
            requirement.marker = None
            wanted.append(requirement)
    return wanted


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def ask_pip(requirements, python, folder):
    """Run pip's resolver for wheels alone on ARM, without installing anything; the process, and its report's path."""
    target = [option for platform in ARM_PLATFORMS for option in ("--platform", platform)]
    target += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    target += ["--target", str(folder / "never"), "--report", str(folder / "report.json")]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *target]
    asked = [*command, "--disable-pip-version-check", *map(str, requirements)]
    return subprocess.run(asked, capture_output=True, text=True), folder / "report.json"


def resolved(requirements, python, folder):
    """By canonical name what pip would install."""
    done, report = ask_pip(requirements, python, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return {canonical(item["metadata"]["name"]): item for item in json.loads(report.read_text())["install"]}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Skip where no index can be asked: pip tells that from a missing package only by finding another one."""
    pytest.importorskip("pip", reason="pip is not in this environment")
    done, _ = ask_pip([Requirement("tqdm")], "3.12", tmp_path_factory.mktemp("index"))
    if done.returncode:
        pytest.skip(f"no package index can be asked: {' '.join(done.stderr.split())[-200:]}")


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_linux_on_arm_needs_neither_poselib_nor_pycolmap(wheel, python):
    lines = metadata_of(wheel).get_all("Requires-Dist")
    on_arm = {requirement.name for requirement in needed(lines, arm_environment(python))}
    on_pc = {
        requirement.name
        for requirement in needed(lines, {**arm_environment(python), "platform_machine": "x86_64"})
    }
    assert on_pc - on_arm == {"poselib", "pycolmap"}
    assert {"numpy", "onnxruntime", "opencv-python-headless", "scipy"} <= on_arm
    for extra, package in (("mapping", "pycolmap"), ("poselib", "poselib")):
        asked = needed(lines, arm_environment(python), ("", extra))
        assert package in {requirement.name for requirement in asked}


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_pip_finds_wheels_of_everything_for_linux_on_arm(wheel, index, python, tmp_path):
    """So it does of what those need on ARM: pip asked their markers of this machine, they are asked again here."""
    environment = arm_environment(python)
    requirements = needed(metadata_of(wheel).get_all("Requires-Dist"), environment)
    for _ in range(4):
        found = resolved(requirements, python, tmp_path)
        missing = [
            requirement
            for item in found.values()
            for requirement in needed(item["metadata"].get("requires_dist"), environment)
            if canonical(requirement.name) not in found
        ]
        if not missing:
            break
        requirements += missing
    assert missing == []
    assert {canonical(requirement.name) for requirement in requirements} <= set(found)
    for item in found.values():
        assert re.search(r"(aarch64|-any)\.whl$", item["download_info"]["url"].partition("#")[0])
    assert not {"poselib", "pycolmap", "cyclonedds"} & set(found)


@pytest.mark.slow
def test_what_has_no_wheel_is_noticed(index, tmp_path):
    with pytest.raises(AssertionError, match=r"poselib==2\.0\.5"):
        resolved([Requirement("poselib==2.0.5")], "3.12", tmp_path)
