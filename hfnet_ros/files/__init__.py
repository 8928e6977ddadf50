"""Files other programs know: images, ROS calibrations, TUM trajectories; written whole or not at all."""

from hfnet_ros.files.atomic import atomic_directory, atomic_file
from hfnet_ros.files.camera_yaml import read_camera_yaml, write_camera_yaml
from hfnet_ros.files.images import IMAGE_SUFFIXES, list_images, read_image, to_gray
from hfnet_ros.files.posed_images import PosedImage, load_frame, pair_images_with_poses
from hfnet_ros.files.tum import StampedPose, read_tum, write_tum

__all__ = [
    "IMAGE_SUFFIXES",
    "PosedImage",
    "StampedPose",
    "atomic_directory",
    "atomic_file",
    "list_images",
    "load_frame",
    "pair_images_with_poses",
    "read_camera_yaml",
    "read_image",
    "read_tum",
    "to_gray",
    "write_camera_yaml",
    "write_tum",
]
