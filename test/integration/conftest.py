"""Real data beside the checkout (../shared) and the map of RedKitchen, built once."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path

import pytest

from hfnet_ros.cli.main import main

SHARED = Path(__file__).resolve().parents[3] / "shared"


def run_quietly(*arguments: object) -> str:
    """Run the program, return what it printed; a failure fails the test with the program's own words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    assert status == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="session")
def program():
    """Return a function that runs the program and returns what it printed."""
    return run_quietly


def folder_of(name: str) -> Path:
    for needed in (SHARED / "data" / name, SHARED / "weights" / "xfeat.pt"):
        if not needed.exists():
            pytest.skip(f"needs {needed}")
    return SHARED / "data" / name


@pytest.fixture(scope="session")
def data():
    """Return a function that gives a folder of ../shared/data, or skips the test where it is not."""
    return folder_of


@pytest.fixture(scope="session")
def build_kitchen(tmp_path_factory):
    """Return a function that gives the map of every nth of the 500 images of redkitchen/map."""

    @functools.cache
    def build(extractor: str, every: int) -> Path:
        folder = folder_of("redkitchen")
        path = tmp_path_factory.mktemp("redkitchen") / "kitchen.map"
        given = (
            "--images",
            folder / "map",
            "--poses",
            folder / "map.tum",
            "--camera",
            folder / "camera.yaml",
        )
        run_quietly("map", "build", *given, "--every", every, "--out", path, "--extractor", extractor)
        return path

    return build
