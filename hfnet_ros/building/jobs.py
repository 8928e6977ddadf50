"""What a job was given: parameters, keyframes with their poses and cameras, and matches that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hfnet_ros.building.artefacts import Artefact
from hfnet_ros.building.graph import Job
from hfnet_ros.building.keyframe_files import read_keyframes, rigid_motions
from hfnet_ros.config import Config
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.records_json import camera_pair_from_json
from hfnet_ros.mapping.views import Keyframe, PairMatches


def config_of(job: Job) -> Config:
    """Return the parameters that a job runs with, of as many threads as it has."""
    config = Config.from_dict(job.config)
    return dataclasses.replace(
        config, inference=dataclasses.replace(config.inference, num_threads=job.num_threads)
    )


def keyframes_of(job: Job, config: Config) -> list[Keyframe]:
    """Return the keyframes that a job names, from the batches that are its first inputs."""
    parameters = job.parameters
    return read_keyframes(
        job.inputs,
        parameters["where"],
        parameters["names"],
        parameters["stamps_ns"],
        parameters["camera_idxs"],
        config.mapping.max_keypoints,
    )


def poses_of(job: Job) -> list[Rigid3]:
    """Return the poses of the keyframes that a job names."""
    return rigid_motions(job.parameters["map_from_camera"])


def cameras_of(job: Job) -> list[Camera]:
    """Return the cameras of a job's keyframes."""
    return [camera_pair_from_json(entry).refined for entry in job.parameters["cameras"]]


def known_matches(job: Job, batches: Sequence[Artefact]) -> PairMatches:
    """Return matches by the positions [P, 2] that their pairs have here; -1 where they have none."""
    found: PairMatches = {}
    for artefact, pairs in zip(batches, job.parameters["pairs"], strict=True):
        arrays = artefact.read_arrays()
        offsets, rows = arrays["offsets"], arrays["rows"].astype(np.int64)
        for idx, (first, second) in enumerate(pairs.tolist()):
            if first >= 0 and offsets[idx] < offsets[idx + 1]:
                found[first, second] = rows[offsets[idx] : offsets[idx + 1]]
    return found
