from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from hfnet_ros.evaluation import score_queries, summarize
from hfnet_ros.evaluation.headline import headline_sentences
from hfnet_ros.evaluation.map_view import map_view_html, map_view_png
from hfnet_ros.evaluation.report import write_report
from hfnet_ros.evaluation.worst_queries import pick_worst

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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


@pytest.fixture
def map_points():
    rng = np.random.default_rng(2)
    return rng.uniform(-6, 6, (20_000, 3)), rng.uniform(-5, 5, (40, 3))


def test_report_holds_every_figure_and_stays_small(tmp_path, run_results, map_points):
    path = tmp_path / "report.html"
    write_report(path, run_results, summarize(run_results), *map_points)
    text = path.read_text(encoding="utf-8")
    _check_page(text)
    assert text.count("<svg") == 8
    for title in ("From above", "From the side", "Translation", "Rotation", "Recall", "Inliers", "Outcomes"):
        assert f"<h3>{title}</h3>" in text
    assert "112 of 120 images localized, 2 of them wrong" in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 1_000_000
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_query_is_linked_across_charts(tmp_path, run_results, map_points):
    write_report(tmp_path / "r.html", run_results, summarize(run_results), *map_points)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    # Above, side, translation, rotation, and its row among the worst.
    assert text.count('data-q="40"') == 5


def test_report_escapes_names_reasons_and_config(tmp_path, make_result):
    evil = "</script><script>alert('x')</script>&\"<b>"
    results = [make_result((9.0, 0.0, 0.0), name=evil, reason=evil)]
    summary = summarize(results) | {"config": {evil: evil}, "extractor_id": evil}
    write_report(tmp_path / "r.html", results, summary, [], [])
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
    write_report(tmp_path / "r.html", results, summarize(results), np.zeros((0, 3)), np.zeros((0, 3)))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 1
    assert "no image" in text


@pytest.mark.parametrize("case", ["empty", "no ground truth", "none localized", "one"])
def test_degenerate_runs_still_give_a_page(tmp_path, case, make_result):
    results = {
        "empty": [],
        "no ground truth": [make_result(truth=None, number=i) for i in range(3)],
        "none localized": [make_result(None)],
        "one": [make_result()],
    }[case]
    write_report(tmp_path / "r.html", results, summarize(results), [], [])
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
    map_view_html(tmp_path / "m.html", points, None, points[:20], "</title><b>", {"keyframes": 20})
    text = (tmp_path / "m.html").read_text(encoding="utf-8")
    _check_page(text)
    assert "</title><b>" not in text
    assert "150000 of 150010" in text


def test_map_colours_must_fit_the_points(tmp_path):
    with pytest.raises(ValueError, match="one RGB per landmark"):
        map_view_html(tmp_path / "m.html", np.zeros((3, 3)), np.zeros((2, 3)), [], "m", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_points", [0, 500])
def test_map_picture(tmp_path, num_points):
    points = np.random.default_rng(0).normal(size=(num_points, 3)) * (1.0, 4.0, 0.5)
    colors = np.full((num_points, 3), 120, dtype=np.uint8)
    map_view_png(tmp_path / "m.png", points, colors, points[:9], "a $5 map", {"landmarks": num_points})
    picture = cv2.imread(str(tmp_path / "m.png"))
    assert picture.shape[1] == pytest.approx(1540, abs=2)
    assert [file.name for file in tmp_path.iterdir()] == ["m.png"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs the chromium browser")
@pytest.mark.parametrize("page", ["report", "map"])
def test_scripts_run_in_a_browser(tmp_path, page, run_results, map_points):
    path = tmp_path / "page.html"
    if page == "report":
        write_report(path, run_results, summarize(run_results), *map_points)
        probe = (
            "const mark = document.querySelector('[data-q=\"40\"]');"
            "mark.dispatchEvent(new PointerEvent('pointermove', { bubbles: true }));"
            "document.body.append('hot marks ' + document.querySelectorAll('.hot').length);"
        )
        expected = "hot marks 5"
    else:
        map_view_html(path, map_points[0], None, map_points[1], "map", {})
        probe = "element('above')?.click(); document.body.append('turned ' + (gl ? 'GL' : 'without GL'));"
        expected = "turned"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert expected in run.stdout.rsplit("</script>", 1)[1]


def test_without_ground_truth_no_pose_is_called_right(tmp_path, make_result):
    results = [make_result(truth=None), make_result(None, truth=None, number=1)]
    write_report(tmp_path / "r.html", results, summarize(results), [], [])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "pose without ground truth" in text
    assert "right pose" not in text
    assert "≤ 5 cm" not in text
