"""A dense scene-coordinate network: where the cells of an image are in the scene.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020.

Contract of the file: input `image` [1, 3, H, W] float32, BGR, 0 to 255; outputs `points` [M, 3] m, `confidence` [M],
float32, and `leaves` [M], int64, of the M = H / 8 * W / 8 cells by rows.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.engines import checked_outputs
from hfnet_ros.features.onnx_network import read_scene_network
from hfnet_ros.features.preprocess import check_image
from hfnet_ros.features.protocol import NetworkExtractor
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.map.scene_network import SceneNetwork
from hfnet_ros.types import ImageArray, ImageFeatures, SceneCoordinates

INPUTS, OUTPUTS = ("image",), ("points", "confidence", "leaves")
STRIDE = 8


class DenseNetwork:
    """The network of a map; belongs to the thread that uses it first, as engines do."""

    def __init__(self, scene: SceneNetwork, inference: InferenceConfig) -> None:
        """Read it; no engine is made before the first image.

        Raises:
            MapFormatError: it is no ONNX, or not of this kind.
        """
        graph = read_scene_network(scene.network, INPUTS, OUTPUTS).graph
        shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
        if len(shape) != 4 or shape[:2] != [1, 3] or min(shape[2:]) < STRIDE or shape[2] % 8 or shape[3] % 8:
            raise MapFormatError(
                f"the map's scene network takes images {shape}, expected [1, 3, H, W] of whole cells; train it anew"
            )
        self.size_wh = (shape[3], shape[2])
        self._levels, self._sigmas = (
            np.asarray(scene.arrays[name], np.float64) for name in ("confidence_levels", "confidence_sigmas")
        )
        self._network, self._inference = scene.network, inference
        self._engine: Engine | None = None

    def predict(self, image: ImageArray) -> SceneCoordinates:
        """Return where the cells of an image are; an image of any size is resized to the one trained at.

        Args:
            image: [H, W] gray or [H, W, 3] BGR, uint8.

        Raises:
            ImageError: the image has another type or shape, or is too small.
            EngineError: the network failed.
        """
        check_image(image)
        taken_wh = (image.shape[1], image.shape[0])
        if self._engine is None:
            model = NetworkModel(f"scene-{self.size_wh[0]}x{self.size_wh[1]}", self._network)
            self._engine = create_engine(model, self._inference)
        cells = self.size_wh[0] // STRIDE * (self.size_wh[1] // STRIDE)
        shapes = {"points": (cells, 3), "confidence": (cells,), "leaves": (cells,)}
        found = self._engine.run({"image": network_image(image, self.size_wh)})
        found = checked_outputs(found, shapes, "scene")
        confidence = found["confidence"].astype(np.float32)
        return SceneCoordinates(
            np.full(len(confidence), -1, np.int64),
            taken_pixels(self.size_wh, taken_wh),
            found["points"].astype(np.float64),
            np.interp(confidence, self._levels, self._sigmas),
            confidence,
            found["leaves"].astype(np.int64),
        )

    def close(self) -> None:
        """Free the engine; calling it again does nothing."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class WithCoordinates:
    """An extractor whose features carry what a dense network says of the image."""

    def __init__(self, extractor: NetworkExtractor, dense: DenseNetwork) -> None:
        """Take both over; closing this closes them."""
        self._extractor, self._dense = extractor, dense

    @property
    def extractor_id(self) -> str:
        """Of the extractor."""
        return self._extractor.extractor_id

    @property
    def backend(self) -> str:
        """Of the extractor."""
        return self._extractor.backend

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        return replace(self._extractor.extract(image), coordinates=self._dense.predict(image))

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return those of the extractor; the dense one is of the map."""
        return self._extractor.networks(image_wh)

    def close(self) -> None:
        """Free all networks; calling it again does nothing."""
        self._extractor.close()
        self._dense.close()


def network_image(image: ImageArray, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image as the network takes it, [1, 3, H, W]."""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if (image.shape[1], image.shape[0]) != size_wh:
        shrinks = image.shape[1] >= size_wh[0]
        image = np.asarray(
            cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR),
            np.uint8,
        )
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def cell_centers(size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Return the middles [M, 2] of the cells of an image, px, by rows."""
    x, y = (np.arange(STRIDE // 2, side, STRIDE) - 0.5 for side in size_wh)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def taken_pixels(size_wh: tuple[int, int], taken_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Return where the middles of the cells are in the image as it was taken, [M, 2] px."""
    return rescale_pixels(cell_centers(size_wh), np.array(taken_wh, np.float64) / size_wh)


def coordinates_at(cells: SceneCoordinates, keypoints: NDArray[np.floating]) -> SceneCoordinates:
    """Return what was said of the cell nearest to each keypoint [N, 2], px of the original image.

    A keypoint further from all cells than they are from each other, as beside a turned image, is left out.
    """
    from scipy.spatial import cKDTree

    points = np.asarray(keypoints, np.float64)
    if len(cells) < 2 or len(points) == 0:
        return cells.chosen(np.empty(0, np.int64))
    tree = cKDTree(cells.points2d)
    apart = float(np.median(tree.query(cells.points2d[:64], k=2)[0][:, 1]))
    distance, row = tree.query(points)
    near = np.flatnonzero(distance <= apart)
    found = cells.chosen(row[near].astype(np.int64))
    return replace(found, keypoint_idxs=near.astype(np.int64), points2d=points[near])
