from importlib import metadata

import pytest

from hfnet_ros.dds import cyclone
from hfnet_ros.errors import DdsError


def test_the_private_names_of_cyclonedds_are_there():
    """If this fails, cyclonedds was changed: go through dds/cyclone.py with the new version's sources."""
    assert metadata.version("cyclonedds") == cyclone.SUPPORTED_VERSION
    cyclone.check_private_names()


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(cyclone.metadata, "version", lambda _: "99.0")
    with pytest.raises(DdsError, match=r"99\.0 is installed, 11\.0\.1 is needed"):
        cyclone.check_private_names()


def test_a_missing_private_name_is_named(monkeypatch):
    monkeypatch.delattr(cyclone._clayer, "ddspy_take")
    with pytest.raises(DdsError, match="ddspy_take"):
        cyclone.check_private_names()


def test_a_missing_package_is_an_error_that_says_what_to_do(monkeypatch):
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "cyclonedds", None)
    with pytest.raises(DdsError, match=r"pip install 'hfnet_ros\[dds\]'"):
        importlib.reload(cyclone)
