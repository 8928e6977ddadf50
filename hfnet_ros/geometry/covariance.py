"""Move 6x6 pose covariances between frames.

Convention: order x y z rx ry rz; the error of `parent_from_child` is a translation error of the
child's origin, in the parent's axes, and a rotation error about the parent's axes:
`R = exp(phi) R_true`, `t = t_true + tau`. This is what geometry_msgs/PoseWithCovariance means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, skew

FloatArray = NDArray[np.float64]


def rotate_covariance(covariance: FloatArray, new_from_parent: Rigid3) -> FloatArray:
    """Express a pose covariance [6, 6] in another, perfectly known, parent frame.

    Both error vectors turn with the axes; the origin of the new parent does not matter
    because the error is one of the child's origin.
    """
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = new_from_parent.rotation
    return symmetrize(turn @ covariance @ turn.T)


def change_child_covariance(
    covariance: FloatArray, parent_from_child: Rigid3, new_child_in_child: FloatArray
) -> FloatArray:
    """Move a pose covariance [6, 6] to another child frame on the same rigid body.

    A rotation error swings the new origin around the old one: with the lever arm
    l = R_parent_child @ new_child_in_child, tau_new = tau + phi x l = tau - [l]x phi.

    Args:
        covariance: of `parent_from_child`.
        parent_from_child: pose at which the lever arm is taken.
        new_child_in_child: [3] origin of the new child frame in the old one, m.
    """
    lever = parent_from_child.rotation @ np.asarray(new_child_in_child, dtype=np.float64)
    move = np.eye(6)
    move[:3, 3:] = -skew(lever)
    return symmetrize(move @ covariance @ move.T)


def is_valid_covariance(covariance: FloatArray) -> bool:
    """Tell whether [6, 6] is finite, symmetric and positive definite."""
    if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
        return False
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=0.0):
        return False
    return bool(np.linalg.eigvalsh(covariance)[0] > 0.0)


def is_semidefinite(covariance: FloatArray) -> bool:
    """Tell whether a finite [N, N] is symmetric and positive semidefinite, but for rounding; zero is."""
    rounding = 1e-9 * max(float(np.abs(covariance).max()), 1e-300)
    is_symmetric = np.abs(covariance - covariance.T).max() <= rounding
    return bool(is_symmetric and np.linalg.eigvalsh(covariance)[0] >= -rounding)


def largest_sigmas(covariance: FloatArray) -> tuple[float, float]:
    """Return the standard deviations of position (m) and orientation (rad) in their worst directions.

    They do not depend on how the axes of the map point; infinite where a number is not finite.
    """
    if not np.isfinite(covariance).all():
        return np.inf, np.inf
    worst = [np.linalg.eigvalsh(block)[-1] for block in (covariance[:3, :3], covariance[3:, 3:])]
    return float(np.sqrt(max(worst[0], 0.0))), float(np.sqrt(max(worst[1], 0.0)))


def symmetrize(covariance: FloatArray) -> FloatArray:
    """Return the symmetric part, which rounding may have disturbed."""
    symmetric: FloatArray = 0.5 * (covariance + covariance.T)
    return symmetric
