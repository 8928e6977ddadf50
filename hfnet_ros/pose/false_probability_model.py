"""The fitted weights of the probability that a pose is wrong; written by bench/trust.py.

Command: python bench/trust.py --data ../shared/data --scenes-cache DIR --out docs/notes/trust.md
--thin 2 --write-model

Extractor hfnet, 5101 queries, seed 0, commit 652a168, 20 minutes on 2 cores.
"""

from __future__ import annotations

from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term

FITTED = FalseProbabilityModel(
    intercept=-4.1098,
    terms=(
        Term("evidence", 0.0057, 1.0, 40.0, False, True),
        Term("inlier_ratio", 1.4017, 0.02, 0.15, False, True),
        Term("coverage", 1.2662, 0.05, 0.25, False, True),
        Term("rival_ratio", 8.1047, 0.8, 1.0, True, False),
        Term("lead_over_rival", 0.0000, 0.5, 6.0, False, True),
        Term("twin_ratio", 2.9989, 0.1, 0.8, True, False),
        Term("rematch_ratio", 8.3544, 0.1, 0.8, True, False),
        Term("seen_share", 6.2409, 0.1, 0.6, False, False),
        Term("uncalibrated_ratio", 11.4986, 1.05, 2.0, True, True),
        Term("sigma_rotation_deg", 0.4858, 0.1, 10.0, True, True),
        Term("self_tested", 1.0107, 0.0, 1.0, False, False),
    ),
    least=0.0302,
)
