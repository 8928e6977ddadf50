"""RedKitchen as bags: mapping from one and evaluating the other is what the folders give."""

import json

import pytest

pytestmark = [pytest.mark.shared, pytest.mark.slow]

SELDOM = ("--every", 60)  # a map of 9 keyframes shows what is the same as well as one of a hundred
# Refinement and self-test start from what a bag and a folder give alike; test_redkitchen.py's map has both.
UNREFINED = ("--refine-poses", "off", "--refine-intrinsics", "off", "--no-self-test")
MAPPED = (*SELDOM, "--extractor", "xfeat", *UNREFINED)
TRUTH = "/ground_truth/pose"
NOT_COMPARED = ("latency_ms", "map", "machine", "commit")


@pytest.fixture(scope="module")
def folder_of(data):
    """Return a function that gives the options of a part of the data as a folder."""
    folder = data("redkitchen")
    camera = ("--camera", folder / "camera.yaml")
    return lambda name: ("--images", folder / name, "--poses", folder / f"{name}.tum", *camera)


@pytest.fixture(scope="module")
def small_kitchen(folder_of, program, tmp_path_factory):
    """Map of a folder."""
    path = tmp_path_factory.mktemp("redkitchen") / "small.map"
    program("map", "build", *folder_of("map"), *MAPPED, "--out", path)
    return path


@pytest.fixture(scope="module")
def bags(folder_of, program, tmp_path_factory):
    """The part to map from and the queries, as bags."""
    made = {}
    for name in ("map", "query"):
        made[name] = tmp_path_factory.mktemp("bags") / name
        program("bag", "make", *folder_of(name), "--compressed", "--out", made[name])
    return made


@pytest.fixture(scope="module")
def score(program, tmp_path_factory):
    """Return a function that evaluates and returns the folder with the results."""

    def score(built, *options):
        out = tmp_path_factory.mktemp("report")
        program("evaluate", "--map", built, *options, *SELDOM, "--out", out)
        return out

    return score


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


@pytest.fixture(scope="module")
def from_folder(small_kitchen, score, folder_of):
    """What the queries of a folder score in the map of a folder."""
    return score(small_kitchen, *folder_of("query"))


def test_queries_of_a_bag_score_as_those_of_a_folder(small_kitchen, from_folder, bags, data, score):
    """The first image is of time zero, which a live node takes for an image without a stamp."""
    poses = ("--poses", data("redkitchen") / "query.tum")
    from_bag = score(small_kitchen, "--bag", bags["query"], "--independent", *poses)
    assert (from_bag / "estimated.tum").read_bytes() == (from_folder / "estimated.tum").read_bytes()
    assert figures(from_bag) == figures(from_folder)


def test_a_map_of_a_bag_scores_as_that_of_a_folder(from_folder, bags, program, score, tmp_path):
    """Poses go through base_link and back: last bits, of which adjustments that stop early make a little more."""
    program(
        "map", "build", "--bag", bags["map"], "--pose-topic", TRUTH, *MAPPED, "--out", tmp_path / "bag.map"
    )
    queries = ("--bag", bags["query"], "--independent", "--ground-truth", TRUTH)
    found = figures(score(tmp_path / "bag.map", *queries))
    expected = figures(from_folder)
    assert expected["localized",] > 0
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        same = pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value
        assert found[path] == same, path
