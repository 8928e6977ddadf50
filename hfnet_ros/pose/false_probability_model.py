"""The fitted weights of the probability that a pose is wrong; written by bench/trust.py.

Command: python bench/trust.py, not yet with all of its queries (thinned, on a loaded machine); base commit
c4db38e, seed 0.
"""

from __future__ import annotations

from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term

FITTED = FalseProbabilityModel(
    intercept=-3.7224,
    terms=(
        Term("evidence", 0.3254, 1.0, 40.0, False, True),
        Term("inlier_ratio", 0.8474, 0.02, 0.15, False, True),
        Term("coverage", 0.8667, 0.05, 0.25, False, True),
        Term("rival_ratio", 5.6313, 0.8, 1.0, True, False),
        Term("lead_over_rival", 0.0000, 0.5, 6.0, False, True),
        Term("twin_ratio", 0.6746, 0.1, 0.8, True, False),
        Term("rematch_ratio", 8.8832, 0.1, 0.8, True, False),
        Term("seen_share", 7.9986, 0.1, 0.6, False, False),
        Term("uncalibrated_ratio", 11.1581, 1.05, 2.0, True, True),
        Term("sigma_rotation_deg", 0.9379, 0.1, 10.0, True, True),
        Term("self_tested", 1.2160, 0.0, 1.0, False, False),
    ),
    least=0.0482,
)
