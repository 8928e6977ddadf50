"""Described images as arrays of an artefact, and back: one after the other in a few arrays for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building.artefacts import Arrays, Artefact
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures

_LOCAL = ("keypoints", "scores", "descriptors")


def features_to_arrays(extracted: Sequence[ImageFeatures], colors: Sequence[NDArray[np.uint8]]) -> Arrays:
    """Return what an extractor said of images, and the colours at the keypoints that mapping uses."""
    sizes = [features.size_wh or (0, 0) for features in extracted]
    arrays: Arrays = {
        "extractor_id": np.array([features.extractor_id for features in extracted]),
        "size_wh": np.array(sizes, np.int64).reshape(-1, 2),
        "turn_rad": np.array([features.turn_rad for features in extracted], np.float64),
        "has_head": np.array([features.global_descriptor is not None for features in extracted]),
        "has_used": np.zeros(len(extracted), np.bool_),
    }
    for row, features in enumerate(extracted):
        for name in _LOCAL:
            arrays[f"{name}_{row}"] = getattr(features.local, name)
        arrays[f"colors_{row}"] = colors[row]
        if features.global_descriptor is not None:
            arrays[f"head_{row}"] = features.global_descriptor
    return arrays


def leaving_out(batch: Arrays, used: Mapping[int, NDArray[np.int64]]) -> Arrays:
    """Return a batch of which mapping uses some keypoints only, by image: rows among the strongest; it says which."""
    chosen = {f"used_{row}": own for row, own in used.items()}
    colors = {f"colors_{row}": batch[f"colors_{row}"][own] for row, own in used.items()}
    has_used = np.isin(np.arange(len(batch["has_used"])), list(used))
    return {**batch, **colors, **chosen, "has_used": has_used}


def read_features(
    artefact: Artefact, rows: Iterable[int], max_keypoints: int
) -> dict[int, tuple[ImageFeatures, ImageFeatures, NDArray[np.uint8]]]:
    """Return what an extractor said of some images of a batch; what of that mapping uses; and colours at that.

    Raises:
        DamagedArtefactError: the batch is damaged.
    """
    about = artefact.read_arrays(("extractor_id", "size_wh", "turn_rad", "has_head", "has_used"))
    rows = list(rows)
    names = [f"{name}_{row}" for row in rows for name in (*_LOCAL, "colors")]
    names += [f"head_{row}" for row in rows if about["has_head"][row]]
    names += [f"used_{row}" for row in rows if about["has_used"][row]]
    arrays, found = artefact.read_arrays(names), {}
    for row in rows:
        extracted = _features_of(row, about, arrays)
        used = extracted.strongest(max_keypoints)
        if about["has_used"][row]:
            used = used.chosen(arrays[f"used_{row}"])
        found[row] = (extracted, used, arrays[f"colors_{row}"])
    return found


def _features_of(row: int, about: Arrays, arrays: Arrays) -> ImageFeatures:
    width, height = about["size_wh"][row].tolist()
    return ImageFeatures(
        LocalFeatures(*(arrays[f"{name}_{row}"] for name in _LOCAL)),
        arrays.get(f"head_{row}"),
        str(about["extractor_id"][row]),
        (width, height) if width else None,
        float(about["turn_rad"][row]),
    )


def read_keyframes(
    batches: Sequence[Artefact],
    where: NDArray[np.integer[Any]],
    names: Sequence[str],
    stamps_ns: Sequence[int],
    camera_idxs: Sequence[int],
    max_keypoints: int,
) -> list[Keyframe]:
    """Return keyframes as `describe_images` does; their images cannot be read again.

    Args:
        batches: described images.
        where: [F, 2] batch and row in it of each.
        names: of their images.
        stamps_ns: times of exposure.
        camera_idxs: of their cameras.
        max_keypoints: strongest ones that mapping uses.

    Raises:
        DamagedArtefactError: a batch is damaged.
    """
    found = {
        (batch, row): read
        for batch in np.unique(where[:, 0]).tolist()
        for row, read in read_features(
            batches[batch], where[where[:, 0] == batch, 1].tolist(), max_keypoints
        ).items()
    }
    keyframes = []
    for idx, place in enumerate(map(tuple, where.tolist())):
        extracted, used, colors = found[place]
        image = MappingImage(names[idx], int(stamps_ns[idx]), int(camera_idxs[idx]), _unreadable)
        keyframes.append(Keyframe(image, extracted, used, colors))
    return keyframes


def _unreadable() -> ImageArray:
    raise RuntimeError("images are not read again once they are described")


def numbers_of(values: Sequence[Rigid3]) -> NDArray[np.float64]:
    """Return rigid motions as numbers [N, 3, 4]."""
    return np.array([np.column_stack([value.rotation, value.translation]) for value in values]).reshape(
        -1, 3, 4
    )


def rigid_motions(numbers: NDArray[np.float64]) -> list[Rigid3]:
    """Return rigid motions of [N, 3, 4]; quaternions would round them."""
    return [Rigid3(matrix[:, :3], matrix[:, 3]) for matrix in numbers]
