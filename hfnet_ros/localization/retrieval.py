"""Which places of a map look like a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.aggregation import VladAggregation, describe_whole
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.array_files import ADVICE
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex
from hfnet_ros.retrieval.index import SearchLists, create_index, search_in_turn
from hfnet_ros.retrieval.nearby import NearbyKeyframes, Region
from hfnet_ros.retrieval.places import group_into_places
from hfnet_ros.types import (
    ImageFeatures,
    Localization,
    Place,
    PosePrior,
    RetrievalHit,
    RigCamera,
    Search,
)

# Of each view; None of one in which nothing was found.
Descriptors = list[NDArray[np.float32] | None]


@dataclass(frozen=True, eq=False)
class Retrieved:
    """Places to look in.

    Attributes:
        search: how they were found.
        places: best first; also those that will not be tried may be mistaken for the answer.
        max_places: how many are tried.
        descriptors: global ones of the views.
        found_by: the views that each keyframe is among the most similar ones of.
        regions: where a camera of the answer must be to be the one that was looked for, and that camera; anywhere
            without.
    """

    search: Search
    places: list[Place]
    max_places: int
    descriptors: Descriptors
    found_by: Mapping[int, frozenset[int]]
    regions: tuple[tuple[Region, RigCamera], ...] = ()

    def views_of(self, place: Place) -> frozenset[int]:
        """Return the views that look like one of a place's keyframes."""
        return frozenset().union(*(self.found_by.get(frame, ()) for frame in place.keyframe_idxs))

    def reaches(self, answer: Localization) -> bool:
        """Tell whether a valid answer is where it was looked for."""
        assert answer.estimate is not None
        pose = answer.estimate.map_from_camera
        return not self.regions or any(
            region.contains(pose @ view.rig_from_camera) for region, view in self.regions
        )


class PlaceRetrieval:
    """Finds prior frames of all views and groups them into places."""

    def __init__(
        self,
        visual_map: VisualMap,
        config: Config,
        index: DescriptorIndex | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take a map with its search structure.

        Args:
            visual_map: the map.
            config: how it is searched.
            index: what searches all of it; as configured unless given.
            among: [F] true for the keyframes that may be found; all without.
        """
        self._among = among
        assert visual_map.search is not None
        self._structure = visual_map.search
        self._config = config
        self._index = index or create_index(
            visual_map.global_descriptors, visual_map.codes, config.retrieval, config.inference.num_threads
        )
        # Where the robot is expected is said in the frame that answers are given in.
        is_given = visual_map.given is not None and config.pose.answer_frame == "given"
        self._nearby = NearbyKeyframes(
            visual_map.given_poses if is_given else visual_map.keyframe_poses,
            visual_map.global_descriptors,
            config.prior,
            "given_keyframe_poses" if is_given else "keyframe_poses",
            among,
            grid=visual_map.grid,
            index=self._index,
        )
        self._aggregation = VladAggregation(**visual_map.aggregation) if visual_map.aggregation else None
        self._descriptors = visual_map.global_descriptors
        self._head_size = visual_map.head_size
        self._num_prior_frames = config.retrieval.count(by_vlad=not visual_map.has_head)

    def describe(self, features: Sequence[ImageFeatures]) -> Descriptors:
        """Return the global descriptor [G] of each view; None for a view in which nothing was found.

        Raises:
            MapFormatError: the extractor has no global head, and the map no vocabulary; or the map's descriptors are
                of another size.
        """
        found = [self._describe_one(view) for view in features]
        size = self._descriptors.shape[1]
        for described in found:
            if described is not None and len(described) != size:
                raise MapFormatError(
                    f"array 'global_descriptors' has {size} numbers a keyframe, the extractor and the aggregation give "
                    f"{len(described)}: the map is damaged; {ADVICE}"
                )
        return found

    def everywhere(self, descriptors: Descriptors) -> Retrieved:
        """Return the places of the whole map that look most like the views."""
        hits, found_by = self._vote(
            descriptors, lambda descriptor, _: self._search(descriptor, self._everywhere)
        )
        max_places = self._config.retrieval.max_places
        return Retrieved(Search.GLOBAL, self._group(hits), max_places, descriptors, found_by)

    def near(
        self, descriptors: Descriptors, cameras: Sequence[RigCamera], prior: PosePrior | None
    ) -> Retrieved | None:
        """Return the best place where the query is expected; None if that is nowhere or nearly everywhere.

        Only what is within reach of the prediction can be an alias of the answer. A camera that is not
        where it is expected, but where it looks the same, is therefore not noticed there.
        """
        if (
            prior is None
            or not self._config.prior.enabled
            or not any(found is not None for found in descriptors)
        ):
            return None
        regions = [self._nearby.region(_seen_from(prior, view)) for view in cameras]
        known = tuple(
            (region, view) for region, view in zip(regions, cameras, strict=True) if region is not None
        )
        if not known:
            return None

        def search(descriptor: NDArray[np.float32], view_idx: int) -> list[RetrievalHit]:
            region = regions[view_idx]
            if region is None:
                return []
            return self._search_near(descriptor, region)

        hits, found_by = self._vote(descriptors, search)
        return Retrieved(Search.PRIOR, self._group(hits), 1, descriptors, found_by, known)

    def around(
        self,
        descriptors: Descriptors,
        cameras: Sequence[RigCamera],
        map_from_rig: Rigid3,
        view_idxs: Sequence[int],
    ) -> Place | None:
        """Return the keyframes near a pose that look most like some of the views, which are sought there.

        Returns:
            One place, whatever its keyframes have in common; None where there is no keyframe for any of the views.
        """
        here = PosePrior(map_from_rig, np.zeros((6, 6)))
        hits: dict[int, RetrievalHit] = {}
        for view_idx in view_idxs:
            descriptor, region = (
                descriptors[view_idx],
                self._nearby.region(_seen_from(here, cameras[view_idx])),
            )
            if descriptor is not None and region is not None:
                hits |= {hit.keyframe_idx: hit for hit in self._search_near(descriptor, region)}
        if not hits:
            return None
        found = sorted(hits.values(), key=lambda hit: -hit.similarity)
        score = sum(max(hit.similarity, 0.0) for hit in found)
        return Place(tuple(hit.keyframe_idx for hit in found), found[0].similarity, score)

    def _everywhere(self, descriptors: NDArray[np.float32], count: int) -> list[list[RetrievalHit]]:
        return self._index.search_lists(descriptors, count, self._among)

    def _search_near(self, descriptor: NDArray[np.float32], region: Region) -> list[RetrievalHit]:
        return self._search(
            descriptor, lambda wanted, count: self._nearby.search_lists(wanted, region, count)
        )

    def _describe_one(self, features: ImageFeatures) -> NDArray[np.float32] | None:
        if len(features.local) == 0:
            return None
        described = describe_whole(self._aggregation, features)
        if described is None:
            raise MapFormatError(
                f"the map holds no vocabulary, which extractor '{features.extractor_id}' needs to find "
                "prior frames; build the map anew"
            )
        return described

    def _search(self, descriptor: NDArray[np.float32], search: SearchLists) -> list[RetrievalHit]:
        if self._aggregation is None or not self._head_size:
            return search(descriptor[None], self._num_prior_frames)[0]
        return search_in_turn(search, descriptor, self._head_size, self._descriptors, self._num_prior_frames)

    def _vote(
        self,
        descriptors: Descriptors,
        search: Callable[[NDArray[np.float32], int], list[RetrievalHit]],
    ) -> tuple[list[RetrievalHit], dict[int, frozenset[int]]]:
        """Return the keyframes that look most like any of the views, each once, and which views look like them."""
        found = {
            view_idx: search(descriptor, view_idx)
            for view_idx, descriptor in enumerate(descriptors)
            if descriptor is not None
        }
        found_by: dict[int, frozenset[int]] = {}
        for view_idx, hits in found.items():
            for hit in hits:
                found_by[hit.keyframe_idx] = found_by.get(hit.keyframe_idx, frozenset()) | {view_idx}
        if len(found) == 1:
            return next(iter(found.values())), found_by
        best: dict[int, RetrievalHit] = {}
        for hit in sorted((hit for hits in found.values() for hit in hits), key=lambda hit: -hit.similarity):
            best.setdefault(hit.keyframe_idx, hit)
        return list(best.values())[: self._num_prior_frames], found_by

    def _group(self, hits: Sequence[RetrievalHit]) -> list[Place]:
        return group_into_places(hits, self._structure, self._config.retrieval.min_shared_landmarks)


def _seen_from(prior: PosePrior, view: RigCamera) -> PosePrior:
    """Return where a camera of the rig is expected; it is near enough to the rig's origin for a search."""
    if view.rig_from_camera.is_identity:
        return prior
    return dataclasses.replace(prior, map_from_camera=prior.map_from_camera @ view.rig_from_camera)
