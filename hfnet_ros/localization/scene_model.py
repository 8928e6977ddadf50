"""What a robot localizes in: the one face of a map of landmarks, of a scene-coordinate network, and of what comes.

Whoever opens, serves, reports or evaluates asks this and nothing else. A kind of scene model is a class of this
face and one call of `register_scene_model`; which of them a folder holds stands in its manifest as `kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.manifest import MANIFEST_NAME, PathLike, read_manifest
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.map.visual_map import MapCamera
from hfnet_ros.types import ImageLocalizer, ReportProgress


@dataclass(frozen=True, eq=False)
class OpenedLocalizer:
    """A localizer with all that it needs; belongs to the thread that opened it.

    Attributes:
        localizer: works until `close`.
        backend: what runs its networks.
        close: frees everything; again does nothing. Raises EngineError in another thread.
    """

    localizer: ImageLocalizer
    backend: str
    close: Callable[[], None]


class SceneModel(Protocol):
    """A scene that images can be localized in.

    More is asked for by `is_metric`, `elsewhere_share`, `training_curves` and `asked_by`, and need not be there.
    """

    @property
    def kind(self) -> str:
        """As in the manifest."""
        ...

    @property
    def frame_id(self) -> str:
        """Name of the frame that poses are in."""
        ...

    @property
    def extractor_id(self) -> str:
        """What describes images for it: name of the method and digest of its weights."""
        ...

    @property
    def cameras(self) -> tuple[MapCamera, ...]:
        """Calibrations of the images it was made from."""
        ...

    @property
    def extent(self) -> NDArray[np.float64]:
        """[2, 3] smallest and largest position its images were taken from, m."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """How large it is, by what there is to count: `keyframes`, `landmarks`, ..."""
        ...

    @property
    def residual_px(self) -> float | None:
        """Reprojection error per axis that its self-test found, at the reference focal length; None untested."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a report says of its making; JSON values."""
        ...

    @property
    def keyframe_names(self) -> Sequence[str]:
        """Names of the images it was made from, by the numbers in an answer's place; may be none."""
        ...

    @property
    def points(self) -> MapPoints:
        """What of it can be drawn; may be nothing. Reads all of it: not for every image."""
        ...

    def configured(self, config: Config) -> Config:
        """Return the parameters with what the scene decides itself, as its extractor.

        Raises:
            ExtractorMismatchError: this program does not have it.
        """
        ...

    def open(
        self,
        config: Config,
        image_wh: tuple[int, int] | None = None,
        report: ReportProgress | None = None,
    ) -> OpenedLocalizer:
        """Make a localizer in this thread.

        Args:
            config: as `configured` returns it, unless the user wants otherwise.
            image_wh: of the images that will come; those of the first camera unless given.
            report: told what goes on while an engine is built, which may take minutes.

        Raises:
            WeightsError: the weights are missing, or not those of the extractor.
            ExtractorMismatchError: the scene was made with another extractor.
            EngineError: no backend can run the network.
        """
        ...


def is_metric(model: SceneModel) -> bool:
    """Tell whether a scene's lengths are metres; not where its own `is_metric` denies it, as of images alone."""
    return bool(getattr(model, "is_metric", True))


def elsewhere_share(model: SceneModel) -> float:
    """Return the share of held-out keyframes that a scene's self-test localized elsewhere; 0 if it does not say."""
    return float(getattr(model, "elsewhere_share", 0.0))


def training_curves(model: SceneModel) -> Sequence[Mapping[str, float]]:
    """Return what was measured while a scene was trained, by name, `step` among them; nothing if it does not say."""
    curves: Sequence[Mapping[str, float]] = getattr(model, "training_curves", ())
    return curves


def asked_by(model: SceneModel, config: Config) -> SceneModel:
    """Return a scene whose self-test is of what these parameters localize by; as it is if it knows one way only."""
    asked: SceneModel = model.asked_by(config) if hasattr(model, "asked_by") else model
    return asked


LoadSceneModel = Callable[[Path], SceneModel]

_loaders: dict[str, LoadSceneModel] = {}


def register_scene_model(kind: str, load: LoadSceneModel) -> None:
    """Say what loads folders whose manifest names this kind; of the same kind the last one counts."""
    _loaders[kind] = load


def load_scene_model(path: PathLike) -> SceneModel:
    """Load the scene model of a folder, of whatever kind it is.

    Raises:
        MapFormatError: it is missing, damaged, of a newer version, or of a kind that nobody registered.
    """
    kind = read_manifest(path)[0]["kind"]
    if kind not in _loaders:
        raise MapFormatError(
            f"{Path(path) / MANIFEST_NAME}: map of kind '{kind}', this program knows {', '.join(sorted(_loaders))}; "
            "update hfnet_ros, or import what registers this kind"
        )
    return _loaders[kind](Path(path))
