"""What tasks do: functions from a job to arrays or a map, run by a worker of any machine.

Each reads files and artefacts and nothing else; what it returns depends on nothing but these, the parameters and the
configuration. Where threads of a library would add up numbers in an order of their own, it runs on one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building import own_body
from hfnet_ros.building.artefacts import Arrays, Artefact
from hfnet_ros.building.graph import Job, Stage
from hfnet_ros.building.jobs import cameras_of, config_of, keyframes_of, known_matches, poses_of
from hfnet_ros.building.keyframe_files import (
    features_to_arrays,
    numbers_of,
    read_features,
    rigid_motions,
)
from hfnet_ros.building.networks import EXTRACTION, extractor_of
from hfnet_ros.errors import BuildingError, ImageError, MappingError, PoseFaultError
from hfnet_ros.features.aggregation import VladAggregation
from hfnet_ros.files.images import decode_image
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.describe import describe_for_pairs, describe_images, learn_aggregation
from hfnet_ros.mapping.map_builder import build_untested_map, build_untested_map_without_poses
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.pose_faults import CheckedPoses, check_poses
from hfnet_ros.mapping.pruning import with_build_info
from hfnet_ros.mapping.set_alignment import align_overlap
from hfnet_ros.mapping.standing import moving
from hfnet_ros.mapping.views import Keyframe, MappingImage, among, views_of
from hfnet_ros.trust.mirror_test import ShownImage, with_mirror_test
from hfnet_ros.trust.self_test import with_self_test
from hfnet_ros.types import ImageArray, ImageFeatures

_logger = logging.getLogger(__name__)

_LOCALIZATION = ("retrieval", "localization", "matching", "pose", "verification", "mapping", "inference")

CHECK = Stage("check", 1)
DESCRIBE = Stage("describe", 2, (*EXTRACTION, "mapping"), threads=True, network=True)
VOCABULARY = Stage("vocabulary", 1, ("retrieval", "pose", "mapping"))
PAIRS = Stage("pairs", 1, ("mapping", "inference"), threads=True)
MATCHES = Stage("matches", 1, ("mapping", "inference"), threads=True)
POSE_CHECK = Stage("pose check", 2, ("retrieval", "pose", "mapping"))
STRUCTURE = Stage("structure", 2, ("retrieval", "pose", "mapping"))
SELF_TEST = Stage("self-test", 1, _LOCALIZATION)
MIRROR_TEST = Stage("mirror test", 1, (*EXTRACTION, *_LOCALIZATION[:-1]), threads=True, network=True)
OVERLAP = Stage("overlap", 1, _LOCALIZATION)


# What would be wrong with the poses of all keyframes alike.
_FAULTS_OF_ALL = ("calibration", "convention", "cameras", "mounting", "time")


def check(job: Job) -> Arrays:
    """Read images once: digests of the files, and sizes [N, 2] width and height, px.

    Raises:
        ImageError: a file is missing or damaged.
    """
    digests, sizes = [], []
    for file in job.files:
        content, image = _read(file)
        digests.append(hashlib.sha256(content).hexdigest())
        sizes.append((image.shape[1], image.shape[0]))
    return {"sha256": np.array(digests), "size_wh": np.array(sizes, np.int64).reshape(-1, 2)}


def describe(job: Job) -> Arrays:
    """Describe a batch of images: arrays of `keyframe_files`.

    Raises:
        BuildingError: an image is not the one that was checked, or the weights are others.
    """
    config = config_of(job)
    extractor = extractor_of(config, job.parameters["extractor_id"])
    turns, digests = job.parameters["turns_rad"], job.parameters["sha256"]

    def read(row: int) -> ImageArray:
        content, image = _read(job.files[row])
        if hashlib.sha256(content).hexdigest() != digests[row]:
            raise BuildingError(
                f"{job.files[row]}: was changed while the map was built; start the command again"
            )
        return image

    images = [MappingImage(file, 0, 0, partial(read, row)) for row, file in enumerate(job.files)]
    keyframes = describe_images(images, extractor, config.mapping.max_keypoints, _silent, turns)
    return features_to_arrays([entry.extracted for entry in keyframes], [entry.colors for entry in keyframes])


def learn_vocabulary(job: Job) -> Arrays:
    """Learn the aggregation of all sub-maps from a sample of keyframes; nothing where a head alone is asked for."""
    config = config_of(job)
    aggregation = learn_aggregation(keyframes_of(job, config), config.retrieval, config.pose.seed)
    return {} if aggregation is None else aggregation.arrays()


def choose_pairs(job: Job) -> Arrays:
    """Choose the keyframes of a sub-map that are matched: rows [P, 2], first before second."""
    config = config_of(job)
    views = views_of(keyframes_of(job, config), poses_of(job))
    pairs = choose_pairs_by_pose(
        views, cameras_of(job), create_pair_matcher(config), config.mapping, job.num_threads
    )
    return {"pairs": np.array(pairs, np.int64).reshape(-1, 2)}


def match(job: Job) -> Arrays:
    """Match pairs of images of one batch or of two: keypoint rows [M, 2] of all, and where each pair starts [P + 1]."""
    config = config_of(job)
    pairs: NDArray[np.int64] = job.parameters["pairs"]
    batches = (job.inputs[0], job.inputs[-1])
    features: list[ImageFeatures] = []
    position = {}
    for side, batch in enumerate(batches):
        rows = np.unique(pairs[:, side]).tolist()
        for row, (_, used, _) in read_features(batch, rows, config.mapping.max_keypoints).items():
            position[side, row] = len(features)
            features.append(used)
    wanted = [(position[0, first], position[1, second]) for first, second in pairs.tolist()]
    matches = match_pairs(create_pair_matcher(config), features, wanted, 0.0, job.num_threads)
    found = [matches.get(pair, np.empty((0, 2), np.int64)) for pair in wanted]
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in found])]).astype(np.int64)
    return {"rows": np.concatenate(found).astype(np.int32), "offsets": offsets}


def build_structure(job: Job) -> VisualMap:
    """Build the map of a sub-map, or of all there is; not tested yet."""
    config, parameters = config_of(job), job.parameters
    options = BuildOptions(**parameters["options"])
    keyframes, num_batches = keyframes_of(job, config), parameters["num_batches"]
    if "map_from_camera" not in parameters:
        sizes = [tuple(size) for size in parameters["size_wh"].tolist()]
        rig = parameters.get("rig_from_camera")
        return build_untested_map_without_poses(
            keyframes,
            sizes,
            cameras_of(job) if parameters["cameras"] else None,
            config,
            options,
            None if rig is None else rigid_motions(rig),
        )
    inputs = list(job.inputs[num_batches:])
    aggregation = None
    if parameters["has_vocabulary"]:
        arrays = inputs.pop(0).read_arrays()
        aggregation = VladAggregation(**arrays) if arrays else None
    checked, num_standing = _checked_poses(job, inputs[: parameters["num_checks"]])
    known = checked.among_kept(known_matches(job, inputs[parameters["num_checks"] :]))
    if parameters["num_checks"]:
        mapping = dataclasses.replace(config.mapping, check_poses=False)
        config = dataclasses.replace(config, mapping=mapping)
    built = build_untested_map(
        [keyframes[row] for row in checked.kept],
        [checked.map_from_camera[row] for row in checked.kept],
        cameras_of(job),
        config,
        options,
        known=known,
        aggregation=aggregation,
    )
    if checked.report:
        num_standing += built.build_info["num_standing"]
        built = with_build_info(built, {"pose_faults": checked.report, "num_standing": num_standing})
    return built if parameters["is_metric"] else with_build_info(built, {"scale": "arbitrary"})


def check_segment(job: Job) -> Arrays:
    """Hold the poses of a segment of the path against its images.

    Returns:
        `kept` [F], `stands` [F] of images that show what one before does, and poses [F, 3, 4], some put right;
        `report`, JSON. Where all poses are wrong alike, which may
        be chance in a part of the path, poses as given and what would be wrong as `doubt`.

    Raises:
        PoseFaultError: the path slips, or too many keyframes are wrong.
    """
    config = config_of(job)
    keyframes, cameras, poses = keyframes_of(job, config), cameras_of(job), poses_of(job)
    moved = _moving(keyframes, cameras, poses)
    matches = among(known_matches(job, job.inputs[job.parameters["num_batches"] :]), moved)
    keyframes, given, doubt = [keyframes[row] for row in moved], [poses[row] for row in moved], ""
    checked = CheckedPoses(list(range(len(given))), given, {})
    views, matcher = views_of(keyframes, given), create_pair_matcher(config)
    try:
        described = describe_for_pairs(keyframes, config)
        checked = check_poses(
            keyframes, views, cameras, matches, described.descriptors, matcher, config, BuildOptions()
        )
    except PoseFaultError as error:
        if error.fault not in _FAULTS_OF_ALL:
            raise
        doubt = str(error)
    for row, pose in zip(moved, checked.map_from_camera, strict=True):
        poses[row] = pose
    everything = np.arange(len(poses))
    return {
        "kept": np.isin(everything, [moved[row] for row in checked.kept]),
        "stands": ~np.isin(everything, moved),
        "map_from_camera": numbers_of(poses),
        "report": np.array(json.dumps(checked.report)),
        "doubt": np.array(doubt),
    }


def _moving(keyframes: Sequence[Keyframe], cameras: Sequence[Camera], poses: Sequence[Rigid3]) -> list[int]:
    """Return the images of a segment that show another view than the one before; the first where none does."""
    sizes_wh = [cameras[keyframe.image.camera_idx].size_wh for keyframe in keyframes]
    try:
        return moving(keyframes, sizes_wh, poses)
    except MappingError as error:
        # The robot may move in other segments.
        _logger.warning("%s to %s: %s", keyframes[0].image.name, keyframes[-1].image.name, error)
        return [0]


def _checked_poses(job: Job, checks: Sequence[Artefact]) -> tuple[CheckedPoses, int]:
    """Return what is left of the keyframes of a sub-map, by the checks of their segments, and how many stood still."""
    names, poses = job.parameters["names"], poses_of(job)
    kept, faults = list(range(len(poses))), []
    if not checks:
        return CheckedPoses(kept, poses, {}), 0
    segments = [artefact.read_arrays() for artefact in checks]
    for row, (segment, place) in enumerate(job.parameters["checked"].tolist()):
        poses[row] = rigid_motions(segments[segment]["map_from_camera"][place : place + 1])[0]
    kept = [
        row
        for row, (segment, place) in enumerate(job.parameters["checked"].tolist())
        if segments[segment]["kept"][place]
    ]
    found = [json.loads(str(segment["report"])) for segment in segments]
    for report in found:
        faults += [entry for entry in report.get("keyframes", []) if entry["name"] in names]
    mountings = [entry for report in found for entry in report.get("mountings", [])]
    standing = sum(
        bool(segments[segment]["stands"][place]) for segment, place in job.parameters["checked"].tolist()
    )
    return CheckedPoses(kept, poses, {"keyframes": faults, "mountings": mountings}), standing


def self_test(job: Job) -> VisualMap:
    """Test a map on its own keyframes; they are the batches before it."""
    config = config_of(job)
    keyframes = keyframes_of(job, config)
    built = job.inputs[-1].read_map()
    return with_self_test(built, keyframes, _Named(built.extractor_id), config)


def mirror_test(job: Job) -> VisualMap:
    """Show a map its own images, mirrored.

    Raises:
        ImageError: an image cannot be read any more.
        BuildingError: this worker has other weights.
    """
    config, parameters = config_of(job), job.parameters
    images = {
        name: ShownImage(partial(_image_in, file), turn_rad)
        for name, file, turn_rad in zip(parameters["names"], job.files, parameters["turns_rad"], strict=True)
    }
    extractor = extractor_of(config, parameters["extractor_id"])
    return with_mirror_test(job.inputs[0].read_map(), images, extractor, config)


def measure_overlap(job: Job) -> Arrays:
    """Measure where the second of two sub-maps lies in the first; nothing where they are not found in each other."""
    first, second = (artefact.read_map() for artefact in job.inputs)
    overlap = align_overlap(first, second, config_of(job))
    if overlap is None:
        return {}
    return {
        "first_from_second": numbers_of([overlap.first_from_second]),
        "covariance": np.asarray(overlap.covariance, np.float64),
        "num_pairs": np.array(overlap.num_pairs, np.int64),
        "residuals": np.array(overlap.residuals, np.float64),
    }


def overlap_from(arrays: Arrays) -> Overlap | None:
    """Return what `measure_overlap` measured."""
    if not arrays:
        return None
    meters, radians = arrays["residuals"].tolist()
    motion = rigid_motions(arrays["first_from_second"])[0]
    return Overlap(motion, arrays["covariance"], int(arrays["num_pairs"]), (meters, radians))


RUN: dict[str, Callable[[Job], Arrays | VisualMap]] = {
    "check": check,
    "describe": describe,
    "carried": own_body.find_carried,
    "without carried": own_body.leave_out_carried,
    "vocabulary": learn_vocabulary,
    "pairs": choose_pairs,
    "matches": match,
    "pose check": check_segment,
    "structure": build_structure,
    "self-test": self_test,
    "mirror test": mirror_test,
    "overlap": measure_overlap,
}


@dataclass(frozen=True)
class _Named:
    """Stands in for an extractor where every image has been described."""

    extractor_id: str
    backend: str = "none"

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Refuse: a self-test describes nothing."""
        raise RuntimeError(f"an image of {image.shape} is to be described, but all of them have been")

    def close(self) -> None:
        """Nothing is open."""


def _silent(stage: str, done: int, total: int) -> None:
    """Say nothing: progress is counted in tasks."""


def _read(file: str) -> tuple[bytes, ImageArray]:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise ImageError(
            f"{file}: cannot be read: {error.strerror}; all machines of a cluster must see the images in the same place"
        ) from error
    try:
        return content, decode_image(content)
    except ImageError as error:
        raise ImageError(f"{file}: {error}; copy or export the file again") from error


def _image_in(file: str) -> ImageArray:
    return _read(file)[1]
