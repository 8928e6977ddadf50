"""A set of maps answers like one map, opens what it touches, and goes on while its parts change or break."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from generated_maps import CONFIG, build_map

from hfnet_ros.errors import ConfigError, ExtractorMismatchError, MapFormatError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.covariance import is_valid_covariance, rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization import map_set_localizer
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.map_set_localizer import FollowedSet, SetLocalizer
from hfnet_ros.map import map_io
from hfnet_ros.map.areas import checked_box
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.open_maps import OpenMaps
from hfnet_ros.mapping.map_sets import change_set, write_set
from hfnet_ros.scene import mapping_walk
from hfnet_ros.types import ImageFeatures, LocalFeatures, Outcome, PosePrior, Query, RigCamera, View

MOVED = Rigid3.from_rotvec([0.1, -0.2, 1.3], [120.0, -40.0, 3.0])
NOTHING = np.zeros((6, 6))


class CountingSift(SiftExtractor):
    """SIFT that says how many images it described."""

    num_described = 0

    def extract(self, image):
        """Count and describe."""
        self.num_described += 1
        return super().extract(image)


@pytest.fixture(scope="module")
def maps(apartment, tmp_path_factory):
    """The apartment as one map and as two halves that overlap, on disk."""
    folder = tmp_path_factory.mktemp("maps")
    poses = [pose for _, pose in mapping_walk(apartment.scene)][::2]
    save_map(apartment.visual_map, folder / "whole")
    save_map(build_map(apartment.scene, poses[: 2 * len(poses) // 3]), folder / "early")
    save_map(build_map(apartment.scene, poses[len(poses) // 3 :]), folder / "late")
    return folder


@pytest.fixture(scope="module")
def queries(apartment):
    walk = [pose for _, pose in mapping_walk(apartment.scene)][1::6]
    return [(truth, apartment.frame(truth, seed=500 + row)) for row, truth in enumerate(walk)]


@pytest.fixture
def make(maps, tmp_path):
    """Return a function that writes a set, NAME=(map, set_from_map) or NAME=map, and a localizer in it."""
    opened = []

    def make_set(config=CONFIG, covariance=NOTHING, areas=None, **given):
        path = tmp_path / f"{len(opened)}.set"
        parts = {
            name: value if isinstance(value, tuple) else (value, Rigid3.identity())
            for name, value in given.items()
        }
        write_set(
            path,
            [(name, maps / source) for name, (source, _) in parts.items()],
            {},
            frame_id="map",
            areas=areas,
            placements={name: (pose, covariance) for name, (_, pose) in parts.items()},
        )
        opener = OpenMaps(path, config.map.max_open, round(config.map.max_open_mb * 1e6))
        extractor = CountingSift(config)
        localizer = SetLocalizer(FollowedSet(path), extractor, config, opener)
        opened.append(localizer)
        return path, localizer, extractor

    yield make_set
    for localizer in opened:
        localizer.close()


def with_map(config=CONFIG, **fields):
    return dataclasses.replace(config, map=dataclasses.replace(config.map, **fields))


@pytest.fixture
def large(monkeypatch):
    """All maps are opened as large ones: their files are mapped into memory."""
    monkeypatch.setattr(map_io, "ALWAYS_VERIFIED_BYTES", 0)


def num_files_open(path):
    """Count what this process has mapped of a folder: files mapped into memory are open, too."""
    with Path("/proc/self/maps").open() as mapped:
        return len({line.split(None, 5)[5].strip() for line in mapped if str(path) in line})


def test_a_set_of_one_map_answers_as_the_map_does(make, maps, queries):
    alone = Localizer(load_map(maps / "whole"), SiftExtractor(CONFIG), CONFIG)
    _, localizer, _ = make(only="whole")
    for truth, frame in queries:
        prior = PosePrior(truth, np.diag([0.04] * 3 + [0.01] * 3))
        for given in (None, prior):
            one, other = alone.localize(frame, given), localizer.localize(frame, given)
            assert (one.outcome, one.search, one.place) == (other.outcome, other.search, other.place)
            assert one.evidence == other.evidence
            if one.estimate is not None:
                assert np.array_equal(
                    one.estimate.map_from_camera.matrix, other.estimate.map_from_camera.matrix
                )
                assert np.allclose(one.estimate.covariance, other.estimate.covariance, rtol=1e-12)


def test_halves_answer_like_the_whole(make, maps, queries):
    alone = Localizer(load_map(maps / "whole"), SiftExtractor(CONFIG), CONFIG)
    _, localizer, _ = make(early="early", late="late")
    whole = halves = 0
    for truth, frame in queries:
        whole += alone.localize(frame).is_valid
        answer = localizer.localize(frame)
        halves += answer.is_valid
        if answer.estimate is not None:
            assert answer.estimate.map_from_camera.translation_to(truth) < 0.1
    assert halves >= whole - 1
    assert whole >= len(queries) // 2


def test_answers_are_in_the_frame_of_the_set_with_what_is_not_known_of_it(make, queries):
    covariance = np.diag([1e-2, 2e-2, 3e-2, 1e-4, 2e-4, 3e-4])
    _, plain, _ = make(only="whole")
    path, moved, _ = make(only=("whole", MOVED), covariance=covariance)
    model = load_scene_model(path)
    num_compared = 0
    for _, frame in queries:
        one, other = plain.localize(frame), moved.localize(frame)
        assert one.outcome is other.outcome
        if one.estimate is None:
            continue
        num_compared += 1
        expected = MOVED @ one.estimate.map_from_camera
        assert expected.translation_to(other.estimate.map_from_camera) < 1e-3
        assert expected.rotation_to(other.estimate.map_from_camera) < 1e-3
        assert is_valid_covariance(other.estimate.covariance)
        added = other.estimate.covariance - rotate_covariance(one.estimate.covariance, MOVED)
        assert np.diag(other.estimate.common) == pytest.approx(np.diag(added), rel=0.05)
        # A turn about the sub-map's origin swings what is far from it.
        arm = MOVED.rotation @ one.estimate.map_from_camera.translation
        swing = 2e-4 * arm[2] ** 2 + 3e-4 * arm[1] ** 2
        assert added[0, 0] == pytest.approx(1e-2 + swing, rel=0.05)
        assert np.diag(added)[3:] == pytest.approx([1e-4, 2e-4, 3e-4], rel=0.05)
        name = model.keyframe_names[other.place.keyframe_idxs[0]]
        assert name.startswith("only/")
        assert np.allclose(
            other.correspondences.points3d, MOVED @ one.correspondences.points3d, atol=0.01
        ) or (len(other.correspondences) != len(one.correspondences))
    assert num_compared >= len(queries) // 2
    assert np.all(model.extent[1] > model.extent[0])


def test_sub_maps_that_look_alike_in_different_places_are_an_alias(make, queries):
    path, localizer, _ = make(here="whole", there=("whole", MOVED))
    names = load_scene_model(path).keyframe_names
    for _, frame in queries:
        answer = localizer.localize(frame)
        assert answer.outcome is not Outcome.LOCALIZED
        if answer.outcome is Outcome.ILL_CONDITIONED:
            found_in = names[answer.place.keyframe_idxs[0]].split("/")[0]
            other = {"here": "there", "there": "here"}[found_in]
            assert f"another place (sub-map '{other}')" in answer.evidence.reason
    # With a position prior only what is in reach can be mistaken for the answer.
    truth, frame = queries[0]
    assert localizer.localize(frame, PosePrior(truth, np.diag([0.04] * 3 + [0.01] * 3))).is_valid


def test_sub_maps_that_overlap_and_disagree_a_little_are_no_alias(make, queries):
    near = Rigid3.from_rotvec([0.0, 0.0, 0.005], [0.03, 0.02, -0.02])
    _, agreeing, _ = make(early="early", late=("late", near), covariance=np.diag([4e-4] * 3 + [1e-5] * 3))
    far = Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.6, 0.0, 0.0])
    _, apart, _ = make(early="early", late=("late", far), covariance=np.diag([4e-4] * 3 + [1e-5] * 3))
    found = [localizer.localize(frame).is_valid for localizer in (agreeing, apart) for _, frame in queries]
    agree, differ = sum(found[: len(queries)]), sum(found[len(queries) :])
    assert agree >= len(queries) // 2
    assert differ < agree


@pytest.mark.slow
@pytest.mark.usefixtures("large")
def test_no_more_maps_are_open_than_allowed_and_what_is_closed_is_free(make, maps, queries):
    areas = {name: [name] for name in "abcd"}
    for number, name in enumerate("abcd"):
        path, localizer, _ = make(
            with_map(max_open=2, areas=name),
            areas=areas,
            **{
                other: ("whole", Rigid3.from_rotvec([0, 0, 0], [50.0 * row, 0, 0]))
                for row, other in enumerate("abcd")
            },
        )
        answer = localizer.localize(queries[0][1])
        assert answer.is_valid
        assert answer.estimate.map_from_camera.translation[0] == pytest.approx(
            50.0 * number + queries[0][0].translation[0], abs=0.1
        )
        # Of the other areas nothing was opened.
        assert {other for other in "abcd" if num_files_open(path / "maps" / other)} == {name}
    path, localizer, _ = make(
        with_map(max_open=1),
        **{
            other: ("whole", Rigid3.from_rotvec([0, 0, 0], [50.0 * row, 0, 0]))
            for row, other in enumerate("abcd")
        },
    )
    files = []
    for row in range(8):
        x = 50.0 * (row % 4)
        here = Rigid3(queries[0][0].rotation, np.add(queries[0][0].translation, (x, 0.0, 0.0)))
        answer = localizer.localize(queries[0][1], PosePrior(here, np.diag([0.04] * 3 + [0.01] * 3)))
        assert answer.is_valid
        assert answer.estimate.map_from_camera.translation_to(here) < 0.1
        assert localizer.num_open == 1
        files.append((num_files_open(path / "maps"), len(list(Path("/proc/self/fd").iterdir()))))
    assert len(set(files[1:])) == 1
    localizer.close()
    assert num_files_open(path / "maps") == 0


@pytest.mark.usefixtures("large")
def test_a_sub_map_is_replaced_while_it_is_used(make, maps, queries):
    path, localizer, _ = make(a="whole", b=("whole", MOVED))
    model = load_scene_model(path)
    truth, frame = queries[0]
    prior = PosePrior(truth, np.diag([0.04] * 3 + [0.01] * 3))
    assert localizer.localize(frame, prior).is_valid
    for generation in range(1, 4):
        change_set(path, put={"a": maps / ("early" if generation % 2 else "whole")})
        assert sorted(folder.name for folder in (path / "maps").iterdir()) == [f"a.{generation}", "b"]
        answer = localizer.localize(frame, prior)
        assert answer.is_valid and not answer.warnings
        assert answer.estimate.map_from_camera.translation_to(truth) < 0.1
        # What was open of the one before is closed.
        assert num_files_open(path / "maps" / f"a.{generation}") > 0
        with Path("/proc/self/maps").open() as mapped:
            assert not [line for line in mapped if "(deleted)" in line and str(path) in line]
    change_set(path, drop=["b"])
    assert localizer.localize(frame).is_valid  # the look-alike is gone
    # A model that was loaded long before names what is there now.
    assert {name.split("/")[0] for name in model.keyframe_names} == {"a"}


@pytest.mark.parametrize(
    "fault", ["missing", pytest.param("truncated", marks=pytest.mark.slow), "flipped", "foreign", "manifest"]
)
def test_a_sub_map_that_cannot_be_used_is_named_and_the_rest_goes_on(make, maps, queries, fault, caplog):
    path, localizer, extractor = make(good="whole", bad=("whole", MOVED))
    folder = path / "maps" / "bad"
    array = folder / "arrays" / "landmark_xyz.npy"
    if fault == "missing":
        shutil.rmtree(folder)
    elif fault == "truncated":
        array.write_bytes(array.read_bytes()[:-8])
    elif fault == "flipped":
        content = bytearray(array.read_bytes())
        content[-3] ^= 64
        array.write_bytes(content)
    elif fault == "manifest":
        (folder / "map.json").write_text("{")
    else:
        shutil.rmtree(folder)
        save_map(dataclasses.replace(load_map(maps / "whole"), extractor_id="toy-1"), folder)
    truth, frame = queries[0]
    answer = localizer.localize(frame)
    # Its look-alike is out of the way, so that there is an answer.
    assert answer.is_valid
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.1
    assert extractor.num_described == 1
    assert len(answer.warnings) == 1 and "sub-map 'bad' cannot be used" in answer.warnings[0]
    assert list(localizer.unusable) == ["bad"]
    localizer.localize(frame)
    assert sum("goes on without it" in record.getMessage() for record in caplog.records) == 1
    change_set(path, put={"bad": maps / "whole"})
    answer = localizer.localize(frame)
    assert not answer.warnings and not answer.is_valid  # it is back, and looks alike


def test_a_manifest_that_is_damaged_or_gone_leaves_the_set_in_use(make, queries):
    path, localizer, _ = make(only="whole")
    manifest = (path / "map.json").read_bytes()
    for content in (b"{", None):
        (path / "map.json").unlink()
        if content is not None:
            (path / "map.json").write_bytes(content)
        answer = localizer.localize(queries[0][1])
        assert answer.is_valid
        (warning,) = answer.warnings
        assert warning.startswith(f"goes on with the set as it was: {path}")
    with pytest.raises(MapFormatError):
        FollowedSet(path)
    (path / "map.json").write_bytes(manifest)
    answer = localizer.localize(queries[0][1])
    assert answer.is_valid
    assert not answer.warnings


def test_an_area_that_is_gone_leaves_the_set_in_use_and_is_named(make, queries):
    path, localizer, _ = make(with_map(areas="home"), areas={"only": ["home"]}, only="whole")
    known = localizer._following.digest_answered
    for areas, words in ((["attic"], ["goes on with the set as it was: map.areas"]), (["home"], [])):
        digest = change_set(path, areas={"only": areas}).digest
        answer = localizer.localize(queries[0][1])
        assert answer.is_valid
        assert [warning[: len(word)] for warning, word in zip(answer.warnings, words, strict=True)] == words
        # What is said of the set in use is of the one that answered.
        assert localizer._following.digest_answered == (known if words else digest)


def test_what_is_refused_is_opened_again_when_a_file_of_it_changes_only(make, queries, monkeypatch):
    path, localizer, _ = make(only="whole")
    num_opened = []
    join = map_set_localizer.join_set
    monkeypatch.setattr(
        map_set_localizer, "join_set", lambda *given: num_opened.append(given) or join(*given)
    )

    def warnings_of_answer():
        answer = localizer.localize(queries[0][1])
        assert answer.is_valid
        return answer.warnings

    # As where a set is copied over this one, and its manifest comes first.
    change_set(path, areas={"only": ["home"]})
    late = path / "index" / "1" / "keyframe_poses.npy"
    late.rename(path / "not_yet.npy")
    for _ in range(3):
        (warning,) = warnings_of_answer()
        assert warning.startswith("goes on with the set as it was: ") and "keyframe_poses" in warning
    assert len(num_opened) == 1
    late.write_bytes(b"half")
    for _ in range(3):
        assert len(warnings_of_answer()) == 1
    assert len(num_opened) == 2
    (path / "not_yet.npy").replace(late)
    assert [warnings_of_answer() for _ in range(3)] == [()] * 3
    assert len(num_opened) == 3
    assert localizer._state.found.area_names == ["home"]


def test_an_image_is_described_once_whatever_is_touched(make, queries):
    _, localizer, extractor = make(
        **{
            name: ("whole", Rigid3.from_rotvec([0, 0, 0], [50.0 * row, 0, 0]))
            for row, name in enumerate("abcd")
        }
    )
    localizer.localize(queries[0][1])
    assert extractor.num_described == 1
    assert localizer.num_open == 4


def test_features_of_another_extractor_are_refused_as_by_a_map(make, camera):
    _, localizer, _ = make(only="whole")
    local = LocalFeatures(np.zeros((1, 2), np.float32), np.ones(1, np.float32), np.ones((1, 128), np.float32))
    view = View(RigCamera(camera), None, ImageFeatures(local, None, "toy-1"))
    with pytest.raises(ExtractorMismatchError):
        localizer.localize(Query(0, (view,)))
    assert not localizer.unusable


def test_unknown_areas_are_refused_with_those_that_there_are(make):
    with pytest.raises(ConfigError, match=r"'attic'.*it has ground, west"):
        make(with_map(areas="ground attic"), areas={"a": ["ground", "west"]}, a="whole")


@pytest.mark.slow
def test_a_box_of_a_map_is_an_area(maps, queries):
    visual_map = load_map(maps / "whole")
    middle = float(np.median(visual_map.keyframe_poses[:, 0]))
    boxes = {"left": [-1e3, -1e3, -1e3, middle, 1e3, 1e3], "right": [middle, -1e3, -1e3, 1e3, 1e3, 1e3]}
    named = dataclasses.replace(
        visual_map, areas={name: checked_box(name, numbers) for name, numbers in boxes.items()}
    )
    found = {}
    for areas in ("left", "right", "left right", ""):
        localizer = Localizer(named, SiftExtractor(CONFIG), with_map(areas=areas))
        answers = [localizer.localize(frame) for _, frame in queries]
        found[areas] = [answer.estimate is not None for answer in answers]
        for answer in answers:
            if answer.estimate is not None and areas in boxes:
                assert (answer.estimate.map_from_camera.translation[0] <= middle) == (areas == "left")
    assert found["left right"] == found[""]
    assert any(found["left"]) and any(found["right"])
    with pytest.raises(ConfigError, match=r"'attic'.*it has left, right"):
        Localizer(named, SiftExtractor(CONFIG), with_map(areas="attic"))
