"""Scenes with given poses: RedKitchen with its hard stretch, EuRoC V1_01, fox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from acceptance.asks import FALSE_DEPTH_FRACTION, FALSE_TRANSLATION_M, Ask, NearTruth, median_depth
from acceptance.scenes import REFINED, Picture, Scene
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.posed_images import PosedImage, pair_images_with_poses
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.trust.tested_build import build_map

Select = Callable[[Workspace], Sequence[PosedImage]]


def posed_scenes() -> list[Scene]:
    kitchen = _scene(
        "kitchen",
        "redkitchen/camera.yaml",
        _chosen("redkitchen/map", "redkitchen/map.tum", slice(None, None, 5)),
        {
            "own": _chosen("redkitchen/query", "redkitchen/query.tum", slice(None, None, 5)),
            "hard": _chosen("redkitchen/hard", "redkitchen/hard.tum", slice(None)),
        },
    )
    euroc = _scene(
        "euroc",
        "euroc_v101/camera_left.yaml",
        _chosen("euroc_v101/map/left", "euroc_v101/map_left.tum", slice(None)),
        {"own": _chosen("euroc_v101/query/left", "euroc_v101/query_left.tum", slice(None))},
    )
    fox = _scene(
        "fox",
        "fox/camera.yaml",
        lambda workspace: [
            image for row, image in enumerate(_all(workspace, "fox/images", "fox/images.tum")) if row % 5
        ],
        {"own": _chosen("fox/images", "fox/images.tum", slice(None, None, 5))},
        has_scale=False,
    )
    return [kitchen, euroc, fox]


def _scene(
    name: str, camera_file: str, mapped: Select, queries: dict[str, Select], has_scale: bool = True
) -> Scene:
    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        camera = read_camera_yaml(workspace.data / camera_file)
        return build_map(
            PosedImages.of_files(mapped(workspace), camera), extractor, workspace.config, REFINED
        )

    def asks(workspace: Workspace, visual_map: VisualMap) -> list[Ask]:
        camera = read_camera_yaml(workspace.data / camera_file)
        limit = FALSE_TRANSLATION_M if has_scale else FALSE_DEPTH_FRACTION * median_depth(visual_map)
        return [
            Ask(
                image.path.name,
                kind,
                partial(read_image, image.path),
                camera,
                NearTruth(image.map_from_camera, limit),
                True,
            )
            for kind, select in queries.items()
            for image in select(workspace)
        ]

    def pictures(workspace: Workspace, selected: Sequence[Select]) -> list[Picture]:
        camera = read_camera_yaml(workspace.data / camera_file)
        return [
            Picture(image.path.name, partial(read_image, image.path), camera)
            for select in selected
            for image in select(workspace)
        ]

    return Scene(
        name,
        name,
        build,
        asks,
        partial(pictures, selected=list(queries.values())),
        partial(pictures, selected=[mapped]),
    )


def _all(workspace: Workspace, folder: str, poses: str) -> Sequence[PosedImage]:
    return pair_images_with_poses(workspace.data / folder, workspace.data / poses)


def _chosen(folder: str, poses: str, rows: slice) -> Select:
    return lambda workspace: _all(workspace, folder, poses)[rows]


def files_of(workspace: Workspace, folder: str) -> list[Picture]:
    """Return the images of a folder, in the order of their names."""
    return [Picture(path.name, partial(read_image, path)) for path in list_images(workspace.data / folder)]
