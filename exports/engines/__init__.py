"""The table of engines. Each implements `device_profiles.engine.Engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exports.engines.mnn import MnnEngine
from exports.engines.onnxruntime import OnnxRuntimeEngine
from factory_base.documents import nearest
from factory_base.errors import EngineError

if TYPE_CHECKING:
    from device_profiles.engine import Engine

ENGINES: dict[str, type[OnnxRuntimeEngine] | type[MnnEngine]] = {
    OnnxRuntimeEngine.name: OnnxRuntimeEngine,
    MnnEngine.name: MnnEngine,
}


def get_engine(name: str, *, opset: int = 20, dynamic_batch: bool = False) -> Engine:
    """A new engine of that name.

    Args:
        name: A key of `ENGINES`.
        opset: The opset of the ONNX files that it writes or converts from. 20, for which ONNX Runtime 1.17 of January
            2024 suffices, is the first opset with GELU as one operator.
        dynamic_batch: Whether the files accept a batch of any size; otherwise they accept one input at a time.

    Raises:
        EngineError: The name is unknown, or the engine does not support dynamic batches.
    """
    if name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown; {nearest(name, ENGINES)}")
    return ENGINES[name](opset=opset, dynamic_batch=dynamic_batch)
