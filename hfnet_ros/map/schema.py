"""Which arrays a map of landmarks consists of, and what they must say about each other.

Letters are lengths that must agree: F keyframes, O observations, L landmarks, T bytes of names, D and G sizes of
the local and the global descriptor, K visual words, V pairs of covisible keyframes; P components that are
coded of G.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.keyframe_codes import CODE_RULES, codes_problem
from hfnet_ros.map.position_grid import GRID_RULES, grid_problem

Array = NDArray[np.generic]
Rule = tuple[str, tuple[str | int, ...]]

_ALWAYS: dict[str, Rule] = {
    "keyframe_stamps_ns": ("<i8", ("F",)),
    "keyframe_camera_idx": ("<i4", ("F",)),
    "keyframe_poses": ("<f8", ("F", 7)),
    "observation_offsets": ("<i8", ("F + 1",)),
    "observation_landmark_idx": ("<i4", ("O",)),
    "landmark_xyz": ("<f8", ("L", 3)),
    "landmark_view_directions": ("<f4", ("L", 3)),
    "landmark_distance_ranges": ("<f4", ("L", 2)),
    "landmark_colors": ("|u1", ("L", 3)),
}
_VERSION_1: dict[str, Rule] = {
    "observation_xy": ("<f4", ("O", 2)),
    "landmark_descriptors": ("<f4", ("L", "D")),
    "global_descriptors": ("<f4", ("F", "G")),
}
_VERSION_2: dict[str, Rule] = {
    "observation_xy": ("<u2", ("O", 2)),
    "keyframe_name_offsets": ("<i8", ("F + 1",)),
    "keyframe_name_text": ("|u1", ("T",)),
    "landmark_descriptors": ("|i1", ("L", "D")),
    "global_descriptors": ("|i1", ("F", "G")),
    "words": ("<f4", ("K", "D")),
    "landmark_words": ("<u2", ("L",)),
    "covisible_offsets": ("<i8", ("F + 1",)),
    "covisible_keyframe_idx": ("<i4", ("V",)),
    "covisible_counts": ("<i4", ("V",)),
}
_KEPT: dict[str, Rule] = {
    "observation_descriptors": ("|i1", ("O", "D")),
    "given_keyframe_poses": ("<f8", ("F", 7)),
}
# Of maps of before; nothing reads them.
OBSOLETE: dict[str, Rule] = {
    "head_code_axes": ("<f4", ("Q", "H")),
    "head_code_spread": ("<f4", ("Q", 2)),
    "head_codes": ("|u1", ("F", "Q / 4")),
    "cell_centers": ("|i1", ("C", "G")),
    "cell_offsets": ("<i8", ("C + 1",)),
    "cell_keyframe_idx": ("<i4", ("F",)),
    "cell_descriptors": ("|i1", ("F", "G")),
}
REQUIRED: dict[int, dict[str, Rule]] = {1: _ALWAYS | _VERSION_1, 2: _ALWAYS | _VERSION_2}
OPTIONAL: dict[int, dict[str, Rule]] = {
    1: {},
    2: _KEPT | CODE_RULES | GRID_RULES | OBSOLETE,
}

AGGREGATION_PREFIX = "aggregation."
_AGGREGATION_RULE: Rule = ("<f4", ("rows", "columns"))
AGGREGATION_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

MAX_QUATERNION_DEVIATION = 1e-3


def rule_of(name: str, version: int) -> Rule | None:
    """Return dtype and dimensions of an array by its name; None if no map of this version has it."""
    known = REQUIRED[version] | OPTIONAL[version]
    if name in known:
        return known[name]
    aggregation = name.removeprefix(AGGREGATION_PREFIX)
    if aggregation != name and AGGREGATION_NAME.fullmatch(aggregation):
        return _AGGREGATION_RULE
    return None


def dimension_text(dimensions: tuple[str | int, ...]) -> str:
    """Return dimensions as people write them."""
    return "[" + ", ".join(str(dimension) for dimension in dimensions) + "]"


def shape_problems(num_keyframes: int, arrays: Mapping[str, Array], version: int) -> Iterator[str]:
    """Yield what is wrong with lengths; reads no number of any array."""
    lengths: dict[str, int] = {"F": num_keyframes, "F + 1": num_keyframes + 1}
    for name, array in arrays.items():
        rule = rule_of(name, version)
        assert rule is not None
        _, dimensions = rule
        own = {} if name.startswith(AGGREGATION_PREFIX) else lengths
        expected = [
            own.setdefault(dimension, length) if isinstance(dimension, str) else dimension
            for dimension, length in zip(dimensions, array.shape, strict=False)
        ]
        for letter in "CU":
            if letter in own:
                own.setdefault(f"{letter} + 1", own[letter] + 1)
        if array.ndim != len(dimensions) or list(array.shape) != expected:
            described = ", ".join(f"{letter} = {length}" for letter, length in lengths.items())
            yield (
                f"array '{name}' has shape {list(array.shape)}, expected {dimension_text(dimensions)} "
                f"with {described}"
            )
            return
    for problem in (codes_problem(arrays, num_keyframes, lengths["G"]), grid_problem(arrays)):
        if problem:
            yield problem
    yield from _aggregation_problems(arrays, lengths)


def _aggregation_problems(arrays: Mapping[str, Array], lengths: Mapping[str, int]) -> Iterator[str]:
    """Yield why no global descriptor [G] can be aggregated from local ones [D]."""
    shapes = {
        name.removeprefix(AGGREGATION_PREFIX): array.shape
        for name, array in arrays.items()
        if name.startswith(AGGREGATION_PREFIX)
    }
    if not shapes:
        return
    if set(shapes) != {"projection", "vocabulary"}:
        yield f"aggregation consists of {', '.join(sorted(shapes))}, expected projection, vocabulary"
        return
    num_words, size = shapes["vocabulary"][0], shapes["projection"][0]
    # What a network's global head gave comes first, if there is one.
    expected = {
        "vocabulary": (num_words, lengths["D"]),
        "projection": (min(size, lengths["G"]), num_words * lengths["D"]),
    }
    for name, shape in expected.items():
        if shapes[name] != shape or not num_words or not size:
            yield f"array '{AGGREGATION_PREFIX}{name}' has shape {list(shapes[name])}, expected {list(shape)}"


def end_problems(arrays: Mapping[str, Array], num_keyframes: int) -> Iterator[str]:
    """Yield what the ends of the offsets contradict; reads two numbers of each."""
    if num_keyframes == 0:
        yield "map has no keyframe, expected at least one"
    for name, count in _offsets(arrays):
        offsets: NDArray[Any] = arrays[name]
        if offsets[0] != 0 or offsets[-1] != count:
            yield _offset_text(name, offsets, count)


def content_problems(arrays: Mapping[str, Array], num_keyframes: int, num_cameras: int) -> Iterator[str]:
    """Yield what arrays of right shapes say that cannot be; reads them whole.

    Args:
        arrays: by name; not all of a map's need to be there.
        num_keyframes: F.
        num_cameras: cameras of the map.
    """
    for name, count in _offsets(arrays):
        offsets: NDArray[Any] = arrays[name]
        if offsets[0] == 0 and offsets[-1] == count and np.any(offsets[1:] < offsets[:-1]):
            yield _offset_text(name, offsets, count)
    num_landmarks = len(arrays["landmark_xyz"])
    yield from _index_problems(arrays, "observation_landmark_idx", num_landmarks, "landmarks")
    yield from _index_problems(arrays, "keyframe_camera_idx", num_cameras, "cameras")
    yield from _index_problems(arrays, "covisible_keyframe_idx", num_keyframes, "keyframes")
    yield from _index_problems(arrays, "grid_keyframe_idx", num_keyframes, "keyframes")
    if "words" in arrays:
        yield from _index_problems(arrays, "landmark_words", max(len(arrays["words"]), 1), "words")
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
            if len(broken):
                yield f"array '{name}' is not finite in {len(broken)} rows, first row {broken[0]}"
    for name in ("keyframe_poses", "given_keyframe_poses"):
        if name not in arrays:
            continue
        poses: NDArray[Any] = arrays[name]
        norms = np.linalg.norm(poses[:, 3:], axis=1)
        bent = np.flatnonzero(np.abs(norms - 1.0) > MAX_QUATERNION_DEVIATION)
        if len(bent):
            yield (
                f"array '{name}' has a quaternion of length {norms[bent[0]]:g} in row {bent[0]}, expected 1"
            )


def _offsets(arrays: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """Yield the names of offsets and the length of what they divide."""
    divided = {
        "observation_offsets": "observation_landmark_idx",
        "keyframe_name_offsets": "keyframe_name_text",
        "covisible_offsets": "covisible_keyframe_idx",
        "grid_offsets": "grid_keyframe_idx",
    }
    for name, rows in divided.items():
        if name in arrays:
            yield name, len(arrays[rows])


def _offset_text(name: str, offsets: NDArray[Any], count: int) -> str:
    return (
        f"array '{name}' runs from {offsets[0]} to {offsets[-1]}, expected to rise from 0 "
        f"to {count} without a step back"
    )


def _index_problems(arrays: Mapping[str, Array], name: str, count: int, what: str) -> Iterator[str]:
    idx: NDArray[Any] | None = arrays.get(name)
    if idx is not None and len(idx) and (idx.min() < 0 or idx.max() >= count):
        yield (
            f"array '{name}' ranges from {idx.min()} to {idx.max()}, expected 0 to {count - 1} "
            f"({count} {what})"
        )
