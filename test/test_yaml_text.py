"""YAML from outside: bombs, loops and code come back as one line of reason."""

import pytest

from hfnet_ros.config import load_config
from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import CalibrationError, ConfigError
from hfnet_ros.files.camera_yaml import read_camera_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{row}: &a{row} [{', '.join([f'*a{row - 1}'] * 9)}]\n" for row in range(1, 12)
)
HOSTILE = {
    "many laughs": (LAUGHS, "stands for"),
    "an alias in itself": ("image_width: &a [*a]\n", "part of"),
    "too deep": ("[" * 1000, "recursion"),
    "no date": ("image_width: 2001-13-40\n", "month"),
    "no timestamp": ("image_width: !!timestamp x\n", "NoneType"),
    "code": ("image_width: !!python/object/apply:os.mkdir [executed]\n", "could not determine a constructor"),
    "a key that is a list": ("? [1]\n: 2\n", "unhashable"),
    "many digits": ("image_width: 0b" + "1" * 20_000, "20000 bits"),
    "no text": (b"\xff\xfe\x00\xd8", "unacceptable"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_in_a_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, word = HOSTILE[name]
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=word) as caught:
        parse_yaml(file.read_bytes())
    assert len(str(caught.value)) <= 300
    for read, error in ((load_config, ConfigError), (read_camera_yaml, CalibrationError)):
        with pytest.raises(error, match=r"hostile\.yaml") as caught:
            read(file)
        assert len(str(caught.value)) < 600
    assert not (tmp_path / "executed").exists()


def test_aliases_of_a_few_values_are_fine():
    assert parse_yaml("a: &k [1, 2]\nb: *k\nc: [*k, *k]\n") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": [[1, 2], [1, 2]],
    }
    assert parse_yaml("a: 1\n---\nb: 2\n", first=True) == {"a": 1}
    with pytest.raises(ValueError, match="single document"):
        parse_yaml("a: 1\n---\nb: 2\n")
