"""The map a node serves, and how the thread that localizes opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.extractor import with_extractor_of
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.opening import open_localizer
from hfnet_ros.map.map_io import load_map, read_map_header
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.messages.diagnostics import MapHealth
from hfnet_ros.types import ReportProgress


@dataclass(eq=False)
class ServedMap:
    """A map with where it came from.

    Attributes:
        digest: SHA-256 of its manifest, hexadecimal.
        backend: what runs its extractor, once that is open.
    """

    path: Path
    visual_map: VisualMap
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
        visual_map = load_map(folder)
        return cls(folder, visual_map, str(read_map_header(folder)["manifest_sha256"]))

    def health(
        self, frame_id: str, error: str, *, is_open: bool, engine_progress: str, engine_error: str
    ) -> MapHealth:
        """Return what diagnostics say of it, of the last failure to replace it, and of its extractor."""
        visual_map = self.visual_map
        return MapHealth(
            path=str(self.path),
            error=error,
            frame_id=frame_id,
            num_keyframes=visual_map.num_keyframes,
            num_landmarks=visual_map.num_landmarks,
            residual_px=visual_map.consistency.residual_px if visual_map.consistency.num_keyframes else None,
            extractor=visual_map.extractor_id,
            backend=self.backend if is_open else "",
            engine_progress=engine_progress,
            engine_error=engine_error,
        )

    def opener(self, config: Config) -> Callable[[ReportProgress], tuple[Localizer, Callable[[], None]]]:
        """Return what the localizing thread calls to make its engine and localizer, and hears of it by."""

        def open_served(report: ReportProgress) -> tuple[Localizer, Callable[[], None]]:
            own = with_extractor_of(config, self.visual_map.extractor_id)
            opened = open_localizer(self.visual_map, own, report=report)
            self.backend = opened.backend
            return opened.localizer, opened.close

        return open_served
