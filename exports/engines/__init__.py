"""The table of engines. An engine implements `device_profiles.engine.Engine`."""

from __future__ import annotations

from exports.engines.onnxruntime import OnnxRuntimeEngine
from model_factory.base.documents import nearest
from model_factory.base.errors import EngineError

ENGINES: dict[str, type[OnnxRuntimeEngine]] = {OnnxRuntimeEngine.name: OnnxRuntimeEngine}


def get_engine(name: str, *, opset: int = 20, dynamic_batch: bool = False) -> OnnxRuntimeEngine:
    """A new engine of that name.

    Raises:
        EngineError: the name is unknown.
    """
    if name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown; {nearest(name, ENGINES)}")
    return ENGINES[name](opset=opset, dynamic_batch=dynamic_batch)
