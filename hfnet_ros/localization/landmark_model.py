"""Opening a map's localizer with all that it needs, and closing that in the right order.

Everything is made, used and closed in one thread, to which engines and GPU memory belong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor, create_extractor
from hfnet_ros.localization.gpu_search import open_gpu_search
from hfnet_ros.localization.localizer import Localizer, check_extractor
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ReportProgress


@dataclass(frozen=True, eq=False)
class OpenedLocalizer:
    """A localizer with its extractor; belongs to the thread that opened it.

    The localizer works only as long as this object is held: what it searches with on a GPU is freed with it.

    Attributes:
        extractor: open until `close`.
        backend: what runs the extractor.
        close: frees everything; again does nothing. Raises EngineError in another thread.
    """

    localizer: Localizer
    extractor: NetworkExtractor
    backend: str
    close: Callable[[], None]


def open_localizer(
    visual_map: VisualMap,
    config: Config,
    image_wh: tuple[int, int] | None = None,
    report: ReportProgress | None = None,
) -> OpenedLocalizer:
    """Make the configured extractor and a localizer that searches where the extractor's networks run.

    Args:
        visual_map: to localize in.
        config: its extractor must be the map's.
        image_wh: of the images that will come; those of the map's first camera unless given.
        report: told what goes on while an engine is built, which may take minutes.

    Raises:
        WeightsError: the weights are missing, or not those of the extractor.
        ExtractorMismatchError: the map was built with another extractor.
        EngineError: no backend can run the network.
    """
    with contextlib.ExitStack() as opened:
        extractor = create_extractor(config, report)
        opened.callback(extractor.close)
        localizer = opened.enter_context(searching(visual_map, extractor, config, image_wh))
        backend = extractor.backend
        return OpenedLocalizer(localizer, extractor, backend, opened.pop_all().close)


@contextlib.contextmanager
def searching(
    visual_map: VisualMap,
    extractor: NetworkExtractor,
    config: Config,
    image_wh: tuple[int, int] | None = None,
) -> Iterator[Localizer]:
    """Give a localizer with an extractor that lives on; see `open_localizer`."""
    check_extractor(visual_map, extractor)
    width, height = image_wh or visual_map.cameras[0].refined.size_wh
    # What runs the network is known after the first image, which takes several times longer than the next.
    # It is a black one here, so that no robot waits for it.
    extractor.extract(np.zeros((height, width), np.uint8))
    search = open_gpu_search(visual_map, config, extractor.backend)
    if search is None:
        yield Localizer(visual_map, extractor, config)
        return
    with contextlib.closing(search):
        yield Localizer(visual_map, extractor, config, search)
