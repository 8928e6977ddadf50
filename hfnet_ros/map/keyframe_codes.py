"""Two bits a number of the global descriptors of a large map: what is looked through before anything is compared.

Global descriptors lie in few dimensions and close together: an inverted file has to look through a third of a map to
find what an exact search does, and a graph does not find what only half of a descriptor asks for. So the whole map is
looked through, in little memory: a descriptor's largest principal components, rotated at random so that each is as
large as the others and normally distributed, are rounded to one of four levels. Nothing is clustered, so that a
keyframe is added, dropped or replaced without touching the others. docs/notes/retrieval.md has the measurements.

Reference: Gong et al., "Iterative Quantization", PAMI 2013, section 3.1 (random rotation of principal components);
    Max, "Quantizing for Minimum Distortion", IRE Transactions on Information Theory 1960, table I (the four levels).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.unit_vectors import UnitVectors

Float32Array = NDArray[np.float32]

# In a map of up to so many keyframes comparing all of them costs less than looking through codes of them.
MIN_CODED_KEYFRAMES = 2000

# Of a normal distribution of standard deviation 1.
LEVELS = np.array([-1.510, -0.4528, 0.4528, 1.510], np.float32)
_THRESHOLD = 0.9816

# Type and lengths of the arrays that are stored.
CODE_RULES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "code_axes": ("<f4", ("P", "G")),
    "code_spread": ("<f4", ("P", 2)),
    "codes": ("|u1", ("F", "P / 4")),
    "code_num_made": ("<i8", (1,)),
}

NUMBERS_PER_BYTE = 4
_MAX_NUMBERS, _MAX_NUMBERS_OF_SHORT, _SHORT = 768, 512, 1024
_MAX_SAMPLE = 32768
_BLOCK_ROWS = 8192
# Axes are those of the keyframes they were made of; as many others, and they are made anew.
_MAX_FOREIGN_SHARE = 0.5
# The same where this much more of the length of what comes lies beside the axes than of what there is: pictures of
# another kind, whose codes would not find them. Of one kind it is .05 more, of another .2 (docs/notes/retrieval.md).
_MAX_WORSE = 0.1
_MAX_FITTED = 1024


@dataclass(frozen=True, eq=False)
class KeyframeCodes:
    """Codes of F keyframes by their global descriptors.

    Attributes:
        axes: [P, G] float32, orthonormal rows.
        spread: [P, 2] float32, mean and standard deviation of the components along them.
        codes: [F, P / 4] uint8, four components each, the first one in the lowest bits; a value is a row of `LEVELS`.
        num_made: keyframes that the axes were made of; the first ones or not, others came later.
    """

    axes: Float32Array
    spread: Float32Array
    codes: NDArray[np.uint8]
    num_made: int

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return len(self.codes)

    def encode(self, descriptors: UnitVectors) -> NDArray[np.uint8]:
        """Return codes [N, P / 4] of descriptors [N, G]; reads them in blocks."""
        codes = np.empty((len(descriptors), self.codes.shape[1]), np.uint8)
        for start in range(0, len(descriptors), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            found = descriptors[rows] @ self.axes.T
            found = (found - self.spread[:, 0]) / self.spread[:, 1]
            levels = (found > -_THRESHOLD).astype(np.uint8)
            levels += found > 0.0
            levels += found > _THRESHOLD
            quads = levels.reshape(len(found), -1, NUMBERS_PER_BYTE)
            codes[rows] = quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6
        return codes

    def lost(self, descriptors: UnitVectors) -> float:
        """Return the share of the squared length of descriptors [N, G] that lies beside the axes."""
        numbers = descriptors.decoded()
        squared = np.maximum((numbers**2).sum(axis=1), 1e-12)
        return float((1.0 - ((numbers @ self.axes.T) ** 2).sum(axis=1) / squared).mean())

    def weights(self, descriptor: Float32Array) -> Float32Array:
        """Return [P] what the levels of a keyframe's code count for its product with a descriptor [G]."""
        return (self.axes @ descriptor) * self.spread[:, 1]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored, by name."""
        return {
            "code_num_made": np.array([self.num_made], np.int64),
            "code_axes": self.axes,
            "code_spread": self.spread,
            "codes": self.codes,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KeyframeCodes | None:
        """Return the codes among some arrays; None if there are none."""
        if "codes" not in arrays:
            return None
        num_made = int(arrays["code_num_made"][0])
        return cls(arrays["code_axes"], arrays["code_spread"], arrays["codes"], num_made)


def codes_problem(arrays: Mapping[str, NDArray[Any]], num_keyframes: int, size: int) -> str:
    """Return what arrays of codes, of right type and number of dimensions, say that cannot be; "" if nothing."""
    names = arrays.keys() & CODE_RULES.keys()
    if not names:
        return ""
    if names != CODE_RULES.keys():
        return f"codes consist of {', '.join(sorted(names))}, expected {', '.join(CODE_RULES)}"
    num_axes = len(arrays["code_axes"])
    expected = {
        "code_axes": (max(num_axes // NUMBERS_PER_BYTE, 1) * NUMBERS_PER_BYTE, size),
        "code_spread": (num_axes, 2),
        "codes": (num_keyframes, num_axes // NUMBERS_PER_BYTE),
        "code_num_made": (1,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            return f"array '{name}' has shape {list(arrays[name].shape)}, expected {list(shape)}"
    return ""


def make_codes(
    descriptors: UnitVectors, seed: int = 0, rows: NDArray[np.int64] | None = None
) -> KeyframeCodes:
    """Make codes of descriptors [F, G], some 0.05 ms a keyframe and some seconds for the axes.

    Args:
        descriptors: at least one.
        seed: of the sample that the axes are made of, and of the rotation.
        rows: that the sample is drawn from; all without.
    """
    rng = np.random.default_rng(seed)
    sample = descriptors.chosen(
        _some(np.arange(len(descriptors)) if rows is None else rows, _MAX_SAMPLE, rng)
    ).decoded()
    size = sample.shape[1]
    most = _MAX_NUMBERS if size > _SHORT else _MAX_NUMBERS_OF_SHORT
    count = max(min(most, size) // NUMBERS_PER_BYTE, 1) * NUMBERS_PER_BYTE
    apart = sample - sample.mean(axis=0)
    _, vectors = np.linalg.eigh(apart.T @ apart)
    rotation = np.linalg.qr(rng.normal(size=(count, count)))[0].astype(np.float32)
    axes = np.ascontiguousarray((vectors[:, ::-1][:, :count] @ rotation).T, dtype=np.float32)
    components = sample @ axes.T
    spread = np.column_stack([components.mean(axis=0), np.maximum(components.std(axis=0), 1e-6)])
    empty = np.empty((0, count // NUMBERS_PER_BYTE), np.uint8)
    made = KeyframeCodes(axes, spread.astype(np.float32), empty, len(descriptors))
    return replace(made, codes=made.encode(descriptors))


def _some(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def changed_codes(
    known: KeyframeCodes, descriptors: UnitVectors, source: NDArray[np.int64], seed: int = 0
) -> KeyframeCodes:
    """Return codes of a map's keyframes after a change; what stays is neither read nor encoded again.

    Args:
        known: codes of the keyframes before.
        descriptors: [F, G] of those after.
        source: [F] row before of each keyframe, whose descriptor is the same; -1 where it is new. Rows that do not
            occur were dropped.
        seed: of the axes, should they have to be made anew: where half of the keyframes are others than those that
            they were made of, or new ones lie so much beside them that the codes would not find these.
    """
    kept, added = np.flatnonzero(source >= 0), np.flatnonzero(source < 0)
    if min(len(kept), known.num_made) < (1.0 - _MAX_FOREIGN_SHARE) * len(source):
        return make_codes(descriptors, seed)
    if len(added) and len(kept):
        rng = np.random.default_rng(seed)
        of_kept, of_added = (descriptors.chosen(_some(rows, _MAX_FITTED, rng)) for rows in (kept, added))
        if known.lost(of_added) > known.lost(of_kept) + _MAX_WORSE:
            # As many of each, so that few of another kind count as much.
            count = min(len(kept), _MAX_SAMPLE // 2)
            both = np.sort(np.concatenate([_some(kept, count, rng), rng.choice(added, count)]))
            return make_codes(descriptors, seed, both)
    codes = np.take(known.codes, np.maximum(source, 0), axis=0)
    codes[added] = known.encode(descriptors.chosen(added))
    return replace(known, codes=codes)
