import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hfnet_ros.dds.qos import IMAGE, LATCHED
from hfnet_ros.errors import DdsError

TRIGGER = "std_srvs/srv/Trigger"


@pytest.fixture
def request_(node):
    return node.messages.make(f"{TRIGGER}_Request")


@pytest.fixture
def answer(node):
    return lambda text="done": node.messages.make(f"{TRIGGER}_Response", success=True, message=text)


def test_a_call_is_answered(node, other, request_, answer):
    other.create_service("~/go", TRIGGER, lambda _: answer("grüß"))
    response = node.create_client("/other/go", TRIGGER).call(request_, 60)
    assert (response.success, response.message) == (True, "grüß")


def test_requests_carry_their_fields(node, other):
    seen = []

    def load(request):
        seen.append(request.path)
        return node.messages.make("hfnet_ros/srv/LoadMap_Response", success=False, message="no such map")

    other.create_service("load_map", "hfnet_ros/srv/LoadMap", load)
    client = node.create_client("load_map", "hfnet_ros/srv/LoadMap")
    request = node.messages.make("hfnet_ros/srv/LoadMap_Request", path="/maps/office")
    assert client.call(request, 60).message == "no such map"
    assert seen == ["/maps/office"]


def test_services_without_fields_work(node, other):
    called = threading.Event()

    def empty(_):
        called.set()
        return node.messages.make("std_srvs/srv/Empty_Response")

    other.create_service("empty", "std_srvs/srv/Empty", empty)
    node.create_client("empty", "std_srvs/srv/Empty").call(
        node.messages.make("std_srvs/srv/Empty_Request"), 60
    )
    assert called.is_set()


def test_another_process_calls(node, answer, peer):
    node.create_service("go", TRIGGER, lambda _: answer("across"))
    process = peer("""if True:
        from hfnet_ros.dds.participant import DdsNode
        with DdsNode("caller") as node:
            client = node.create_client("go", "std_srvs/srv/Trigger")
            print(client.call(node.messages.make("std_srvs/srv/Trigger_Request"), 60).message)
    """)
    assert process.stdout.read() == "across\n"


def test_an_answer_is_not_lost_among_those_of_others(new_node, node, other, request_, answer):
    """A client that does not run meanwhile is sent the answers of all other clients, too."""
    asked, held, free = threading.Event(), threading.Event(), threading.Event()

    def hold(_message, _received_ns):
        held.set()
        free.wait(60)

    def count(_):
        asked.set()
        assert held.wait(60)
        return answer()

    node.create_service("count", TRIGGER, count)
    busy, quick = other.create_client("count", TRIGGER), new_node("quick").create_client("count", TRIGGER)
    assert busy.wait_for_service(60)
    other.create_subscription("hold", "std_msgs/msg/Empty", LATCHED, hold)
    publisher = node.create_publisher("hold", "std_msgs/msg/Empty", LATCHED)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(busy.call, request_, 20)
        assert asked.wait(60)
        publisher.publish(node.messages.make("std_msgs/msg/Empty"))
        assert held.wait(60)
        for _ in range(20):
            quick.call(request_, 60)
        free.set()
        assert waiting.result().success


def test_every_client_gets_its_own_answers(new_node, node, request_, answer):
    numbers = iter(range(1000))
    node.create_service("count", TRIGGER, lambda _: answer(str(next(numbers))))
    clients = [new_node(f"client{i}").create_client("count", TRIGGER) for i in range(3)]
    answers = []

    def call(client):
        answers.extend(int(client.call(request_, 60).message) for _ in range(10))

    threads = [threading.Thread(target=call, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Each answer is different; a client that took another's would leave one out, or have one twice.
    assert sorted(answers) == list(range(30))


def test_images_flow_while_a_service_takes_its_time(node, other, image, request_, answer, wait_until):
    images, going_on, begun = [], threading.Event(), threading.Event()

    def wait_for_an_image(_):
        count = len(images)
        begun.set()
        wait_until(lambda: len(images) > count + 3)
        return answer(f"{len(images) - count > 3}")

    other.create_service("relocalize", TRIGGER, wait_for_an_image)
    other.create_subscription(
        "image", "sensor_msgs/msg/Image", IMAGE, lambda message, _: images.append(message)
    )
    publisher = node.create_publisher("image", "sensor_msgs/msg/Image", IMAGE)

    def play():
        while not going_on.wait(0.005):
            publisher.publish(image())

    player = threading.Thread(target=play)
    player.start()
    try:
        assert node.create_client("relocalize", TRIGGER).call(request_, 60).message == "True"
    finally:
        going_on.set()
        player.join()


def test_a_slow_service_does_not_hold_up_another(node, other, request_, answer):
    going_on = threading.Event()
    other.create_service("slow", TRIGGER, lambda _: (going_on.wait(60), answer())[1])
    other.create_service("fast", TRIGGER, lambda _: answer("fast"))
    slow, fast = node.create_client("slow", TRIGGER), node.create_client("fast", TRIGGER)
    results = []
    caller = threading.Thread(target=lambda: results.append(slow.call(request_, 60)))
    caller.start()
    assert fast.call(request_, 60).message == "fast"
    assert results == []
    going_on.set()
    caller.join(60)
    assert results[0].message == "done"


def test_a_service_nobody_offers(node, request_):
    client = node.create_client("nowhere", TRIGGER)
    assert not client.wait_for_service(0.05)
    with pytest.raises(DdsError, match=r"nobody offers the service /nowhere \(std_srvs/srv/Trigger\)"):
        client.call(request_, 0.05)


def test_an_answer_that_does_not_come_in_time(node, other, request_, answer):
    going_on = threading.Event()
    answers = iter(["late", "in time"])
    other.create_service("slow", TRIGGER, lambda _: (going_on.wait(60), answer(next(answers)))[1])
    client = node.create_client("slow", TRIGGER)
    assert client.wait_for_service(60)
    with pytest.raises(DdsError, match=r"/slow gave no answer within 0\.1 s"):
        client.call(request_, 0.1)
    going_on.set()
    # The first answer comes now, and is not taken for the second.
    assert client.call(request_, 60).message == "in time"


def test_a_service_that_fails_answers_the_next_request(node, other, request_, answer, caplog):
    results = iter([RuntimeError("a bug of the user"), answer("better")])

    def fail_once(_):
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    other.create_service("go", TRIGGER, fail_once)
    client = node.create_client("go", TRIGGER)
    assert client.wait_for_service(60)
    with pytest.raises(DdsError, match="gave no answer"):
        client.call(request_, 0.3)
    assert client.call(request_, 60).message == "better"
    assert "a bug of the user" in caplog.text


def test_a_call_inside_a_callback_is_refused(node, other, image, request_, wait_until):
    errors = []
    client = node.create_client("go", TRIGGER)

    def call(_message, _received_ns):
        try:
            client.call(request_, 1)
        except DdsError as error:
            errors.append(str(error))

    node.create_subscription("image", "sensor_msgs/msg/Image", IMAGE, call)
    publisher = other.create_publisher("image", "sensor_msgs/msg/Image", IMAGE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(image())
    wait_until(lambda: errors)
    assert "inside a callback" in errors[0]


def test_closing_a_client_ends_its_call(node, other, request_, answer):
    going_on, begun, errors = threading.Event(), threading.Event(), []
    other.create_service("slow", TRIGGER, lambda _: (begun.set(), going_on.wait(60), answer())[2])
    client = node.create_client("slow", TRIGGER)

    def call():
        try:
            client.call(request_, 60)
        except DdsError as error:
            errors.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(60)
    client.close()
    caller.join(60)
    going_on.set()
    assert errors == ["the client of /slow was closed during a call"]


def test_a_closed_service_is_gone(node, other, request_, answer, wait_until):
    service = other.create_service("go", TRIGGER, lambda _: answer())
    client = node.create_client("go", TRIGGER)
    assert client.call(request_, 60).success
    service.close()
    service.close()
    wait_until(lambda: not client.wait_for_service(0))
