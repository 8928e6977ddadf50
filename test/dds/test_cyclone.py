import sys
import threading
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


def test_threads_that_look_at_peers_at_once_each_see_their_own(node, other):
    """cyclonedds' own reading of policies gave one thread what another had asked for."""
    trigger = "std_srvs/srv/Trigger"
    services = [other.create_service(f"service{number}", trigger, print) for number in range(4)]
    clients = [node.create_client(service.name, trigger) for service in services]
    assert all(client.wait_for_service(20) for client in clients)
    readers = [(client._reader, *client._reader.get_matched_publications()) for client in clients]
    seen = [set() for _ in readers]

    def look(number):
        seen[number] = {cyclone.publication_user_data(*readers[number]) for _ in range(3000)}

    threads = [threading.Thread(target=look, args=(number,)) for number in range(len(readers))]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval_s)
    assert [len(found) for found in seen] == [1] * len(readers)
    assert len(set.union(*seen)) == len(readers)
    assert all(user_data.startswith(b"serviceid=") for user_data in set.union(*seen))


def test_what_matches_no_more_says_nothing(node):
    client = node.create_client("go", "std_srvs/srv/Trigger")
    assert cyclone.publication_user_data(client._reader, 12345) is None
    assert cyclone.subscription_user_data(client._writer, 12345) is None


def test_a_missing_package_is_an_error_that_says_what_to_do(monkeypatch):
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "cyclonedds", None)
    with pytest.raises(DdsError, match="pip install cyclonedds"):
        importlib.reload(cyclone)
