"""The networks that jobs run: loaded once in a process."""

from __future__ import annotations

from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import BuildingError
from hfnet_ros.features.extractor import NetworkExtractor, create_mapping_extractor

# Sections of the configuration that say what an image is described by.
EXTRACTION = ("extractor", "hfnet", "xfeat", "sift", "inference")

# Networks are loaded once in a process: the last one used, with what it was made for.
_loaded: list[tuple[dict[str, Any], NetworkExtractor]] = []


def extractor_of(config: Config, wanted_id: str) -> NetworkExtractor:
    """Return the extractor that a job is to use.

    Raises:
        BuildingError: this worker has other weights.
        EngineError: the network cannot be loaded.
        WeightsError: its weights are nowhere.
    """
    wanted = {name: section for name, section in config.to_dict().items() if name in EXTRACTION}
    if not _loaded or _loaded[0][0] != wanted:
        release_networks()
        _loaded.append((wanted, create_mapping_extractor(config)))
    extractor = _loaded[0][1]
    if extractor.extractor_id != wanted_id:
        raise BuildingError(
            f"this worker has the extractor '{extractor.extractor_id}', expected '{wanted_id}': put the same weights "
            "on all machines (docs/building.md)"
        )
    return extractor


def release_networks() -> None:
    """Close the networks that were loaded in this process."""
    while _loaded:
        _loaded.pop()[1].close()
