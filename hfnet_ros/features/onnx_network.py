"""ONNX files that fit every image size, made into networks of one size as engines want them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import MapFormatError, WeightsError
from hfnet_ros.features.engines import EnginesBySize
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.inference.onnx_graph import remove_unused
from hfnet_ros.inference.quantization import QUANTIZED_OF, quantized_path
from hfnet_ros.types import ReportProgress


class OnnxNetwork:
    """One ONNX file and an engine for each image size that was asked for.

    Belongs to the thread that made it, as engines do.
    """

    def __init__(
        self,
        path: Path,
        inference: InferenceConfig,
        outputs: Sequence[str] = (),
        progress: ReportProgress | None = None,
        complete: Callable[[Engine], Engine] | None = None,
    ) -> None:
        """Read the file.

        Args:
            path: ONNX file with one input.
            inference: how engines run.
            outputs: the only outputs that are wanted, so that nothing else is computed; all if empty.
            progress: told what goes on while an engine is built, which may take minutes.
            complete: takes over each new engine, and returns what is used instead.

        Raises:
            WeightsError: it is missing or no ONNX.
        """
        content, self._model = read_onnx(
            path, "HF-Net's or another .onnx file (weights of XFeat need '--extractor xfeat')"
        )
        if len(self._model.graph.input) != 1:
            names = [tensor.name for tensor in self._model.graph.input]
            raise WeightsError(f"{path}: network has inputs {names}, expected one, the image")
        self.digest = NetworkModel(path.name, content).digest
        self._part = ""  # of the network's name, where it is not the whole file
        self._keep_outputs(path, outputs)
        self._path = path
        self._inference = inference
        self._progress = progress
        self._complete = complete
        self._engines = EnginesBySize()
        self._outputs = tuple(outputs)

    def _keep_outputs(self, path: Path, names: Sequence[str]) -> None:
        graph = self._model.graph
        missing = [name for name in names if name not in self.output_names]
        if missing:
            raise WeightsError(
                f"{path}: network has outputs {list(self.output_names)}, expected '{missing[0]}' among them"
            )
        if not names or set(names) == set(self.output_names):
            return
        for output in list(graph.output):
            if output.name not in names:
                graph.output.remove(output)
        remove_unused(graph)
        self._part = "-" + re.sub(r"\W+", "_", "-".join(names))

    @property
    def input_name(self) -> str:
        """Name of the image tensor."""
        return str(self._model.graph.input[0].name)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the image tensor, None where any length fits."""
        return _shape(self._model.graph.input[0])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(str(tensor.name) for tensor in self._model.graph.output)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Notes that the author left in the file."""
        return {entry.key: entry.value for entry in self._model.metadata_props}

    @property
    def backend(self) -> str:
        """What runs it; before the first image, what is asked for."""
        return self._engines.backend(unless=self._inference.backend)

    def engine(self, input_shape: tuple[int, ...]) -> Engine:
        """Return the engine for one shape of the image tensor, loading it the first time.

        Raises:
            WeightsError: the file fits other shapes only.
            EngineError: the backend refuses the network.
        """
        return self._engines.get(input_shape, self._load)

    def _load(self, input_shape: tuple[int, ...]) -> Engine:
        engine = create_engine(self.model(input_shape), self._inference, self._progress)
        return engine if self._complete is None else self._complete(engine)

    def model(self, input_shape: tuple[int, ...]) -> NetworkModel:
        """Return the network with all shapes fixed.

        Raises:
            WeightsError: the file fits other shapes only.
        """
        import onnx

        fixed = self.input_shape
        if len(fixed) != len(input_shape) or any(
            own not in (None, length) for own, length in zip(fixed, input_shape, strict=True)
        ):
            raise WeightsError(
                f"{self._path}: input '{self.input_name}' has shape {list(fixed)}, the image needs {list(input_shape)}"
            )
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        set_shape(model.graph.input[0], input_shape)
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for output in model.graph.output:
            inferred = _shape(output)
            # A batch that shape inference lost is the input's.
            set_shape(output, (input_shape[0] if inferred[0] is None else inferred[0], *inferred[1:]))
        size = "x".join(str(length) for length in input_shape)
        return NetworkModel(
            f"{self._path.stem}{self._part}-{size}",
            model.SerializeToString(),
            partial(self._quantized, input_shape) if quantized_path(self._path).is_file() else None,
        )

    def _quantized(self, input_shape: tuple[int, ...]) -> NetworkModel:
        """Return the int8 form that lies beside the file.

        Raises:
            WeightsError: it is no ONNX, of another file, or fits other shapes only.
        """
        path, remedy = (
            quantized_path(self._path),
            "make it anew by 'hfnet-ros weights quantize', or remove it",
        )
        try:
            found = OnnxNetwork(path, self._inference, self._outputs)
        except WeightsError as error:
            raise WeightsError(f"{path} is damaged: {error.__cause__ or error}; {remedy}") from error
        if found.metadata.get(QUANTIZED_OF) != self.digest:
            raise WeightsError(f"{path} is not the int8 form of {self._path}; {remedy}")
        return found.model(input_shape)

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._engines.close()


def read_onnx(path: Path, expected: str) -> tuple[bytes, Any]:
    """Return an ONNX file as bytes and as a model.

    Raises:
        WeightsError: it is missing or no ONNX; the message says what is expected.
    """
    import onnx

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}; expected an ONNX file") from error
    try:
        return content, onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's exception classes differ between its versions
        raise WeightsError(f"{path}: no ONNX network: {error}; expected {expected}") from error


def read_scene_network(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return the scene network of a map as a model.

    Raises:
        MapFormatError: it is no ONNX, or has other inputs or outputs.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's exception classes differ between its versions
        raise MapFormatError(f"the map's scene network is no ONNX: {error}; train it anew") from error
    for tensors, expected in ((model.graph.input, inputs), (model.graph.output, outputs)):
        names = [tensor.name for tensor in tensors]
        if names != list(expected):
            raise MapFormatError(
                f"the map's scene network has {', '.join(map(str, names))}, expected {', '.join(expected)}; train it "
                "anew"
            )
    return model


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in tensor.type.tensor_type.shape.dim
    )


def set_shape(tensor: Any, shape: tuple[int | None, ...]) -> None:
    """Fix the shape of a graph's input or output; what is None keeps its name."""
    dims = tensor.type.tensor_type.shape.dim
    names = [dim.dim_param for dim in dims]
    del dims[:]
    for index, length in enumerate(shape):
        dim = dims.add()
        if length is not None:
            dim.dim_value = length
        elif index < len(names):
            dim.dim_param = names[index]
