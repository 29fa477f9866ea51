"""What the exported graph of a finalist costs: the size of its file, and the memory that its activations need."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from factory_base.documents import shaping_values
from factory_base.errors import EngineError
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained

if TYPE_CHECKING:
    from device_profiles.costs import Costs
    from search.device_target import Target
    from search.target import Candidate
    from supernet.space import SubnetConfig

_VERSION = 1
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """Facts about the exported graph of a subnet. Equal weights, such as biases of 0, are stored once.

    Attributes:
        file_bytes: The size of the file.
        arena_bytes: The most bytes of activations that are live at one step; None if their shapes depend on the data.
    """

    file_bytes: int
    arena_bytes: int | None


def graph_costs(
    run: Run, materials: Materials, trained: Trained, calibration_images: int, target: Target, candidate: Candidate
) -> Costs:
    """The costs of a candidate, with the file size and the activations of its graph in place of predictions.

    A profile in another precision than that of the exported files keeps its predictions.

    Args:
        run: The run, which keeps the facts about each graph.
        materials: Its supernet and images.
        trained: The trained supernet.
        calibration_images: Number of training images on which the candidate is recalibrated.
        target: The target.
        candidate: The candidate, with its predicted costs.

    Raises:
        EngineError: The network cannot be exported.
    """
    profile = target.costs.profile
    if profile.precision != "fp32":
        return candidate.costs
    facts = _facts(run, materials, trained, calibration_images, candidate.subnet)
    more = 0.0
    if facts.arena_bytes is not None:
        predicted = materials.workloads.of(candidate.subnet).arena_elements * _FLOAT_BYTES
        more = profile.costs.arena_ratio.value * (facts.arena_bytes - predicted)
    peak = candidate.costs.peak_memory_bytes + round(more)
    return replace(candidate.costs, file_bytes=facts.file_bytes, peak_memory_bytes=peak)


def _facts(
    run: Run, materials: Materials, trained: Trained, calibration_images: int, subnet: SubnetConfig
) -> GraphFacts:
    stage = Stage(
        run=run,
        name=f"graph-{subnet.id}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "export": shaping_values(run.config.export),
            "subnet": subnet_values(subnet),
        },
        libraries=("torch", "onnx", "onnxscript", *space_libraries(run.config.model)),
        codec=TypeAdapter(GraphFacts),
    )
    return stage.cached(lambda: _exported_facts(run, materials, calibration_images, subnet))


def _exported_facts(run: Run, materials: Materials, calibration_images: int, subnet: SubnetConfig) -> GraphFacts:
    from exports.engines import get_engine
    from exports.onnx.graph_memory import plan_graph

    engine = get_engine("onnxruntime", **shaping_values(run.config.export))
    module, shape = materials.calibrated(subnet, calibration_images), materials.model_space.input_shape(subnet)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "subnet.onnx"
        engine.convert(module, shape, path)
        try:
            arena = plan_graph(path).bound_bytes
        except EngineError:
            arena = None
        return GraphFacts(file_bytes=path.stat().st_size, arena_bytes=arena)
