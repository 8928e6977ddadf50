"""Write the page a person opens after an evaluation run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape

from numpy.typing import ArrayLike

from hfnet_ros.evaluation import accuracy_plots, run_plots
from hfnet_ros.evaluation.drawn_queries import DrawnQueries, arrange_queries, facts
from hfnet_ros.evaluation.headline import draw_cards, headline_sentences
from hfnet_ros.evaluation.map_points import FloatArray, as_points
from hfnet_ros.evaluation.metrics import QueryScore, count_outcomes, score_queries
from hfnet_ros.evaluation.page import fact_table, figure, render_page, section
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.evaluation.svg import legend
from hfnet_ros.evaluation.trajectory_plots import draw_trajectory
from hfnet_ros.evaluation.worst_queries import draw_worst
from hfnet_ros.files.atomic import atomic_file

_IDENTITY_KEYS = ("map", "extractor_id", "backend", "version", "commit", "machine", "config")


def write_report(
    path: str | os.PathLike[str],
    results: Sequence[QueryResult],
    summary: Mapping[str, object],
    landmark_xyz: ArrayLike,
    keyframe_centers: ArrayLike,
) -> None:
    """Write a self-contained HTML report: no network, light or dark as the reader's system.

    A query is drawn as a false fix by the default limit, `metrics.FALSE_FIX`.
    Every chart shares one tooltip: pointing at a query in one of them lights it up in all.
    Unreadable images are left out; very long runs are drawn thinned and the page says so.

    Args:
        path: report.html; replaced as a whole or not at all.
        results: one per query, in any order.
        summary: what `summarize` returned for them.
        landmark_xyz: [L, 3] m, map frame; L may be 0.
        keyframe_centers: [F, 3] m, map frame; F may be 0.

    Raises:
        OSError: the file cannot be written.
        ValueError: points are not [N, 3].
    """
    points, centers = as_points(landmark_xyz), as_points(keyframe_centers)
    scores = score_queries(results)
    drawn = arrange_queries(scores)
    title, sentence = headline_sentences(summary)
    index_of = {id(query.score): query.index for query in drawn.queries}
    body = "\n".join(
        (
            _header(title, sentence, summary),
            _trajectory_section(drawn, points, centers),
            _time_section(drawn),
            _accuracy_section(scores),
            _run_section(results),
            section(
                "Worst queries",
                draw_worst(scores, index_of),
                "False fixes first, then examples without a pose, then the largest errors.",
            ),
            _identity_section(summary),
        )
    )
    document = render_page(title, body, [facts(query.score) for query in drawn.queries])
    with atomic_file(path) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _header(title: str, sentence: str, summary: Mapping[str, object]) -> str:
    version = f"hfnet_ros {summary.get('version') or ''}".strip()
    origin = (summary.get("extractor_id"), summary.get("backend"), version)
    names = " · ".join(escape(str(item)) for item in origin if item)
    return (
        f"<header><h1>{escape(title)}</h1><p>{escape(sentence)}</p>"
        f"<p><small>{names}</small></p></header>{draw_cards(summary)}"
    )


def _trajectory_section(drawn: DrawnQueries, points: FloatArray, centers: FloatArray) -> str:
    above, side = draw_trajectory(drawn, points, centers)
    key = legend((*drawn.legend, ("truth", "ground truth"), ("keyframe", "keyframe"), ("dust", "landmark")))
    lead = "Estimates coloured by their error, over the points of the map."
    if drawn.num_left_out:
        lead += f" {drawn.num_left_out} queries are left out of the drawings; all figures count every query."
    return section("Where", figure("From above", above, key) + figure("From the side", side), lead)


def _time_section(drawn: DrawnQueries) -> str:
    if not drawn.queries:
        return ""
    key = legend((*drawn.legend, ("sigma", "reported σ")))
    return section(
        "Error and reported uncertainty",
        figure("Translation", accuracy_plots.draw_error_over_time(drawn, is_rotation=False), key)
        + figure("Rotation", accuracy_plots.draw_error_over_time(drawn, is_rotation=True)),
        "Where dots rise far above the line, the pose was worse than it claimed. "
        "σ is the reported root mean square of the error over all three axes. "
        "Colours tell the translation error.",
    )


def _accuracy_section(scores: Sequence[QueryScore]) -> str:
    nees_key = legend(
        (("bar", "queries"), ("expected", "honest covariances (χ², 6)"), ("band", "central 95 %"))
    )
    figures = (
        figure(
            "Recall",
            accuracy_plots.draw_recall_curve(scores),
            legend(accuracy_plots.recall_legend()),
        ),
        figure("Honesty of the covariance", accuracy_plots.draw_nees_histogram(scores), nees_key),
        figure(
            "Inliers",
            accuracy_plots.draw_inlier_histogram(scores),
            legend(accuracy_plots.inlier_legend(scores)),
        ),
        figure("Outcomes", run_plots.draw_outcomes(count_outcomes([score.query for score in scores]))),
    )
    return section("How often, how sure", f'<div class="pair">{"".join(figures)}</div>')


def _run_section(results: Sequence[QueryResult]) -> str:
    localizations = [result.localization for result in results]
    figures = (
        figure("Latency of an image", run_plots.draw_latency_histogram(localizations)),
        figure("Mean time by stage", run_plots.draw_stage_shares(localizations)),
    )
    return section("How fast", f'<div class="pair">{"".join(figures)}</div>')


def _identity_section(summary: Mapping[str, object]) -> str:
    identity = {key: summary[key] for key in _IDENTITY_KEYS if key in summary}
    return section(
        "What produced this", f'<div class="scroll">{fact_table(identity)}</div>', "All that a rerun needs."
    )
