"""The map a node serves, and how the thread that localizes opens it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.localization.doubts import ARBITRARY_SCALE
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.localization.scene_model import SceneModel, asked_by, elsewhere_share, is_metric
from hfnet_ros.map.manifest import read_manifest
from hfnet_ros.map.map_points import drawing_origin
from hfnet_ros.messages.diagnostics import MapHealth
from hfnet_ros.node.blas_threads import limit_blas_threads
from hfnet_ros.types import ImageLocalizer, ReportProgress

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class ServedMap:
    """A map with where it came from.

    Attributes:
        digest: SHA-256 of its manifest when it was loaded, hexadecimal.
        backend: what runs its extractor, once that is open.
    """

    path: Path
    model: SceneModel
    digest: str
    backend: str = ""

    @classmethod
    def load(cls, path: str) -> ServedMap:
        """Read a map from its folder; `~` is a home, and what is relative starts where the node was started.

        Raises:
            MapFormatError: it is missing, damaged or of a newer version.
        """
        if not path:
            raise MapFormatError(
                "the path of the map is empty; name a folder that `hfnet-ros map build` wrote"
            )
        try:
            folder = Path(path).expanduser().absolute()
        except RuntimeError as error:  # ~nobody
            raise MapFormatError(f"{path}: {error} Write the path out") from error
        model = load_scene_model(folder)
        if not is_metric(model):
            _logger.warning("%s: %s", folder, ARBITRARY_SCALE)
        return cls(folder, model, str(read_manifest(folder)[0]["manifest_sha256"]))

    @property
    def digest_in_use(self) -> str:
        """Return the digest of what answers now: parts of a set of maps are exchanged while it is served."""
        return str(getattr(self.model, "digest", self.digest))

    @property
    def drawing_origin(self) -> NDArray[np.float64]:
        """Return what positions are drawn relative to, [3] m, map frame; zero unless coordinates are large."""
        return drawing_origin(self.model.extent)

    def health(
        self, frame_id: str, error: str, *, is_open: bool, engine_progress: str, engine_error: str
    ) -> MapHealth:
        """Return what diagnostics say of it, of the last failure to replace it, and of its extractor."""
        model = self.model
        return MapHealth(
            path=str(self.path),
            error=error,
            frame_id=frame_id,
            num_keyframes=model.sizes.get("keyframes", 0),
            num_landmarks=model.sizes.get("landmarks", 0),
            residual_px=model.residual_px,
            elsewhere_share=elsewhere_share(model),
            extractor=model.extractor_id,
            backend=self.backend if is_open else "",
            engine_progress=engine_progress,
            engine_error=engine_error,
            scale_error="" if is_metric(model) else ARBITRARY_SCALE,
        )

    def opener(self, config: Config) -> Callable[[ReportProgress], tuple[ImageLocalizer, Callable[[], None]]]:
        """Return what the localizing thread calls to make its engine and localizer, and hears of it by."""
        self.model = asked_by(self.model, config)

        def open_served(report: ReportProgress) -> tuple[ImageLocalizer, Callable[[], None]]:
            opened = self.model.open(self.model.configured(config), report=report)
            self.backend = opened.backend
            limit_blas_threads()  # this thread's, and that of the libraries which opening has loaded
            return opened.localizer, opened.close

        return open_served
