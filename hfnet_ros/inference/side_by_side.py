"""Parts of a network that have no layer in common run at the same time, and the first waits for no other.

Two threads in one layer wait for each other some eighty times an image, and waking one takes an idle core as long as
a small layer. HF-Net sees the image twice, finely for its keypoints and coarsely for its global descriptor: the coarse
pass, a third as long, fills those waits. It gives way to the fine one, and goes on while keypoints are chosen of what
that found (docs/hfnet.md).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.engine import Engine, NetworkModel, Tensor, TensorSpec
from hfnet_ros.inference.onnx_graph import names_taken, remove_unused

Named = TypeVar("Named")

# What takes the time; parts may both begin with taking the mean off an image.
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})
# How much nicer (as `nice` counts) all but the first part are: 5 gains less, 19 little more (docs/notes/hfnet.md).
_GIVING_WAY = 10


class SideBySideEngine:
    """Engines of one network's parts as one engine: the first in the thread that runs it, each other in its own.

    Attributes:
        backend: of the first.
        inputs: of all parts, by name.
        outputs: likewise.
    """

    def __init__(self, parts: Sequence[Engine]) -> None:
        """Take engines, which are owned from now on, of different outputs; `run` may be called of any thread."""
        self._parts = tuple(parts)
        self.backend = parts[0].backend
        self.inputs: Mapping[str, TensorSpec] = _joined(part.inputs for part in parts)
        self.outputs: Mapping[str, TensorSpec] = _joined(part.outputs for part in parts)
        self._threads = ThreadPoolExecutor(
            len(parts) - 1, thread_name_prefix="network", initializer=_give_way
        )
        self._running: Sequence[Future[Mapping[str, Tensor]]] = ()

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run all parts once, the first to its end; whoever asks for what another gives waits for that.

        See `Engine.run`. The failure of another part is raised where one of its outputs is asked for.
        """
        # A part's buffers and inputs are its own until it has ended, also where nobody asked what it gave.
        wait(self._running)
        try:
            self._running = [self._threads.submit(part.run, inputs) for part in self._parts[1:]]
        except RuntimeError as error:
            raise EngineError("the network was closed before this call") from error
        try:
            first = self._parts[0].run(inputs)
        except BaseException:
            wait(self._running)
            raise
        later = zip(self._parts[1:], self._running, strict=True)
        return _OnceReady(first, {name: future for part, future in later for name in part.outputs})

    def close(self) -> None:
        """Free the parts; calling it again does nothing."""
        self._threads.shutdown()
        for part in self._parts:
            part.close()


class _OnceReady(Mapping[str, Tensor]):
    """Outputs by name, of which some are waited for when they are asked for."""

    def __init__(
        self, ready: Mapping[str, Tensor], later: Mapping[str, Future[Mapping[str, Tensor]]]
    ) -> None:
        self._ready, self._later = ready, later

    def __getitem__(self, name: str) -> Tensor:
        future = self._later.get(name)
        return self._ready[name] if future is None else future.result()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._ready
        yield from self._later

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)


def _give_way() -> None:
    """Let this thread run when others of the process do not, where threads have a priority each, which is Linux."""
    if sys.platform != "linux":
        return
    own = threading.get_native_id()
    # Some containers forbid it; then the parts share the cores evenly.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, own, min(os.getpriority(os.PRIO_PROCESS, own) + _GIVING_WAY, 19))


def _joined(named: Iterable[Mapping[str, Named]]) -> dict[str, Named]:
    return {name: value for some in named for name, value in some.items()}


def independent_parts(model: NetworkModel) -> list[NetworkModel]:
    """Return a network cut into parts that share no layer, the largest first; alone if it is but one, or damaged.

    Args:
        model: with the shapes of its tensors written into it; it is parsed.
    """
    import onnx

    try:
        whole = onnx.load_model_from_string(model.onnx)
    except Exception:  # protobuf's classes differ between its versions; the runtime says what is wrong
        return [model]
    groups = _groups_of_outputs(whole.graph)
    if len(groups) < 2:
        return [model]
    parts = []
    for names in groups:
        part = onnx.ModelProto()
        part.CopyFrom(whole)
        for output in list(part.graph.output):
            if output.name not in names:
                part.graph.output.remove(output)
        remove_unused(part.graph)
        parts.append((_num_numbers(part.graph), NetworkModel(model.name, part.SerializeToString())))
    return [part for _, part in sorted(parts, key=lambda sized: -sized[0])]


def _groups_of_outputs(graph: Any) -> list[set[str]]:
    """Return the names of the outputs, those together that a common layer leads to."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    leading: list[frozenset[int]] = []  # layers that lead to what each node gives
    for index, node in enumerate(graph.node):
        before = [leading[makers[name]] for name in names_taken(node) if name in makers]
        own = frozenset({index}) if node.op_type in _LAYERS else frozenset()
        leading.append(own.union(*before))
    groups: list[tuple[set[str], frozenset[int]]] = []
    for output in graph.output:
        names, layers = {output.name}, leading[makers[output.name]] if output.name in makers else frozenset()
        # What no layer leads to belongs nowhere by itself.
        for joined in [group for group in groups if group[1] & layers or not (group[1] and layers)]:
            groups.remove(joined)
            names, layers = names | joined[0], layers | joined[1]
        groups.append((names, layers))
    return [names for names, layers in groups]


def _num_numbers(graph: Any) -> int:
    """Return how many numbers the tensors of a graph hold that a shape is written for."""
    made = {name for node in graph.node for name in node.output}
    total = 0
    for tensor in graph.value_info:
        if tensor.name in made:
            size = 1
            for dim in tensor.type.tensor_type.shape.dim:
                size *= dim.dim_value
            total += size
    return total
