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
from model_factory.stages.fingerprint import model_code, space_libraries
from model_factory.stages.materials import Materials

if TYPE_CHECKING:
    from device_profiles.costs import Costs
    from search.device_target import Target
    from search.target import Candidate
    from supernet.space import SubnetConfig

_VERSION = 1
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """Facts about the exported graph of a subnet, which do not depend on its weights.

    Attributes:
        file_bytes: The size of the file.
        arena_bytes: The most bytes of activations that are live at one step; None if their shapes depend on the data.
    """

    file_bytes: int
    arena_bytes: int | None


def graph_costs(run: Run, materials: Materials, target: Target, candidate: Candidate) -> Costs:
    """The costs of a candidate, with the file size and the activations of its graph in place of predictions.

    A profile in another precision than that of the exported files keeps its predictions.

    Args:
        run: The run, which keeps the facts about each graph.
        materials: Its model space.
        target: The target.
        candidate: The candidate, with its predicted costs.

    Raises:
        EngineError: The network cannot be exported.
    """
    profile = target.costs.profile
    if profile.precision != "fp32":
        return candidate.costs
    facts = _facts(run, materials, candidate.subnet)
    more = 0.0
    if facts.arena_bytes is not None:
        predicted = materials.workloads.of(candidate.subnet).arena_elements * _FLOAT_BYTES
        more = profile.costs.arena_ratio.value * (facts.arena_bytes - predicted)
    peak = candidate.costs.peak_memory_bytes + round(more)
    return replace(candidate.costs, file_bytes=facts.file_bytes, peak_memory_bytes=peak)


def _facts(run: Run, materials: Materials, subnet: SubnetConfig) -> GraphFacts:
    config = run.config
    stage = Stage(
        run=run,
        name=f"graph-{subnet.id}",
        version=_VERSION,
        inputs={
            "model": shaping_values(config.model),
            **model_code(config.model, run.config_folder),
            "export": shaping_values(config.export),
            "subnet": [[name, option] for name, option in subnet.values],
            "output": materials.workloads.of(subnet).output_shape,
        },
        libraries=("torch", "onnx", "onnxscript", *space_libraries(config.model)),
        codec=TypeAdapter(GraphFacts),
    )
    return stage.cached(lambda: _exported_facts(run, materials, subnet))


def _exported_facts(run: Run, materials: Materials, subnet: SubnetConfig) -> GraphFacts:
    from exports.engines import get_engine
    from exports.onnx.graph_memory import plan_graph

    engine = get_engine("onnxruntime", **shaping_values(run.config.export))
    space = materials.model_space
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "subnet.onnx"
        engine.convert(space.build(subnet).eval(), space.input_shape(subnet), path)
        try:
            arena = plan_graph(path).bound_bytes
        except EngineError:
            arena = None
        return GraphFacts(file_bytes=path.stat().st_size, arena_bytes=arena)
