"""Weights files written by hand, opcode by opcode: no PyTorch needed to read them or to test it."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from hfnet_ros.errors import WeightsError
from hfnet_ros.features.torch_archive import read_state_dict
from hfnet_ros.features.xfeat_network import expected_shapes, load_xfeat_weights

STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
STORAGES["i4"] = "IntStorage"


# A small assembler of pickle streams


def text(value):
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def integer(value):
    return pickle.INT + str(value).encode() + b"\n"


def name_of(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def group(*items):
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def integers(values):
    return group(*map(integer, values))


def call(function, *arguments):
    return function + group(*arguments) + pickle.REDUCE


ORDERED_DICT = call(name_of("collections", "OrderedDict"))


def storage(key, kind, length):
    return group(text("storage"), kind, text(key), text("cpu"), integer(length)) + pickle.BINPERSID


def tensor(key, array, shape=None, stride=None, offset=0, length=None):
    kind = name_of("torch", STORAGES[array.dtype.str[1:]])
    shape = array.shape if shape is None else shape
    row_by_row = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return call(
        name_of("torch._utils", "_rebuild_tensor_v2"),
        storage(key, kind, array.size if length is None else length),
        integer(offset),
        integers(shape),
        integers(row_by_row if stride is None else stride),
        pickle.NEWFALSE,
        ORDERED_DICT,
    )


def stream(entries):
    body = b"".join(text(name) + value for name, value in entries.items())
    return pickle.PROTO + b"\x02" + ORDERED_DICT + pickle.MARK + body + pickle.SETITEMS + pickle.STOP


def write_archive(path, pickled, storages, folder="archive"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        for key, array in storages.items():
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
        archive.writestr(f"{folder}/version", "3\n")
    return path


def write_state_dict(path, tensors, **options):
    entries = {name: tensor(str(key), array) for key, (name, array) in enumerate(tensors.items())}
    storages = {str(key): array for key, array in enumerate(tensors.values())}
    return write_archive(path, stream(entries), storages, **options)


def random_state(seed=0):
    rng = np.random.default_rng(seed)
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_shapes().items()}
    return {name: np.abs(array) if name.endswith("var") else array for name, array in state.items()}


# What is read


@pytest.mark.parametrize("kind", STORAGES)
def test_tensors_of_every_type_come_back(tmp_path, kind):
    array = (np.arange(24).reshape(2, 3, 4) - 7).astype(kind)
    state = {"a.weight": array, "b": array[0, 0], "step": np.array(5, kind), "none": np.empty((0, 3), kind)}
    loaded = read_state_dict(write_state_dict(tmp_path / "w.pt", state, folder="xfeat"))
    assert list(loaded) == list(state)
    for name, expected in state.items():
        assert loaded[name].dtype == expected.dtype
        np.testing.assert_array_equal(loaded[name], expected)


def test_tensors_may_share_a_storage(tmp_path):
    shared = np.arange(10, dtype=np.float32)
    entries = {
        "head": tensor("0", shared, shape=(2, 2)),
        "tail": tensor("0", shared, shape=(3,), offset=7),
    }
    loaded = read_state_dict(write_archive(tmp_path / "w.pt", stream(entries), {"0": shared}))
    np.testing.assert_array_equal(loaded["head"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(loaded["tail"], [7, 8, 9])


def test_strides_of_a_single_number_do_not_matter(tmp_path):
    one = np.array([4.0], np.float32)
    entries = {"one": tensor("0", one, shape=(1, 1), stride=(9, 9))}
    loaded = read_state_dict(write_archive(tmp_path / "w.pt", stream(entries), {"0": one}))
    assert loaded["one"].tolist() == [[4.0]]


# What is refused


MALICIOUS = {
    "os.system": lambda mark: call(name_of("os", "system"), text(f"touch {mark}")),
    "posix.system": lambda mark: call(name_of("posix", "system"), text(f"touch {mark}")),
    "builtins.eval": lambda mark: call(name_of("builtins", "eval"), text(f"open({mark!r}, 'w')")),
    "builtins.getattr": lambda mark: call(name_of("builtins", "getattr"), text("x"), text("upper")),
    "io.open": lambda mark: call(name_of("io", "open"), text(mark), text("w")),
    "numpy.save": lambda mark: call(name_of("numpy", "save"), text(mark), integer(1)),
    "torch.load": lambda mark: call(name_of("torch", "load"), text(mark)),
    "torch._utils._rebuild_parameter": lambda mark: call(name_of("torch._utils", "_rebuild_parameter")),
    "collections.OrderedDict.fromkeys": lambda mark: name_of("collections", "OrderedDict.fromkeys"),
    "hfnet_ros.features.torch_archive._rebuild_tensor": lambda mark: name_of(
        "hfnet_ros.features.torch_archive", "_rebuild_tensor"
    ),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_file_that_names_anything_else_is_refused_and_not_executed(tmp_path, name):
    mark = tmp_path / "executed"
    pickled = stream({"weight": MALICIOUS[name](str(mark))})
    path = write_archive(tmp_path / "w.pt", pickled, {})
    with pytest.raises(WeightsError, match="asks for"):
        read_state_dict(path)
    assert not mark.exists()


def test_the_trap_would_work(tmp_path):
    """The streams above are real: Python's own reader executes them."""
    mark = tmp_path / "executed"
    pickle.loads(stream({"weight": MALICIOUS["os.system"](str(mark))}))
    assert mark.exists()


def test_a_pickle_of_python_itself_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = write_archive(tmp_path / "w.pt", pickle.dumps({"w": Trap()}, protocol), {})
        with pytest.raises(WeightsError, match="mkdir"):
            read_state_dict(path)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pt: no such weights file"):
        read_state_dict(tmp_path / "none.pt")


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(WeightsError, match="not a readable"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps({})], ids=["empty", "text", "pickle"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pt: not a readable PyTorch state dict"):
        read_state_dict(tmp_path / "w.pt")


def test_another_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"one data\.pkl, found 0"):
        read_state_dict(tmp_path / "w.pt")


def test_every_truncation_is_refused(tmp_path):
    whole = write_state_dict(tmp_path / "whole.pt", {"a": np.arange(50, dtype=np.float32)}).read_bytes()
    for length in range(0, len(whole), 23):
        (tmp_path / "w.pt").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_state_dict(tmp_path / "w.pt")


def test_a_damaged_number_is_found_by_the_archive(tmp_path):
    array = np.arange(50, dtype=np.float32)
    path = write_state_dict(tmp_path / "w.pt", {"a": array})
    content = bytearray(path.read_bytes())
    content[content.index(array.tobytes()) + 17] ^= 4
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        read_state_dict(path)


def test_a_missing_storage_is_refused(tmp_path):
    array = np.arange(4, dtype=np.float32)
    path = write_archive(tmp_path / "w.pt", stream({"a": tensor("0", array)}), {})
    with pytest.raises(WeightsError, match="data/0"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (2, 3), "stride": (1, 2)},
        {"shape": (2, 3), "stride": (4, 1)},
        {"shape": (3,), "stride": (0,)},
        {"shape": (7,)},
        {"shape": (3,), "offset": 4},
        {"shape": (3,), "offset": -1},
        {"shape": (2, -3), "stride": (-3, 1)},
    ],
    ids=["transposed", "gaps", "broadcast", "too long", "offset", "before the start", "negative"],
)
def test_tensors_that_do_not_lie_row_by_row_in_their_storage_are_refused(tmp_path, options):
    array = np.arange(6, dtype=np.float32)
    path = write_archive(tmp_path / "w.pt", stream({"a": tensor("0", array, **options)}), {"0": array})
    with pytest.raises(WeightsError, match=r"w\.pt"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps([1, 2]),
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": {"b": 1}}),
        pickle.dumps(None),
    ],
    ids=["list", "number", "nested", "nothing"],
)
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path, pickled):
    with pytest.raises(WeightsError, match="expected a dictionary of tensors"):
        read_state_dict(write_archive(tmp_path / "w.pt", pickled, {}))


REBUILD = name_of("torch._utils", "_rebuild_tensor_v2")
NONSENSE = {
    "a tensor of text": call(REBUILD, text("x"), text("y"), text("z"), text("w")),
    "a tensor of nothing": call(REBUILD),
    "a storage that is called": call(name_of("torch", "FloatStorage"), integer(3)),
    "a storage by number": integer(3) + pickle.BINPERSID,
    "a short storage": group(text("storage")) + pickle.BINPERSID,
    "another stored thing": group(*map(text, "abcde")) + pickle.BINPERSID,
    "a dictionary of a number": call(name_of("collections", "OrderedDict"), integer(3)),
    "a state for a storage type": name_of("torch", "FloatStorage") + integers([1, 2]) + pickle.BUILD,
    "a state for a tensor": tensor("0", np.zeros(3, np.float32)) + integers([1]) + pickle.BUILD,
    "a list appended to a number": integer(1) + integer(2) + pickle.APPEND,
    "memory never stored": pickle.BINGET + b"\x63",
    "an unknown opcode": b"\xff",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_a_weights_error_and_nothing_else(tmp_path, name):
    path = write_archive(tmp_path / "w.pt", stream({"a": NONSENSE[name]}), {"0": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"w\.pt"):
        read_state_dict(path)


def test_flipped_bits_of_the_structure_are_a_weights_error_or_harmless(tmp_path):
    """The archive's checksum is made right, so that the reader of the structure itself is tried."""
    array = np.arange(6, dtype=np.float32)
    pickled = stream({"a": tensor("0", array), "b": tensor("0", array, shape=(2, 3))})
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(pickled)
        damaged[rng.integers(len(pickled))] ^= 1 << int(rng.integers(8))
        path = write_archive(tmp_path / "w.pt", bytes(damaged), {"0": array})
        try:
            loaded = read_state_dict(path)
        except WeightsError:
            continue
        assert all(isinstance(value, np.ndarray) for value in loaded.values())


# XFeat's weights


def test_published_layout_loads_as_float32(tmp_path):
    state = random_state()
    extra = {
        "block1.0.layer.1.num_batches_tracked": np.array(9, np.int64),
        "fine_matcher.0.weight": np.zeros((4, 2), np.float32),
    }
    halves = {"skip1.1.bias": state["skip1.1.bias"].astype(np.float16)}
    loaded = load_xfeat_weights(write_state_dict(tmp_path / "xfeat.pt", state | extra | halves))
    assert loaded.keys() == expected_shapes().keys()
    assert {array.dtype for array in loaded.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(loaded["block5.1.layer.0.weight"], state["block5.1.layer.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skip1.1.bias": None}, "1 tensors missing, first 'skip1.1.bias'"),
        ({"skip1.1.bias": np.zeros(23, np.float32)}, r"'skip1.1.bias' has shape \(23,\), expected \(24,\)"),
        ({"block6.weight": np.zeros(2, np.float32)}, "unknown tensor 'block6.weight'"),
        ({"skip1.1.bias": np.full(24, np.nan, np.float32)}, "'skip1.1.bias' holds values that are not"),
        ({"skip1.1.bias": np.full(24, 1e300)}, "'skip1.1.bias' holds values that are not"),
    ],
    ids=["missing", "shape", "unknown", "nan", "too large"],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_other_weights_are_refused_by_name(tmp_path, change, message):
    state = {name: array for name, array in (random_state() | change).items() if array is not None}
    with pytest.raises(WeightsError, match=message) as caught:
        load_xfeat_weights(write_state_dict(tmp_path / "xfeat.pt", state))
    assert "xfeat.pt" in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path):
    state = {"conv1a.weight": np.zeros((64, 1, 3, 3), np.float32)}
    path = write_state_dict(tmp_path / "superpoint.pt", state)
    with pytest.raises(WeightsError, match="not XFeat weights"):
        load_xfeat_weights(path)


def test_the_assembler_makes_what_pickle_reads():
    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            return {"OrderedDict": dict}.get(name, lambda *arguments: arguments)

        def persistent_load(self, pid):
            return pid[2]

    loaded = Reader(io.BytesIO(stream({"a": tensor("7", np.zeros((2, 3), np.float32))}))).load()
    assert loaded == {"a": ("7", 0, (2, 3), (3, 1), False, {})}
