"""The table of exporters. Each implements `exports.exporter.Exporter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exports.exporters.onnxruntime import OnnxRuntimeExporter
from factory_base.documents import nearest
from factory_base.errors import EngineError

if TYPE_CHECKING:
    from exports.exporter import Exporter

EXPORTERS: dict[str, type[OnnxRuntimeExporter]] = {OnnxRuntimeExporter.name: OnnxRuntimeExporter}


def get_exporter(name: str, *, opset: int = 20, dynamic_batch: bool = False) -> Exporter:
    """A new exporter for the engine of that name.

    Args:
        name: A key of `EXPORTERS`.
        opset: The opset of the ONNX files that it writes or converts from; see `get_engine`.
        dynamic_batch: Whether the files accept a batch of any size; otherwise they accept one input at a time.

    Raises:
        EngineError: The engine has no exporter.
    """
    if name not in EXPORTERS:
        raise EngineError(f"files for the engine {name!r} cannot be exported; {nearest(name, EXPORTERS)}")
    return EXPORTERS[name](opset=opset, dynamic_batch=dynamic_batch)
