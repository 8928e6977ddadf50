"""The probability that a pose is wrong whose matches are points of a scene-coordinate network, not landmarks near them.

Such points are off by more than keypoints are, and off alike where they are near each other: a pose beside the best one
explains them nearly as well, which says little of a wrong one, while wrong poses have up to 44 decades of evidence
against chance. So of the scores the evidence and the lead over other poses count, with weights of their own.

Command: python bench/scene_doubt.py --cache DIR --sets walk-6@61 aside-6@61 walk-6@62 aside-6@62 euroc-1
(416 answers with the acceptance test off, of three networks; 242 wrong, 212 of these of images of other apartments).
"""

from __future__ import annotations

from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term

SCENE_SCORE = "scene"  # among the scores of such a pose, 1

FITTED = FalseProbabilityModel(
    intercept=-5.63,
    terms=(
        Term("evidence", 2.58, 1.0, 120.0, False, True),
        Term("lead_over_rival", 1.60, 0.5, 6.0, False, True),
        # Not fitted: as much as landmarks of an untested map are doubted.
        Term("self_tested", 1.0, 0.0, 1.0, False, False),
    ),
    least=0.02,
)
