import csv
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.config import Config, InferenceConfig  # noqa: E402
from hfnet_ros.errors import ConfigError, DatasetError  # noqa: E402
from hfnet_ros.features.hfnet import HFNetExtractor  # noqa: E402
from hfnet_ros.features.preprocess import mean_gray  # noqa: E402
from hfnet_ros.features.xfeat_hfnet import GlobalHead  # noqa: E402
from hfnet_ros.training.cache import open_cache  # noqa: E402
from hfnet_ros.training.export import export_onnx  # noqa: E402
from hfnet_ros.training.head_start import fit_local_head  # noqa: E402
from hfnet_ros.training.network import Aggregation, HFNet, NetVlad, halve_image  # noqa: E402
from hfnet_ros.training.options import NetworkOptions, options_from_dict, read_options  # noqa: E402
from hfnet_ros.training.trainer import learning_rate, load_trained, train  # noqa: E402

pytestmark = pytest.mark.torch


def quietly(*_):
    pass


def read_curves(folder):
    with (folder / "curves.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_cache, tiny_options):
    folder = tmp_path_factory.mktemp("run")
    train(folder, tiny_cache, tiny_options, quietly)
    return folder


def test_every_loss_falls(finished):
    rows = read_curves(finished)
    for name in ("global", "local", "detector", "match", "place"):
        values = [float(row[name]) for row in rows if row[name] != "nan"]
        assert values[-1] < 0.95 * values[0], name


def test_the_global_loss_begins_with_the_start_of_its_head(finished, tiny_options):
    begins = next(int(row["step"]) for row in read_curves(finished) if row["global"] != "nan")
    assert begins == tiny_options.schedule.head_start + tiny_options.schedule.log_every


# Where the head starts, and later.
@pytest.mark.parametrize("stop_after", [8, pytest.param(13, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_with_the_same_numbers(stop_after, finished, tmp_path, tiny_cache, tiny_options):
    train(tmp_path, tiny_cache, tiny_options, quietly, stop_after=stop_after)
    train(tmp_path, tiny_cache, tiny_options, quietly)
    whole, resumed = (load_trained(folder, tiny_options).state_dict() for folder in (finished, tmp_path))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_a_run_does_not_go_on_with_other_options(finished, tiny_cache, tiny_options):
    other = dataclasses.replace(tiny_options, schedule=dataclasses.replace(tiny_options.schedule, seed=1))
    with pytest.raises(ConfigError, match="other options"):
        train(finished, tiny_cache, other, quietly)


def test_a_cache_for_another_student_is_refused(tmp_path, tiny_cache, tiny_options):
    other = dataclasses.replace(
        tiny_options, network=dataclasses.replace(tiny_options.network, global_size=24)
    )
    with pytest.raises(DatasetError, match="make a new cache"):
        train(tmp_path, tiny_cache, other, quietly)


def test_the_exported_network_says_what_the_trained_one_says(finished, tmp_path, tiny_options, make_photo):
    network = load_trained(finished, tiny_options)
    export_onnx(network, tmp_path / "full.onnx", half=False)
    export_onnx(network, tmp_path / "half.onnx", half=True)
    image = make_photo((160, 128))
    with torch.no_grad():
        outputs = network(torch.from_numpy(mean_gray(image))[None, None])
    expected = outputs.descriptor[0].numpy()
    for name, tolerance in (("full", 1e-4), ("half", 2e-2)):
        extractor = HFNetExtractor(tmp_path / f"{name}.onnx", Config())
        found = extractor.extract(image)
        np.testing.assert_allclose(found.global_descriptor, expected, atol=tolerance)
        assert found.local.descriptors.shape[1] == tiny_options.network.descriptor_size
    assert (tmp_path / "half.onnx").stat().st_size < 0.8 * (tmp_path / "full.onnx").stat().st_size


def test_the_published_encoder_exports_too(tmp_path, make_photo):
    torch.manual_seed(0)
    options = NetworkOptions(
        encoder="mobilenet_v2",
        width=0.35,
        normalization="fixed",
        clusters=32,
        cluster_channels=0,
        local_clusters=0,
        global_size=32,
    )
    export_onnx(HFNet(options).eval(), tmp_path / "published.onnx", half=True)
    found = HFNetExtractor(tmp_path / "published.onnx", Config()).extract(make_photo((160, 128)))
    assert found.global_descriptor.shape == (32,)
    assert np.linalg.norm(found.global_descriptor) == pytest.approx(1.0, abs=1e-4)


def test_the_rate_rises_then_falls(tiny_options):
    rates = [learning_rate(tiny_options.schedule, step) for step in range(tiny_options.schedule.steps)]
    peak = int(np.argmax(rates))
    assert peak in (tiny_options.schedule.warmup_steps - 1, tiny_options.schedule.warmup_steps)
    assert rates[peak] == pytest.approx(tiny_options.schedule.learning_rate)
    assert np.all(np.diff(rates[peak:]) <= 0.0)
    assert rates[-1] < 0.05 * rates[peak]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timetable": {}}, "no section"),
        ({"schedule": {"stepps": 3}}, "no option"),
        ({"schedule": {"steps": "many"}}, "expected int"),
        ({"network": {"encoder": "vgg"}}, "expected one of"),
    ],
)
def test_what_is_no_option_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        options_from_dict(values)


def test_options_survive_being_written(tiny_options):
    assert options_from_dict(tiny_options.to_dict()) == tiny_options


def test_a_preset_is_changed_by_a_file_and_then_by_the_command_line(tmp_path):
    (tmp_path / "run.yaml").write_text("schedule: {steps: 7, pairs: 3}\nnetwork: {width: 0.5}\n")
    options = read_options("full", tmp_path / "run.yaml", {"schedule": {"pairs": 2}})
    assert (options.schedule.steps, options.schedule.pairs, options.network.width) == (7, 2, 0.5)
    assert options.schedule.device == "cuda"


def test_training_starts_from_another_run(finished, tmp_path, tiny_cache, tiny_options):
    schedule = dataclasses.replace(tiny_options.schedule, steps=4, start_from=str(finished))
    train(tmp_path, tiny_cache, dataclasses.replace(tiny_options, schedule=schedule), quietly)
    first, before = read_curves(tmp_path)[0], read_curves(finished)
    assert float(first["detector"]) < 0.9 * float(before[0]["detector"])


@pytest.mark.parametrize("scales", ["half", "both"])
def test_the_global_descriptor_of_several_scales(scales, finished, tmp_path, tiny_options, make_photo):
    network = load_trained(finished, tiny_options)
    export_onnx(network, tmp_path / "scaled.onnx", half=False, global_scales=scales)
    image = make_photo((192, 160))
    whole = torch.from_numpy(mean_gray(image))[None, None]
    small = halve_image(whole)
    assert small.shape[2:] == (96, 96)  # 80 rows are stretched to a multiple of 32
    with torch.no_grad():
        expected = network(small).descriptor[0].numpy()
        if scales == "both":
            expected = expected + network(whole).descriptor[0].numpy()
            expected /= np.linalg.norm(expected)
    found = HFNetExtractor(tmp_path / "scaled.onnx", Config()).extract(image)
    np.testing.assert_allclose(found.global_descriptor, expected, atol=1e-4)
    alone = GlobalHead(tmp_path / "scaled.onnx", InferenceConfig()).describe(image)
    np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_the_head_is_fitted_last_to_the_finished_network(finished, tiny_cache, tiny_options):
    given = train(finished, tiny_cache, tiny_options, quietly)  # is done already
    trained = load_trained(finished, tiny_options)
    assert not given.training
    torch.testing.assert_close(given.describer.state_dict(), trained.describer.state_dict())
    shape = tiny_options.network
    aggregation = Aggregation(shape.attention_power, shape.cluster_saturation, shape.vocabularies)
    fit_local_head(trained, open_cache(tiny_cache), tiny_options.schedule.seed, aggregation)
    torch.testing.assert_close(given.aggregate_local.state_dict(), trained.aggregate_local.state_dict())


def test_clusters_of_little_weight_count_less():
    torch.manual_seed(0)
    vlad = NetVlad(channels=4, clusters=3, size=2)
    with torch.no_grad():
        vlad.assignment.weight.copy_(60.0 * torch.eye(4)[:3, :, None, None])
        vlad.assignment.bias.zero_()
        vlad.clusters.copy_(0.5 * torch.eye(4)[:3])
    features = torch.eye(4)[:3].T.reshape(1, 4, 1, 3)  # one cell per cluster
    weights = torch.tensor([3.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    alike = vlad.vlad(features, weights).reshape(3, 4).norm(dim=1)
    torch.testing.assert_close(alike[0], alike[1])
    saturated = vlad.vlad(features, weights, Aggregation(cluster_saturation=1.0)).reshape(3, 4).norm(dim=1)
    torch.testing.assert_close(saturated[1] / saturated[0], torch.tensor(0.5 / 0.75))
    assert saturated[2] == 0.0


def test_each_vocabulary_assigns_all_of_a_cell():
    torch.manual_seed(1)
    both = NetVlad(channels=8, clusters=6, size=2)
    features = torch.nn.functional.normalize(torch.randn(1, 8, 3, 4), dim=1)
    found = both.vlad(features, aggregation=Aggregation(vocabularies=2)).reshape(2, -1)
    for part, rows in zip(found, (slice(0, 3), slice(3, 6)), strict=True):
        alone = NetVlad(channels=8, clusters=3, size=2)
        with torch.no_grad():
            alone.assignment.weight.copy_(both.assignment.weight[rows])
            alone.assignment.bias.copy_(both.assignment.bias[rows])
            alone.clusters.copy_(both.clusters[rows])
        torch.testing.assert_close(part * 2**0.5, alone.vlad(features)[0])


def test_attention_is_sharpened():
    vlad = NetVlad(channels=4, clusters=2, size=2)
    features = torch.nn.functional.normalize(torch.randn(1, 4, 2, 3), dim=1)
    attention = torch.rand(1, 1, 2, 3)
    sharpened = vlad.vlad(features, attention, Aggregation(attention_power=4.0))
    torch.testing.assert_close(sharpened, vlad.vlad(features, attention**4))


def test_clusters_that_make_no_equal_vocabularies_are_refused_before_training(
    tmp_path, tiny_cache, tiny_options
):
    network = dataclasses.replace(tiny_options.network, vocabularies=3)
    with pytest.raises(ConfigError, match="cannot be divided"):
        train(tmp_path, tiny_cache, dataclasses.replace(tiny_options, network=network), quietly)
