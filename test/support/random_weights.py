"""Weights of XFeat's networks that were drawn, not trained."""

import numpy as np

from hfnet_ros.features.fine_matcher import expected_fine_shapes
from hfnet_ros.features.xfeat_network import expected_shapes


def make_random_weights(seed=0):
    """Return tensors of the network's shapes; signals keep their size from layer to layer."""
    weights = _draw(expected_shapes(), seed)
    # Logits a little apart, so that some pixels pass the threshold of 0.05 and most do not.
    weights["keypoint_head.3.weight"] *= np.float32(1.5)
    return weights


def make_random_fine_weights(seed=0):
    """Return tensors of the fine matcher's shapes, which is unsure of some pairs and sure of others."""
    return _draw(expected_fine_shapes(), seed)


def _draw(shapes, seed):
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2.0, shape)
        elif name.endswith("weight"):
            values = rng.normal(scale=np.sqrt(2.0 / np.prod(shape[1:])), size=shape)
        else:
            values = rng.normal(scale=0.3, size=shape)
        weights[name] = values.astype(np.float32)
    return weights
