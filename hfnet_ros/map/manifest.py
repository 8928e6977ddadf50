"""The manifest of a map: JSON that says what the map is, sealed by its own digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.array_files import ADVICE

FORMAT_NAME = "hfnet_ros map"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
MANIFEST_NAME = "map.json"
SCENE = "scene"  # the kind of a map that has a scene-coordinate network and no landmarks
SET = "set"  # the kind of a set of maps
LANDMARKS = "landmarks"  # the kind of a map that says nothing of its kind, as before there were several

_SEAL = re.compile(rb'"manifest_sha256": "([0-9a-f]{64})"')
_UNSEALED = "0" * 64

PathLike = str | os.PathLike[str]


def sealed_manifest(kind: str, entries: Mapping[str, Any], target: PathLike) -> bytes:
    """Render a manifest and put its own digest in, taken with zeros in the digest's place.

    Args:
        kind: of the map, as `read_manifest` will return it.
        entries: what else it says; JSON values.
        target: named in errors.

    Raises:
        MapFormatError: an entry is not plain JSON.
    """
    head = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "manifest_sha256": _UNSEALED,
        "kind": kind,
    }
    try:
        # ASCII, because file names on Linux need not be valid text.
        content = json.dumps({**head, **entries}, indent=1, allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError) as error:
        raise MapFormatError(
            f"{target}: not written, build_info or consistency is not plain JSON: {error}"
        ) from error
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(_UNSEALED.encode(), digest, 1)


def read_manifest(folder: PathLike) -> tuple[dict[str, Any], bytes]:
    """Return the manifest of a map of any kind, and its bytes; only the seal is checked.

    `kind` and `format_version` are in it.

    Raises:
        MapFormatError: it is missing, damaged or of a newer version.
    """
    content = manifest_bytes(folder)
    file = Path(folder) / MANIFEST_NAME
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MapFormatError(f"{file}: not JSON ({error}), expected a map's manifest; {ADVICE}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_NAME:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise MapFormatError(f"{file}: format is {found!r}, expected '{FORMAT_NAME}'; name a map's folder")
    version = manifest.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise MapFormatError(
            f"{file}: format version is {version}, this program reads {FORMAT_VERSION}; "
            "update hfnet_ros or rebuild the map"
        )
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise MapFormatError(f"{file}: format version is {version!r}, expected {FORMAT_VERSION}; {ADVICE}")
    seal = _SEAL.search(content)
    if seal is None:
        raise MapFormatError(f"{file}: has no 'manifest_sha256', expected 64 hexadecimal digits; {ADVICE}")
    unsealed = content[: seal.start(1)] + _UNSEALED.encode() + content[seal.end(1) :]
    digest = hashlib.sha256(unsealed).hexdigest()
    if digest != seal[1].decode():
        raise MapFormatError(
            f"{file}: manifest digest is {digest[:16]}..., expected {seal[1].decode()[:16]}...: "
            f"the file was changed or damaged; {ADVICE}"
        )
    if not isinstance(manifest.setdefault("kind", LANDMARKS), str):
        raise MapFormatError(f"{file}: 'kind' is {manifest['kind']!r}, expected a word; {ADVICE}")
    return manifest, content


def manifest_bytes(folder: PathLike) -> bytes:
    """Return the file as it is.

    Raises:
        MapFormatError: there is none, or it cannot be read.
    """
    folder = Path(folder)
    file = folder / MANIFEST_NAME
    try:
        if not folder.exists():
            raise MapFormatError(f"{folder}: no such map; build one with `hfnet-ros map build`")
        if not folder.is_dir():
            raise MapFormatError(f"{folder}: is a file, expected the folder of a map; name the folder")
        if file.is_file():
            return file.read_bytes()
        found = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise MapFormatError(f"{file}: cannot be read: {error.strerror}; check the permissions") from error
    listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    raise MapFormatError(
        f"{folder}: has no {MANIFEST_NAME}, found {listed or 'an empty folder'}; "
        "name a folder that `hfnet-ros map build` wrote"
    )
