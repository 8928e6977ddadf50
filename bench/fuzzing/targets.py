"""The readers, each with what it is given and what it may answer: its own errors, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from generated_maps import CONFIG
from relocalizer_rigs import MemoryTransport

from fuzzing import hostile, seeds
from fuzzing.mutations import (
    Rng,
    mutated_array,
    mutated_bytes,
    mutated_message,
    mutated_text,
    mutated_tree,
    pick,
)
from fuzzing.watching import LONGEST_S, Flaw, watched
from hfnet_ros.bags import BagReader, CameraFrames, read_odometry, read_transform
from hfnet_ros.config import Config, load_config
from hfnet_ros.errors import HfnetRosError, MapFormatError
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.map_set_localizer import FollowedSet, SetLocalizer
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.map.map_set_io import verify_any
from hfnet_ros.map.open_maps import OpenMaps
from hfnet_ros.mapping.map_sets import write_set
from hfnet_ros.messages import topics
from hfnet_ros.messages.images import image_from_compressed
from hfnet_ros.node.core import RelocalizerNode


@dataclass
class Target:
    """One reader.

    Attributes:
        name: of it.
        share: of all inputs, %.
        give: makes one input of random numbers, gives it to the reader, and returns the error it answered with.
    """

    name: str
    share: float
    give: Callable[[Rng], HfnetRosError | None]


def targets(folder: Path, bomb_bytes: int = 1 << 31) -> list[Target]:
    """Return all readers, with what they need in a folder; bombs are of so many bytes when unpacked."""
    visual_map, frame, features, walk = seeds.wall()
    return [
        Target("camera YAML", 20.0, _text_file(folder / "camera.yaml", seeds.YAMLS, read_camera_yaml)),
        Target("parameters", 10.0, _text_file(folder / "parameters.yaml", (seeds.PARAMETERS,), load_config)),
        Target("TUM", 15.0, _text_file(folder / "poses.tum", (seeds.TUM,), read_tum)),
        Target("map", 10.0, _map(folder, visual_map, frame, features)),
        Target("set", 5.0, _set(folder, visual_map, frame, features)),
        Target("messages", 25.0, _messages(folder, visual_map, walk)),
        Target("bag", 15.0, _bag(folder, bomb_bytes)),
    ]


def _answer(give: Callable[[], Any], names: str) -> HfnetRosError | None:
    """Return the error that a reader answered with.

    Raises:
        Flaw: it is long, or does not name what is wrong.
        Exception: it is none of the package's.
    """
    with watched():
        try:
            give()
        except HfnetRosError as error:
            answered: HfnetRosError | None = error
        else:
            answered = None
    text = str(answered)
    if answered is not None and names not in text:
        raise Flaw(f"the error does not name {names}: {text[:500]}")
    if len(text) > 20_000:
        raise Flaw(f"the error has {len(text)} characters: {text[:500]}")
    return answered


def _text_file(
    file: Path, sound: tuple[bytes, ...], read: Callable[[Path], Any]
) -> Callable[[Rng], HfnetRosError | None]:
    def give(rng: Rng) -> HfnetRosError | None:
        content = pick(rng, hostile.YAMLS) if rng.random() < 0.01 else mutated_text(rng, pick(rng, sound))
        file.write_bytes(content)
        return _answer(lambda: read(file), file.name)

    return give


class _KnownFeatures:
    """An extractor for which every image is the same."""

    backend = "none"

    def __init__(self, features: Any) -> None:
        self.features, self.extractor_id = features, features.extractor_id

    def extract(self, _: Any) -> Any:
        return self.features

    def close(self) -> None:
        """Nothing to free."""


def _map(folder: Path, visual_map: Any, frame: Any, features: Any) -> Callable[[Rng], HfnetRosError | None]:
    sound = folder / "sound.map"
    save_map(visual_map, sound)
    return _stored(folder, sound, "arrays", lambda damaged: _use(damaged, frame, features))


def _set(folder: Path, visual_map: Any, frame: Any, features: Any) -> Callable[[Rng], HfnetRosError | None]:
    """Give sets of two maps, of which the manifest or the index is damaged; damaged maps are `_map`'s."""
    sound, part = folder / "sound.set", folder / "part.map"
    save_map(visual_map, part)
    moved = Rigid3.from_rotvec([0.0, 0.0, 0.5], [20.0, 0.0, 0.0])
    write_set(
        sound,
        [("a", part), ("b", part)],
        {("a", "b"): Overlap(moved, np.eye(6), 9, (0.1, 0.1))},
        frame_id="map",
        areas={"a": ["west"]},
        placements={"b": (moved, 1e-4 * np.eye(6))},
    )
    return _stored(folder, sound, "index/0", lambda damaged: _use_set(damaged, frame, features))


def _stored(
    folder: Path, sound: Path, arrays: str, use: Callable[[Path], None]
) -> Callable[[Rng], HfnetRosError | None]:
    """Give a stored map or set, of which the manifest or an array is damaged."""
    damaged = folder / f"damaged{sound.suffix}"
    shutil.copytree(sound, damaged)
    manifest = json.loads((sound / "map.json").read_bytes())
    files = [sound / "map.json", *sorted((sound / arrays).iterdir())]

    def give(rng: Rng) -> HfnetRosError | None:
        changed = damaged / "map.json"
        kind = rng.random()
        if kind < 0.2:  # a broken disk: nothing fits its digest
            source = pick(rng, files)
            changed = damaged / source.relative_to(sound)
            changed.write_bytes(mutated_bytes(rng, source.read_bytes()))
        elif kind < 0.6:  # a wrong writer: digests are right
            changed.write_bytes(sealed(mutated_tree(rng, manifest)))
        else:
            source = pick(rng, files[1:])
            changed = damaged / source.relative_to(sound)
            content = hostile.npy(rng) if rng.random() < 0.1 else _saved(mutated_array(rng, np.load(source)))
            if rng.random() < 0.2:
                content = mutated_bytes(rng, content)
            changed.write_bytes(content)
            entry = manifest["arrays"][source.stem] | {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            if rng.random() < 0.7:
                entry |= _described(content)
            (damaged / "map.json").write_bytes(
                sealed(manifest | {"arrays": manifest["arrays"] | {source.stem: entry}})
            )
        try:
            answered = _answer(lambda: use(damaged), damaged.name)
            if bool(verify_any(damaged)) != (answered is not None) and "extractor" not in str(answered):
                raise Flaw(f"map verify says {verify_any(damaged)}, loading {answered}")
            return answered
        finally:
            for file in {changed, damaged / "map.json"}:
                shutil.copy(sound / file.relative_to(damaged), file)

    return give


def _use(folder: Path, frame: Any, features: Any) -> None:
    """Load a map and ask it for an image."""
    visual_map = load_map(folder)
    if visual_map.extractor_id != features.extractor_id:
        return
    Localizer(visual_map, _KnownFeatures(features), CONFIG).localize(frame)


def _use_set(folder: Path, frame: Any, features: Any) -> None:
    """Load a set and ask it for an image; a sub-map that it cannot use is no error of the set, but a warning."""
    following = FollowedSet(folder)
    if following.found.extractor_id != features.extractor_id:
        return
    known = _KnownFeatures(features)
    localizer = SetLocalizer(following, known, CONFIG, OpenMaps(folder, 2, 1 << 30))
    answer = localizer.localize(frame)
    localizer.close()
    if answer.estimate is not None and not is_valid_covariance(answer.estimate.covariance):
        raise Flaw(f"an answer's covariance is none: {answer.estimate.covariance.tolist()}")
    if answer.warnings:
        raise MapFormatError(f"{folder}: {answer.warnings[0]}")


def sealed(manifest: dict[str, Any]) -> bytes:
    """Return a manifest with the digest that it should have."""
    content = json.dumps(manifest | {"manifest_sha256": "0" * 64}).encode("ascii")
    return content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1)


def _saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _described(content: bytes) -> dict[str, Any]:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        return {"dtype": array.dtype.str, "shape": list(array.shape)}
    except Exception:
        return {}


def _messages(folder: Path, visual_map: Any, walk: Any) -> Callable[[Rng], HfnetRosError | None]:
    """Give messages to an active node: as bytes, as a DDS subscription does, or read and then changed."""
    path = folder / "served.map"
    save_map(visual_map, path)
    transport = MemoryTransport()
    answers: list[Any] = []
    transport.watchers[topics.STATUS] = answers.append
    sections = {
        "extractor": {"name": "sift", "max_keypoints": 100},
        "node": {"map": str(path), "max_rate_hz": 0.0},
        "odometry": {"source": "auto", "wait_s": 0.0},
    }
    node = RelocalizerNode(Config.from_dict(sections), transport)
    node.configure()
    node.activate()
    takers: dict[str, Callable[[Any], Any]] = {topic.name: take for topic, take in node.subscriptions()}
    for name in ("/tf", "/tf_static"):
        takers[name] = lambda message, static=name == "/tf_static": transport.tree.add_all(
            message, static=static
        )
    stamps = iter(range(10**9))

    def give(rng: Rng) -> HfnetRosError | None:
        sound = seeds.messages(walk, next(stamps))
        if rng.random() < 0.3:
            for name in ("/tf_static", "camera_info", "odom"):
                takers[name](sound[name])
        name = pick(rng, list(sound))
        message = mutated_message(rng, sound[name])
        if rng.random() < 0.5:
            cdr = mutated_bytes(rng, seeds.MESSAGES.serialize(sound[name], seeds.TYPES[name]))
            try:
                with watched():
                    message = seeds.MESSAGES.deserialize(cdr, seeds.TYPES[name])
            except Flaw:
                raise
            except Exception:  # a subscription drops such bytes
                return HfnetRosError("not of this type")
        if name == "image/compressed":
            return _answer(lambda: image_from_compressed(message), "")
        before = len(answers)
        with watched():
            takers[name](message)
            if name.startswith("image"):
                _wait(answers, before)
            if name == "initialpose" or rng.random() < 0.02:
                node.on_diagnostics_timer()
                node.on_tf_timer()
        del answers[:-1]
        error = answers[-1].reason if answers and name.startswith("image") else ""
        return HfnetRosError(error) if error else None

    return give


def _wait(answers: list[Any], before: int) -> None:
    until_s = time.monotonic() + LONGEST_S
    while len(answers) <= before:
        if time.monotonic() > until_s:
            raise Flaw("an image was never answered")
        time.sleep(0.0005)


def _bag(folder: Path, bomb_bytes: int) -> Callable[[Rng], HfnetRosError | None]:
    sound = seeds.bags(folder / "bags")
    damaged = folder / "damaged"
    damaged.mkdir()
    bombs = hostile.bag_bombs(bomb_bytes)
    defined = [("sensor_msgs/msg/Image", text) for text in hostile.DEFINITIONS] + [
        (name, "uint8 x\n") for name in hostile.TYPES
    ]
    for number, (name, text) in enumerate(defined):
        bombs.append(seeds.defined_bag(folder / f"defined{number}", name, text))

    def give(rng: Rng) -> HfnetRosError | None:
        source = pick(rng, sound)
        content = source.read_bytes()
        file = damaged / f"bag{source.suffix}"
        kind = rng.random()
        if kind < 0.05 and bombs:
            content = pick(rng, bombs)
            file = file.with_suffix(".mcap")
        elif kind < 0.9 or source.suffix != ".db3":
            content = mutated_bytes(rng, content)
        file.write_bytes(content)
        if kind >= 0.9 and source.suffix == ".db3":
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as database:
                database.executescript(pick(rng, hostile.SQL))
                database.commit()
        try:
            return _answer(lambda: _read(file), "")
        finally:
            file.unlink()

    return give


def _read(file: Path) -> None:
    """Read all that a bag has of images, calibrations and motion."""
    first: HfnetRosError | None = None
    with BagReader(file) as bag:
        for read in (_images, read_odometry, lambda bag: read_transform(bag, "odom", "base_link"), _other):
            try:
                read(bag)
            except HfnetRosError as error:  # noqa: PERF203 (all that can be read is)
                first = first or error
        for sentence in bag.report():
            if len(sentence) > 20_000:
                raise Flaw(f"a note of {len(sentence)} characters: {sentence[:300]}")
    if first is not None:
        raise first


def _images(bag: BagReader) -> None:
    for frame in CameraFrames(bag, "/image"):
        with contextlib.suppress(HfnetRosError):
            frame.image()


def _other(bag: BagReader) -> None:
    for topic in bag.topics:
        with contextlib.suppress(HfnetRosError):
            bag.definition(topic)
    for _ in bag.messages():
        pass
