"""Wrong poses are found, named, and put right, left out or refused; good ones are not complained of."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.errors import PoseFaultError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.camera import DistortionModel
from hfnet_ros.mapping import keyframe_faults, pose_faults
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.pose_faults import check_poses
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import Keyframe, views_of
from hfnet_ros.trust.tested_build import build_map

AS_GIVEN = BuildOptions(intrinsics="off", self_test=False)
COUNT, WRONG = 14, 6
NAMES = [f"{number:03d}.png" for number in range(COUNT)]
STEP_NS = 200_000_000


@pytest.fixture(scope="module")
def world(kit):
    """Views along a bent path that nods and sways."""
    return kit.make_world(num_views=COUNT, num_points=250)


def images_of(kit, world, order=range(COUNT)):
    images = kit.make_images(world)
    return [replace(images[row], stamp_ns=STEP_NS * number) for number, row in enumerate(order)]


def build(kit, world, config, poses):
    source = PosedImages(images_of(kit, world), poses, world.cameras)
    return build_map(source, kit.make_extractor(world), config, AS_GIVEN)


def check(kit, world, config, poses, order=range(COUNT)):
    """What the builder is told of these poses, without a map of them."""
    extractor, images = kit.make_extractor(world), images_of(kit, world, order)
    features = [extractor.extract(image.read()) for image in images]
    colors = np.zeros((0, 3), np.uint8)
    keyframes = [Keyframe(*both, both[1], colors) for both in zip(images, features, strict=True)]
    views, matcher = views_of(keyframes, poses), create_pair_matcher(config)
    descriptors = np.stack([entry.global_descriptor for entry in features])
    pairs = choose_pairs_by_pose(views, world.cameras, matcher, config.mapping, 1)
    matches = match_pairs(matcher, features, pairs, 0.0, 1)
    return check_poses(keyframes, views, world.cameras, matches, descriptors, matcher, config, AS_GIVEN)


def faults_of(checked):
    return {entry["name"]: entry for entry in checked.report["keyframes"]}


def refusal(kit, world, config, poses):
    with pytest.raises(PoseFaultError) as caught:
        check(kit, world, config, poses, range(len(poses)))
    return caught.value


@pytest.mark.parametrize("noise_m", [0.0, 0.005], ids=["exact", "noisy"])
def test_good_poses_are_not_complained_of(kit, world, config, noise_m):
    rng = np.random.default_rng(0)
    poses = [
        pose @ Rigid3.from_rotvec(0.3 * noise_m * rng.normal(size=3), noise_m * rng.normal(size=3))
        for pose in kit.poses_of(world)
    ]
    checked = check(kit, world, config, poses)
    assert checked.report["keyframes"] == []
    assert checked.kept == list(range(COUNT))
    assert checked.map_from_camera == poses


@pytest.mark.parametrize("ratio", [pytest.param(0.55, marks=pytest.mark.slow), 0.7])
def test_a_calibration_of_another_zoom_is_named_and_not_the_poses(kit, world, config, ratio):
    """They had been refused as another mounting, wrong keyframes, a path that slips or inverted."""
    camera = world.cameras[0]
    zoomed = replace(world, cameras=[replace(camera, focal=ratio * camera.focal)])
    error = refusal(kit, zoomed, config, kit.poses_of(world))
    assert error.fault == "calibration"
    assert error.amount == pytest.approx(1.0 / ratio, rel=0.03)
    assert "calibrate the camera as it took the images" in str(error)


def test_a_calibration_that_refinement_corrects_is_not_refused(kit, world, config):
    camera = world.cameras[0]
    zoomed = replace(world, cameras=[replace(camera, focal=1.02 * camera.focal)])
    assert check(kit, zoomed, config, kit.poses_of(world)).kept == list(range(COUNT))


def test_coefficients_under_the_name_of_another_model_are_named_and_not_the_poses(kit, config):
    """Good keyframes of EuRoC had been left out as wrong, and no word of the lens."""
    camera = kit.make_camera(DistortionModel.PLUMB_BOB, (-0.2, 0.04, 0.0, 0.0), focal=90.0)
    world = kit.make_world([camera], num_views=COUNT, num_points=250)
    assert faults_of(check(kit, world, config, kit.poses_of(world))) == {}
    read = replace(camera, model=DistortionModel.EQUIDISTANT, distortion=camera.distortion[:4])
    error = refusal(kit, replace(world, cameras=[read]), config, kit.poses_of(world))
    assert error.fault == "calibration"
    assert "the coefficients of camera 0 read as plumb_bob" in str(error)


@pytest.mark.slow
def test_the_camera_of_a_rig_whose_calibration_is_of_another_zoom_is_named(kit, config):
    cameras = [kit.make_camera(), kit.make_camera()]
    mountings = [Rigid3.identity(), Rigid3.from_rotvec([0.0, 0.1, 0.0], [0.2, 0.0, 0.0])]
    world = kit.make_world(cameras, num_views=2 * COUNT, num_points=250, mountings=mountings)
    zoomed = replace(world, cameras=[cameras[0], replace(cameras[1], focal=1.3 * cameras[1].focal)])
    error = refusal(kit, zoomed, config, kit.poses_of(world))
    assert error.fault == "calibration"
    assert "a focal length of camera 1 about" in str(error)


@pytest.mark.parametrize(
    "row", [WRONG, *(pytest.param(row, marks=pytest.mark.slow) for row in (0, COUNT - 1))]
)
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.3, 0.5, 0.2]), marks=pytest.mark.slow),
        Rigid3.from_rotvec([0.1, -0.1, 0.05], [0.0, 0.0, 0.0]),
        Rigid3.from_rotvec([0.0, 1.0, 0.0], [1.0, 0.0, -1.0]),
    ],
    ids=["moved", "turned", "far away"],
)
def test_a_jump_is_named_and_put_right(kit, world, config, error, row):
    poses = kit.poses_of(world)
    true = poses[row]
    poses[row] = true @ error
    checked = check(kit, world, config, poses)
    faults = faults_of(checked)
    assert set(faults) == {NAMES[row]}
    assert faults[NAMES[row]]["remedy"] == "corrected"
    assert faults[NAMES[row]]["distance_m"] == pytest.approx(np.linalg.norm(error.translation), abs=0.03)
    assert checked.map_from_camera[row].translation_to(true) < 0.03


@pytest.mark.slow
def test_a_map_is_built_of_poses_put_right(kit, world, config):
    poses = kit.poses_of(world)
    true = poses[WRONG]
    poses[WRONG] = true @ Rigid3.from_rotvec([0.1, -0.1, 0.05], [2.0, 0.0, 0.0])
    built = build(kit, world, config, poses)
    assert [entry["name"] for entry in built.build_info["pose_faults"]["keyframes"]] == [NAMES[WRONG]]
    assert built.num_keyframes == COUNT
    assert built.map_from_camera(WRONG).translation_to(true) < 0.03
    assert len(built.landmarks_seen_by(WRONG)) > 50
    assert json.loads(json.dumps(built.build_info, allow_nan=False)) == built.build_info
    unchecked = replace(config, mapping=replace(config.mapping, check_poses=False))
    assert "pose_faults" not in build(kit, world, unchecked, poses).build_info


def test_what_cannot_be_placed_is_left_out(kit, config, monkeypatch):
    """Its pairs tell that its pose is wrong; nothing that others see tells what is right."""
    world = kit.make_world(num_views=COUNT, num_points=250)
    poses = kit.poses_of(world)
    poses[WRONG] = poses[WRONG] @ Rigid3.from_rotvec([0.3, 0.3, 0.3], [0.5, 0.5, 0.0])
    monkeypatch.setattr(keyframe_faults, "resect", lambda *_: None)
    checked = check(kit, world, config, poses)
    assert faults_of(checked)[NAMES[WRONG]]["remedy"] == "left out"
    assert checked.kept == [row for row in range(COUNT) if row != WRONG]


def test_a_repeated_pose_is_named_so(kit, world, config):
    poses = kit.poses_of(world)
    true = poses[WRONG]
    poses[WRONG] = poses[WRONG - 1]
    checked = check(kit, world, config, poses)
    assert faults_of(checked)[NAMES[WRONG]]["fault"] == f"pose repeats {NAMES[WRONG - 1]}"
    assert checked.map_from_camera[WRONG].translation_to(true) < 0.03


@pytest.mark.parametrize("other", [WRONG + 1, 1])
def test_swapped_poses_are_named_so(kit, world, config, other):
    poses = kit.poses_of(world)
    true = poses[WRONG]
    poses[WRONG], poses[other] = poses[other], poses[WRONG]
    checked = check(kit, world, config, poses)
    faults = faults_of(checked)
    assert faults[NAMES[WRONG]]["fault"] == f"pose swapped with {NAMES[other]}"
    assert faults[NAMES[other]]["fault"] == f"pose swapped with {NAMES[WRONG]}"
    assert checked.map_from_camera[WRONG].translation_to(true) < 0.03


@pytest.mark.parametrize(
    "slip",
    [
        Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.2, 0.3, 0.0]),
        pytest.param(Rigid3.from_rotvec([0.0, 0.15, 0.0], [0.0, 0.0, 0.0]), marks=pytest.mark.slow),
    ],
    ids=["moved", "turned"],
)
def test_a_slip_is_refused_with_its_place_and_size(kit, world, config, slip):
    poses = kit.poses_of(world)
    error = refusal(kit, world, config, poses[:WRONG] + [slip @ pose for pose in poses[WRONG:]])
    assert (error.fault, error.places) == ("slip", (WRONG,))
    assert f"between {NAMES[WRONG - 1]} and {NAMES[WRONG]} by 0." in str(error)
    angle_deg = np.degrees(np.linalg.norm(slip.rotvec))
    assert f"and {angle_deg:.1f} deg" in str(error) or angle_deg == 0.0
    assert "map merge --align" in str(error)


def test_places_that_look_alike_are_no_slip(kit, world, config, caplog):
    """Too far apart to be seen at once, a copy of a place and a path that slips say the same: the map is built."""
    poses = kit.poses_of(world)
    far = Rigid3.from_rotvec([0.0, 0.0, 0.0], [30.0, 0.0, 0.0])
    checked = check(kit, world, config, poses[:WRONG] + [far @ pose for pose in poses[WRONG:]])
    assert checked.kept == list(range(COUNT))
    (said,) = checked.report["look_alikes"]
    assert NAMES[WRONG] in said
    assert "30.00 m apart" in said
    assert "look alike" in caplog.text


@pytest.mark.slow
def test_a_keyframe_that_looks_like_another_place_stays_where_it_is(kit, world, config, caplog):
    """The last one, at the end of the path, sees what one near its beginning sees."""
    order = [row for row in range(COUNT) if row != 2] + [2]
    poses = [kit.poses_of(world)[row] for row in order]
    beyond = poses[-2].translation - poses[-3].translation
    poses[-1] = Rigid3(poses[-2].rotation, poses[-2].translation + 2.5 * beyond / np.linalg.norm(beyond))
    assert poses[-1].translation_to(kit.poses_of(world)[2]) > 4.0
    checked = check(kit, world, config, poses, order)
    assert checked.report["keyframes"] == []
    assert checked.map_from_camera == poses
    assert "002.png looks like a place" in caplog.text
    # In its place on the path the same pose is a jump.
    jumped = kit.poses_of(world)
    jumped[2] = poses[-1]
    assert list(faults_of(check(kit, world, config, jumped))) == ["002.png"]


@pytest.mark.slow
def test_a_slip_by_little_is_refused_where_points_seen_under_a_wide_angle_say_so(
    kit, world, config, caplog, monkeypatch
):
    """Others are put wrong by drift as well, as where a camera turns on the spot: a map of such poses was refused."""
    poses, slip = kit.poses_of(world), Rigid3.from_rotvec(np.zeros(3), [0.2, 0.3, 0.0])
    slipped = poses[:WRONG] + [slip @ pose for pose in poses[WRONG:]]
    error = refusal(kit, world, config, slipped)
    assert (error.fault, error.places) == ("slip", (WRONG,))
    monkeypatch.setattr(keyframe_faults, "_WIDE_PARALLAX", np.radians(90.0))
    checked = check(kit, world, config, slipped)
    assert (checked.kept, checked.map_from_camera) == (list(range(COUNT)), slipped)
    (said,) = checked.report["drifts"]
    assert f"off between {NAMES[WRONG - 1]} and {NAMES[WRONG]} by 0." in said
    assert said in caplog.text


def test_slow_drift_is_no_slip(kit, world, config):
    drift = [Rigid3.from_rotvec([0.0, 0.0, 0.001 * row], [0.003 * row, 0.0, 0.0]) for row in range(COUNT)]
    poses = [error @ pose for error, pose in zip(drift, kit.poses_of(world), strict=True)]
    assert faults_of(check(kit, world, config, poses)) == {}


BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MIRROR = np.diag([1.0, -1.0, 1.0])


def w_first(pose):
    x, y, z, w = pose.quat_xyzw
    return Rigid3.from_quat([w, x, y, z], pose.translation)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Rigid3.inverse, "inverted (camera_from_map)"),
        pytest.param(w_first, "quaternion's w first", marks=pytest.mark.slow),
        pytest.param(
            lambda pose: Rigid3(pose.rotation @ BODY.T, pose.translation),
            "body frame (x forward, y left, z up",
            marks=pytest.mark.slow,
        ),
        (lambda pose: Rigid3(pose.rotation @ np.diag([1.0, -1.0, -1.0]), pose.translation), "OpenGL"),
        (lambda pose: Rigid3(MIRROR @ pose.rotation @ MIRROR, MIRROR @ pose.translation), "mirrored"),
        pytest.param(
            lambda pose: Rigid3(pose.rotation, pose.translation[[1, 0, 2]]),
            "write positions as (y, x, z)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["inverted", "w first", "body", "OpenGL", "mirrored", "axes swapped"],
)
def test_another_convention_is_refused_by_name(kit, world, config, change, words):
    new_from_map = Rigid3.from_rotvec([0.5, 1.1, -0.4], [3.0, -2.0, 1.0])
    error = refusal(kit, world, config, [change(new_from_map @ pose) for pose in kit.poses_of(world)])
    assert error.fault == "convention"
    assert words in str(error)


def test_poses_of_another_frame_on_the_body_are_refused_with_the_turn(kit, world, config):
    body_from_camera = Rigid3.from_rotvec(np.radians([4.0, 6.0, -3.0]), [0.05, 0.0, 0.1])
    error = refusal(kit, world, config, [pose @ body_from_camera.inverse() for pose in kit.poses_of(world)])
    assert error.fault == "mounting"
    assert error.amount == pytest.approx(np.degrees(np.linalg.norm(body_from_camera.rotvec)), abs=0.5)


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), -2])
def test_shifted_rows_are_refused_with_the_shift(kit, world, config, rows):
    poses = kit.poses_of(world)
    shifted = [poses[min(max(row - rows, 0), COUNT - 1)] for row in range(COUNT)]
    error = refusal(kit, world, config, shifted)
    assert error.fault == "time"
    assert error.amount == pytest.approx(rows, abs=0.1)
    assert f"{0.2 * abs(rows):.3f} s" in str(error)
    assert ("later" if rows > 0 else "earlier") in str(error)


@pytest.mark.parametrize(
    "pairs_per_keyframe",
    [2.0, pytest.param(100.0, marks=pytest.mark.slow)],
    ids=["many pairs", "few pairs"],
)
def test_poses_in_another_order_are_refused(kit, world, config, monkeypatch, pairs_per_keyframe):
    monkeypatch.setattr(pose_faults, "_MIN_PAIRS_PER_KEYFRAME", pairs_per_keyframe)
    poses = kit.poses_of(world)
    shuffled = [poses[row] for row in np.random.default_rng(0).permutation(COUNT)]
    error = refusal(kit, world, config, shuffled)
    assert "pair with the images in order" in str(error)
    assert len(error.places) >= COUNT // 2


def test_a_jump_over_which_few_pairs_see_is_told(kit, world, config, caplog, monkeypatch):
    """Too few to place anything by: a map had been built of two halves a metre apart, without a word."""

    def few_across(*args):
        return [pair for pair in chosen_pairs(*args) if not pair[0] < WRONG <= pair[1] or pair in across]

    chosen_pairs, across = pose_faults.choose_check_pairs, ((WRONG - 1, WRONG), (WRONG - 2, WRONG))
    monkeypatch.setattr(pose_faults, "choose_check_pairs", few_across)
    monkeypatch.setattr(pose_faults.PlacementCheck, "find", lambda _: ([], []))
    poses, jump = kit.poses_of(world), Rigid3.from_rotvec(np.zeros(3), [0.4, 0.7, 0.3])
    assert check(kit, world, config, poses).report["look_alikes"] == []
    checked = check(kit, world, config, poses[:WRONG] + [jump @ pose for pose in poses[WRONG:]])
    assert len(checked.report["look_alikes"]) == 1
    assert f"all 2 pairs of images that hold {NAMES[WRONG - 1]} and those before it" in caplog.text
