"""Queries of rigs of cameras in a generated apartment."""

import dataclasses

import numpy as np
import pytest
from generated_maps import picture

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization import localizer as localizer_module
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.looking_around import LookingAround
from hfnet_ros.localization.retrieval import PlaceRetrieval, Retrieved
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Place, Query, RigCamera, Search, View

FISHEYE = Camera(
    DistortionModel.EQUIDISTANT, (320, 240), [170.0, 170.0], [159.0, 121.0], [0.02, -0.01, 0.0, 0.0]
)
KNOCKED = Rigid3.from_rotvec([0.0, np.deg2rad(10.0), 0.0], [0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def rig(camera):
    """Front, left and right, in the axes of a robot's base."""
    base_from_front = Rigid3.from_rotvec([-np.pi / 2, 0.0, -np.pi / 2], [0.2, 0.0, 1.2])
    return tuple(
        RigCamera(lens, base_from_front @ Rigid3.from_rotvec([0.0, np.deg2rad(yaw), 0.0], [right, 0.0, 0.0]))
        for lens, yaw, right in ((camera, 0.0, 0.0), (camera, -60.0, -0.15), (FISHEYE, 60.0, 0.15))
    )


@pytest.fixture(scope="module")
def truth(apartment, rig):
    return query_walk(apartment.scene)[12][1] @ rig[0].rig_from_camera.inverse()


@pytest.fixture
def ask(apartment, rig, truth):
    """Localize what the rig sees; views may be of cameras that are mounted otherwise, or black."""

    def ask(mounted=rig, black=(), localizer=apartment.localizer, compares=False):
        views = []
        for row, (known, real) in enumerate(zip(rig, mounted, strict=True)):
            image = picture(apartment.scene, truth @ real.rig_from_camera, 800 + row, known.camera)
            views.append(View(known, np.zeros_like(image) if row in black else image))
        return localizer.localize(Query(9, tuple(views), compares_views=compares))

    return ask


def test_the_answer_is_that_of_the_rigs_frame_from_all_views(ask, truth):
    answer = ask()
    assert answer.is_valid, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.02
    assert answer.estimate.map_from_camera.rotation_to(truth) < np.deg2rad(0.3)
    assert len(answer.views) == 3
    assert sum(share.num_inliers >= 6 for share in answer.views) >= 2
    assert sum(share.num_inliers for share in answer.views) == answer.evidence.num_inliers
    assert sum(share.num_keypoints for share in answer.views) == answer.evidence.num_keypoints


def test_views_say_where_the_rig_is_by_their_own_matches(ask):
    assert all(share.offset is None for share in ask().views)
    told = [share.offset for share in ask(compares=True).views if share.offset is not None]
    assert len(told) >= 2
    assert max(np.linalg.norm(offset.vector[3:]) for offset in told) < np.deg2rad(1.0)


def test_a_black_view_is_named_and_is_no_obstacle(ask, truth):
    answer = ask(black=[0])
    assert answer.is_valid, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.05
    assert answer.views[0].num_keypoints == 0
    assert answer.views[0].problem.startswith("no keypoint found; the image has next to no contrast")
    assert not answer.views[0].contradicts


def test_a_camera_that_was_knocked_is_named_and_left_out(ask, rig, truth):
    moved = dataclasses.replace(rig[0], rig_from_camera=rig[0].rig_from_camera @ KNOCKED)
    answer = ask(mounted=(moved, *rig[1:]))
    assert answer.is_valid, answer.evidence.reason
    assert answer.estimate.map_from_camera.rotation_to(truth) < np.deg2rad(1.0)
    assert [share.contradicts for share in answer.views] == [True, False, False]


def test_views_that_see_another_place_are_shown_it(ask, apartment, config, monkeypatch):
    """With one prior frame, that of the view which is most alike, the others have nothing right to match with."""
    one_frame = dataclasses.replace(config.retrieval, num_prior_frames_vlad=1, num_prior_frames=1)
    config = dataclasses.replace(config, retrieval=one_frame)
    localizer = Localizer(apartment.visual_map, SiftExtractor(config), config)
    shown = ask(localizer=localizer)
    monkeypatch.setattr(PlaceRetrieval, "around", lambda *_: None)
    alone = ask(localizer=localizer)
    assert shown.evidence.num_inliers > alone.evidence.num_inliers
    assert min(share.num_inliers for share in shown.views) > min(share.num_inliers for share in alone.views)


def test_views_that_look_like_nothing_in_a_place_join_once_another_has_found_a_pose(ask, truth, monkeypatch):
    matched = []
    chosen = localizer_module.only_of
    monkeypatch.setattr(Retrieved, "views_of", lambda *_: frozenset({0}))
    monkeypatch.setattr(
        localizer_module,
        "only_of",
        lambda *given: matched.append([len(v.local) for v in chosen(*given)]) or chosen(*given),
    )
    answer = ask()
    assert answer.is_valid, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.02
    assert all(found[0] > 0 and found[1:] == [0, 0] for found in matched)
    assert sum(share.num_inliers >= 6 for share in answer.views) >= 2


def test_a_place_is_of_the_views_that_look_like_one_of_its_keyframes():
    found_by = {3: frozenset({0}), 5: frozenset({1, 2}), 7: frozenset({0, 2})}
    retrieved = Retrieved(Search.GLOBAL, [], 1, [], found_by)
    assert retrieved.views_of(Place((3, 9), 0.9, 1.0)) == {0}
    assert retrieved.views_of(Place((3, 7), 0.9, 1.0)) == {0, 2}
    assert retrieved.views_of(Place((9,), 0.9, 1.0)) == frozenset()


def test_one_view_is_answered_byte_for_byte_as_an_image(apartment, camera, truth, rig, monkeypatch):
    frame = apartment.frame(truth @ rig[0].rig_from_camera, seed=800)
    usual = apartment.localizer.localize(frame)
    for part, method in ((LookingAround, "more"), (PoseSolver, "_ask_views")):
        monkeypatch.setattr(part, method, lambda *_: pytest.fail("a single view was treated as a rig"))
    asked = Query(frame.stamp_ns, (View(RigCamera(camera), frame.image, is_doubted=True),))
    answer = apartment.localizer.localize(asked)
    assert answer.estimate.map_from_camera.matrix.tobytes() == usual.estimate.map_from_camera.matrix.tobytes()
    assert answer.estimate.covariance.tobytes() == usual.estimate.covariance.tobytes()
    assert answer.evidence == usual.evidence
    assert answer.views == usual.views
