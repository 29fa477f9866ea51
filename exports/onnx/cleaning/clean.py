"""The clean-up of an exported graph, and the proof that it computes what it computed before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exports.onnx.cleaning.activations import fuse_activations
from exports.onnx.cleaning.batch_norms import fold_batch_norms
from exports.onnx.cleaning.constants import fold_constants, remove_no_ops, remove_unused
from exports.onnx.input_scale import fold_input_scale
from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.errors import EngineError

_TOLERANCE: Final = 1e-4
"""The largest accepted difference, relative to the largest output: a hundred times the rounding of float32 in networks
of some fifty layers, and far below what a wrong constant changes."""


def clean_model(model: Any) -> None:
    """Rewrite a ModelProto in place, so that it has no operator that an engine need not run.

    Batch normalisations become part of a layer or a scale and a shift. Hard sigmoids and hard swishes that are written
    out as sums, clips and products become single operators. Whatever depends on constants and static shapes alone
    becomes a constant. Operators that return their input, and all that leads to no output, are removed. The scale of a
    preprocessing becomes part of the first convolutions.

    If any operator was rewritten, the outputs before and after are compared on random inputs.

    Raises:
        EngineError: A batch normalisation cannot be folded, or the outputs changed.
    """
    before = model.SerializeToString()
    changes = [
        fold_batch_norms(model.graph),
        fold_constants(model),
        fuse_activations(model.graph),
        remove_no_ops(model.graph),
    ]
    remove_unused(model.graph)
    changes.append(fold_input_scale(model.graph))
    if any(changes):
        compare_outputs(before, model.SerializeToString())


def compare_outputs(before: bytes, after: bytes) -> None:
    """Run both models in ONNX Runtime on the same random inputs. Raises `EngineError` if their outputs differ."""
    expected, found = _outputs(before), _outputs(after)
    for old, new in zip(expected, found, strict=True):
        limit = _TOLERANCE * float(np.abs(old[np.isfinite(old)]).max(initial=0.0))
        if old.shape != new.shape or not np.allclose(old, new, rtol=0, atol=limit, equal_nan=True):
            difference = float(np.abs(old - new).max()) if old.shape == new.shape else float("nan")
            raise EngineError(
                f"the clean-up of the exported graph changed its outputs by up to {difference:.2g}; report this network"
            )


def _outputs(model: bytes) -> list[NDArray[np.float32]]:
    library = onnxruntime_library()
    options = library.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # fatal: errors are raised, and nothing is printed
    try:
        session = library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {entry.name: _random_input(entry) for entry in session.get_inputs()}))
    except Exception as error:  # its error types are private to its extension module
        reason = str(error).strip().partition("\n")[0][:200]
        raise EngineError(f"the exported graph does not run in ONNX Runtime ({reason})") from error


def _random_input(entry: Any) -> NDArray[Any]:
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    generator = np.random.default_rng(0)
    if entry.type == "tensor(uint8)":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if entry.type == "tensor(int64)":  # tokens: every vocabulary has 0, which is padding, and 1
        return generator.integers(0, 2, shape, dtype=np.int64)
    return generator.normal(size=shape).astype(np.float32)
