"""What the exported graph of a finalist costs: the size of its file, and the memory that its activations need."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory_base.documents import shaping_values
from model_factory.run import Run
from model_factory.stages.materials import Materials

if TYPE_CHECKING:
    from device_profiles.costs import Costs
    from search.device_target import Target
    from search.target import Candidate
    from supernet.space import SubnetConfig

_FLOAT_BYTES = 4


class GraphCosts:
    """Exports each subnet once, without keeping the file.

    Args:
        run: The run.
        materials: Its supernet and images.
        calibration_images: Number of training images on which a subnet is recalibrated.
    """

    def __init__(self, run: Run, materials: Materials, calibration_images: int) -> None:
        self._run, self._materials, self._images = run, materials, calibration_images
        self._known: dict[SubnetConfig, tuple[int, int | None]] = {}

    def of(self, target: Target, candidate: Candidate) -> Costs:
        """The costs of `candidate`, with the file size and the activations of its graph in place of predictions.

        A profile in another precision than that of the exported files keeps its predictions.

        Raises:
            EngineError: The network cannot be exported.
        """
        profile = target.costs.profile
        if profile.precision != "fp32":
            return candidate.costs
        file_bytes, arena_bytes = self._measured(candidate.subnet)
        more = 0.0
        if arena_bytes is not None:
            predicted = self._materials.workloads.of(candidate.subnet).arena_elements * _FLOAT_BYTES
            more = profile.costs.arena_ratio.value * (arena_bytes - predicted)
        peak = candidate.costs.peak_memory_bytes + round(more)
        return replace(candidate.costs, file_bytes=file_bytes, peak_memory_bytes=peak)

    def _measured(self, subnet: SubnetConfig) -> tuple[int, int | None]:
        """The bytes of the file and of its activations; None for those if their shapes depend on the data."""
        if subnet not in self._known:
            from exports.engines import get_engine
            from exports.onnx.graph_memory import plan_graph
            from factory_base.errors import EngineError

            engine = get_engine("onnxruntime", **shaping_values(self._run.config.export))
            module = self._materials.calibrated(subnet, self._images)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "subnet.onnx"
                engine.convert(module, self._materials.model_space.input_shape(subnet), path)
                try:
                    arena = plan_graph(path).bound_bytes
                except EngineError:
                    arena = None
                self._known[subnet] = path.stat().st_size, arena
        return self._known[subnet]
