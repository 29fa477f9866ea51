"""How well the activation arena is planned: against the lower bound, and against what engines hold.

    python benchmarks/peak_memory.py
    python benchmarks/peak_memory.py --spaces ofa_mbv3 --subnets 5 --engines onnxruntime

Every subnet is exported with random weights and planned from its ONNX file (`exports.onnx.graph_memory`).
`arena_over_bound` is the worst plan over its own liveness bound, of all plans made; 1 means that every one is proven
optimal.

* ExecuTorch plans ahead of time for its portable kernels (input kept by the caller, batch normalisation folded,
  constants computed ahead, both as in the ONNX file). `max_relative_difference` is between the arenas;
  `max_relative_difference_of_bounds` between the most bytes that live at one step by either side's account of the same
  network, so it tells whether the graph is understood, whatever the planners make of it; `plan_over_executorch` and
  `executorch_over_bound` tell which planner did better.
* LiteRT's arena is read from the addresses of its tensors, without delegates. Its graphs hold copies that ONNX has not
  (channels last, padding), so `litert_over_plan` is a ratio, not a test.
* ONNX Runtime's is what its allocator had in use at most in one run: also scratch, copies of layout and repacked
  weights, so it is a rough upper bound.

ExecuTorch and LiteRT are optional; where one is missing the script says how to install it and goes on. Each brings many
packages, so give it an environment of its own. The last line of standard output is one JSON object; a Markdown table
stands before it.
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
from paired import random_subnets, surroundings, tiny_space
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
"""Of the shipped configs with a convolutional space."""
NEEDS = {
    "executorch": ("executorch", "pip install executorch"),
    "litert": ("litert_torch", "pip install litert-torch ai-edge-litert"),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
}
"""The module to look for, and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One subnet: its plans, and the arena of every engine asked, in bytes."""

    space: str
    subnet: str
    fused: GraphMemory
    fused_without_input: GraphMemory
    portable: GraphMemory
    arenas: dict[str, int]
    executorch_bound: int | None

    @property
    def over_bound(self) -> float:
        """The worst of the plans over its bound."""
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
            tell(f"{name} {subnet.id}: {found[-1].fused.describe()}; {found[-1].arenas}")
    result = {
        "benchmark": "peak_memory",
        "quick": options.quick,
        **figures(found),
        "subnets": len(found),
        "engines": {name: version(NEEDS[name][0].replace("_", "-")) for name in engines},
        "spaces": options.spaces,
        **surroundings(options.seed),
    }
    print_markdown(found)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    spaces = [*CLASSES, "ofa_mbv3", "ofa_proxyless"]
    parser.add_argument("--spaces", nargs="+", choices=[*spaces, "tiny"], default=spaces)
    parser.add_argument("--subnets", type=int, default=3, help="random subnets per space")
    parser.add_argument("--engines", nargs="*", choices=[*NEEDS], default=[*NEEDS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny space; its figures say nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.spaces, options.subnets = ["tiny"], 2
    if options.subnets < 1:
        parser.error("--subnets takes at least 1")
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
    """Whether the engine can be asked; says how to get it if not."""
    module, hint = NEEDS[engine]
    if importlib.util.find_spec(module) is None:
        tell(f"{engine} is not installed, so it is left out; {hint}")
        return False
    return True


def measure(name: str, space: ModelSpace, subnet: SubnetConfig, engines: list[str]) -> Planned:
    """Export, plan and ask the engines."""
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
    """Most bytes in use in one run."""
    return get_engine("onnxruntime").load(path, 1).peak_memory_bytes() or 0


def executorch_arena(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """The bytes that ExecuTorch plans, and the most that live at one step by its own lifetimes."""
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
    """The tensors that ExecuTorch gave a place, each once."""
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
    """The bytes from the lowest to the highest address of an activation, the input included."""
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


def figures(found: list[Planned]) -> dict[str, Any]:
    """What the JSON says; a figure of an engine that was not asked is left out."""
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
    """The largest, relative to theirs."""
    return max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))


def extremes(name: str, above: list[int], below: list[int]) -> dict[str, float]:
    """The smallest and the largest ratio."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {f"{name}_min": round(min(ratios), 4), f"{name}_max": round(max(ratios), 4)}


def tell(what: str) -> None:
    """On standard error."""
    print(what, file=sys.stderr, flush=True)


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
