"""Trajectories in TUM format: lines `stamp tx ty tz qx qy qz qw` of map_from_camera.

Stamps are decimal seconds in the file and integer nanoseconds here; the conversion never
passes through a float, whose 53 bits cannot hold today's nanoseconds.

Reference: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.geometry.rigid3 import Rigid3

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

_FIELDS = "stamp tx ty tz qx qy qz qw"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_MAX_STAMP_S = Decimal("9223372036.854775807")  # 2**63 - 1 ns
_MAX_NORM_DEVIATION = 1e-2
_NUM_KITTI = 12  # numbers a line
# Today's time is 1.8e9 s.
_UNITS_OF_CLOCKS = ((Decimal("1e14"), "milliseconds by 1e3"), (Decimal("1e17"), "microseconds by 1e6"))


@dataclass(frozen=True, slots=True, eq=False)
class StampedPose:
    """Where the camera was at one time.

    Attributes:
        stamp_ns: nanoseconds.
        map_from_camera: pose of the optical frame in the map.
    """

    stamp_ns: int
    map_from_camera: Rigid3


def read_tum(path: str | os.PathLike[str]) -> tuple[StampedPose, ...]:
    """Read a trajectory; blank lines and lines that start with # are skipped.

    Digits beyond the nanosecond are rounded. Quaternions whose norm is off by at most 0.01
    are normalised.

    Raises:
        DatasetError: the file is missing or not text, or a line has another number of
            fields, a value that is not a finite number, a quaternion far from unit length,
            or a stamp that does not come after the one before.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror}; expected a TUM trajectory") from error
    except UnicodeDecodeError:
        raise DatasetError(f"{file}: is not text; expected lines '{_FIELDS}'") from None
    poses: list[StampedPose] = []
    for line_number, line in enumerate(lines, start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        try:
            pose = _parse_line(content)
            _check_order(poses[-1].stamp_ns if poses else None, pose.stamp_ns)
        except ValueError as error:
            raise DatasetError(f"{file}, line {line_number}: {error}") from None
        poses.append(pose)
    return tuple(poses)


def write_tum(
    path: str | os.PathLike[str], poses: Iterable[StampedPose], name: str = "map_from_camera"
) -> None:
    """Write a trajectory that `read_tum` and evo read; replaced as a whole or not at all.

    Args:
        path: file to create or replace.
        poses: in order of time.
        name: what the comment line calls the poses.

    Raises:
        DatasetError: a pose is not finite or the stamps do not increase.
        OSError: the file cannot be written; what was there before stays.
    """
    lines = [f"# {_FIELDS} : {name}, m"]
    previous_ns: int | None = None
    for number, pose in enumerate(poses, start=1):
        values = [*pose.map_from_camera.translation.tolist(), *pose.map_from_camera.quat_xyzw.tolist()]
        try:
            _check_order(previous_ns, pose.stamp_ns)
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"found {values}, expected finite numbers")
        except ValueError as error:
            raise DatasetError(f"{path}: pose {number} cannot be written: {error}") from None
        previous_ns = pose.stamp_ns
        # repr is the shortest text that reads back as the same float.
        lines.append(" ".join([format_stamp(pose.stamp_ns), *map(repr, values)]))
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parse_line(content: str) -> StampedPose:
    fields = content.split()
    if len(fields) != 8:
        hint = "; separate them by spaces, not commas; its quaternion is x y z w" if "," in content else ""
        if len(fields) == _NUM_KITTI:
            hint = "; write the matrices of KITTI as stamp, position and quaternion"
        raise ValueError(f"found {len(fields)} fields, expected 8: {_FIELDS}{hint}")
    for name, text in zip(_FIELDS.split(), fields, strict=True):
        if _NOT_FINITE.fullmatch(text):
            raise ValueError(f"{name} is {text}, expected a finite number; leave unknown poses out")
        if not _NUMBER.fullmatch(text):
            hint = "; begin a line of names with #" if not any(map(_NUMBER.fullmatch, fields)) else ""
            raise ValueError(f"{name} is '{text}', expected a number{hint}")
    values = [float(text) for text in fields[1:]]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"found {values}, expected numbers a float can hold")
    _check_norm(values[3:])
    return StampedPose(_stamp_ns(fields[0]), Rigid3.from_quat(values[3:], values[:3]))


def _check_norm(quat_xyzw: Sequence[float]) -> None:
    norm = math.hypot(*quat_xyzw)
    if norm < 1e-6:
        raise ValueError(f"quaternion {list(quat_xyzw)} has zero length, expected 1; leave unknown poses out")
    if abs(norm - 1.0) > _MAX_NORM_DEVIATION:
        raise ValueError(
            f"quaternion {list(quat_xyzw)} has norm {norm:.4f}, expected 1; check the order of the columns"
        )


def _check_order(previous_ns: int | None, stamp_ns: int) -> None:
    if previous_ns is None or stamp_ns > previous_ns:
        return
    stamp, previous = format_stamp(stamp_ns), format_stamp(previous_ns)
    if stamp_ns == previous_ns:
        raise ValueError(f"stamp {stamp} is there twice; keep one pose per stamp")
    raise ValueError(f"stamp {stamp} goes back behind {previous}; sort the lines by stamp")


def _stamp_ns(text: str) -> int:
    try:
        seconds = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        seconds = Decimal("inf")
    # Arithmetic on an absurd exponent overflows; comparing does not.
    if not -_MAX_STAMP_S <= seconds <= _MAX_STAMP_S:
        unit = next(
            (unit for below, unit in _UNITS_OF_CLOCKS if -below < seconds < below), "nanoseconds by 1e9"
        )
        raise ValueError(f"stamp {text} is out of range, expected seconds; divide {unit}")
    return int(seconds.quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN).scaleb(9))


def format_stamp(stamp_ns: int) -> str:
    """Return seconds with nine decimals: a float would lose the nanoseconds of today's clock."""
    seconds, nanoseconds = divmod(abs(stamp_ns), 10**9)
    sign = "-" if stamp_ns < 0 else ""
    return f"{sign}{seconds}.{nanoseconds:09d}"
