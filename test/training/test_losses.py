import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.features.keypoints import sample_bilinear, unit_rows  # noqa: E402
from hfnet_ros.training.losses import TaskWeights, dual_softmax_loss, place_loss, sample_descriptors  # noqa: E402

pytestmark = pytest.mark.torch


def test_descriptors_are_sampled_as_at_run_time():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(6, 5, 7)).astype(np.float32)
    points = rng.uniform(0, [55, 39], (20, 2)).astype(np.float32)
    sampled = sample_descriptors(torch.from_numpy(dense)[None], torch.from_numpy(points)[None], (56, 40))
    expected = unit_rows(sample_bilinear(dense, points * (np.array([6.0, 4.0]) / np.array([55.0, 39.0]))))
    np.testing.assert_allclose(sampled[0].numpy(), expected, atol=1e-4)


def test_two_matching_points_cost_what_the_softmax_says():
    at = torch.eye(2)[None]
    matched = torch.ones(1, 2, dtype=torch.bool)
    expected = float(np.log1p(np.exp(-20.0)))
    assert float(dual_softmax_loss(at, at, matched)) == pytest.approx(expected, abs=1e-6)
    swapped = dual_softmax_loss(at, at.flip(1), matched)
    assert float(swapped) == pytest.approx(20.0, abs=1e-4)


def test_points_that_the_other_view_hides_do_not_count():
    generator = torch.Generator().manual_seed(0)
    at_a, at_b = torch.nn.functional.normalize(torch.randn(2, 1, 5, 8, generator=generator), dim=3)
    seen = torch.tensor([[True, True, True, False, False]])
    expected = dual_softmax_loss(at_a[:, :3], at_b[:, :3], seen[:, :3])
    assert float(dual_softmax_loss(at_a, at_b, seen)) == pytest.approx(float(expected), rel=1e-5)


def test_places_that_may_be_the_same_are_no_negatives():
    same = torch.nn.functional.normalize(torch.ones(2, 4), dim=1)
    batch = {
        "is_negative": torch.zeros(2, 2, dtype=torch.bool),
        "targets": same,
        "bank_groups": torch.tensor([7, 7]),
        "bank_group": torch.tensor([7, 7]),
    }
    assert float(place_loss(same, same, batch, same)) == pytest.approx(0.0, abs=1e-5)
    batch["is_negative"] = ~torch.eye(2, dtype=torch.bool)
    assert float(place_loss(same, same, batch, same)) == pytest.approx(np.log(2.0), abs=1e-5)


def test_a_task_weight_settles_where_its_loss_is_one():
    # d/dw (exp(-w) L + w) = 0 at w = log L.
    weights = TaskWeights(consistency=False)
    losses = {"global": torch.tensor(3.0), "local": torch.tensor(0.5), "detector": torch.tensor(2.0)}
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        weights(losses).backward()
        optimizer.step()
    found = {name: float(value.detach()) for name, value in weights.weights.items()}
    expected = {"task_global": np.log(3.0), "task_local": np.log(0.5), "task_detector": np.log(4.0)}
    assert found == pytest.approx(expected, abs=1e-3)
