"""The table of engines. An engine implements `device_profiles.engine.Engine`."""

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
        name: a key of `ENGINES`.
        opset: of the ONNX files that it writes or converts from.
        dynamic_batch: whether files take any batch; else they take one input.

    Raises:
        EngineError: the name is unknown, or the engine has no dynamic batch.
    """
    if name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown; {nearest(name, ENGINES)}")
    return ENGINES[name](opset=opset, dynamic_batch=dynamic_batch)
