"""The map a node serves, and how the thread that localizes opens it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.localization.doubts import ARBITRARY_SCALE
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.localization.scene_model import SceneModel, asked_by, elsewhere_share, is_metric
from hfnet_ros.map.manifest import MANIFEST_NAME, read_manifest
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
        manifest: device and number of its manifest's file and time of its last change (ns) when it was loaded; None
            where nobody looks whether it is there still.
    """

    path: Path
    model: SceneModel
    digest: str
    backend: str = ""
    manifest: tuple[int, int, int] | None = None
    _looked_at: tuple[tuple[int, int, int] | None, str] = field(default=(None, ""), init=False)

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
        manifest = _manifest_of(folder)  # of before: whatever comes in between is told
        model = load_scene_model(folder)
        if not is_metric(model):
            _logger.warning("%s: %s", folder, ARBITRARY_SCALE)
        return cls(folder, model, str(read_manifest(folder)[0]["manifest_sha256"]), manifest=manifest)

    @property
    def digest_in_use(self) -> str:
        """Return the digest of what answers now: parts of a set of maps are exchanged while it is served."""
        return str(getattr(self.model, "digest", self.digest))

    @property
    def changed_on_disk(self) -> str:
        """Return how the folder differs from what was loaded of it, and what to do; empty where it does not.

        A set of maps follows its folder by itself.
        """
        found = _manifest_of(self.path)
        if self.manifest is None or found == self.manifest or hasattr(self.model, "digest"):
            return ""
        if found is None:
            return (
                "its folder is gone; what is loaded of it stays in use until the node is cleaned up or ends"
            )
        if found != self._looked_at[0]:
            self._looked_at = found, self._difference(found)
        return self._looked_at[1]

    def _difference(self, found: tuple[int, int, int]) -> str:
        """Return how a folder whose manifest was written anew differs from what was loaded of it."""
        try:
            if read_manifest(self.path)[0]["manifest_sha256"] == self.digest:
                return ""
            problem = ""
        except MapFormatError as error:
            problem = f", and cannot be used ({error})"
        if self.manifest is not None and found[:2] == self.manifest[:2]:
            return (
                f"its files were overwritten in place{problem}: answers may be wrong, and the node may end by a bus "
                "error; call ~/load_map now, and next time copy the folder under another name and rename it"
            )
        return f"another one is in its folder now{problem}; what was loaded stays in use until ~/load_map is called"

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
            changed_on_disk=self.changed_on_disk,
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


def _manifest_of(folder: Path) -> tuple[int, int, int] | None:
    """Return device, number and time of the last change (ns) of a map's manifest; None where there is none."""
    try:
        found = (folder / MANIFEST_NAME).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
