"""What this program asks of TensorRT exists in the real bindings, and the fake is like them.

The listings in tensorrt_api/ were read out of the binding wheels named in them.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest
from fake_cuda import SimulatedGpu
from fake_tensorrt import RTX, VERSIONS, listing, make_tensorrt

import hfnet_ros.inference

SOURCES = sorted(Path(hfnet_ros.inference.__file__).parent.glob("*.py"))

# Names in the sources that hold an object of TensorRT, and its class there.
HOLDERS = {
    "trt": "",
    "builder": "Builder",
    "options": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "measured": "ITimingCache",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
    "self._settings": "IRuntimeConfig",
    "self._runtime_cache": "IRuntimeCache",
}
FILES = ("build.py", "kept_kernels.py", "tensorrt_engine.py", "tensorrt_library.py")
ALL = (*VERSIONS, RTX)
# Asked for only where it exists: hasattr in build.py, or of a library that builds ahead.
GUARDED = {
    "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ICudaEngine.create_runtime_config",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "OnnxParserFlag.ADJUST_FOR_DLA",
    "OnnxParser.set_builder_config",
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
}


def used_names():
    """Return what the sources take from TensorRT as `Class.member` or `name`."""
    found = set()
    for path in SOURCES:
        if path.name not in FILES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                holder = ast.unparse(node.value)
                if holder in HOLDERS:
                    found.add(f"{HOLDERS[holder]}.{node.attr}".lstrip("."))
                elif holder.startswith("trt."):
                    found.add(f"{holder.removeprefix('trt.')}.{node.attr}")
                elif holder == "severity":
                    found.add(f"ILogger.Severity.{node.attr}")
    return found


def exists(api, name):
    if name in ("__version__", *api["classes"], *api["functions"]):
        return True
    kind, _, member = name.rpartition(".")
    entry = api["classes"].get(kind, {})
    if member == "__init__":
        return "init" in entry
    return any(member in entry.get(part, ()) for part in ("methods", "properties", "enum"))


def test_the_listings_are_those_of_the_versions_that_matter():
    assert VERSIONS == ("10.3", "10.13", "10.16", "11.0", "11.4")
    for version in ALL:
        api = listing(version)
        assert api["version"].startswith(f"{version.removeprefix('rtx/')}.")
        assert api["version"] in api["wheel"]
        assert len(api["classes"]) > 150


def test_the_search_for_names_finds_them():
    names = used_names()
    assert {"IExecutionContext.execute_async_v3", "Runtime.deserialize_cuda_engine"} <= names
    assert {"MemoryPoolType.WORKSPACE", "ILogger.Severity.ERROR", "ParserError.desc"} - names == {
        "ParserError.desc"
    }
    assert len(names) > 40


@pytest.mark.parametrize("version", ALL)
def test_every_name_exists_in_the_real_bindings_or_is_guarded(version):
    api = listing(version)
    missing = {name for name in used_names() if not exists(api, name)}
    assert missing <= GUARDED


def test_the_library_for_rtx_lacks_nothing():
    assert {name for name in used_names() if not exists(listing(RTX), name)} == set()


def test_what_is_guarded_is_missing_somewhere():
    for name in GUARDED:
        present = [exists(listing(version), name) for version in ALL]
        assert any(present), name
        assert not all(present), name


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "name",
    [
        "ParserError.desc",
        "ParserError.node_name",
        "ParserError.node_operator",
        "ITimingCache.serialize",
        "IProgressMonitor.step_complete",
    ],
)
def test_names_that_the_search_cannot_see(version, name):
    assert exists(listing(version), name)


def test_precision_by_flag_ended_with_version_11():
    assert "FP16" in listing("10.16")["classes"]["BuilderFlag"]["enum"]
    for version in ("11.0", "11.4"):
        assert {"FP16", "BF16", "INT8", "FP8"} & set(
            listing(version)["classes"]["BuilderFlag"]["enum"]
        ) == set()
        assert "STRONGLY_TYPED" in listing(version)["classes"]["NetworkDefinitionCreationFlag"]["enum"]


# The fake


def fake_classes(version):
    module = make_tensorrt(version, SimulatedGpu())
    return {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}


@pytest.mark.parametrize("version", ALL)
def test_the_fake_has_only_what_the_real_module_has(version):
    api = listing(version)["classes"]
    for name, kind in fake_classes(version).items():
        assert name in api
        if "enum" in api[name]:
            assert {member.name: member.value for member in kind.__members__.values()}.items() <= api[name][
                "enum"
            ].items()
            continue
        public = {member for member in vars(kind) if not member.startswith("_")} - {"Severity"}
        assert public <= {*api[name].get("methods", ()), *api[name].get("properties", ())}, name


@pytest.mark.parametrize("version", ALL)
def test_methods_of_the_fake_take_the_parameters_of_the_real_ones(version):
    api = listing(version)["classes"]
    checked = 0
    for name, kind in fake_classes(version).items():
        for method, signatures in api[name].get("methods", {}).items():
            function = vars(kind).get(method)
            if not inspect.isfunction(function):
                continue
            own = [f"{p.name}{'=' * (p.default is not p.empty)}" for p in parameters(function)]
            # The fake may leave out what has a default.
            real = [read_parameters(signature) for signature in signatures]
            required = [[name for name in names if not name.endswith("=")] for names in real]
            assert own in real + required, f"{name}.{method}"
            checked += 1
    assert checked >= 25


def parameters(function):
    return list(inspect.signature(function).parameters.values())[1:]


def read_parameters(signature):
    """Return parameter names of a docstring's signature, those with defaults with a `=`."""
    inside = re.sub(r"\[[^]]*\]|<[^>]*>", "", signature.rpartition(" -> ")[0].strip("()"))
    names = [part.strip() for part in inside.split(",")][1:]
    return [part.partition(":")[0] + ("=" if "=" in part else "") for part in names]


def test_signatures_are_read_right():
    assert read_parameters("(self, model: buffer, path: str = None) -> bool") == ["model", "path="]
    assert read_parameters("(self) -> None") == []
    assert read_parameters("(self, a: list[int, str], b: E = <E.A: 0>) -> tuple[int, int]") == ["a", "b="]
