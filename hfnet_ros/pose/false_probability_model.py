"""The fitted weights of the probability that a pose is wrong; written by bench/trust.py.

Command: python bench/trust.py --data ../shared/data --scenes-cache DIR --out docs/notes/trust.md --thin 2
--write-model

Extractor hfnet, 5059 queries, seed 0, commit cc3caa3, 40 minutes on 2 cores.
"""

from __future__ import annotations

from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term

FITTED = FalseProbabilityModel(
    intercept=-4.1853,
    terms=(
        Term("evidence", 0.4104, 1.0, 40.0, False, True),
        Term("inlier_ratio", 0.8661, 0.02, 0.15, False, True),
        Term("coverage", 1.8626, 0.05, 0.25, False, True),
        Term("rival_ratio", 14.8882, 0.8, 1.0, True, False),
        Term("lead_over_rival", 0.2513, 0.5, 6.0, False, True),
        Term("twin_ratio", 2.3691, 0.1, 0.8, True, False),
        Term("rematch_ratio", 7.0000, 0.1, 0.8, True, False),
        Term("seen_share", 6.4028, 0.1, 0.6, False, False),
        Term("uncalibrated_ratio", 12.3412, 1.05, 2.0, True, True),
        Term("self_tested", 1.0000, 0.0, 1.0, False, False),
    ),
    least=0.0189,
)
