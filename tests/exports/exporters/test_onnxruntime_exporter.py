import pytest
from exporter_conformance import ExporterConformance

from exports.exporters import get_exporter
from factory_base.errors import EngineError


class TestOnnxRuntime(ExporterConformance):
    name = "onnxruntime"


def test_an_engine_without_an_exporter_is_named():
    with pytest.raises(EngineError, match="files for the engine 'warp' cannot be exported; known: onnxruntime"):
        get_exporter("warp")
