"""The map as data: keyframes, landmarks and who saw what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.areas import Box, inside
from hfnet_ros.map.array_files import ADVICE, release_pages
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.keyframe_codes import MIN_CODED_KEYFRAMES, KeyframeCodes, make_codes
from hfnet_ros.map.map_trust import CovarianceCalibration, MapConsistency
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.search_structure import NUM_WORDS, SearchStructure, make_search_structure, visibility_of
from hfnet_ros.map.single_map import SingleMap
from hfnet_ros.map.stored_poses import stored_pose, stored_poses
from hfnet_ros.map.unit_vectors import UnitVectors

__all__ = ["CovarianceCalibration", "MapCamera", "MapConsistency", "VisualMap", "with_search"]

if TYPE_CHECKING:
    from hfnet_ros.map.scene_network import SceneNetwork

_COMPACT: dict[str, type[UnitVectors] | type[PixelPositions]] = {
    "landmark_descriptors": UnitVectors,
    "global_descriptors": UnitVectors,
    "observation_descriptors": UnitVectors,
    "observation_xy": PixelPositions,
}


@dataclass(frozen=True, eq=False)
class MapCamera:
    """A camera of the mapping run.

    Attributes:
        given: as calibrated by the user; None when the calibration was estimated.
        refined: as used to build the map. A query taken with the `given` calibration is
            taken with the same physical camera, so it is localized with `refined`.
    """

    given: Camera | None
    refined: Camera


@dataclass(frozen=True, eq=False)
class VisualMap(SingleMap):
    """A prebuilt map of landmarks. F keyframes, L landmarks, O observations, D descriptor size.

    Its arrays may be mapped from files: what is not touched is not read. Descriptors are held as they are stored,
    so that a map answers the same before and after it was written; float arrays given for them are encoded.

    Attributes:
        frame_id: name of the map's frame.
        extractor_id: network and weights digest whose descriptors are inside.
        cameras: calibrations, indexed by `keyframe_camera_idx`.
        keyframe_names: [F] file names of the keyframes.
        keyframe_stamps_ns: [F] int64.
        keyframe_camera_idx: [F] int32.
        keyframe_poses: [F, 7] float64, map_from_camera as x y z (m), qx qy qz qw; those that landmarks agree with.
        observation_offsets: [F + 1] int64; keyframe f owns observations offsets[f]:offsets[f + 1].
        observation_landmark_idx: [O] int32, row of the landmark seen.
        observation_xy: [O, 2] px.
        landmark_xyz: [L, 3] float64 m, map frame.
        landmark_descriptors: [L, D].
        landmark_view_directions: [L, 3] float32 unit vector, mean direction from observer to landmark.
        landmark_distance_ranges: [L, 2] float32 m, nearest and farthest observer.
        landmark_colors: [L, 3] uint8 RGB.
        global_descriptors: [F, G].
        consistency: how well the map agrees with itself.
        aggregation: arrays of the global descriptor's aggregation (`vocabulary`, `projection`);
            empty when the extractor has a global head.
        build_info: what a reader wants to know of the map's making; JSON values only.
        calibration: of the covariance, from queries with known poses; None if there was none.
        observation_descriptors: [O, D] what each keyframe itself saw, for matchers that compare images; None
            where they were not kept.
        search: what a query searches with, of exactly these keyframes and landmarks; None where it was not made.
        codes: of exactly these global descriptors, by which a large map is looked through; None where all are compared.
        grid: of the given poses, stored with a large map; one of other poses counts for none.
        given: the poses as they were given, where `keyframe_poses` were refined; None where both are one.
        scene: a scene-coordinate network of the same frame; None without one.
        areas: boxes by name: xmin ymin zmin xmax ymax zmax, m, in the frame of the given poses.
    """

    frame_id: str
    extractor_id: str
    cameras: tuple[MapCamera, ...]
    keyframe_names: Sequence[str]
    keyframe_stamps_ns: NDArray[np.int64]
    keyframe_camera_idx: NDArray[np.int32]
    keyframe_poses: NDArray[np.float64]
    observation_offsets: NDArray[np.int64]
    observation_landmark_idx: NDArray[np.int32]
    observation_xy: PixelPositions
    landmark_xyz: NDArray[np.float64]
    landmark_descriptors: UnitVectors
    landmark_view_directions: NDArray[np.float32]
    landmark_distance_ranges: NDArray[np.float32]
    landmark_colors: NDArray[np.uint8]
    global_descriptors: UnitVectors
    consistency: MapConsistency
    aggregation: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    build_info: Mapping[str, Any] = field(default_factory=dict)
    calibration: CovarianceCalibration | None = None
    observation_descriptors: UnitVectors | None = None
    search: SearchStructure | None = None
    codes: KeyframeCodes | None = None
    grid: PositionGrid | None = None
    given: GivenFrame | None = None
    scene: SceneNetwork | None = None
    areas: Mapping[str, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Encode descriptors, pixels and names that were given plainly."""
        object.__setattr__(self, "keyframe_names", NameTable.of(self.keyframe_names))
        for name, kind in _COMPACT.items():
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _encoded(name, kind, given))
        search = self.search
        if search is not None and (
            len(search.landmark_words) != self.num_landmarks
            or len(search.covisible_offsets) != self.num_keyframes + 1
        ):
            raise ValueError("the search structure is of other landmarks or keyframes than the map's")
        if self.codes is not None and len(self.codes) != self.num_keyframes:
            raise ValueError("the codes are of other keyframes than the map's")
        if self.given is not None and (
            len(self.given.keyframe_poses) != self.num_keyframes
            or self.given.lever_arms_m.shape != (len(self.cameras), 3)
        ):
            raise ValueError("the given poses are of other keyframes or cameras than the map's")

    def part_of(self, part_idx: int) -> VisualMap:  # noqa: ARG002
        """Return a map that this one is joined of: itself, unless it is a `JoinedMap`."""
        return self

    @property
    def num_keyframes(self) -> int:
        """Number of keyframes, F."""
        return len(self.keyframe_names)

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks, L."""
        return len(self.landmark_xyz)

    @property
    def num_observations(self) -> int:
        """Number of observations, O."""
        return len(self.observation_landmark_idx)

    @property
    def covariance_model(self) -> tuple[float, NDArray[np.float64]]:
        """Return the factor on reprojection covariances and the [6, 6] added to them, camera axes.

        From the calibration where there is one, else from the self-test, or the want of one.
        """
        if self.calibration is not None:
            added = np.array(self.calibration.pose_covariance, np.float64).reshape(6, 6)
            return self.calibration.reprojection_scale, added
        return self.consistency.reprojection_scale, _moment(self.consistency.pose_covariance)

    @property
    def refined_covariance_model(self) -> tuple[float, NDArray[np.float64]]:
        """Return the same for answers in the frame of the refined poses, which no ground truth calibrates."""
        if self.given is None:
            return self.covariance_model
        return self.consistency.reprojection_scale, _moment(self.consistency.refined_pose_covariance)

    @property
    def given_poses(self) -> NDArray[np.float64]:
        """[F, 7] poses in the frame of the given ones: as given, or as they are where nothing was refined."""
        return self.keyframe_poses if self.given is None else self.given.keyframe_poses

    @property
    def vocabulary(self) -> NDArray[np.float32] | None:
        """Visual words [K, D] that the keyframes' global descriptors are aggregated over; None without."""
        return self.aggregation.get("vocabulary")

    @property
    def head_size(self) -> int:
        """Leading numbers of a global descriptor that a network's global head gave; the rest is aggregated."""
        projection = self.aggregation.get("projection")
        return self.global_descriptors.shape[1] - (0 if projection is None else len(projection))

    @property
    def has_head(self) -> bool:
        """Tell whether the extractor has a global head."""
        return self.head_size > 0

    @property
    def has_arbitrary_scale(self) -> bool:
        """Tell whether lengths have no unit: a map made of images alone."""
        return self.build_info.get("scale") == "arbitrary"

    @property
    def observation_keyframe_idx(self) -> NDArray[np.int64]:
        """Row of the keyframe that made each observation, [O]."""
        return np.repeat(np.arange(self.num_keyframes), np.diff(self.observation_offsets))

    @cached_property
    def track_lengths(self) -> NDArray[np.int64]:
        """[L] how many keyframes see each landmark."""
        return np.bincount(self.observation_landmark_idx, minlength=self.num_landmarks)

    @cached_property
    def visibility(self) -> Any:
        """Sparse [F, L] matrix, 1 where a keyframe sees a landmark (scipy's csr_matrix)."""
        return visibility_of(self.observation_offsets, self.observation_landmark_idx, self.num_landmarks)

    def refined(self, camera: Camera) -> Camera:
        """Return the calibration to use for an image: the map's refined one if the image has the same camera."""
        known = self.known_camera(camera)
        return camera if known is None else known.refined

    def known_camera(self, camera: Camera) -> MapCamera | None:
        """Return what the map has for a calibration as it was given when the map was built."""
        row = self.known_camera_idx(camera)
        return None if row is None else self.cameras[row]

    def known_camera_idx(self, camera: Camera) -> int | None:
        """Return the row of the camera that was given with this calibration when the map was built."""
        for row, known in enumerate(self.cameras):
            if known.given is not None and known.given.is_same_as(camera):
                return row
        return None

    @property
    def area_names(self) -> list[str]:
        """Names of the areas."""
        return sorted(self.areas)

    def keyframes_in(self, areas: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which keyframes [F] were taken in any of some areas, by their given poses."""
        positions = self.given_poses[:, :3]
        return np.any([inside(self.areas[name], positions) for name in areas], axis=0)

    def is_in(self, areas: Sequence[str], position: NDArray[np.float64]) -> bool:
        """Tell whether a position [3], m, that was found by keyframes of some areas is in any of these."""
        return any(bool(inside(self.areas[name], position)) for name in areas)

    def words_of(self, landmark_idxs: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """Return the visual words [K, D] that landmarks [N] are sorted by, and the word [N] of each."""
        assert self.search is not None
        return self.search.words, self.search.landmark_words[landmark_idxs]

    def release_pages(self) -> None:
        """Let go of all that was read of the files that the map is mapped from; nothing changes."""
        values = [getattr(self, field.name) for field in fields(self)]
        if self.search is not None:
            values += [getattr(self.search, field.name) for field in fields(self.search)]
        if self.given is not None:
            values.append(self.given.keyframe_poses)
        for value in values:
            array = value.codes if isinstance(value, UnitVectors | PixelPositions) else value
            if isinstance(array, np.ndarray):
                release_pages(array)

    def given_from_refined(self, keyframe_idx: int) -> Rigid3:
        """Return the motion to the frame of the given poses that a keyframe says; identity where both are one."""
        if self.given is None:
            return Rigid3.identity()
        rotations, translations = self.motions_to_given((keyframe_idx,))
        return Rigid3(rotations[0], translations[0])

    def motions_to_given(
        self, keyframe_idxs: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `given_from_refined` of keyframes of a map with given poses: rotations [K, 3, 3], translations [K, 3].

        Raises:
            MapFormatError: the map is damaged there.
        """
        assert self.given is not None
        refined = stored_poses(self.keyframe_poses, keyframe_idxs, "keyframe_poses")
        cameras = [self.camera_idx_of(keyframe_idx) for keyframe_idx in keyframe_idxs]
        return self.given.given_from_refined(keyframe_idxs, refined, cameras)

    def moved_by_refinement(self) -> NDArray[np.float64]:
        """Return how far each keyframe was moved and turned, [F, 2] m and rad, without what all have in common."""
        offsets, turns = np.zeros((self.num_keyframes, 3)), np.zeros(self.num_keyframes)
        if self.given is not None:
            for row in range(self.num_keyframes):
                refined = self.map_from_camera(row)
                given = self.given_from_refined(row) @ refined
                offsets[row] = given.translation - refined.translation
                turns[row] = given.rotation_to(refined)
        return np.column_stack([np.linalg.norm(offsets - np.median(offsets, axis=0), axis=1), turns])

    def given_landmark_xyz(self) -> NDArray[np.float64]:
        """Return the landmarks [L, 3], m, in the frame of the given poses; reads the whole map where both differ.

        Each is where the keyframes that see it put it on the mean.
        """
        if self.given is None:
            return self.landmark_xyz
        summed = np.zeros((self.num_landmarks, 3))
        for row in range(self.num_keyframes):
            seen = self.landmarks_seen_by(row)  # each landmark once
            summed[seen] += self.given_from_refined(row) @ self.landmark_xyz[seen]
        counts = np.maximum(self.track_lengths, 1)[:, None]
        return np.where(self.track_lengths[:, None] > 0, summed / counts, self.landmark_xyz)

    def map_from_camera(self, keyframe_idx: int) -> Rigid3:
        """Return the pose of a keyframe.

        Raises:
            MapFormatError: the map is damaged there.
        """
        return stored_pose(self.keyframe_poses, keyframe_idx, "keyframe_poses")

    def given_map_from_camera(self, keyframe_idx: int) -> Rigid3:
        """Return the pose of a keyframe in the frame of the given ones; raises as `map_from_camera`."""
        if self.given is None:
            return self.map_from_camera(keyframe_idx)
        return self.given.map_from_camera(keyframe_idx)

    def camera_idx_of(self, keyframe_idx: int) -> int:
        """Return the row of the camera that took a keyframe.

        Raises:
            MapFormatError: the map is damaged there.
        """
        camera_idx = int(self.keyframe_camera_idx[keyframe_idx])
        if not 0 <= camera_idx < len(self.cameras):
            raise MapFormatError(
                f"array 'keyframe_camera_idx' is {camera_idx} in row {keyframe_idx}, expected 0 to "
                f"{len(self.cameras) - 1}: the map is damaged; {ADVICE}"
            )
        return camera_idx

    def landmarks_seen_by(self, keyframe_idx: int) -> NDArray[np.int32]:
        """Return the rows of the landmarks a keyframe sees."""
        start, stop = self.observation_offsets[keyframe_idx], self.observation_offsets[keyframe_idx + 1]
        return self.observation_landmark_idx[start:stop]


def with_search(visual_map: VisualMap, num_words: int = NUM_WORDS, seed: int = 0) -> VisualMap:
    """Return the map with its search structure; one that has it as it is.

    Args:
        visual_map: any map.
        num_words: visual words to learn, where its global descriptors have no vocabulary.
        seed: of the clustering.
    """
    if visual_map.search is not None:
        return visual_map
    made = make_search_structure(
        visual_map.landmark_descriptors,
        visual_map.visibility,
        visual_map.vocabulary,
        num_words,
        seed,
    )
    return replace(visual_map, search=made)


def indexed(visual_map: VisualMap, seed: int = 0) -> VisualMap:
    """Return a large map with codes and a grid of its keyframes; what it has, and a small one, as it is."""
    if visual_map.num_keyframes <= MIN_CODED_KEYFRAMES:
        return replace(visual_map, grid=None)
    codes, grid = visual_map.codes, visual_map.grid
    if codes is None:
        codes = make_codes(visual_map.global_descriptors, seed)
    if grid is None or grid.poses is not visual_map.given_poses:
        grid = PositionGrid.of(visual_map.given_poses)
    return replace(visual_map, codes=codes, grid=grid)


def _moment(numbers: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(numbers, np.float64).reshape(6, 6) if numbers else np.zeros((6, 6))


def _encoded(
    name: str, kind: type[UnitVectors] | type[PixelPositions], given: Any
) -> UnitVectors | PixelPositions:
    try:
        return kind.encode(given)
    except ValueError as error:
        raise MapFormatError(f"array '{name}' {error}") from error
