"""What an installation from a wheel has: as much as the checkout it was built from."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hfnet_ros.cli.options import INSTALL_DDS
from hfnet_ros.inference.tensorrt_library import TENSORRT_RTX

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
BESIDE_THE_PACKAGE = ("msg", "srv", "config", "launch")
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


def test_an_index_would_know_licence_page_and_extras(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    about = email.message_from_bytes(wheel.read(name))
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Description-Content-Type"] == "text/markdown"
    assert {"dds", "rerun", "rtx", "training", "xfeat"} <= set(about.get_all("Provides-Extra"))


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
