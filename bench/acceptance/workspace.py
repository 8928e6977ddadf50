"""What a run keeps on disk: features by the image's bytes, rendered images, maps, rows."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor, create_extractor
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.files.images import read_image
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures


@dataclass(frozen=True)
class Workspace:
    """Where data comes from and where everything made of it goes.

    Attributes:
        data: folder of the scenes that are files.
        cache: folder of everything that can be made again.
        config: parameters; the extractor's name parts maps and rows of one extractor from another's.
        thin: of the queries without a place in the map keep every n-th only; 1 for all.
        keeps_maps: take maps that are there instead of building them.
    """

    data: Path
    cache: Path
    config: Config
    thin: int = 1
    keeps_maps: bool = False

    def folder(self, name: str) -> Path:
        path = self.cache / self.config.extractor.name / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def map_path(self, scene: str) -> Path:
        return self.folder("maps") / f"{scene}.map"

    def rows_path(self, scene: str) -> Path:
        return self.folder("rows") / f"{scene}.json"

    def drawn(self, name: str, draw: Callable[[], ImageArray]) -> Callable[[], ImageArray]:
        """Return a reader of an image that is made when it is first asked for, and then kept."""
        path = self.cache / "drawn" / f"{name}.png"

        def read() -> ImageArray:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}.png")
                cv2.imwrite(str(temporary), draw())
                temporary.replace(path)
            return read_image(path)

        return read


class RememberingExtractor:
    """An extractor that keeps what it found by the bytes of the image."""

    def __init__(self, workspace: Workspace) -> None:
        config = dataclasses.replace(
            workspace.config, inference=dataclasses.replace(workspace.config.inference, num_threads=1)
        )
        self._extractor: NetworkExtractor = create_extractor(config)
        self._folder = workspace.cache / "features" / self._extractor.extractor_id

    @property
    def extractor_id(self) -> str:
        return self._extractor.extractor_id

    @property
    def backend(self) -> str:
        return "remembered"

    def extract(self, image: ImageArray) -> ImageFeatures:
        shape = np.array(image.shape, np.int64).tobytes()
        key = hashlib.sha1(shape + np.ascontiguousarray(image).tobytes()).hexdigest()
        path = self._folder / key[:2] / f"{key}.npz"
        if not path.exists():
            self._store(path, self._extractor.extract(image))
        with np.load(path) as stored:
            local = LocalFeatures(
                stored["keypoints"], stored["scores"], unit_rows(stored["descriptors"].astype(np.float32))
            )
            described = stored.get("global")
        return ImageFeatures(local, described, self.extractor_id)

    def close(self) -> None:
        self._extractor.close()

    def _store(self, path: Path, features: ImageFeatures) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "keypoints": features.local.keypoints,
            "scores": features.local.scores,
            "descriptors": features.local.descriptors.astype(np.float16),
        }
        if features.global_descriptor is not None:
            arrays["global"] = features.global_descriptor
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, **arrays)
        temporary.replace(path)
