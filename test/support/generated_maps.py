"""Maps of generated scenes, made from rendered images and rendered depth without the mapping code."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
from shared_work import made_object

from hfnet_ros.config import Config, ExtractorConfig, MatchingConfig, RetrievalConfig
from hfnet_ros.features.aggregation import fit_aggregation
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.scene import (
    SensorModel,
    build_apartment,
    build_corridor,
    build_plane_wall,
    demo_camera,
    look_at,
    mapping_walk,
    render,
    render_depth,
)
from hfnet_ros.types import Evidence, Frame, Localization, Outcome, PoseEstimate

CAMERA = demo_camera((256, 192))
CONFIG = Config(
    extractor=ExtractorConfig(name="sift", max_keypoints=480),
    retrieval=RetrievalConfig(vocabulary_size=32),
    matching=MatchingConfig(min_similarity=0.8),
)
SENSOR = SensorModel(motion_blur_px=0.0)
MOST_PICTURES = 600  # 0.15 MB each
_pictures = {}
SAME_POINT_PX, SAME_POINT_COSINE, SAME_DEPTH = 1.5, 0.85, 0.02


@dataclass
class Landmarks:
    """What grows while keyframes are added: all lists have one entry per landmark."""

    xyz: list = field(default_factory=list)
    descriptors: list = field(default_factory=list)
    rays: list = field(default_factory=list)  # per landmark: vectors from its observers


def picture(scene, map_from_camera, seed=0, camera=CAMERA):
    """Image of a scene, drawn once: two of five are of a place that another test has looked at just so."""
    pose = (map_from_camera.rotation.tobytes(), map_from_camera.translation.tobytes())
    key = (id(scene), *pose, seed, id(camera))
    if key not in _pictures:
        if len(_pictures) >= MOST_PICTURES:
            _pictures.clear()
        image = SENSOR.expose(render(scene, camera, map_from_camera, 2), np.random.default_rng(seed))
        _pictures[key] = image, scene, camera  # while these are kept, no others get their ids
    return _pictures[key][0].copy()


def depth_at(depth, keypoints):
    """Depth [N] at keypoints, NaN on its edges."""
    column, row = np.rint(keypoints).astype(int).T
    nearest, farthest = cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))
    smooth = farthest[row, column] < 1.03 * nearest[row, column]
    return np.where(smooth, depth[row, column], np.nan)


def observe(landmarks, local, depth, map_from_camera, camera=CAMERA):
    """Recognise landmarks by projection, found new ones at the other keypoints; returns (idx, keypoint) pairs."""
    pairs, taken = [], np.zeros(len(local), np.bool_)
    if landmarks.xyz:
        in_camera = map_from_camera.inverse() @ np.array(landmarks.xyz)
        pixels = camera.project(in_camera)
        size = np.array(camera.size_wh)
        with np.errstate(invalid="ignore"):
            inside = np.flatnonzero(((pixels > 1) & (pixels < size - 2)).all(axis=1))
        seen_depth = depth_at(depth, pixels[inside])
        visible = inside[np.abs(seen_depth / in_camera[inside, 2] - 1.0) < SAME_DEPTH]
        for idx in visible:
            cost = np.linalg.norm(local.keypoints - pixels[idx], axis=1) + 1e3 * taken
            row = int(np.argmin(cost))
            if (
                cost[row] < SAME_POINT_PX
                and local.descriptors[row] @ landmarks.descriptors[idx] > SAME_POINT_COSINE
            ):
                taken[row] = True
                pairs.append((int(idx), row))
    depths = depth_at(depth, local.keypoints)
    slopes = camera.undistort(local.keypoints)
    for row in np.flatnonzero(~taken & np.isfinite(depths)):
        pairs.append((len(landmarks.xyz), int(row)))
        landmarks.xyz.append(map_from_camera @ (np.append(slopes[row], 1.0) * depths[row]))
        landmarks.descriptors.append(local.descriptors[row])
        landmarks.rays.append([])
    for idx, _ in pairs:
        landmarks.rays[idx].append(landmarks.xyz[idx] - map_from_camera.translation)
    return sorted(pairs)


def build_map(scene, poses, seed=0, extractor=None, camera=CAMERA):
    """Map of keyframes at `poses` (map_from_camera), described by SIFT unless an extractor is given."""
    extractor, landmarks = extractor or SiftExtractor(CONFIG), Landmarks()
    images, observed = [], []
    for index, map_from_camera in enumerate(poses):
        images.append(extractor.extract(picture(scene, map_from_camera, seed + index, camera)))
        depth = render_depth(scene, camera, map_from_camera)
        observed.append(observe(landmarks, images[-1].local, depth, map_from_camera, camera))
    directions = np.array(
        [np.mean([ray / np.linalg.norm(ray) for ray in rays], axis=0) for rays in landmarks.rays]
    )
    distances = [np.linalg.norm(rays, axis=1) for rays in landmarks.rays]
    aggregation = fit_aggregation(images, CONFIG.retrieval, seed=0)
    return VisualMap(
        frame_id="map",
        extractor_id=extractor.extractor_id,
        cameras=(MapCamera(None, camera),),
        keyframe_names=tuple(f"{index:03d}.png" for index in range(len(poses))),
        keyframe_stamps_ns=np.arange(len(poses)),
        keyframe_camera_idx=np.zeros(len(poses), np.int32),
        keyframe_poses=np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses]),
        observation_offsets=np.cumsum([0, *map(len, observed)]),
        observation_landmark_idx=np.array([idx for pairs in observed for idx, _ in pairs], np.int32),
        observation_xy=np.concatenate(
            [
                image.local.keypoints[[row for _, row in pairs]]
                for image, pairs in zip(images, observed, strict=True)
            ]
        ),
        landmark_xyz=np.array(landmarks.xyz),
        landmark_descriptors=np.array(landmarks.descriptors, np.float32),
        landmark_view_directions=(directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(
            np.float32
        ),
        landmark_distance_ranges=np.array([[d.min(), d.max()] for d in distances], np.float32),
        landmark_colors=np.zeros((len(landmarks.xyz), 3), np.uint8),
        global_descriptors=np.stack([aggregation.describe(image) for image in images]),
        consistency=MapConsistency(1.2, 0.003, 0.001, len(poses), tuple((1e-8 * np.eye(6)).ravel().tolist())),
        aggregation=aggregation.arrays(),
    )


@dataclass
class Place:
    """A scene with its map and localizer."""

    scene: object
    visual_map: VisualMap
    localizer: Localizer

    def frame(self, map_from_camera, seed=100, camera=None):
        camera = camera or self.visual_map.cameras[0].refined
        return Frame(seed, picture(self.scene, map_from_camera, seed, camera), camera)

    def with_map(self, **fields):
        """Localizer in the same map with some fields replaced."""
        return Localizer(replace(self.visual_map, **fields), SiftExtractor(CONFIG), CONFIG)


def make_place(scene, poses):
    return place_of(scene, build_map(scene, poses))


def place_of(scene, visual_map):
    return Place(scene, visual_map, Localizer(visual_map, SiftExtractor(CONFIG), CONFIG))


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory):
    """Return a function that makes a place, whose map is built once for all workers."""
    return lambda name, scene, poses, **seen: place_of(
        scene, made_object(tmp_path_factory, name, lambda: build_map(scene, poses, **seen))
    )


def apartment_walk():
    scene = build_apartment(3, num_rooms=1)
    return scene, [pose for _, pose in mapping_walk(scene)][::2]


def views(eyes, targets):
    return [
        look_at(np.array(eye, float), np.array(target, float))
        for eye, target in zip(eyes, targets, strict=True)
    ]


@pytest.fixture(scope="session")
def config():
    return CONFIG


@pytest.fixture(scope="session")
def camera():
    return CAMERA


@pytest.fixture(scope="session")
def take_picture():
    return picture


@pytest.fixture(scope="session")
def apartment(shared_place):
    return shared_place("apartment", *apartment_walk())


@pytest.fixture(scope="session")
def detailed_apartment(shared_place):
    """The same in more pixels and keypoints: what a network learns of images hangs on them."""
    many = replace(CONFIG, extractor=replace(CONFIG.extractor, max_keypoints=700))
    seen = {"camera": demo_camera((320, 240)), "extractor": SiftExtractor(many)}
    return shared_place("detailed_apartment", *apartment_walk(), **seen)


@pytest.fixture(scope="session")
def corridor(shared_place):
    """Both identical niches, each mapped from other positions, and the corridor between them."""
    scene = build_corridor(0)
    inside = [(0.1, -0.35), (-0.45, -0.1), (0.5, 0.05), (0.0, 0.4)], [(-0.3, -0.2), (0.35, -0.3), (0.05, 0.3)]
    poses = []
    for name, offsets in zip(("twin_a", "twin_b"), inside, strict=True):
        view = scene.viewpoints[name]
        for along, deeper in offsets:
            position = np.add(view.translation, (along, deeper, 0.05 * along))
            turn = Rigid3.from_rotvec([0.0, 0.0, 0.25 * along], np.zeros(3)).rotation
            poses.append(Rigid3(turn @ view.rotation, position))
    poses += views(
        [(x, 0.9, 1.35) for x in (0.8, 3.0, 5.5, 8.0)], [(x + 6.0, 1.1, 1.2) for x in (0.8, 3.0, 5.5, 8.0)]
    )
    return shared_place("corridor", scene, poses)


@pytest.fixture(scope="session")
def lopsided_corridor(shared_place):
    """One niche mapped well, its twin by a single view that is turned by fifteen degrees."""
    scene = build_corridor(0)
    turned = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(15.0)], np.zeros(3)).rotation
    niche_a, niche_b = scene.viewpoints["twin_a"], scene.viewpoints["twin_b"]
    poses = [Rigid3(turned @ niche_a.rotation, np.add(niche_a.translation, (0.4, -0.4, 0.0)))]
    for along, deeper in ((0.0, 0.0), (0.3, 0.0), (-0.3, 0.0), (0.0, 0.4), (0.0, -0.3)):
        poses.append(Rigid3(niche_b.rotation, np.add(niche_b.translation, (along, deeper, 0.0))))
    return shared_place("lopsided_corridor", scene, poses)


@pytest.fixture(scope="session")
def plane_wall(shared_place):
    scene = build_plane_wall(0)
    xs = np.linspace(2.0, 8.0, 7)
    eyes = [(x, 2.0 + 0.4 * (index % 2), 1.4) for index, x in enumerate(xs)]
    targets = [(x + (0.8 if index % 2 else -0.8), 5.0, 1.5) for index, x in enumerate(xs)]
    return shared_place("plane_wall", scene, views(eyes, targets))


class ScriptedLocalizer:
    """Answers with poses that a test prescribes, by stamp; None is an image that is not localized."""

    def __init__(self, answers=None, covariance=None):
        self.answers = {} if answers is None else answers
        self.covariance = np.diag([4e-4] * 3 + [1e-4] * 3) if covariance is None else covariance
        self.priors = {}

    def localize(self, frame, prior=None):
        self.priors[frame.stamp_ns] = prior
        map_from_camera = self.answers.get(frame.stamp_ns)
        if map_from_camera is None:
            return Localization(frame.stamp_ns, Outcome.NO_CONSENSUS, None, None, Evidence(), {})
        estimate = PoseEstimate(map_from_camera, self.covariance, np.ones(20, np.bool_), 1.0)
        return Localization(frame.stamp_ns, Outcome.LOCALIZED, estimate, None, Evidence(), {})


@pytest.fixture
def scripted_localizer():
    return ScriptedLocalizer


@pytest.fixture(scope="session")
def blank_frame():
    image = np.zeros((CAMERA.size_wh[1], CAMERA.size_wh[0]), np.uint8)
    return lambda stamp_ns: Frame(stamp_ns, image, CAMERA)
