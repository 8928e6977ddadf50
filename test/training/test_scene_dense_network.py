"""HSCNet's layers: what they see, how many numbers they hold, and that what is exported says the same."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.training.scene_dense import export_dense  # noqa: E402
from hfnet_ros.training.scene_dense_network import (  # noqa: E402
    REDUCED,
    DenseModule,
    DenseOptions,
    ExportedDense,
    dense_options,
)
from hfnet_ros.training.scene_labels import SceneLabels  # noqa: E402

pytestmark = pytest.mark.torch

TINY = DenseOptions(
    trunk=(4, 4, 4, 6, 6, 8, 8, 8),
    regressor=12,
    classifier=6,
    deepest=8,
    part_last=6,
    leaf_last=6,
    part_generator=(5, 6),
    leaf_generator=(7, 8),
)


def labels(parts=25, leaves=25, missing=0):
    """Return labels of which the last part lacks some leaves."""
    count = parts * leaves - missing
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 5, (count, 3)).astype(np.float32)
    parents = (np.arange(count) // leaves).astype(np.int32)
    return SceneLabels(centers, parents, np.full(count, 0.1, np.float32), centers[::leaves])


def module(options=TINY, **shape):
    torch.manual_seed(0)
    return DenseModule(labels(**shape), options).eval()


def test_the_full_preset_has_as_many_parameters_as_published():
    count = sum(value.numel() for value in DenseModule(labels(), DenseOptions()).parameters())
    assert round(count / 1e6, 1) == 37.0
    assert sum(value.numel() for value in DenseModule(labels(), REDUCED).parameters()) < 3.5e6


def test_combined_scenes_have_a_wider_first_level():
    network = DenseModule(labels(parts=75), dense_options("dense-full", 75))
    assert network.part_output.weight.shape[:2] == (75, 128)
    assert network.near[0].weight.shape[:2] == (256, 512)
    assert [layer.weight.shape[0] for layer in network.part_generator.layers[::2]] == [
        128,
        128,
        128,
        256,
        256,
    ]


@pytest.mark.parametrize(("output", "size"), [("points", 73), ("leaf_logits", 185), ("part_logits", 409)])
def test_each_output_sees_as_far_as_published(output, size):
    network = module()
    image = torch.rand(1, 3, 640, 640) * 255.0
    image.requires_grad_(True)
    found = getattr(network(image, torch.zeros(1, 80, 80, dtype=torch.int64)), output)
    found[0, :, 40, 40].sum().backward()
    seen = image.grad[0].abs().sum(dim=0) > 0.0
    for axis in (0, 1):
        lines = torch.nonzero(seen.any(dim=axis)).ravel()
        assert int(lines[-1] - lines[0]) + 1 == size


def test_finer_outputs_depend_on_the_coarser_labels_cell_by_cell():
    network = module()
    image = torch.rand(1, 3, 64, 96) * 255.0
    first = torch.zeros(1, 8, 12, dtype=torch.int64)
    second = first.clone()
    second[0, 2, 3] = 7 * 25 + 4
    one, other = network(image, first), network(image, second)
    torch.testing.assert_close(one.part_logits, other.part_logits)
    offset = one.points - network.centers[0][:, None, None]
    moved = other.points - network.centers[second].permute(0, 3, 1, 2)
    for before, after in ((one.leaf_logits, other.leaf_logits), (offset, moved)):
        changed = (before - after).abs().sum(dim=1)[0] > 1e-6
        assert torch.nonzero(changed).tolist() == [[2, 3]]
    unconditioned = module(dataclasses.replace(TINY, conditioned=False))
    torch.testing.assert_close(
        unconditioned(image, first).leaf_logits, unconditioned(image, second).leaf_logits
    )


def by_convolutions(generator, one_hot_map):
    """Return what a generator makes of a one-hot map [B, L, h, w] by 1x1 convolutions, as published."""
    made = one_hot_map
    for layer in generator.layers[::2]:
        made = torch.nn.functional.elu(
            torch.nn.functional.conv2d(made, layer.weight[..., None, None], layer.bias)
        )
    return [
        torch.nn.functional.elu(torch.nn.functional.conv2d(made, head.weight[..., None, None], head.bias))
        for head in generator.heads
    ]


def test_conditions_are_those_of_convolutions_on_one_hot_maps():
    network = module()
    slots = torch.randint(0, 625, (2, 5, 7))
    part = torch.div(slots, 25, rounding_mode="floor")
    part_map = torch.nn.functional.one_hot(part, 25).permute(0, 3, 1, 2).float()
    leaf_map = torch.nn.functional.one_hot(slots % 25, 25).permute(0, 3, 1, 2).float()
    for found, expected in (
        (network.part_conditions(part), by_convolutions(network.part_generator, part_map)),
        (
            network.leaf_conditions(slots),
            by_convolutions(network.leaf_generator, torch.cat([part_map, leaf_map], dim=1)),
        ),
    ):
        assert len(found) == len(expected) == 4
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "left_out", [{}, {"conditioned": False}, {"hierarchical": False}, {"regression": False}]
)
# The second has odd numbers of cells.
@pytest.mark.parametrize("size_wh", [pytest.param((96, 64), marks=pytest.mark.slow), (72, 120)])
def test_what_is_exported_says_what_was_trained(left_out, size_wh):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = module(dataclasses.replace(TINY, **left_out), missing=3)
    image = torch.rand(1, 3, size_wh[1], size_wh[0]) * 255.0
    with torch.no_grad():
        expected = network(image)
        points, confidence, leaves = ExportedDense(network)(image)
    cells = (size_wh[1] // 8, size_wh[0] // 8)
    torch.testing.assert_close(points, expected.points[0].permute(1, 2, 0).reshape(-1, 3), atol=1e-5, rtol=0)
    assert leaves.tolist() == network.leaf_idxs[expected.slots.ravel()].tolist()
    session = onnxruntime.InferenceSession(export_dense(network, size_wh), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.numpy()})
    assert found[0].shape == (cells[0] * cells[1], 3)
    np.testing.assert_allclose(found[0], points.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], confidence.numpy(), atol=1e-5)
    assert found[2].tolist() == leaves.tolist()


def test_a_part_never_has_leaves_that_it_does_not_have():
    network = module(parts=2, leaves=6, missing=5)
    only = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        network.part_output.bias.copy_(torch.tensor([-50.0, 50.0]))
        found = network(only)
    assert (found.slots == 6).all()
    assert ExportedDense(network)(only)[2].unique().tolist() == [6]
