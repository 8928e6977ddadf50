"""The graph of a build: from images to maps, sub-maps and how these overlap.

check -> describe -> what cameras carry -> vocabulary, pairs -> matches -> pose check -> structure -> self-test, mirror
test -> overlap. What is next is known once images are described, pairs chosen and poses checked: these are graphs one
after the other.
"""

from __future__ import annotations

import dataclasses
import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building import stages
from hfnet_ros.building.artefacts import Artefact
from hfnet_ros.building.graph import Graph, Task
from hfnet_ros.building.keyframe_files import numbers_of
from hfnet_ros.building.matched import Matched
from hfnet_ros.building.own_body import batches_without_carried
from hfnet_ros.building.partition import SubMapPlan, overlapping, partition_by_position
from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError, PoseFaultError
from hfnet_ros.features.protocol import FeatureExtractor
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.map.records_json import camera_pair_to_json
from hfnet_ros.map.visual_map import MapCamera
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import check_pair_matcher
from hfnet_ros.mapping.sources import PosedImages, UnposedImages, check_counts
from hfnet_ros.mapping.upright import turns_upright

_logger = logging.getLogger(__name__)

_CHECKED_AT_ONCE = 64
_DESCRIBED_AT_ONCE = 16  # images: a worker that is killed loses so many
_MATCHED_AT_ONCE = 256  # pairs
_SEGMENT = 500  # keyframes, one after the other, whose poses are checked together
_SEGMENT_OVERLAP = 20
_VOCABULARY_SAMPLE = 1000  # keyframes; more change no ranking and cost memory

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class BuiltMaps:
    """What a graph came to.

    Attributes:
        maps: names and maps.
        overlaps: by the names of both, of sub-maps that are found in each other.
    """

    maps: list[tuple[str, Artefact]]
    overlaps: dict[tuple[str, str], Overlap] = field(default_factory=dict)


class MapGraph:
    """Makes the tasks of one build and runs them."""

    def __init__(
        self,
        graph: Graph,
        source: PosedImages | UnposedImages,
        extractor: FeatureExtractor,
        config: Config,
        options: BuildOptions,
    ) -> None:
        """Look at what is asked for.

        Args:
            graph: runs tasks.
            source: images, each in a file.
            extractor: names the identity that workers must have; not run.
            config: parameters.
            options: as of `build_map`.

        Raises:
            DatasetError: images and poses or cameras do not fit each other.
            MappingError: there are fewer than two images.
            ConfigError: `mapping.matcher` cannot match what the extractor describes.
        """
        check_pair_matcher(config, extractor.extractor_id)
        posed = source if isinstance(source, PosedImages) else None
        check_counts(source.images, source.cameras, len(posed.map_from_camera) if posed else None)
        self._graph, self._config, self._options = graph, config, options
        self._images, self._cameras, self._extractor = source.images, source.cameras, extractor
        self._source, self._posed = source, posed
        self._files = [str(image.file) for image in source.images]
        self._sizes_wh: NDArray[np.int64] = np.empty((0, 2), np.int64)
        self._turns_rad: Sequence[float] = []
        self._batches: list[Task] = []

    def build_one(self) -> BuiltMaps:
        """Build one map of all images, the same as `build_map` does on one thread.

        Raises:
            BuildingError: a task failed.
        """
        self._describe()
        everything = np.arange(len(self._images))
        if self._posed is None:
            structure = self._structure_without_poses(everything)
        else:
            plan = SubMapPlan("all images", everything, everything)
            pairs = self._choose_pairs([plan])
            structure = self._structure(plan, pairs[0], self._match_tasks(pairs), None, [])
        (made,) = self._graph.finish([self._tested(structure, "all images", everything)])
        return BuiltMaps([("map", made)])

    def build_set(self, num_sub_maps: int) -> BuiltMaps:
        """Build sub-maps that overlap, and measure how they lie to each other.

        Raises:
            BuildingError: a task failed.
            MappingError: there are too few keyframes for so many sub-maps, or their poses are not in metres.
        """
        assert self._posed is not None
        if not self._posed.is_metric:
            raise MappingError(
                "the poses are as structure from motion leaves them, in no unit: sub-maps of a set must be in metres. "
                "Align the model first (colmap model_aligner, with known positions), or make one map of it without "
                "--sub-maps and give it a scale by `hfnet-ros map scale`"
            )
        plans = partition_by_position(
            self._posed.map_from_camera,
            [image.stamp_ns for image in self._images],
            num_sub_maps,
            self._config.mapping.num_neighbors,
        )
        between = overlapping(plans)
        num_later = (3 if self._options.self_test else 1) * len(plans) + len(between)
        self._graph.expect(num_later)
        self._describe()
        vocabulary = self._vocabulary()
        pairs = self._choose_pairs(plans, vocabulary)
        matched = self._match_tasks(pairs)
        checks = self._check_poses(pairs, matched)
        tested = []
        for plan, chosen in zip(plans, pairs, strict=True):
            structure = self._structure(plan, chosen, matched, vocabulary, checks)
            tested.append(self._tested(structure, plan.name, plan.keyframes))
        overlaps = [
            Task(
                stages.OVERLAP,
                f"{plans[first].name} and {plans[second].name}",
                {},
                (tested[first], tested[second]),
            )
            for first, second in between
        ]
        self._graph.expect(-num_later)
        made = self._graph.finish([*tested, *overlaps])
        named = [(plan.name, artefact) for plan, artefact in zip(plans, made, strict=False)]
        measured = {
            (plans[first].name, plans[second].name): overlap
            for (first, second), arrays in zip(between, self._graph.read(overlaps), strict=True)
            if (overlap := stages.overlap_from(arrays)) is not None
        }
        return BuiltMaps(named, measured)

    def _describe(self) -> None:
        """Read all images before the first is described: a damaged one is not found after a night."""
        checks = [
            Task(
                stages.CHECK,
                self._named(rows),
                {"files": [_stamp_of(self._files[row]) for row in rows]},
                files=tuple(self._files[row] for row in rows),
            )
            for rows in _in_parts(range(len(self._images)), _CHECKED_AT_ONCE)
        ]
        num_batches = -(-len(self._images) // _DESCRIBED_AT_ONCE)
        self._graph.expect(num_batches)
        read = self._graph.read(checks)
        self._graph.expect(-num_batches)
        self._sizes_wh = np.concatenate([arrays["size_wh"] for arrays in read])
        digests = np.concatenate([arrays["sha256"] for arrays in read]).tolist()
        if self._cameras is not None:
            for image, (width, height) in zip(self._images, self._sizes_wh.tolist(), strict=True):
                self._cameras[image.camera_idx].check_size((height, width), image.name)
        self._turns_rad = [0.0] * len(self._images)
        if self._posed is not None:
            turns = turns_upright(self._posed.map_from_camera, self._extractor, self._config.mapping)
            self._turns_rad = turns or self._turns_rad
        self._batches = [
            Task(
                stages.DESCRIBE,
                self._named(rows),
                {
                    "sha256": [digests[row] for row in rows],
                    "turns_rad": [self._turns_rad[row] for row in rows],
                    "extractor_id": self._extractor.extractor_id,
                },
                files=tuple(self._files[row] for row in rows),
            )
            for rows in _in_parts(range(len(self._images)), _DESCRIBED_AT_ONCE)
        ]
        self._graph.finish(self._batches)
        self._batches = batches_without_carried(
            self._graph, self._images, self._batches, _DESCRIBED_AT_ONCE, self._keyframes
        )

    def _named(self, rows: Sequence[int]) -> str:
        return f"{self._images[rows[0]].name} to {self._images[rows[-1]].name}"

    def _keyframes(self, rows: NDArray[np.int64]) -> tuple[tuple[Task, ...], dict[str, Any]]:
        """Return the batches that some images are in, and the parameters that say where."""
        used = np.unique(rows // _DESCRIBED_AT_ONCE)
        where = np.stack(
            [np.searchsorted(used, rows // _DESCRIBED_AT_ONCE), rows % _DESCRIBED_AT_ONCE], axis=1
        )
        images = [self._images[row] for row in rows]
        described = {
            "where": where,
            "names": [image.name for image in images],
            "stamps_ns": [image.stamp_ns for image in images],
            "camera_idxs": [image.camera_idx for image in images],
        }
        return tuple(self._batches[batch] for batch in used.tolist()), described

    def _posed_keyframes(self, rows: NDArray[np.int64]) -> tuple[tuple[Task, ...], dict[str, Any]]:
        assert self._posed is not None
        batches, described = self._keyframes(rows)
        described["map_from_camera"] = numbers_of([self._posed.map_from_camera[row] for row in rows])
        described["cameras"] = self._camera_entries()
        return batches, described

    def _camera_entries(self) -> list[dict[str, Any]]:
        return [camera_pair_to_json(MapCamera(None, camera)) for camera in self._cameras or ()]

    def _vocabulary(self) -> Task:
        count = min(len(self._images), _VOCABULARY_SAMPLE)
        rows = np.unique(np.linspace(0, len(self._images) - 1, count).astype(np.int64))
        batches, described = self._keyframes(rows)
        return Task(stages.VOCABULARY, f"{len(rows)} images", described, batches)

    def _choose_pairs(self, plans: Sequence[SubMapPlan], *beside: Task) -> list[list[Pair]]:
        """Return the pairs of each sub-map by positions among all images; whatever else can be done is done, too."""
        tasks = [
            Task(stages.PAIRS, plan.name, *reversed(self._posed_keyframes(plan.keyframes))) for plan in plans
        ]
        self._graph.finish([*tasks, *beside])
        chosen = []
        for plan, arrays in zip(plans, self._graph.read(tasks), strict=True):
            rows = plan.keyframes[arrays["pairs"]]
            chosen.append([(first, second) for first, second in rows.tolist()])
        return chosen

    def _match_tasks(self, chosen: Sequence[Sequence[Pair]]) -> Matched:
        """Return tasks that match each pair once, by the two batches that its images are in."""
        by_batches: dict[Pair, list[Pair]] = {}
        for first, second in sorted({pair for pairs in chosen for pair in pairs}):
            batches = first // _DESCRIBED_AT_ONCE, second // _DESCRIBED_AT_ONCE
            by_batches.setdefault(batches, []).append((first, second))
        matched = Matched()
        for (first, second), pairs in sorted(by_batches.items()):
            inputs = tuple(self._batches[batch] for batch in dict.fromkeys((first, second)))
            for some in _in_parts(pairs, _MATCHED_AT_ONCE):
                rows = np.array(some, np.int64) % _DESCRIBED_AT_ONCE
                of = f"{len(some)} pairs of batches {first} and {second}"
                matched.add(Task(stages.MATCHES, of, {"pairs": rows}, inputs), some)
        return matched

    def _check_poses(self, chosen: Sequence[Sequence[Pair]], matched: Matched) -> list[Task]:
        """Hold the poses of segments of the path against the images, whatever sub-maps they are in.

        Raises:
            PoseFaultError: most segments say that all poses are wrong alike.
        """
        if not self._config.mapping.check_poses:
            return []
        tasks, every = [], sorted({pair for pairs in chosen for pair in pairs})
        for number in range(max(1, len(self._images) // _SEGMENT)):
            start, stop = _segment(number, len(self._images))
            rows = np.arange(start, stop)
            batches, described = self._posed_keyframes(rows)
            starting = every[bisect_left(every, (start, 0)) : bisect_left(every, (stop, 0))]
            inside = [pair for pair in starting if pair[1] < stop]
            used, described["pairs"] = matched.within(rows, inside)
            described["num_batches"] = len(batches)
            tasks.append(Task(stages.POSE_CHECK, self._named(rows.tolist()), described, (*batches, *used)))
        made = self._graph.read(tasks)
        doubts = [text for arrays in made if (text := str(arrays["doubt"]))]
        if 2 * len(doubts) > len(made):
            whole = "" if len(made) == 1 else f"in {len(doubts)} of {len(made)} segments of the path: "
            raise PoseFaultError(f"{whole}{doubts[0]}", "all")
        for text in doubts:
            _logger.warning("one segment of the path, which the others do not confirm: %s", text)
        return tasks

    def _structure(
        self,
        plan: SubMapPlan,
        chosen: Sequence[Pair],
        matched: Matched,
        vocabulary: Task | None,
        checks: Sequence[Task],
    ) -> Task:
        batches, described = self._posed_keyframes(plan.keyframes)
        used, described["pairs"] = matched.within(plan.keyframes, chosen)
        shared = [] if vocabulary is None else [vocabulary]
        if checks:
            segment = np.minimum(plan.keyframes // _SEGMENT, len(checks) - 1)
            needed = np.unique(segment)
            place = plan.keyframes - np.array([_segment(number, len(self._images))[0] for number in segment])
            described["checked"] = np.stack([np.searchsorted(needed, segment), place], axis=1)
            shared += [checks[number] for number in needed.tolist()]
        assert self._posed is not None
        described |= {
            "num_batches": len(batches),
            "has_vocabulary": vocabulary is not None,
            "num_checks": len(shared) - (vocabulary is not None),
            "options": self._wishes(),
            "is_metric": self._posed.is_metric,
        }
        return Task(stages.STRUCTURE, plan.name, described, (*batches, *shared, *used))

    def _structure_without_poses(self, rows: NDArray[np.int64]) -> Task:
        assert isinstance(self._source, UnposedImages)
        batches, described = self._keyframes(rows)
        described |= {
            "num_batches": len(batches),
            "size_wh": self._sizes_wh,
            "cameras": self._camera_entries(),
            "options": self._wishes(),
        }
        if self._source.rig_from_camera is not None:
            described["rig_from_camera"] = numbers_of(self._source.rig_from_camera)
        return Task(stages.STRUCTURE, "all images", described, batches)

    def _wishes(self) -> dict[str, Any]:
        fields = (entry.name for entry in dataclasses.fields(self._options))
        return {
            name: getattr(self._options, name) for name in fields if name not in ("progress", "self_test")
        }

    def _tested(self, structure: Task, of: str, rows: NDArray[np.int64]) -> Task:
        if not self._options.self_test:
            return structure
        batches, described = self._keyframes(rows)
        tested = Task(stages.SELF_TEST, of, described, (*batches, structure))
        # What the images show is in the map: a copy of the same picture asks for nothing.
        shown = {
            "names": described["names"],
            "turns_rad": [self._turns_rad[row] for row in rows],
            "extractor_id": self._extractor.extractor_id,
        }
        return Task(stages.MIRROR_TEST, of, shown, (tested,), tuple(self._files[row] for row in rows))


def _in_parts(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _stamp_of(file: str) -> list[Any]:
    """Return what changes when a file does: name, size and time of its last change."""
    found = Path(file).stat()
    return [file, found.st_size, found.st_mtime_ns]


def _segment(number: int, count: int) -> tuple[int, int]:
    """Return the first and one past the last keyframe of a segment, with what it overlaps others by."""
    last = max(1, count // _SEGMENT) - 1
    stop = count if number == last else (number + 1) * _SEGMENT + _SEGMENT_OVERLAP
    return max(0, number * _SEGMENT - _SEGMENT_OVERLAP), min(count, stop)
