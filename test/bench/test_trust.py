"""The protocol of bench/trust.py: judges, adversaries, fit, limit, page; on made-up rows and a small generated map."""

import dataclasses
import runpy

import numpy as np
import pytest
from acceptance.adversaries import mirrored, posters
from acceptance.asks import Ask, NearTruth, always_wrong, between
from acceptance.fitting import LIMITS, calibrated, held_out_log_odds, judged, wrong_share_bound
from acceptance.gathering import Row, ask, store, stored, without_limits
from acceptance.model_file import write_model
from acceptance.page import page
from acceptance.scenes import Picture, Scene
from acceptance.table import Outcomes, answerable_table, unanswerable_table
from acceptance.workspace import RememberingExtractor, Workspace

from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import save_map

PLACES = ("a", "b", "c", "d")


def made_up_rows(seed=0, num_right=60, num_wrong=200):
    """Rows whose right poses have much more evidence than the wrong ones; the other scores say little."""
    rng, rows = np.random.default_rng(seed), []
    for place in PLACES:
        for number in range(num_right + num_wrong):
            is_right = number < num_right
            evidence = rng.lognormal(4.0, 0.5) if is_right else rng.lognormal(0.5, 0.6)
            scores = {"evidence": evidence, "inlier_ratio": 0.3, "coverage": 0.3, "rival_ratio": 0.6}
            scores |= {"lead_over_rival": 3.0, "twin_ratio": 0.1, "rematch_ratio": rng.uniform(0.0, 0.3)}
            scores |= {"sigma_rotation_deg": 1.0, "self_tested": 1.0}
            kind = "own" if is_right else ("photograph", "poster")[number % 2]
            rows.append(Row(place, place, kind, str(number), is_right, True, not is_right, scores, ""))
    return rows


@pytest.fixture(scope="module")
def final():
    return calibrated(made_up_rows())


def test_a_pose_is_wrong_beyond_half_a_metre_or_ten_degrees():
    judge = NearTruth(Rigid3.identity())
    for rotvec, translation, is_wrong in (
        ([0.0, 0.0, 0.17], [0.49, 0.0, 0.0], False),
        ([0.0, 0.0, 0.0], [0.51, 0.0, 0.0], True),
        ([0.0, 0.18, 0.0], [0.0, 0.0, 0.0], True),
    ):
        assert judge(Rigid3.from_rotvec(rotvec, translation)) is is_wrong


def test_a_frame_between_two_keyframes_is_expected_on_the_way():
    before, after = Rigid3.identity(), Rigid3.from_rotvec([0.0, 0.4, 0.0], [2.0, 0.0, 0.0])
    judge = between(before, after, 0.25, depth=3.0)
    np.testing.assert_allclose(judge.truth.translation, [0.5, 0.0, 0.0])
    np.testing.assert_allclose(judge.truth.rotvec, [0.0, 0.1, 0.0])
    assert judge.translation_m == pytest.approx(0.5 + 1.0)
    assert judge.rotation_deg == pytest.approx(10.0 + np.rad2deg(0.2))


def test_each_place_and_kind_weighs_the_same_and_half_of_all_is_wrong():
    rows = made_up_rows()
    lucky = dataclasses.replace(rows[0], is_answerable=False)
    data = judged([*rows, lucky])
    assert len(data.rows) == len(rows)  # right by luck says nothing
    assert data.weights.sum() == pytest.approx(1.0)
    assert data.weights[data.is_wrong].sum() == pytest.approx(0.5)
    posters_of_a = [row.place == "a" and row.kind == "poster" for row in data.rows]
    assert data.weights[posters_of_a].sum() == pytest.approx(0.5 / 8.0)


def test_the_fit_separates_and_held_out_places_vouch_for_it(final):
    found = final
    weights = {term.score: term.weight for term in found.model.terms}
    assert weights["evidence"] > 0.5
    assert weights["self_tested"] >= 1.0
    assert all(weight >= 0.0 for weight in weights.values())
    assert found.limit in LIMITS
    unseen = made_up_rows(seed=1)
    given = [row for row in unseen if found.model.probability(row.scores) <= found.limit]
    assert sum(row.is_wrong for row in given) <= found.limit * len(given)
    assert sum(not row.is_wrong for row in given) > 0.9 * 60 * len(PLACES)


def test_more_is_never_claimed_than_the_number_of_rows_allows(final):
    few = calibrated(made_up_rows(num_wrong=30))
    assert final.model.least < few.model.least
    data, log_odds = held_out_log_odds(made_up_rows())
    assert len(data.rows) == len(log_odds)
    bounds = [wrong_share_bound(data, log_odds, limit) for limit in (-2.0, 0.0, 2.0)]
    assert bounds[0] <= bounds[1] + 1e-9
    assert bounds[2] >= 0.02


def test_the_model_file_says_what_made_it_and_reads_back(tmp_path, final):
    model = final.model
    write_model(tmp_path / "model.py", model, "Command: none.")
    written = runpy.run_path(str(tmp_path / "model.py"))
    assert "Command: none." in written["__doc__"]
    scores = made_up_rows()[0].scores
    assert written["FITTED"].probability(scores) == pytest.approx(
        model.probability(scores), rel=1e-2, abs=1e-3
    )


def test_the_tables_count_what_was_lost_and_what_was_wrong(final):
    rows = made_up_rows(num_right=10, num_wrong=10)
    refused = [dataclasses.replace(row, is_answered=False, is_wrong=False) for row in rows]
    half = [
        row if number % 20 < 9 else lost for number, (row, lost) in enumerate(zip(rows, refused, strict=True))
    ]
    outcomes = Outcomes(rows, rows, half)
    assert answerable_table(outcomes)[-1].startswith("| **all** | 40 | 40 | 40 | 36 | +10.0 | 0 | 0 | 0 |")
    assert unanswerable_table(outcomes)[-1].startswith("| **all** | 4 | 40 | 40 | 40 | 40 | 0 | 7.2 % |")
    text = page(outcomes, dict.fromkeys(PLACES, final), final, "trust.png", "a command", "an origin")
    assert all(part in text for part in ("a command", "an origin", "`evidence`", f"**{final.limit:g}**"))


def test_rows_read_back_as_they_were(tmp_path, config):
    workspace, rows = Workspace(tmp_path, tmp_path, config), made_up_rows(num_right=1, num_wrong=1)
    store(workspace, "a", rows)
    assert stored(workspace, "a") == rows


def test_a_scene_is_asked_with_and_without_limits(tmp_path, config, plane_wall, camera, take_picture):
    """Its own view is right both times; a pose of the mirrored one is wrong, and verified there is none."""
    save_map(plane_wall.visual_map, tmp_path / "sift" / "maps" / "wall.map")
    truth = plane_wall.scene.viewpoints["frontal"]
    own = Ask("own", "own", lambda: take_picture(plane_wall.scene, truth, 5), camera, NearTruth(truth), True)

    def asks(_workspace, _map):
        return [own]

    def nothing(_workspace):
        return []

    scene = Scene("wall", "wall", None, asks, nothing, nothing)
    workspace = Workspace(tmp_path, tmp_path, config)
    extractor = RememberingExtractor(workspace)
    without = ask(workspace, scene, [scene], without_limits(config), extractor)
    assert [(row.kind, row.is_wrong == row.is_answered) for row in without] == [
        ("own", False),
        ("mirrored", True),
    ]
    assert without[0].is_answered
    verified = ask(workspace, scene, [scene], config, extractor)
    assert [row.is_answered for row in verified] == [True, False]
    remembered = list((tmp_path / "features").rglob("*.npz"))
    assert len(remembered) == 2  # each image was described once


def test_mirrored_images_and_posters_keep_the_size_of_the_image(tmp_path, config, camera):
    import cv2

    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.full((50, 70, 3), 200, np.uint8))
    shade = np.tile(np.arange(256, dtype=np.uint8), (192, 1))
    picture = Picture("b", lambda: shade, camera)
    (poster,) = posters(
        Workspace(tmp_path, tmp_path, config), Scene("s", "s", None, None, None, lambda _: [picture])
    )
    hung = poster.read()
    assert hung.shape == (192, 256, 3)
    assert 0.05 < np.mean(hung[:, :, 0] != 200) < 0.75
    turned = mirrored([Ask("b", "own", lambda: shade, camera, always_wrong, True)])[0]
    np.testing.assert_array_equal(turned.read(), shade[:, ::-1])
    assert turned.camera.center[0] == pytest.approx(255.0 - camera.center[0])
