"""Good keyframes, from files or generated, and what is known of their images."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_extractor
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.geometry import Camera, Rigid3
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.mapping.pair_match import PairMatch
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.pose_calibrations import refuse_calibration
from hfnet_ros.mapping.pose_evidence import choose_check_pairs, explain, join_evidence, strongest_of
from hfnet_ros.mapping.pose_faults import CheckedPoses, judge_poses
from hfnet_ros.mapping.pose_systematics import estimate_mounting_offset
from hfnet_ros.mapping.resection import triangulate_pairs
from hfnet_ros.mapping.views import View
from hfnet_ros.scene import SensorModel, build_apartment, demo_camera, mapping_walk, render
from hfnet_ros.types import ImageFeatures, LocalFeatures

CONFIG = Config()


@dataclass
class GoodKeyframes:
    """Good keyframes, F of them, and what is known of their images."""

    rows: list[int]  # of the keyframes in `path`
    features: list[ImageFeatures]
    stamps_ns: list[int]
    path: list[Rigid3]
    camera: Camera
    matches: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    explained: dict[tuple[int, int], object] = field(default_factory=dict)
    depths: np.ndarray = field(default_factory=lambda: np.ones(0))  # [F] median distance to what each sees
    own_turn: Rigid3 = field(
        default_factory=Rigid3.identity
    )  # that the good poses lack, as those of another camera do

    def __post_init__(self) -> None:
        self._matcher = create_pair_matcher(CONFIG)
        self._index = {id(entry): idx for idx, entry in enumerate(self.features)}
        self.good_pairs: set[tuple[int, int]] = set()

    @property
    def poses(self) -> list[Rigid3]:
        return [self.path[row] for row in self.rows]

    @cached_property
    def normalized(self) -> list[np.ndarray]:
        return [self.camera.undistort(entry.local.keypoints) for entry in self.features]

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        pair = (self._index[id(first)], self._index[id(second)])
        if pair not in self.matches:
            self.matches[pair] = self._matcher.match(first, second).rows
        return PairMatch(self.matches[pair])

    def check(self, keyframes: Sequence[int], poses: Sequence[Rigid3], is_good: bool = False) -> CheckedPoses:
        """Judge some keyframes with these poses, as `map build` does."""
        views = [View(self.features[idx], 0, pose) for idx, pose in zip(keyframes, poses, strict=True)]
        chosen = choose_pairs_by_pose(views, [self.camera], self, CONFIG.mapping, 1)
        of_all = [(keyframes[first], keyframes[second]) for first, second in chosen]
        if is_good:
            self.good_pairs |= set(of_all)
        by_pose = {}
        for pair, whole in zip(chosen, of_all, strict=True):
            if whole in self.good_pairs:
                by_pose[pair] = self.match(self.features[whole[0]], self.features[whole[1]]).rows
        descriptors = np.stack([view.features.global_descriptor for view in views])
        pairs = choose_check_pairs([0] * len(views), descriptors, by_pose)
        known, explained = {}, {}
        for pair in pairs:
            whole = (keyframes[pair[0]], keyframes[pair[1]])
            if whole not in self.explained:
                if whole not in self.matches:
                    few = [strongest_of(self.features[idx]) for idx in whole]
                    self.matches[whole] = self._matcher.match(*few).rows
                self.explained[whole] = explain(self.normalized, whole, self.matches[whole], 0)
            known[pair] = self.matches[whole]
            if self.explained[whole] is not None:
                explained[pair] = self.explained[whole]
        normalized = [self.normalized[idx] for idx in keyframes]
        stamps_ns = np.array([self.stamps_ns[idx] for idx in keyframes])
        names = [str(idx) for idx in keyframes]
        evidence, cameras = join_evidence(explained), ([0] * len(views), [self.camera])
        max_error_px = CONFIG.mapping.max_epipolar_error_px
        refuse_calibration(evidence, Poses.of(poses), *cameras, stamps_ns, names, max_error_px)
        return judge_poses(evidence, known, normalized, poses, stamps_ns, names, CONFIG)


def depths_of(seq: GoodKeyframes) -> np.ndarray:
    """Return the median distance [F] to what the partners of each keyframe see, as the check has it.

    What a keyframe alone saw triangulated may be a few near points.
    """
    matches = {pair: rows for pair, rows in seq.matches.items() if seq.explained.get(pair) is not None}
    points = triangulate_pairs(seq.normalized, seq.poses, matches, CONFIG.mapping.max_epipolar_error_px)
    partners: dict[int, list[int]] = {}
    for first, second in matches:
        partners.setdefault(first, []).append(second)
        partners.setdefault(second, []).append(first)
    distances = []
    for row, pose in enumerate(seq.poses):
        seen = [points.xyz[points.of(partner)] for partner in partners.get(row, [])]
        distances.append(np.linalg.norm(np.concatenate([np.zeros((0, 3)), *seen]) - pose.translation, axis=1))
    usual = np.median(np.concatenate(distances))
    return np.array([np.median(some) if len(some) else usual for some in distances])


def own_turn_of(seq: GoodKeyframes) -> Rigid3:
    """Return the constant motion that the good poses lack: none where they are those of the camera itself.

    Found behind a turn that is known and undone: where none is needed to agree, none is sought.
    """
    known = Rigid3.from_rotvec(np.array([0.0, 0.2, 0.0]), np.zeros(3))
    turned = Poses.of([pose @ known for pose in seq.poses])
    evidence = join_evidence({pair: found for pair, found in seq.explained.items() if found is not None})
    found = estimate_mounting_offset(evidence, turned, CONFIG.mapping.max_epipolar_error_px)
    return known @ found.given_from_camera


def generated(seed: int) -> tuple[list[int], list[np.ndarray], list[int], list[Rigid3], Camera]:
    scene, camera, rng = build_apartment(seed, num_rooms=2), demo_camera(), np.random.default_rng(seed)
    walk, sensor = mapping_walk(scene), SensorModel()
    rows = list(range(0, len(walk), 3))
    images = [sensor.expose(render(scene, camera, walk[row][1], 1), rng) for row in rows]
    return rows, images, [walk[row][0] for row in rows], [pose for _, pose in walk], camera


def read_sequence(options: argparse.Namespace) -> GoodKeyframes:
    if options.apartment is not None:
        rows, images, stamps_ns, path, camera = generated(options.apartment)
        readers = [lambda image=image: image for image in images]
    else:
        posed = pair_images_with_poses(options.images, options.poses)
        rows, camera = list(range(0, len(posed), options.every)), read_camera_yaml(options.camera)
        readers = [lambda path=posed[row].path: read_image(path) for row in rows]
        stamps_ns, path = [posed[row].stamp_ns for row in rows], [entry.map_from_camera for entry in posed]
    if options.cache and options.cache.exists():
        stored = np.load(options.cache)
        features = [_features(*(stored[f"{idx}_{part}"] for part in "xsdg")) for idx in range(len(rows))]
    else:
        features = _extracted(readers)
        if options.cache:
            np.savez(options.cache, **{f"{idx}_{part}": array for idx, entry in enumerate(features)
                                       for part, array in zip("xsdg", (entry.local.keypoints, entry.local.scores,
                                       entry.local.descriptors, entry.global_descriptor), strict=True)})  # fmt: skip
    return GoodKeyframes(rows, features, stamps_ns, path, camera)


def _features(
    keypoints: np.ndarray, scores: np.ndarray, descriptors: np.ndarray, whole: np.ndarray
) -> ImageFeatures:
    return ImageFeatures(LocalFeatures(keypoints, scores, descriptors), whole, "cached")


def _extracted(readers: Sequence[Callable[[], np.ndarray]]) -> list[ImageFeatures]:
    extractor, count = create_extractor(CONFIG), CONFIG.mapping.max_keypoints
    found = []
    for read in readers:
        entry = extractor.extract(read())
        local = entry.local
        found.append(
            _features(
                local.keypoints[:count],
                local.scores[:count],
                local.descriptors[:count],
                entry.global_descriptor,
            )
        )
    extractor.close()
    return found
