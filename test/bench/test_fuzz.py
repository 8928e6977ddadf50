"""A thousand inputs of bench/fuzz.py: no crash, no hang, no code that runs, nothing but the package's own errors."""

import pytest
from fuzz import fuzz
from fuzzing import watching
from fuzzing.targets import targets

# Maps, messages and bags take ten times as long as text.
SHARES = {"camera YAML": 30, "parameters": 15, "TUM": 30, "map": 8, "set": 4, "messages": 10, "bag": 7}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    made = targets(folder, bomb_bytes=300 << 20)
    watching.install(folder)
    for target in made:
        target.share = SHARES[target.name]
    return made


@pytest.mark.slow
def test_hundreds_of_inputs_are_read_or_refused(readers, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    counts, flaws = fuzz(readers, 0, 500, seed=0)
    assert flaws == []
    assert counts.total() == 500
    assert all(any(name.startswith(f"{target.name}: refused") for name in counts) for target in readers)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: __import__("pickle").loads(b"cos\nlistdir\n."), "pickle.find_class"),
        (lambda: open("/tmp/hfnet_ros_never", "w"), "open"),  # noqa: PTH123, SIM115
        (lambda: bytearray(600 << 20).__setitem__(slice(None, None, 4096), bytes(153600)), "memory"),
    ],
)
def test_what_no_input_may_do_is_seen(readers, act, words):
    with pytest.raises(watching.Flaw, match=words), watching.watched():
        act()
