"""How well is the activation arena planned, compared with its lower bound and with engines?

    python benchmarks/peak_memory.py
    python benchmarks/peak_memory.py --spaces ofa_mbv3 --subnets 5 --engines onnxruntime

Every subnet is exported with random weights and planned from its ONNX file (`exports.onnx.graph_memory`).
`arena_over_bound` is the largest ratio of a plan to its own liveness bound, over all plans; 1 means that every plan is
proven optimal.

* ExecuTorch plans ahead of time for its portable kernels. As in the ONNX file, batch normalisation is folded and
  constants are computed ahead; the caller keeps the input. `max_relative_difference` compares the arenas.
  `max_relative_difference_of_bounds` compares the largest number of bytes alive at one step as either side counts them,
  so it shows whether both see the same graph, however they plan it. `plan_over_executorch` and `executorch_over_bound`
  show which planner did better.
* LiteRT's arena is read from the addresses of its tensors, without delegates. Its graphs contain copies that the ONNX
  graph does not (channels last, padding), so `litert_over_plan` is a ratio, not a test.
* ONNX Runtime's arena is the most memory that its allocator had in use during one run. It includes scratch memory,
  copies in other layouts and repacked weights, so it is a rough upper bound.

ExecuTorch and LiteRT are optional; if one is missing, the script says how to install it and continues without it. Each
installs many packages, so give it an environment of its own.

`--quick` takes one random subnet per space instead of three, in three of the seven spaces.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import environment, log, make_parser, parse_options
from paired import random_subnets, tiny_space
from torch import nn

from exports.engines import get_engine
from exports.onnx.arena import Buffer, plan_arena
from exports.onnx.graph_memory import GraphMemory, plan_graph
from exports.onnx.onnx_file import export_onnx
from model_factory.config import load_config, shipped_configs
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig

CLASSES = {"cifar10": 10, "cifar10_gpu": 10, "digits": 10, "imagenet": 1000, "mobile_int8": 1000}
"""Numbers of classes for the spaces of the shipped configs with convolutional networks."""

NEEDS = {
    "executorch": ("executorch", "pip install executorch"),
    "litert": ("litert_torch", "pip install litert-torch ai-edge-litert"),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
}
"""The module that each engine needs, and how to install it."""

QUICK = {"spaces": ["digits", "cifar10", "ofa_mbv3"], "subnets": 1}
"""Small, middle and large networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plans of one subnet, and its arena in every engine, in bytes.

    Attributes:
        space: Name of the model space.
        subnet: Id of the subnet.
        fused: Plan for an executor that fuses activations; the input is in the arena.
        fused_without_input: The same plan without the input.
        portable: Plan for an executor that fuses nothing, without the input.
        arenas: Arena of each engine.
        executorch_bound: Most bytes alive at one step as ExecuTorch counts them; None without ExecuTorch.
    """

    space: str
    subnet: str
    fused: GraphMemory
    fused_without_input: GraphMemory
    portable: GraphMemory
    arenas: dict[str, int]
    executorch_bound: int | None

    @property
    def over_bound(self) -> float:
        """The largest ratio of a plan to its bound."""
        return max(plan.over_bound for plan in (self.fused, self.fused_without_input, self.portable))


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    engines = [name for name in options.engines if is_installed(name)]
    found = []
    for name in options.spaces:
        space = make_space(name)
        for subnet in random_subnets(space, options.subnets, options.seed):
            found.append(measure(name, space, subnet, engines))
            log(f"{name} {subnet.id}: {found[-1].fused.describe()}; {found[-1].arenas}")
    result = {
        "benchmark": "peak_memory",
        "quick": options.quick,
        **metrics(found),
        "subnets": len(found),
        "engines": {name: version(NEEDS[name][0].replace("_", "-")) for name in engines},
        "spaces": options.spaces,
        **environment(options.seed),
    }
    print_markdown(found)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    spaces = [*CLASSES, "ofa_mbv3", "ofa_proxyless"]
    parser.add_argument("--spaces", nargs="+", choices=[*spaces, "tiny"], default=spaces)
    parser.add_argument("--subnets", type=int, default=3, help="random subnets per space")
    parser.add_argument("--engines", nargs="*", choices=[*NEEDS], default=[*NEEDS])
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if options.subnets < 1:
        parser.error(f"--subnets must be at least 1, got {options.subnets}")
    return options


def make_space(name: str) -> ModelSpace:
    """A convolutional model space of the product."""
    if name == "tiny":
        return tiny_space()
    if name == "ofa_mbv3":
        return make_model_space(OfaMbv3Config(space="ofa_mbv3"), 1000)
    if name == "ofa_proxyless":
        return make_model_space(OfaProxylessConfig(space="ofa_proxyless"), 1000)
    return make_model_space(load_config(shipped_configs() / f"{name}.yaml").model, CLASSES[name])


def is_installed(engine: str) -> bool:
    """Whether the engine is installed; if not, log how to install it."""
    module, hint = NEEDS[engine]
    if importlib.util.find_spec(module) is None:
        log(f"{engine} is not installed, so it is left out; {hint}")
        return False
    return True


def measure(name: str, space: ModelSpace, subnet: SubnetConfig, engines: list[str]) -> Planned:
    """Export and plan a subnet, and measure its arena in the engines."""
    module, shape = space.build(subnet).eval(), space.input_shape(subnet)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(module, shape, path)
        plans = [plan_graph(path), plan_graph(path, holds_input=False)]
        portable = plan_graph(path, executor="portable", holds_input=False)
        arenas = {"onnxruntime": onnxruntime_arena(path)} if "onnxruntime" in engines else {}
        if "litert" in engines:
            arenas["litert"] = litert_arena(module, shape, Path(folder) / "model.tflite")
    bound = None
    if "executorch" in engines:
        arenas["executorch"], bound = executorch_arena(module, shape)
    return Planned(
        space=name,
        subnet=subnet.id,
        fused=plans[0],
        fused_without_input=plans[1],
        portable=portable,
        arenas=arenas,
        executorch_bound=bound,
    )


def onnxruntime_arena(path: Path) -> int:
    """The most bytes that ONNX Runtime has in use during one run."""
    return get_engine("onnxruntime").load(path, 1).peak_memory_bytes() or 0


def executorch_arena(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """The bytes that ExecuTorch plans, and the most bytes alive at one step by its own lifetimes."""
    from executorch.exir import ExecutorchBackendConfig, to_edge
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from torch.fx.experimental.optimization import fuse

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(fuse(module), (torch.zeros(1, *shape),)).run_decompositions()
        planning = ExecutorchBackendConfig(memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False))
        program = to_edge(constant_prop_pass(exported)).to_executorch(planning)
    sizes = program.executorch_program.execution_plan[0].non_const_buffer_sizes
    nodes = program.exported_program().graph.nodes
    return sum(sizes), plan_arena(executorch_buffers(nodes)).bound_bytes


def executorch_buffers(nodes: Any) -> list[Buffer]:
    """The tensors that ExecuTorch placed in memory, each once."""
    placed = {}
    for node in nodes:
        specs = node.meta.get("spec")
        for spec in specs if isinstance(specs, (list, tuple)) else [specs]:
            if getattr(spec, "mem_offset", None) is not None:
                placed[id(spec)] = spec
    return [
        Buffer(size_bytes=spec.allocated_memory, first=spec.lifetime[0], last=spec.lifetime[1])
        for spec in placed.values()
    ]


def litert_arena(module: nn.Module, shape: tuple[int, ...], path: Path) -> int:
    """The bytes from the lowest to the highest address of an activation, including the input."""
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch.convert(module, (torch.zeros(1, *shape),)).export(str(path))
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    numbers = {int(number) for step in interpreter._get_ops_details() for number in step["outputs"]}
    numbers |= {int(detail["index"]) for detail in interpreter.get_input_details()}
    views = [interpreter.tensor(number)() for number in numbers]
    starts = [view.__array_interface__["data"][0] for view in views]
    return int(max(s + v.nbytes for s, v in zip(starts, views, strict=True)) - min(starts))


def metrics(found: list[Planned]) -> dict[str, Any]:
    """The metrics of all subnets; those of engines that were left out are missing."""
    result: dict[str, Any] = {"arena_over_bound": max(planned.over_bound for planned in found)}
    if "executorch" in found[0].arenas:
        plans, bounds = [p.portable.arena_bytes for p in found], [p.portable.bound_bytes for p in found]
        theirs, their_bounds = [p.arenas["executorch"] for p in found], [p.executorch_bound or 0 for p in found]
        result |= {
            "max_relative_difference": difference(plans, theirs),
            "max_relative_difference_of_bounds": difference(bounds, their_bounds),
            **extremes("plan_over_executorch", plans, theirs),
            **extremes("executorch_over_bound", theirs, their_bounds),
            "executorch_equal": sum(a == b for a, b in zip(plans, theirs, strict=True)),
        }
    if "litert" in found[0].arenas:
        result |= extremes(
            "litert_over_plan", [p.arenas["litert"] for p in found], [p.fused.arena_bytes for p in found]
        )
    if "onnxruntime" in found[0].arenas:
        plans = [p.fused_without_input.arena_bytes for p in found]
        result |= extremes("ort_over_plan", [p.arenas["onnxruntime"] for p in found], plans)
    return result


def difference(ours: list[int], theirs: list[int]) -> float:
    """The largest difference, relative to `theirs`."""
    return max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))


def extremes(name: str, above: list[int], below: list[int]) -> dict[str, float]:
    """The smallest and the largest ratio."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {f"{name}_min": round(min(ratios), 4), f"{name}_max": round(max(ratios), 4)}


def print_markdown(found: list[Planned]) -> None:
    """The table for `benchmarks/README.md`."""
    engines = [*found[0].arenas]
    cells: dict[str, Callable[[Planned], str]] = {
        "space": lambda p: p.space,
        "subnet": lambda p: p.subnet,
        "arena, fused": lambda p: f"{p.fused.arena_bytes:,}",
        "over bound": lambda p: f"{p.over_bound:.2f}",
        "arena, portable, without input": lambda p: f"{p.portable.arena_bytes:,}",
    }
    print(f"| {' | '.join([*cells, *engines])} |")
    print(f"|---|---|{'--:|' * (len(cells) - 2 + len(engines))}")
    for planned in found:
        row = [write(planned) for write in cells.values()]
        print(f"| {' | '.join([*row, *(f'{planned.arenas[name]:,}' for name in engines)])} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
