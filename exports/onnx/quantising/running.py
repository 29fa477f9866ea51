"""Running a graph in ONNX Runtime while it is being converted: all its values, or its answers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME
from exports.onnx.onnxruntime_library import onnxruntime_library, session_options


def logits_of(model: Any, inputs: ModelInput) -> NDArray[np.float32]:
    """The outputs of a ModelProto for inputs `(n, *input_shape)`, run one by one: `(n, *output_shape)`."""
    session = _session(model)
    return np.concatenate([session.run(None, {INPUT_NAME: one[None]})[0] for one in np.ascontiguousarray(inputs)])


def values_of(model: Any, names: Sequence[str], inputs: ModelInput) -> Iterator[dict[str, NDArray[np.float32]]]:
    """For each input, the values of these names, each with a batch of one."""
    import onnx

    asked = [name for name in names if name not in (INPUT_NAME, OUTPUT_NAME)]
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in asked)
    session = _session(observed)
    for one in np.ascontiguousarray(inputs):
        outputs = session.run([OUTPUT_NAME, *asked], {INPUT_NAME: one[None]})
        yield {INPUT_NAME: one[None], **dict(zip([OUTPUT_NAME, *asked], outputs, strict=True))}


def _session(model: Any) -> Any:
    library = onnxruntime_library()
    return library.InferenceSession(model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"])
