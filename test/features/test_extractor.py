"""Extractors made by name, and found again by the identity in a map."""

import gc
import weakref

import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError, ExtractorMismatchError, WeightsError
from hfnet_ros.features import onnx_network, xfeat, xfeat_hfnet, xfeat_star
from hfnet_ros.features import weights as weights_module
from hfnet_ros.features.extractor import create_extractor, with_extractor_of

NAMES = ("hfnet", "xfeat", "xfeat+hfnet", "xfeat-star", "sift")


def config_of(name, **extractor):
    return Config.from_dict({"extractor": {"name": name, **extractor}})


@pytest.fixture
def make(random_weights, monkeypatch, tmp_path):
    """Return a function that makes an extractor; XFeat's weights are random, HF-Net's those of the package."""
    (tmp_path / "xfeat.pt").write_bytes(b"stands for the published file")
    monkeypatch.setattr(
        weights_module, "weights_folders", lambda: [tmp_path, weights_module.shipped_folder()]
    )
    for module in (xfeat, xfeat_star):
        monkeypatch.setattr(module, "load_xfeat_weights", lambda path: random_weights)
    return lambda name, progress=None: create_extractor(config_of(name), progress)


def test_hfnet_is_the_default_and_needs_no_file_but_the_packages(make, make_image):
    assert Config().extractor.name == "hfnet"
    extractor = make(Config().extractor.name)
    features = extractor.extract(make_image((160, 128)))
    assert len(features.local) > 20
    assert features.global_descriptor is not None
    extractor.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_identity_in_a_map_leads_back_to_the_extractor(make, name):
    extractor = make(name)
    other = config_of("sift" if name != "sift" else "hfnet", max_keypoints=777)
    found = with_extractor_of(other, extractor.extractor_id)
    assert (found.extractor.name, found.extractor.max_keypoints) == (name, 777)
    extractor.close()


@pytest.mark.parametrize("name", NAMES)
def test_an_extractor_is_freed_when_nobody_holds_it(make, make_image, name):
    gc.disable()
    try:
        extractor = make(name)
        extractor.extract(make_image((160, 128)))
        extractor.close()
        freed = weakref.ref(extractor)
        del extractor
        assert freed() is None
    finally:
        gc.enable()


def test_identities_differ(make):
    extractors = [make(name) for name in NAMES]
    assert len({extractor.extractor_id for extractor in extractors}) == len(NAMES)


def test_an_identity_of_nobody_is_refused():
    with pytest.raises(ExtractorMismatchError, match="built with 'superpoint-1'"):
        with_extractor_of(Config(), "superpoint-1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hfnet", ["hfnet-1x1x96x128"]),
        ("xfeat", ["xfeat-128x96"]),
        ("xfeat+hfnet", ["xfeat-128x96", "hfnet-global-1x1x96x128"]),
        ("xfeat-star", ["xfeat-dense-64x32", "xfeat-dense-160x128"]),
        ("sift", []),
    ],
)
def test_networks_are_those_that_run(make, monkeypatch, make_image, name, expected):
    made = []

    def note(model, config, progress=None):
        made.append(model)
        return real(model, config, progress)

    real = onnx_network.create_engine
    monkeypatch.setattr(onnx_network, "create_engine", note)
    for module in (xfeat, xfeat_star):
        monkeypatch.setattr(module, "create_engine", note)
    extractor = make(name)
    # 130x100 is cut to multiples of 32.
    networks = extractor.networks((130, 100))
    extractor.extract(make_image((130, 100)))
    extractor.close()
    assert [network.name for network in networks] == expected
    assert [network.digest for network in networks] == [model.digest for model in made]


@pytest.mark.parametrize(
    ("name", "engines"), [("hfnet", 1), ("xfeat", 1), ("xfeat+hfnet", 2), ("xfeat-star", 2)]
)
def test_whoever_waits_for_an_engine_is_told(make, make_image, name, engines):
    told = []
    extractor = make(name, told.append)
    extractor.extract(make_image((128, 96)))
    extractor.extract(make_image((128, 96)))
    extractor.close()
    # An engine of ONNX Runtime needs no building: all there is to say is that it is ready, once each.
    assert told == [""] * engines


def test_the_pair_has_xfeats_keypoints_and_the_global_descriptor_of_hfnet(make, make_image):
    image = make_image((160, 128))
    found = {name: make(name).extract(image) for name in ("hfnet", "xfeat", "xfeat+hfnet")}
    pair = found["xfeat+hfnet"]
    assert pair.local.keypoints.tolist() == found["xfeat"].local.keypoints.tolist()
    assert pair.global_descriptor @ found["hfnet"].global_descriptor > 0.9999
    assert found["xfeat"].global_descriptor is None


def note_closing(monkeypatch, kind, closed):
    real = kind.close

    def close(self):
        closed.append(kind.__name__)
        real(self)

    monkeypatch.setattr(kind, "close", close)


def test_a_second_network_that_fails_closes_the_first(make, monkeypatch):
    closed = []
    note_closing(monkeypatch, xfeat.XFeatExtractor, closed)
    monkeypatch.setattr(weights_module, "shipped_folder", lambda: weights_module.Path("/nowhere"))
    with pytest.raises(WeightsError, match="belongs to this package, which is incomplete"):
        make("xfeat+hfnet")
    assert closed == ["XFeatExtractor"]


def test_a_pair_closes_both_even_if_one_cannot_be_closed(make, monkeypatch):
    closed = []
    pair = make("xfeat+hfnet")

    def fail(self):
        raise EngineError("stuck")

    monkeypatch.setattr(xfeat.XFeatExtractor, "close", fail)
    note_closing(monkeypatch, xfeat_hfnet.GlobalHead, closed)
    with pytest.raises(EngineError, match="stuck"):
        pair.close()
    assert closed == ["GlobalHead"]


def test_weights_of_another_extractor_are_refused_with_a_remedy(tmp_path):
    other = tmp_path / "xfeat.pt"
    other.write_bytes(b"PK\x03\x04 not an ONNX file")
    with pytest.raises(WeightsError, match="--extractor xfeat"):
        create_extractor(config_of("hfnet", weights=str(other)))
