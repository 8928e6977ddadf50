"""Name areas of a stored map: its manifest is written anew, its arrays stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfnet_ros.errors import MapFormatError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.areas import areas_from_json, check_area_name, checked_box
from hfnet_ros.map.manifest import (
    FORMAT_VERSION,
    LANDMARKS,
    MANIFEST_NAME,
    SCENE,
    PathLike,
    read_manifest,
    sealed_manifest,
)


def change_area(path: PathLike, name: str, box: Sequence[float] | None) -> None:
    """Name a box of a map, or forget it.

    Args:
        path: of a map by itself.
        name: of the area; one that is there is changed.
        box: xmin ymin zmin xmax ymax zmax, m, in the frame of the given poses; None forgets the area.

    Raises:
        MapFormatError: the map, the name or the box cannot be used, there is nothing to forget, or the disk refuses.
    """
    check_area_name(name)
    folder = Path(path)
    manifest, _ = read_manifest(folder)
    if manifest["kind"] not in (LANDMARKS, SCENE) or manifest["format_version"] != FORMAT_VERSION:
        raise MapFormatError(
            f"{folder}: is of kind '{manifest['kind']}' and format {manifest['format_version']}, expected a map of "
            f"format {FORMAT_VERSION}; `hfnet-ros map convert` writes one"
        )
    areas = {known: list(numbers) for known, numbers in areas_from_json(manifest.get("areas")).items()}
    if box is not None:
        areas[name] = list(checked_box(name, box))
    elif areas.pop(name, None) is None:
        raise MapFormatError(f"{folder}: has no area '{name}', it has {', '.join(sorted(areas)) or 'none'}")
    head = ("format", "format_version", "manifest_sha256", "kind")
    entries = {key: value for key, value in manifest.items() if key not in head} | {"areas": areas}
    content = sealed_manifest(str(manifest["kind"]), entries, folder)
    try:
        with atomic_file(folder / MANIFEST_NAME) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise MapFormatError(
            f"{folder}: cannot be written: {error.strerror or error}; what was there is untouched"
        ) from error
