"""Cameras, self-test and calibration as JSON values, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.plausibility import check_focal
from hfnet_ros.map.visual_map import CovarianceCalibration, MapCamera, MapConsistency


def camera_pair_to_json(pair: MapCamera) -> dict[str, Any]:
    """Return a camera as given and as refined."""
    given = None if pair.given is None else _camera_to_json(pair.given)
    return {"given": given, "refined": _camera_to_json(pair.refined)}


def camera_pair_from_json(entry: Mapping[str, Any]) -> MapCamera:
    """Return what `camera_pair_to_json` was given.

    Raises:
        CalibrationError, KeyError, TypeError, ValueError, AttributeError: the values cannot be a camera.
    """
    given = None if entry["given"] is None else _camera_from_json(entry["given"])
    return MapCamera(given, _camera_from_json(entry["refined"]))


def consistency_from_json(entry: Mapping[str, Any]) -> MapConsistency:
    """Return a self-test; raises as `camera_pair_from_json`."""
    found = MapConsistency(**_known_fields(entry, MapConsistency))
    figures = np.array([found.residual_px, found.translation_m, found.rotation_rad], np.float64)
    if not (np.isfinite(figures).all() and figures.min() >= 0.0):
        raise ValueError(f"the self-test's figures are {figures.tolist()}, expected finite ones from 0")
    for name in ("contradicted_share", "mirrored_share"):
        if not 0.0 <= float(getattr(found, name)) <= 1.0:
            raise ValueError(f"{name} is {getattr(found, name)}, expected 0 to 1")
    counts = (found.num_keyframes, found.num_asked, found.num_elsewhere)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"the self-test counted {counts}, expected numbers from 0")
    if type(found.weighs_depths) is not bool:
        raise ValueError(f"weighs_depths is {found.weighs_depths!r}, expected true or false")
    look_alikes = tuple(tuple(float(number) for number in row) for row in found.look_alikes)
    if not all(len(row) == 5 and np.isfinite(row).all() for row in look_alikes):
        raise ValueError("look_alikes are not rows of 5 finite numbers")
    found = dataclasses.replace(found, look_alikes=look_alikes)
    for numbers in (found.pose_covariance, found.refined_pose_covariance):
        moment = np.array(numbers, np.float64)
        if moment.shape not in ((0,), (36,)) or not np.isfinite(moment).all():
            raise ValueError(f"a covariance has {moment.shape} numbers, expected 36 finite ones or none")
    return found


def calibration_from_json(entry: Mapping[str, Any] | None) -> CovarianceCalibration | None:
    """Return a calibration; None for a map without one, as maps written before there were any."""
    if entry is None:
        return None
    return CovarianceCalibration(**_known_fields(entry, CovarianceCalibration))


def _camera_to_json(camera: Camera) -> dict[str, Any]:
    return {
        "model": camera.model.value,
        "size_wh": [int(length) for length in camera.size_wh],
        "focal": camera.focal.tolist(),
        "center": camera.center.tolist(),
        "distortion": camera.distortion.tolist(),
    }


def _camera_from_json(entry: Mapping[str, Any]) -> Camera:
    width, height = entry["size_wh"]
    model = DistortionModel(entry["model"])
    camera = Camera(model, (width, height), entry["focal"], entry["center"], entry["distortion"])
    check_focal(camera)
    return camera


def _known_fields(entry: Mapping[str, Any], record: type[Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(record)}
    # A later writer of this version may add fields; lists stand for the record's tuples.
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
        if key in known
    }
