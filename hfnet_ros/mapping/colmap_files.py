"""Whether the files of a COLMAP model are whole.

COLMAP does not look: of a binary file that is cut off it takes what is missing from what it read before, so that a lens
loses its coefficients without a word, or it goes through as many entries as some bytes happen to say, for hours. Of a
text it takes what is left of the last number, and zero of a minus sign.

Reference: https://colmap.github.io/format.html#binary-file-format, of frames and rigs COLMAP's `reconstruction_io`.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from hfnet_ros.errors import DatasetError
from hfnet_ros.mapping.pycolmap_library import pycolmap

_ANY_FOCAL = 1.0
_ID = 4
_POSE = 7 * 8
_SENSOR = 2 * _ID  # its type and its id
_SHOWN = 40  # bytes


def check_text_whole(model: Path) -> None:
    """Refuse a folder of texts of which one begins as COLMAP writes it and ends within a line.

    COLMAP ends every line; texts written by hand, without its comments at the top, may leave that out.

    Raises:
        DatasetError: names the file.
    """
    for name in _ENDS:
        file = model / f"{name}.txt"
        if not file.is_file():
            continue
        with file.open("rb") as text:
            is_by_colmap = text.read(1) == b"#"
            text.seek(max(file.stat().st_size - _SHOWN, 0))
            end = text.read()
        if not is_by_colmap or end.endswith(b"\n"):
            continue
        last = end.rsplit(b"\n", 1)[-1].decode(errors="replace")
        raise DatasetError(
            f"{file}: ends with '{last}' and no end of line, as if it were cut off: COLMAP ends every line; copy or "
            "export the model again, or end the line if it is whole"
        )


def check_whole(model: Path) -> None:
    """Refuse a folder of binary files of which one holds less than it announces.

    Raises:
        DatasetError: names the file.
    """
    for name, end_of in _ENDS.items():
        file = model / f"{name}.bin"
        if not file.is_file():  # models of before COLMAP 3.12 have no rigs and frames
            continue
        size = file.stat().st_size
        try:
            with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                is_whole = end_of(data) <= size
        except (ValueError, struct.error):  # an empty file; beyond the end
            is_whole = False
        if not is_whole:
            raise DatasetError(
                f"{file}: cannot be read as a COLMAP model: its {size} bytes are less than it announces, as if it were "
                "cut off; copy or export the model again"
            )


def _number(data: mmap.mmap, position: int, layout: str = "Q") -> int:
    number: int = struct.unpack_from(f"<{layout}", data, position)[0]
    return number


def _end_of_cameras(data: mmap.mmap) -> int:
    end = 8
    for _ in range(_number(data, 0)):
        model = pycolmap.CameraModelId(_number(data, end + _ID, "i"))
        num_params = len(pycolmap.Camera.create_from_model_id(1, model, _ANY_FOCAL, 1, 1).params)
        end += 2 * _ID + 2 * 8 + 8 * num_params
    return end


def _end_of_rigs(data: mmap.mmap) -> int:
    end = 8
    for _ in range(_number(data, 0)):
        num_sensors = _number(data, end + _ID, "I")
        end += 2 * _ID + (_SENSOR if num_sensors else 0)
        for _ in range(num_sensors - 1):
            has_pose = _number(data, end + _SENSOR, "B")
            end += _SENSOR + 1 + (_POSE if has_pose else 0)
    return end


def _end_of_frames(data: mmap.mmap) -> int:
    end = 8
    for _ in range(_number(data, 0)):
        end += 2 * _ID + _POSE
        end += 4 + _number(data, end, "I") * (_SENSOR + 8)
    return end


def _end_of_images(data: mmap.mmap) -> int:
    end = 8
    for _ in range(_number(data, 0)):
        name = end + _ID + _POSE + _ID
        end = data.find(b"\0", name) + 1
        if end == 0:
            raise ValueError("a name without an end")
        end += 8 + _number(data, end) * (2 * 8 + 8)
    return end


def _end_of_points(data: mmap.mmap) -> int:
    end = 8
    for _ in range(_number(data, 0)):
        end += 8 + 3 * 8 + 3 + 8
        end += 8 + _number(data, end) * 2 * _ID
    return end


_ENDS = {
    "cameras": _end_of_cameras,
    "rigs": _end_of_rigs,
    "frames": _end_of_frames,
    "images": _end_of_images,
    "points3D": _end_of_points,
}
