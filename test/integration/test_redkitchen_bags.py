"""RedKitchen as bags: mapping from one and evaluating the other is what the folders give."""

import json

import pytest

pytestmark = pytest.mark.shared

EVERY = ("--every", 5)
TRUTH = "/ground_truth/pose"
NOT_COMPARED = ("latency_ms", "map", "machine")


@pytest.fixture(scope="module")
def bags(data, program, tmp_path_factory):
    """The part to map from and the queries, as bags."""
    folder, made = data("redkitchen"), {}
    for name in ("map", "query"):
        made[name] = tmp_path_factory.mktemp("bags") / name
        given = ("--images", folder / name, "--poses", folder / f"{name}.tum")
        program(
            "bag", "make", *given, "--camera", folder / "camera.yaml", "--compressed", "--out", made[name]
        )
    return made


@pytest.fixture(scope="module")
def score(program, tmp_path_factory):
    """Return a function that evaluates and returns the folder with the results."""

    def score(built, *options):
        out = tmp_path_factory.mktemp("report")
        program("evaluate", "--map", built, *options, *EVERY, "--out", out)
        return out

    return score


@pytest.fixture(scope="module")
def from_folder(kitchen, data, score):
    folder = data("redkitchen")
    given = (
        "--images",
        folder / "query",
        "--poses",
        folder / "query.tum",
        "--camera",
        folder / "camera.yaml",
    )
    return score(kitchen, *given)


def figures(folder):
    """Every number of results.json that does not depend on the machine, by its path."""
    found = {}

    def walk(value, path):
        if isinstance(value, dict):
            for key, entry in value.items():
                walk(entry, (*path, key))
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                walk(entry, (*path, index))
        else:
            found[path] = value

    results = json.loads((folder / "results.json").read_text())
    walk({key: value for key, value in results.items() if key not in NOT_COMPARED}, ())
    return found


def test_queries_of_a_bag_score_as_those_of_a_folder(kitchen, bags, data, score, from_folder):
    """The first image is of time zero, which a live node takes for an image without a stamp."""
    poses = ("--poses", data("redkitchen") / "query.tum")
    from_bag = score(kitchen, "--bag", bags["query"], "--independent", *poses)
    assert (from_bag / "estimated.tum").read_bytes() == (from_folder / "estimated.tum").read_bytes()
    assert figures(from_bag) == figures(from_folder)


def test_a_map_of_a_bag_scores_as_that_of_a_folder(bags, program, score, from_folder, tmp_path_factory):
    """Poses go through base_link and back, which costs their last bit or two."""
    built = tmp_path_factory.mktemp("built") / "kitchen.map"
    given = ("--pose-topic", TRUTH, *EVERY, "--extractor", "xfeat")  # as `kitchen`
    program("map", "build", "--bag", bags["map"], *given, "--out", built)
    found = figures(score(built, "--bag", bags["query"], "--independent", "--ground-truth", TRUTH))
    expected = figures(from_folder)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        same = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        assert found[path] == same, path
