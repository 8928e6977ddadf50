"""The registry of extractors: made by the name in the parameters, found again by the identity in a map."""

from __future__ import annotations

import dataclasses

from hfnet_ros.config import EXTRACTOR_NAMES, Config
from hfnet_ros.errors import ConfigError, ExtractorMismatchError
from hfnet_ros.features import hfnet, sift, xfeat, xfeat_hfnet, xfeat_star
from hfnet_ros.features.protocol import ExtractorKind, FeatureExtractor, NetworkExtractor
from hfnet_ros.types import ReportProgress

__all__ = [
    "ExtractorKind",
    "FeatureExtractor",
    "NetworkExtractor",
    "create_extractor",
    "extractor_kind",
    "knows_turned",
    "register_extractor",
    "registered_extractors",
    "unregister_extractor",
    "with_extractor_of",
]

_KINDS = {kind.name: kind for kind in (hfnet.KIND, xfeat.KIND, xfeat_hfnet.KIND, xfeat_star.KIND, sift.KIND)}


def register_extractor(kind: ExtractorKind) -> None:
    """Add an extractor of another project; from then on `extractor.name` may choose it.

    Raises:
        ConfigError: there is one of this name.
    """
    if kind.name in _KINDS:
        raise ConfigError(f"an extractor '{kind.name}' is registered already; give yours another name")
    _KINDS[kind.name] = kind
    EXTRACTOR_NAMES.append(kind.name)


def unregister_extractor(name: str) -> None:
    """Take back `register_extractor`."""
    del _KINDS[name]
    EXTRACTOR_NAMES.remove(name)


def registered_extractors() -> tuple[ExtractorKind, ...]:
    """Return all extractors, the package's own first."""
    return tuple(_KINDS.values())


def extractor_kind(config: Config) -> ExtractorKind:
    """Return the configured extractor's entry.

    Raises:
        ConfigError: nobody registered one of this name.
    """
    name = config.extractor.name
    if name not in _KINDS:
        raise ConfigError(f"extractor.name is '{name}', expected one of {', '.join(_KINDS)}")
    return _KINDS[name]


def knows_turned(extractor_id: str) -> bool:
    """Return whether features of this identity describe a turned image as the image as it is."""
    return any(kind.knows_turned for kind in registered_extractors() if kind.makes(extractor_id))


def create_extractor(config: Config, progress: ReportProgress | None = None) -> NetworkExtractor:
    """Make the configured extractor, loading its weights.

    Args:
        config: section extractor says which, section inference how it runs, a section of its name the rest.
        progress: told what goes on while an engine is built; an empty text means it is ready.

    Raises:
        WeightsError: the weights are missing, or not those of the extractor.
        EngineError: no backend can run the network.
    """
    return extractor_kind(config).create(config, progress)


def create_mapping_extractor(config: Config, progress: ReportProgress | None = None) -> NetworkExtractor:
    """Make the extractor that maps are made with: the configured one, in float32 unless int8 is asked for.

    Maps last, nobody waits for an image, and where views differ much bytes cost matches (docs/hfnet.md).

    Raises:
        WeightsError: as `create_extractor`.
        EngineError: as `create_extractor`.
    """
    if config.inference.cpu_precision == "auto":
        inference = dataclasses.replace(config.inference, cpu_precision="float32")
        config = dataclasses.replace(config, inference=inference)
    return create_extractor(config, progress)


def with_extractor_of(config: Config, extractor_id: str) -> Config:
    """Return the parameters with the extractor that made a map, named by its identity.

    Raises:
        ExtractorMismatchError: this program has no such extractor.
    """
    for kind in registered_extractors():
        if kind.makes(extractor_id):
            return dataclasses.replace(
                config, extractor=dataclasses.replace(config.extractor, name=kind.name)
            )
    raise ExtractorMismatchError(
        f"the map was built with '{extractor_id}', an extractor this program does not have; "
        "update hfnet_ros or build the map anew"
    )
