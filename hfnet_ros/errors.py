"""Errors a user can act on: each message says what was found, what was expected, what to do.

An expected failure of localization is not an error but an `Outcome` (see `types.py`).
"""

from __future__ import annotations

from collections.abc import Sequence


class HfnetRosError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(HfnetRosError):
    """A parameter is unknown, of the wrong type or out of its bounds."""


class CalibrationError(HfnetRosError):
    """A camera calibration is missing, unreadable or not usable."""


class ImageError(HfnetRosError):
    """An image cannot be read, or is not of the size or type that was announced."""


class DatasetError(HfnetRosError):
    """Images, poses and calibration given together do not fit each other."""


class MapFormatError(HfnetRosError):
    """A map on disk is damaged, incomplete or of a version this program cannot read."""


class ExtractorMismatchError(MapFormatError):
    """A map was built with another extractor than the one asked to localize in it."""


class MappingError(HfnetRosError):
    """A map cannot be built from what was given."""


class PoseFaultError(MappingError):
    """The given poses do not fit the images, and what is wrong cannot be mended here.

    Attributes:
        fault: what it is, one of "calibration", "convention", "cameras", "mounting", "time", "slip", "keyframes".
        places: positions of the keyframes concerned, of a slip the first one after it.
        amount: of a mounting the turn in degrees, of a time the offset in keyframes, of cameras, too; of a
            calibration the true focal length over its own.
    """

    def __init__(self, message: str, fault: str, places: Sequence[int] = (), amount: float = 0.0) -> None:
        """Keep the message and what it is about."""
        super().__init__(message)
        self.fault = fault
        self.places = tuple(places)
        self.amount = amount


class BuildingError(MappingError):
    """A task of a build failed, or the cluster that runs them does not do; the message says what to do."""


class EngineError(HfnetRosError):
    """A network cannot be loaded or run."""


class WeightsError(EngineError):
    """Network weights are missing, damaged or not the published ones."""


class BagError(HfnetRosError):
    """A bag is missing, damaged or lacks a topic."""


class MessageError(HfnetRosError, ValueError):
    """A ROS message holds what cannot be used: not a number, no rotation, a time out of range."""


class TransformError(HfnetRosError):
    """The transform between two frames is not known at the time asked for, or cannot be used.

    Attributes:
        ahead_s: how far the time asked for lies after the newest data, s, so that waiting may help;
            None where the reason is another one.
    """

    def __init__(self, message: str, ahead_s: float | None = None) -> None:
        """Keep the message and how much newer the data would have to be."""
        super().__init__(message)
        self.ahead_s = ahead_s


class InputError(HfnetRosError):
    """Numbers from outside mean nothing: not finite, not a rotation, not a covariance."""


class DdsError(HfnetRosError):
    """The DDS transport is missing, misconfigured, or a name, type or peer is not what was expected."""
