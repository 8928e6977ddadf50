"""Verb `weights`: which weights there are, where they are, whether they are the genuine ones."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli.options import check_file_target, new_verb
from hfnet_ros.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from hfnet_ros.features.weights import KnownWeights

_LIST = "hfnet-ros weights list"
_FETCH = "hfnet-ros weights fetch xfeat.pt"
_CHECK = "hfnet-ros weights check xfeat.pt --file Downloads/xfeat.pt"
_NAME = "hfnet-ros weights name converted.onnx --scores s --local l --global g --out hfnet.onnx"
_QUANTIZE = "hfnet-ros weights quantize hfnet.onnx --photos photos --out hfnet-int8.onnx"
_NUM_PHOTOS = 40


def add_verbs(verbs: Any) -> None:
    """Add `weights list`, `fetch`, `check`, `name` and `quantize`."""
    weights = verbs.add_parser("weights", help="list, fetch or check network weights").add_subparsers(
        dest="weights_verb", required=True, metavar="VERB"
    )
    new_verb(
        weights, "list", "list known weights: what they are, publisher, licence, where they are", _LIST, _list
    )
    fetch = new_verb(weights, "fetch", "fetch published weights, or take them from a file", _FETCH, _fetch)
    check = new_verb(weights, "check", "check that weights are the published ones", _CHECK, _check)
    for parser in (fetch, check):
        parser.add_argument("name", metavar="NAME", help="as listed, e.g. xfeat.pt")
        parser.add_argument("--file", type=Path, metavar="FILE", help="a copy on this machine")
    name = new_verb(weights, "name", "name the outputs of a converted HF-Net", _NAME, _name)
    name.add_argument("network", type=Path, metavar="ONNX")
    for role in ("scores", "local", "global"):
        name.add_argument(f"--{role}", dest=f"{role}_name", metavar="NAME", help=f"output with {role}")
    name.add_argument("--out", type=Path, required=True, metavar="FILE")
    quantize = new_verb(
        weights,
        "quantize",
        "write an HF-Net in int8, for CPUs that multiply bytes (VNNI, AVX2, ARM's dot products)",
        _QUANTIZE,
        _quantize,
    )
    quantize.add_argument("network", type=Path, metavar="ONNX")
    quantize.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="images to measure activations on, of any place",
    )
    quantize.add_argument(
        "--num", type=int, default=_NUM_PHOTOS, metavar="N", help=f"how many of them (default: {_NUM_PHOTOS})"
    )
    quantize.add_argument("--out", type=Path, required=True, metavar="FILE")


def _list(_options: argparse.Namespace) -> int:
    from hfnet_ros.features.weights import find_weights

    for weights in _known():
        try:
            path = find_weights(weights.file_name)
        except WeightsError:
            here = "not on this machine"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            here = f"{path} ({'genuine' if digest in weights.known_sha256 else f'another file, SHA-256 {digest}'})"
        print(f"{weights.file_name}\n  what:      {weights.about}")
        print(f"  publisher: {weights.publisher}\n  licence:   {weights.licence}")
        print(f"  address:   {weights.url or 'comes with this package'}")
        print(f"  SHA-256:   {' or '.join(weights.known_sha256)}\n  here:      {here}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from hfnet_ros.features.weights import fetch_weights, shipped_folder

    weights = _find_known(options.name)
    if not weights.url and not options.file:
        path = shipped_folder() / weights.file_name
        _checked_content(weights, path)
        print(f"{path}: comes with this package, nothing to fetch")
        return 0
    print(f"{weights.publisher}, {weights.licence}, {options.file or weights.url}")
    path = _install(weights, options.file) if options.file else fetch_weights(weights)
    print(f"{path}: SHA-256 as published")
    return 0


def _install(weights: KnownWeights, file: Path) -> Path:
    """Copy a checked file to where weights are searched first."""
    from hfnet_ros.features.weights import weights_folders
    from hfnet_ros.files.atomic import atomic_file

    content = _checked_content(weights, file)
    folder = weights_folders()[0]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / weights.file_name) as temporary:
        temporary.write_bytes(content)
    return folder / weights.file_name


def _checked_content(weights: KnownWeights, path: Path) -> bytes:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, expected {weights.file_name} of {weights.publisher}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest not in weights.known_sha256:
        raise WeightsError(
            f"{path}: SHA-256 is {digest}, expected {' or '.join(weights.known_sha256)} of {weights.publisher}"
        )
    return content


def _check(options: argparse.Namespace) -> int:
    from hfnet_ros.features.weights import find_weights

    weights = _find_known(options.name)
    path = find_weights(weights.file_name, str(options.file or ""))
    digest = hashlib.sha256(_checked_content(weights, path)).hexdigest()
    print(f"{path}: {weights.about}")
    print(f"SHA-256 {digest}, as published by {weights.publisher} ({weights.licence})")
    return 0


def _name(options: argparse.Namespace) -> int:
    from hfnet_ros.features.hfnet import name_outputs

    check_file_target(options.out)
    names = {role: getattr(options, f"{role}_name") for role in ("scores", "local", "global")}
    name_outputs(options.network, options.out, {role: name for role, name in names.items() if name})
    print(f"{options.out}: outputs named; use it with --extractor hfnet --weights {options.out}")
    return 0


def _quantize(options: argparse.Namespace) -> int:
    from hfnet_ros.features.hfnet_int8 import MIN_IMAGES, quantize_hfnet
    from hfnet_ros.inference.quantization import quantized_path
    from hfnet_ros.training.options import DataOptions
    from hfnet_ros.training.views import training_photos

    check_file_target(options.out)
    if options.num < MIN_IMAGES:
        raise ConfigError(f"--num is {options.num}, expected {MIN_IMAGES} or more")
    photos = training_photos(DataOptions(photos=str(options.photos), max_photos=options.num))
    if len(photos) < MIN_IMAGES:
        raise ConfigError(
            f"{options.photos}: {len(photos)} images, every tenth left out for evaluation; expected {MIN_IMAGES} or "
            "more"
        )
    quantize_hfnet(options.network, options.out, photos)
    found = quantized_path(options.network)
    where = "" if options.out.resolve() == found.resolve() else f"; it is used where it lies as {found}"
    print(f"{options.out}: int8, by {len(photos)} images{where}")
    return 0


def _known() -> tuple[KnownWeights, ...]:
    from hfnet_ros.features.weights import KNOWN_WEIGHTS

    return KNOWN_WEIGHTS


def _find_known(name: str) -> KnownWeights:
    for weights in _known():
        if weights.file_name == name:
            return weights
    raise ConfigError(
        f"'{name}' is no known weights file; known are {', '.join(w.file_name for w in _known())}"
    )
