"""Rigid motions, camera models, pixels and covariances; depends on numpy only."""

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3

__all__ = ["Camera", "DistortionModel", "Rigid3"]
