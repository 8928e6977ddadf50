"""`map build` as a graph of tasks: `--sub-maps`, `--work` and `--cluster`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from hfnet_ros.errors import ConfigError

if TYPE_CHECKING:
    from hfnet_ros.building.graph import Graph, Workers
    from hfnet_ros.building.map_graph import BuiltMaps
    from hfnet_ros.config import Config
    from hfnet_ros.features.protocol import NetworkExtractor
    from hfnet_ros.mapping.options import BuildOptions
    from hfnet_ros.mapping.sources import ColmapModel, PosedImages, UnposedImages


def add_graph_options(build: argparse.ArgumentParser) -> None:
    """Add the options of a build in tasks."""
    graph = build.add_argument_group("large maps (docs/building.md)")
    size = graph.add_mutually_exclusive_group()
    size.add_argument(
        "--sub-maps",
        type=int,
        metavar="N",
        help="make a set of N maps that overlap, cut by position; needs poses",
    )
    size.add_argument(
        "--sub-map-size",
        type=int,
        metavar="K",
        help="or of maps of about K keyframes each, without their margins",
    )
    graph.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder for what tasks make, from which an interrupted or changed build goes on (default: OUT.work)",
    )
    graph.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="run tasks on a Ray cluster: HOST:PORT of its head; local or a number of workers start one here",
    )


def is_wanted(options: argparse.Namespace) -> bool:
    """Tell whether a build in tasks is asked for."""
    return any((options.sub_maps, options.sub_map_size, options.work, options.cluster))


def refuse_graph(options: argparse.Namespace) -> None:
    """Refuse what a build in tasks cannot do, before anything is loaded.

    Raises:
        ConfigError: names the options and what to do.
    """
    for name in ("sub_maps", "sub_map_size"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {number}, expected 1 or more")
    if not is_wanted(options):
        return
    if options.kind != "landmarks":
        raise ConfigError(
            f"--kind {options.kind} cannot be combined with --sub-maps, --work or --cluster: build the maps first, "
            "then train a network for each with `map train`"
        )
    if _is_set(options) and not (options.poses or options.colmap or options.bag):
        raise ConfigError(
            "--sub-maps and --sub-map-size cut by position and need poses (--poses, --colmap or --bag): images alone "
            "say where they are only when the one map is made"
        )


def check_graph_target(options: argparse.Namespace) -> None:
    """Refuse a place where the map or set cannot be written.

    Raises:
        MapFormatError: says what is there instead.
    """
    from hfnet_ros.building.results import check_target
    from hfnet_ros.map.map_io import check_map_target

    (check_target if _is_set(options) else check_map_target)(options.out)


def build_in_tasks(
    options: argparse.Namespace,
    config: Config,
    source: PosedImages | ColmapModel | UnposedImages,
    extractor: NetworkExtractor,
    wishes: BuildOptions,
) -> bool:
    """Build and write what is asked for; False if it was there already.

    Raises:
        BuildingError: a task or the cluster failed.
        MapFormatError: another program is changing the set.
    """
    from hfnet_ros.building.artefacts import open_work_folder
    from hfnet_ros.building.graph import Graph
    from hfnet_ros.building.map_graph import MapGraph
    from hfnet_ros.building.results import replacing, with_files, write_map, write_map_set

    with replacing(options.out) if _is_set(options) else nullcontext():
        work = Path(os.path.realpath(options.work or options.out.with_name(f"{options.out.name}.work")))
        open_work_folder(work)
        source = _in_files(source, work, with_files)
        bar = _GraphBar()
        try:
            with _workers(options, config, work, extractor.extractor_id) as workers:
                graph = Graph(work, workers, config, bar)
                maps = MapGraph(graph, source, extractor, config, wishes)
                num_sub_maps = _num_sub_maps(options, len(source.images))
                built = maps.build_set(num_sub_maps) if num_sub_maps else maps.build_one()
        finally:
            bar.close()
        if _is_set(options):
            is_new = write_map_set(work, options.out, built, wishes.frame_id)
        else:
            is_new = write_map(work, options.out, built)
        _print_tasks(graph, built, work, options.out, is_new=is_new)
        return is_new


def _is_set(options: argparse.Namespace) -> bool:
    return options.sub_maps is not None or options.sub_map_size is not None


def _num_sub_maps(options: argparse.Namespace, num_keyframes: int) -> int:
    """Return how many to make; 0 for one map that is no set."""
    if not _is_set(options):
        return 0
    if options.sub_maps is not None:
        return int(options.sub_maps)
    return max(1, round(num_keyframes / options.sub_map_size))


def _in_files(source: Any, work: Path, with_files: Any) -> PosedImages | UnposedImages:
    """Return the source with images in files, a COLMAP model read."""
    import dataclasses

    from hfnet_ros.mapping.colmap_model import read_colmap_model
    from hfnet_ros.mapping.sources import ColmapModel

    if isinstance(source, ColmapModel):
        source = read_colmap_model(source)
    found: PosedImages | UnposedImages = dataclasses.replace(
        source, images=with_files(source.images, work / "images")
    )
    return found


@contextmanager
def _workers(options: argparse.Namespace, config: Config, work: Path, extractor_id: str) -> Iterator[Workers]:
    if options.cluster is None:
        from hfnet_ros.building.execution import InProcess

        workers = InProcess(work)
        try:
            yield workers
        finally:
            workers.close()
        return
    from hfnet_ros.building.ray_cluster import connected

    with connected(options.cluster, config, work, extractor_id) as on_cluster:
        yield on_cluster


def _print_tasks(graph: Graph, built: BuiltMaps, work: Path, out: Path, *, is_new: bool) -> None:
    if not is_new:
        print(
            f"{out}: nothing has changed since it was built; nothing done ({graph.num_reused} tasks looked at)"
        )
        return
    print(f"tasks: {graph.num_run} run, {graph.num_reused} found done; {work} holds what they made")
    if len(built.maps) > 1:
        print(f"overlaps: {len(built.overlaps)} pairs of {len(built.maps)} sub-maps found in each other")


class _GraphBar:
    """One bar over all tasks on a terminal, silence in a pipe."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(total=0, unit="task", leave=False, disable=not sys.stderr.isatty())

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.set_description(stage, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
