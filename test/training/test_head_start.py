import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.training.cache import open_cache  # noqa: E402
from hfnet_ros.training.head_start import _align, start_local_head  # noqa: E402
from hfnet_ros.training.network import HFNet, NetVlad  # noqa: E402

pytestmark = pytest.mark.torch


def test_a_hand_computed_vlad():
    # Two cells, two clusters, hard assignment: residual = cluster - feature.
    head = NetVlad(2, 2, 3)
    with torch.no_grad():
        head.clusters.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        head.assignment.weight.copy_(200.0 * head.clusters[:, :, None, None])
        head.assignment.bias.zero_()
    features = torch.tensor([[0.8, 0.6], [0.0, 1.0]]).T.reshape(1, 2, 1, 2)
    vlad = head.vlad(features)[0].detach().numpy()
    first = np.array([0.2, -0.6]) / np.hypot(0.2, 0.6)
    np.testing.assert_allclose(vlad, [*first, 0.0, 0.0], atol=1e-5)


@pytest.mark.slow
def test_cells_without_attention_do_not_count():
    head = NetVlad(4, 3, 5)
    features = torch.nn.functional.normalize(
        torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    attention = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])[None, None]
    torch.testing.assert_close(
        head.vlad(features, attention), head.vlad(features[..., :2]), rtol=1e-4, atol=1e-5
    )


def test_the_projection_keeps_cosines_and_agrees_with_the_targets():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(40, 6))
    vlads = (hidden @ np.linalg.qr(rng.normal(size=(30, 6)))[0].T).astype(np.float32)
    targets = (hidden @ np.linalg.qr(rng.normal(size=(6, 6)))[0]).astype(np.float32)
    projected = vlads @ _align(vlads, targets).T
    np.testing.assert_allclose(projected @ projected.T, vlads @ vlads.T, atol=1e-3)
    np.testing.assert_allclose(projected, targets, atol=1e-3)


def test_after_the_start_descriptors_agree_with_the_teacher(tiny_cache, tiny_options):
    cache = open_cache(tiny_cache)
    torch.manual_seed(0)
    network = HFNet(tiny_options.network)
    images = torch.from_numpy(np.array(cache.images, np.float32))[:, None]

    def agreement():
        with torch.no_grad():
            return float((network.eval()(images).descriptor.numpy() * cache.targets).sum(axis=1).mean())

    before = agreement()
    start_local_head(network, cache, seed=0)
    assert agreement() > before + 0.3
