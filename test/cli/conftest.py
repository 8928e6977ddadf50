"""A small generated room, rendered and mapped once, and a way to run the program in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from shared_work import made_once

from hfnet_ros.cli.main import main
from hfnet_ros.scene import (
    QUERY_GAIT,
    Gait,
    build_apartment,
    demo_camera,
    mapping_walk,
    query_walk,
    write_dataset,
)

# The scene's poses and calibrations are exact: `built` is refined and tested, others need not be again.
UNREFINED = ("--refine-intrinsics", "off", "--refine-poses", "off")
FAST = ("--extractor", "sift", "--no-self-test", *UNREFINED)


@dataclass(frozen=True)
class Recording:
    """A folder with images, poses.tum and camera.yaml."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def poses(self) -> Path:
        return self.folder / "poses.tum"

    @property
    def camera(self) -> Path:
        return self.folder / "camera.yaml"

    @property
    def files(self) -> list[Path]:
        return sorted(self.images.iterdir())

    def options(self) -> list[object]:
        return ["--images", self.images, "--poses", self.poses, "--camera", self.camera]


@dataclass(frozen=True)
class Answer:
    """What a run of the program left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error(self) -> str:
        """The one line of a failed run."""
        assert self.status == 1, (self.status, self.err)
        assert self.err.startswith("hfnet-ros: error: "), self.err
        assert self.err.count("\n") == 1, f"expected one line:\n{self.err}"
        return self.err


def call(*arguments: object) -> int:
    """Run the program; it changes the handler of SIGTERM, which belongs to pytest here."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as leave:  # argparse
        return int(leave.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Return a function that runs the program with these arguments."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        status = call(*arguments)
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    """33 images of one room to map from and 8 of another walk to localize, 256x192."""

    def make(folder: Path) -> None:
        scene = build_apartment(0, 1)
        query = query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=0.6))
        write_dataset(folder, scene, demo_camera((256, 192)), mapping_walk(scene, Gait(rate_hz=3.0)), query)

    folder = made_once(tmp_path_factory, "room", make)
    return Recording(folder / "mapping"), Recording(folder / "query")


@pytest.fixture(scope="session")
def mapping(room: tuple[Recording, Recording]) -> Recording:
    return room[0]


@pytest.fixture(scope="session")
def query(room: tuple[Recording, Recording]) -> Recording:
    return room[1]


@dataclass(frozen=True)
class BuiltMap:
    """The map of the room and what the program said when it built it."""

    path: Path
    answer: Answer


@pytest.fixture(scope="session")
def built(mapping: Recording, tmp_path_factory: pytest.TempPathFactory) -> BuiltMap:
    """Map of the room, built once; do not write into it."""

    def make(folder: Path) -> None:
        out, err, path = io.StringIO(), io.StringIO(), folder / "map" / "room.map"
        path.parent.mkdir()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = call("map", "build", *mapping.options(), "--out", path, "--extractor", "sift")
        assert status == 0, err.getvalue()
        (folder / "said.json").write_text(json.dumps([status, out.getvalue(), err.getvalue()]))

    folder = made_once(tmp_path_factory, "room_map", make)
    return BuiltMap(folder / "map" / "room.map", Answer(*json.loads((folder / "said.json").read_text())))


@pytest.fixture
def map_copy(built: BuiltMap, tmp_path: Path) -> Path:
    """A copy of the map that a test may damage or replace."""
    return Path(shutil.copytree(built.path, tmp_path / "copy.map"))


@pytest.fixture
def short(mapping: Recording, tmp_path: Path) -> Recording:
    """The first six images to map from, in a folder a test may spoil."""
    folder = tmp_path / "short"
    (folder / "images").mkdir(parents=True)
    for file in mapping.files[:6]:
        shutil.copy(file, folder / "images")
    lines = mapping.poses.read_text().splitlines(keepends=True)
    (folder / "poses.tum").write_text("".join(lines[:6]))
    shutil.copy(mapping.camera, folder)
    return Recording(folder)


class Kit:
    """What tests need of the helpers above: test modules cannot import each other."""

    FAST = FAST
    call = staticmethod(call)

    @staticmethod
    def content_of(folder: Path) -> dict[str, str]:
        """Digest of every file below a folder, hidden ones too, and every empty folder."""
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
            for path in sorted(folder.rglob("*"))
        }


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
