"""Candidate poses of one problem as the solver comes to them, in one call."""

from hfnet_ros.pose.hypotheses import sample_hypotheses, with_rivals


def gather_hypotheses(problem, config, threshold_px, scale_px):
    """Candidate poses, best score first; empty when there are too few matches."""
    candidates = sample_hypotheses(problem, config, threshold_px, scale_px)
    return with_rivals(problem, candidates, config, threshold_px, scale_px)
