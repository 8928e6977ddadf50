from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from hfnet_ros.evaluation import MapPoints, QueryResult, RunContext, score_queries, summarize
from hfnet_ros.report.drawn_queries import arrange_queries
from hfnet_ros.report.headline import headline_sentences
from hfnet_ros.report.map_view import map_view_html
from hfnet_ros.report.pictures import map_picture, run_picture
from hfnet_ros.report.run_report import write_report
from hfnet_ros.report.thumbnails import make_thumbnail
from hfnet_ros.report.timeline_pictures import choose_pictures
from hfnet_ros.report.worst_queries import pick_worst

VOID = {"meta", "img", "br", "input"}


class _BalanceChecker(HTMLParser):
    """Fails on a tag that closes what is not open; collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _check_page(text: str) -> _BalanceChecker:
    checker = _BalanceChecker()
    checker.feed(text)
    assert checker.open == []
    assert all(address.startswith("data:") for address in checker.addresses)
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"url\(|@import", text)
    return checker


def poses_at(centers):
    return np.hstack([centers, np.tile([0.0, 0.0, 0.0, 1.0], (len(centers), 1))])


@pytest.fixture
def map_points():
    rng = np.random.default_rng(2)
    return MapPoints(rng.uniform(-6, 6, (20_000, 3)), keyframe_poses=poses_at(rng.uniform(-5, 5, (40, 3))))


def test_report_holds_every_figure_and_stays_small(tmp_path, run_results, map_points):
    path = tmp_path / "report.html"
    landmarks = RunContext(MapPoints(map_points.landmark_xyz))
    write_report(path, run_results, summarize(run_results), landmarks)
    text = path.read_text(encoding="utf-8")
    _check_page(text)
    assert text.count("<svg") == 11
    titles = ("From above", "From the side", "Translation", "Rotation", "Recall", "Inliers", "Outcomes")
    for title in (*titles, "Honesty by axis", "If more inliers were asked for"):
        assert f"<h3>{title}</h3>" in text
    assert "112 of 120 images localized, 2 of them wrong" in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 1_000_000
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_query_is_linked_across_charts(tmp_path, run_results, map_points):
    write_report(tmp_path / "r.html", run_results, summarize(run_results), RunContext(map_points))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    # Above, side, translation, rotation, and its row among the worst.
    assert text.count('data-q="40"') == 5


def test_report_escapes_names_reasons_and_config(tmp_path, make_result):
    evil = "</script><script>alert('x')</script>&\"<b>"
    results = [make_result((9.0, 0.0, 0.0), name=evil, reason=evil)]
    summary = summarize(results) | {"config": {evil: evil}, "extractor_id": evil}
    write_report(tmp_path / "r.html", results, summary)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    _check_page(text)


def test_report_shows_images_and_survives_missing_ones(tmp_path, make_result):
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    results = [
        make_result((9.0, 0.0, 0.0), image_path=tmp_path / "a.png"),
        make_result(None, number=1, image_path=tmp_path / "gone.png"),
    ]
    write_report(tmp_path / "r.html", results, summarize(results))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    # One in the player, one among the worst.
    assert text.count("data:image/jpeg;base64,") == 2
    assert "no image" in text


@pytest.mark.parametrize("case", ["empty", "no ground truth", "none localized", "one"])
def test_degenerate_runs_still_give_a_page(tmp_path, case, make_result):
    results = {
        "empty": [],
        "no ground truth": [make_result(truth=None, number=i) for i in range(3)],
        "none localized": [make_result(None)],
        "one": [make_result()],
    }[case]
    write_report(tmp_path / "r.html", results, summarize(results))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    _check_page(text)
    assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE)


def test_headline_says_how_honest_the_covariances_are():
    summary = {"queries": 10, "localized": 9, "false_fixes": 0, "nees_median_over_chi2_median": 4.0}
    title, sentence = headline_sentences(summary)
    assert title == "9 of 10 images localized, no false fix"
    assert sentence == "The errors are typically 2.0 times what the reported uncertainty says."


def test_worst_queries_start_with_the_farthest_false_fix(make_result):
    results = [
        make_result((0.1, 0, 0), name="good"),
        make_result((1.0, 0, 0), name="far"),
        make_result(None, name="lost"),
        make_result((0.0, 0, 0), (0, 0, 170.0), name="turned"),
        make_result((0.3, 0, 0), name="fair"),
    ]
    names = [score.query.name for score in pick_worst(score_queries(results))]
    assert names == ["turned", "far", "lost", "fair", "good"]


def test_map_page_is_self_contained_and_says_when_thinned(tmp_path):
    points = np.random.default_rng(0).normal(size=(150_010, 3))
    scene = MapPoints(points, keyframe_poses=poses_at(points[:20]))
    map_view_html(tmp_path / "m.html", scene, "</title><b>", {"keyframes": 20})
    text = (tmp_path / "m.html").read_text(encoding="utf-8")
    _check_page(text)
    assert "</title><b>" not in text
    assert "150000 of 150010" in text


def test_map_colours_must_fit_the_points(tmp_path):
    with pytest.raises(ValueError, match="one RGB per landmark"):
        map_view_html(tmp_path / "m.html", MapPoints(np.zeros((3, 3)), np.zeros((2, 3))), "m", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_points", [0, 500])
def test_map_picture(tmp_path, num_points):
    points = np.random.default_rng(0).normal(size=(num_points, 3)) * (1.0, 4.0, 0.5)
    colors = np.full((num_points, 3), 120, dtype=np.uint8)
    scene = MapPoints(points, colors, keyframe_poses=poses_at(points[:9]))
    map_picture(tmp_path / "m.png", scene, "a $5 map", {"landmarks": num_points})
    picture = cv2.imread(str(tmp_path / "m.png"))
    assert picture.shape[1] == 1200
    assert [file.name for file in tmp_path.iterdir()] == ["m.png"]


@pytest.mark.parametrize(
    "case", ["full", "empty", pytest.param("no ground truth", marks=pytest.mark.slow), "none localized"]
)
def test_run_picture(tmp_path, case, run_results, make_result, map_points):
    results = {
        "full": run_results,
        "empty": [],
        "no ground truth": [make_result(truth=None, number=i) for i in range(3)],
        "none localized": [make_result(None)],
    }[case]
    run_picture(tmp_path / "r.png", results, summarize(results), map_points)
    picture = cv2.imread(str(tmp_path / "r.png"))
    assert picture.shape[1] == 1200
    assert picture.std() > 5.0
    assert (tmp_path / "r.png").stat().st_size < 150_000
    assert [file.name for file in tmp_path.iterdir()] == ["r.png"]


def timeline_of(text):
    return json.loads(re.search(r'id="timeline">(.*?)</script>', text, re.DOTALL)[1])


def test_the_player_knows_matches_keyframes_and_where_they_are(tmp_path, matched_result):
    keyframes = np.array([[0.0, 0, 0, 0, 0, 0, 1], [2.0, 0, 0, 0, 0, 0, 1]])
    context = RunContext(MapPoints(keyframes[:, :3], None, ("first.jpg", "second.jpg"), keyframes))
    query = matched_result
    thumbnail = make_thumbnail(np.zeros((480, 640), np.uint8))
    query = QueryResult(
        query.name, None, query.stamp_ns, query.localization, query.groundtruth, None, thumbnail
    )
    path = tmp_path / "r.html"
    write_report(path, [query], summarize([query], None, context), context)
    line = timeline_of(path.read_text(encoding="utf-8"))
    (entry,) = line["queries"]
    assert entry["keyframes"] == [1, 0]
    assert set(line["keyframes"]) == {"0", "1"}
    assert ["prior keyframe", "second.jpg (similarity 0.80) and 1 more"] in entry["facts"]
    assert ["inliers", "3 of 5 matches"] in entry["facts"]
    assert (entry["inliers"]["count"], entry["outliers"]["count"]) == (3, 2)
    points = np.frombuffer(base64.b64decode(entry["inliers"]["points"]), "<u2").reshape(-1, 2) / 65535
    np.testing.assert_allclose(points[:, 0], [0.5 / 640, 639.5 / 640, 0.5], atol=1e-5)
    np.testing.assert_allclose(points[:, 1], [0.5 / 480, 479.5 / 480, 0.5], atol=1e-5)
    assert entry["estimate"] == entry["truth"]
    # 0.1 m and 0.1 m of sigma seen from above: a circle; 0.2 m upwards: twice as high from the side.
    (major, minor, _), (high, wide, turn) = entry["ellipse"]
    assert major == pytest.approx(minor, abs=0.2)
    assert high == pytest.approx(2 * wide, rel=0.02)
    assert abs(turn) == pytest.approx(90.0, abs=1.0)


def test_pictures_stay_within_their_limit_and_keep_false_fixes(make_result, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 260), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    results = [
        make_result((2.0 if number == 13 else 0.0, 0, 0), number=number, image_path=tmp_path / "a.png")
        for number in range(30)
    ]
    drawn = arrange_queries(score_queries(results))
    everything = choose_pictures(drawn.queries)
    assert len(everything.uris) == 30
    size = sum(map(len, everything.uris)) // 4
    some = choose_pictures(drawn.queries, size)
    assert 4 <= len(some.uris) < 30
    assert sum(map(len, some.uris)) <= size
    assert 13 in some.number_of
    assert choose_pictures(drawn.queries, 10).uris == []


def test_a_report_without_all_pictures_says_so(tmp_path, make_result):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 10), np.uint8))
    results = [make_result(image_path=tmp_path / "a.png"), make_result(number=1)]
    write_report(tmp_path / "r.html", results, summarize(results))
    assert "1 of 2 queries bring their image" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_warnings_stand_at_the_top(tmp_path, make_result):
    summary = summarize([make_result()]) | {"warnings": ["clocks <differ>"]}
    write_report(tmp_path / "r.html", [make_result()], summary)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<ul class="warnings"><li>clocks &lt;differ&gt;</li></ul>' in text


REPORT_PROBE = """
const mark = document.querySelector('[data-q="40"]');
mark.dispatchEvent(new PointerEvent('pointermove', { bubbles: true }));
const seen = { hot: document.querySelectorAll('.hot').length };
const now = () => document.getElementById('clock').textContent;
seen.start = now();
mark.dispatchEvent(new MouseEvent('click', { bubbles: true }));
seen.clicked = now();
const key = name => document.body.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }));
key('ArrowRight'); seen.right = now();
key('End'); seen.end = now();
key('Home'); key('ArrowRight'); seen.home = now();
seen.drawn = document.querySelectorAll('.map-view .now .here').length;
seen.cursors = [...document.querySelectorAll('.over-time .cursor')].filter(c => c.getAttribute('d')).length;
seen.facts = document.querySelectorAll('#now-facts tr').length;
seen.sizes = [...document.querySelectorAll('figure svg[viewBox^="0 0 "]')]
  .filter(svg => svg.getAttribute('aria-label') !== 'matches in the query image')
  .map(svg => Math.round(svg.getBoundingClientRect().height));
const before = getComputedStyle(document.body).backgroundColor;
document.getElementById('theme').click();
seen.theme = [before, getComputedStyle(document.body).backgroundColor];
document.getElementById('play').click();
setTimeout(() => {
  seen.played = now();
  document.body.dataset.seen = JSON.stringify(seen);
}, 1000);
"""


def test_the_report_plays_in_a_browser(tmp_path, run_results, map_points, browse):
    path = tmp_path / "report.html"
    context = RunContext(map_points)
    write_report(path, run_results, summarize(run_results, None, context), context)
    visit = browse(path, REPORT_PROBE)
    assert visit.complaints == []
    seen = json.loads(re.search(r'data-seen="([^"]*)"', visit.document)[1].replace("&quot;", '"'))
    assert seen["hot"] == 5
    assert seen["start"].endswith("1 of 120")
    assert seen["clicked"] == "2.00 s · 41 of 120"
    assert seen["right"].endswith("42 of 120")
    assert seen["end"].endswith("120 of 120")
    assert seen["home"].endswith("2 of 120")
    assert seen["drawn"] == seen["cursors"] == 2
    assert seen["facts"] >= 7
    assert len(seen["sizes"]) == 12
    assert min(seen["sizes"]) > 80
    assert seen["theme"][0] != seen["theme"][1]
    # 20 queries a second of the run, a second after the second query.
    assert 12 <= int(re.search(r"(\d+) of", seen["played"])[1]) <= 24


def test_the_report_is_dark_where_the_system_is(tmp_path, make_result, browse):
    path = tmp_path / "report.html"
    write_report(path, [make_result()], summarize([make_result()]))
    probe = "document.body.dataset.color = getComputedStyle(document.body).backgroundColor;"
    colors = [
        re.search(r'data-color="([^"]*)"', browse(path, probe, *flags).document)[1]
        for flags in ((), ("--blink-settings=preferredColorScheme=0",))
    ]
    assert colors == ["rgb(244, 245, 247)", "rgb(14, 18, 24)"]


def test_nothing_sticks_out_on_a_phone(tmp_path, run_results, map_points, browse):
    path = tmp_path / "report.html"
    write_report(path, run_results, summarize(run_results), RunContext(map_points))
    probe = "document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;"
    visit = browse(path, probe, "--window-size=500,900")
    assert int(re.search(r'data-wide="(-?\d+)"', visit.document)[1]) <= 0


def test_the_map_page_runs_in_a_browser(tmp_path, map_points, browse):
    path = tmp_path / "map.html"
    map_view_html(path, map_points, "map", {})
    probe = "element('above')?.click(); document.body.append('turned ' + (gl ? 'GL' : 'without GL'));"
    assert "turned" in browse(path, probe).document.rsplit("</script>", 1)[1]


def test_the_map_page_is_drawn_from_an_origin_where_coordinates_are_large(tmp_path):
    x = 458_000.0 + 0.01 * np.arange(50)
    poses = np.column_stack(
        [x, np.full(50, 5_429_000.0), np.zeros(50), np.tile([0.0, 0.0, 0.0, 1.0], (50, 1))]
    )
    path = tmp_path / "map.html"
    map_view_html(path, MapPoints(landmark_xyz=poses[:, :3], keyframe_poses=poses), "map", {})
    page = path.read_text(encoding="utf-8")
    points = base64.b64decode(re.search(r'"points":\s*"([^"]+)"', page)[1])
    shown = np.frombuffer(points, "<f4").reshape(-1, 3)
    np.testing.assert_allclose(np.add(shown, [458_000.0, 5_429_000.0, 0.0]), poses[:, :3], atol=1e-4)
    assert "(458000, 5429000, 0) m, the origin of this page" in page


@pytest.mark.parametrize("script", ["missing.call();", "console.error('bad')"])
def test_the_browser_notices_a_broken_script(tmp_path, browse, script):
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><body><script>{script}</script></body>")
    assert browse(path).complaints


def test_without_ground_truth_no_pose_is_called_right(tmp_path, make_result):
    results = [make_result(truth=None), make_result(None, truth=None, number=1)]
    write_report(tmp_path / "r.html", results, summarize(results))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "pose without ground truth" in text
    assert "right pose" not in text
    assert "≤ 5 cm" not in text
