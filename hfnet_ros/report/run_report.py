"""Write the page a person opens after an evaluation run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape

from hfnet_ros.evaluation.metrics import QueryScore, count_outcomes, score_queries
from hfnet_ros.evaluation.records import IDENTITY_KEYS, QueryResult, RunContext
from hfnet_ros.evaluation.summary import summarize_coverage, summarize_nearest_keyframe, sweep_limits
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.report import accuracy_plots, breakdown_plots, run_plots
from hfnet_ros.report.drawn_queries import DrawnQueries, arrange_queries, tooltip
from hfnet_ros.report.headline import draw_cards, headline_sentences
from hfnet_ros.report.map_points import as_points
from hfnet_ros.report.page import (
    fact_table,
    figure,
    render_page,
    script_json,
    section,
    theme_button,
    warning_list,
)
from hfnet_ros.report.player import PLAYER_HTML, PLAYER_SCRIPT, PLAYER_STYLE
from hfnet_ros.report.svg import legend
from hfnet_ros.report.timeline import Timeline, arrange_timeline
from hfnet_ros.report.timeline_pictures import choose_pictures
from hfnet_ros.report.training_curves import draw_median, draw_shares
from hfnet_ros.report.trajectory_plots import MapView, draw_trajectory
from hfnet_ros.report.worst_queries import draw_worst

_DISTANCE, _ANGLE = "distance to the nearest keyframe, m", "angle to the nearest keyframe, deg"
_TITLE_OF_LIMIT = {"inliers": "If more inliers were asked for", "evidence": "If more evidence were asked for"}


def write_report(
    path: str | os.PathLike[str],
    results: Sequence[QueryResult],
    summary: Mapping[str, object],
    context: RunContext | None = None,
) -> None:
    """Write a self-contained HTML report: no network, light or dark as the reader likes.

    A query is drawn as a false fix by the default limit, `metrics.FALSE_FIX`.
    Every chart shares one tooltip: pointing at a query in one of them lights it up in all, a click
    brings the player to it. Unreadable images are left out; very long runs are drawn thinned,
    pictures are limited to 6 MB, and the page says so.

    Args:
        path: report.html; replaced as a whole or not at all.
        results: one per query, in any order.
        summary: what `summarize` returned for them.
        context: the scene and the trajectories around the queries.

    Raises:
        OSError: the file cannot be written.
        ValueError: points are not [N, 3].
    """
    context = context or RunContext()
    fused = as_points([pose.translation for _, pose in sorted(context.fused, key=lambda timed: timed[0])])
    scores = score_queries(results)
    drawn = arrange_queries(scores)
    views = draw_trajectory(drawn, context.map_points, fused)
    pictures = choose_pictures(drawn.queries)
    timeline = arrange_timeline(drawn, views, accuracy_plots.time_px(drawn), pictures, context.map_points)
    index_of = {id(query.score): query.index for query in drawn.queries}
    body = "\n".join(
        (
            _header(summary),
            _map_section(drawn, views, timeline, has_fused=len(fused) > 0),
            _time_section(drawn),
            _accuracy_section(scores),
            _breakdown_section(scores, context),
            _run_section(results),
            section(
                "Worst queries",
                draw_worst(scores, index_of),
                "False fixes first, then examples without a pose, then the largest errors.",
            ),
            _training_section(context),
            _identity_section(summary),
        )
    )
    document = render_page(
        headline_sentences(summary)[0],
        body,
        [tooltip(query.score) for query in drawn.queries],
        style=PLAYER_STYLE,
        data=f'<script type="application/json" id="timeline">{script_json(timeline.data)}</script>\n',
        script=PLAYER_SCRIPT if drawn.queries else "",
    )
    with atomic_file(path) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _header(summary: Mapping[str, object]) -> str:
    title, sentence = headline_sentences(summary)
    version = f"hfnet_ros {summary.get('version') or ''}".strip()
    origin = (summary.get("extractor_id"), summary.get("backend"), version)
    names = " · ".join(escape(str(item)) for item in origin if item)
    return (
        f"<header>{theme_button()}<h1>{escape(title)}</h1><p>{escape(sentence)}</p>"
        f"<p><small>{names}</small></p></header>{warning_list(summary.get('warnings'))}{draw_cards(summary)}"
    )


def _map_section(
    drawn: DrawnQueries, views: tuple[MapView, MapView], timeline: Timeline, *, has_fused: bool
) -> str:
    entries = [*drawn.legend, ("truth", "ground truth"), ("keyframe", "keyframe"), ("dust", "landmark")]
    if has_fused:
        entries.append(("fused", "filter and odometry"))
    if drawn.queries:
        entries += [("best", "best prior keyframe"), ("ellipse", "95 % of the estimate"), ("gaze", "gaze")]
    above, side = (view.chart.render() for view in views)
    maps = figure("From above", above, legend(entries), "map-view") + figure(
        "From the side", side, css="map-view"
    )
    player = PLAYER_HTML if drawn.queries else ""
    content = f'<div class="replay">{player}<div>{maps}</div></div>' if player else maps
    lead = "Estimates coloured by their error, over the points of the map."
    if drawn.queries:
        lead += " Play the run, step with the arrow keys, or click on a mark in any chart."
    if drawn.num_left_out:
        lead += f" {drawn.num_left_out} queries are left out of the drawings; all figures count every query."
    if 0 < timeline.num_pictures < len(drawn.queries):
        lead += f" {timeline.num_pictures} of {len(drawn.queries)} queries bring their image, to keep the page small."
    return section("Where", content, lead)


def _time_section(drawn: DrawnQueries) -> str:
    if not drawn.queries:
        return ""
    key = legend((*drawn.legend, ("sigma", "reported σ")))
    translation, rotation = (
        accuracy_plots.draw_error_over_time(drawn, is_rotation=is_rotation) for is_rotation in (False, True)
    )
    return section(
        "Error and reported uncertainty",
        figure("Translation", translation, key, "over-time") + figure("Rotation", rotation, css="over-time"),
        "Where dots rise far above the line, the pose was worse than it claimed. "
        "σ is the reported root mean square of the error over all three axes. "
        "Colours tell the translation error.",
    )


def _accuracy_section(scores: Sequence[QueryScore]) -> str:
    nees_key = legend(
        (("bar", "queries"), ("expected", "honest covariances (χ², 6)"), ("band", "central 95 %"))
    )
    coverage = summarize_coverage([score for score in scores if score.error is not None])
    figures = (
        figure(
            "Recall",
            accuracy_plots.draw_recall_curve(scores),
            legend(accuracy_plots.recall_legend()),
        ),
        figure("Outcomes", run_plots.draw_outcomes(count_outcomes([score.query for score in scores]))),
        figure("Honesty of the covariance", accuracy_plots.draw_nees_histogram(scores), nees_key),
        figure(
            "Honesty by axis",
            breakdown_plots.draw_coverage(coverage),
            legend(breakdown_plots.coverage_legend()),
        ),
    )
    return section("How often, how sure", f'<div class="pair">{"".join(figures)}</div>')


def _breakdown_section(scores: Sequence[QueryScore], context: RunContext) -> str:
    num_with_truth = sum(score.query.groundtruth is not None for score in scores)
    curves = sweep_limits([score for score in scores if score.error is not None], num_with_truth)
    figures = [
        figure(
            "Inliers",
            accuracy_plots.draw_inlier_histogram(scores),
            legend(accuracy_plots.inlier_legend(scores)),
        )
    ]
    figures += [
        figure(
            _TITLE_OF_LIMIT[name],
            breakdown_plots.draw_false_fix_curve(curve, name),
            legend(breakdown_plots.FALSE_FIX_LEGEND),
        )
        for name, curve in curves.items()
    ]
    near = summarize_nearest_keyframe(scores, context)
    if near is not None:
        key = legend(breakdown_plots.RANGE_LEGEND)
        figures += [
            figure(
                "Recall by distance to the map",
                breakdown_plots.draw_recall_by_range(near.distance_m, _DISTANCE),
                key,
            ),
            figure(
                "Recall by angle to the map",
                breakdown_plots.draw_recall_by_range(near.angle_deg, _ANGLE),
                key,
            ),
        ]
    lead = "The limits show what stricter acceptance would keep; poses refused in this run cannot be swept."
    if near is not None:
        lead += (
            f" Right is within {near.right_within.replace('m_', ' m and ').replace('deg', '°')}; the nearest keyframe"
            " has the smallest sum of distance and angle, 1 m counting as 30°; counts stand above the bars."
        )
    return section("What it depends on", f'<div class="pair">{"".join(figures)}</div>', lead)


def _run_section(results: Sequence[QueryResult]) -> str:
    localizations = [result.localization for result in results]
    figures = (
        figure("Latency of an image", run_plots.draw_latency_histogram(localizations)),
        figure("Mean time by stage", run_plots.draw_stage_shares(localizations)),
    )
    return section("How fast", f'<div class="pair">{"".join(figures)}</div>')


def _training_section(context: RunContext) -> str:
    shares, median = draw_shares(context.training_curves), draw_median(context.training_curves)
    figures = ""
    if shares is not None:
        figures += figure("Points in place", *shares)
    if median is not None:
        figures += figure("Error of points", median)
    if not figures:
        return ""
    lead = "The scene-coordinate network on keyframes of the map that it was not trained on."
    return section("How it learned", f'<div class="pair">{figures}</div>', lead)


def _identity_section(summary: Mapping[str, object]) -> str:
    identity = {key: summary[key] for key in IDENTITY_KEYS if key in summary}
    return section(
        "What produced this", f'<div class="scroll">{fact_table(identity)}</div>', "All that a rerun needs."
    )
