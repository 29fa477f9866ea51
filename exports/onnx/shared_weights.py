"""One file of weights for several networks that are slices of one supernet, and a small graph for each of them.

The weights file holds the union of what the networks need. A graph refers to it over ONNX external data and takes its
part with `Slice`; a batch normalisation that was folded into a network's weights becomes a factor per output channel.
ONNX Runtime computes all of it once, when it loads the graph, so that it runs as fast as a file of its own would.

    1. `match_constants` finds which part of which parameter each constant of a file is.
    2. `unite` makes the bounding part of each parameter, with the values of the largest network.
    3. `lay_out` puts them into one file.
    4. `_rewritten` replaces the constants of each graph by expressions on that file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.cleaning.constants import remove_unused
from exports.onnx.graph_edit import ConstantNodes, runs_of, shorten
from exports.onnx.graphs import constant_values
from exports.onnx.onnx_file import first_line, read_onnx
from exports.onnx.parameter_match import (
    SMALLEST_BYTES,
    Floats,
    Key,
    Match,
    factor_between,
    match_constants,
    match_halves,
    match_quantised,
    part_of,
)
from exports.onnx.shared_integers import put_scales, quantised_layers, quantised_weights
from exports.onnx.weight_union import Layout, Shared, lay_out, unite, without_flips
from factory_base.errors import EngineError
from factory_base.files import sha256_bytes, write_bytes
from supernet.sharing.blueprint import build_unweighted
from supernet.sharing.slicing import Plan, SlicePlan, plan_module, slicing_rules

if TYPE_CHECKING:
    from supernet.sharing.supernet import Supernet
    from supernet.space import SubnetConfig

_OF_PIXELS = " of pixels"
"""The ending of the names of weights that hold the factor of the preprocessing. No name in PyTorch has a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedTier:
    """One network of a family that is to share its weights.

    Attributes:
        name: Its name, for messages and results.
        path: Its file, as `export_onnx` or `convert_precision` wrote it, in fp32, fp16 or int8. Networks share with
            others of their precision.
        plans: How its parameters come out of the supernet's, see `tier_plans`.
        source: The float32 file that was converted to `path`; None if that is float32 itself.
    """

    name: str
    path: Path
    plans: Mapping[str, Plan]
    source: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGraph:
    """The graph of one network.

    Attributes:
        path: Its file.
        bytes: The size of the file.
        own: The shapes of the weights, of at least `SMALLEST_BYTES`, that it does not share: they are not parts of the
            supernet's. Biases are not listed: the folded normalisation of a network is in them.
        computed: The names of parameters that are computed from the supernet's by another rule than slices, such as a
            learned kernel transform. They are not shared.
    """

    path: Path
    bytes: int
    own: tuple[tuple[int, ...], ...]
    computed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFiles:
    """A family that shares its weights.

    Attributes:
        weights: The file of the shared weights, `<first 16 hex digits of its digest>.bin`.
        weights_bytes: Its size.
        graphs: The graph of each network by its name, in the folder of the weights.
    """

    weights: Path
    weights_bytes: int
    graphs: Mapping[str, SharedGraph]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return self.weights_bytes + sum(graph.bytes for graph in self.graphs.values())


def tier_plans(supernet: Supernet, subnet: SubnetConfig) -> dict[str, Plan]:
    """How the parameters of a subnet come out of the supernet's, by name."""
    model_space = supernet.model_space
    return plan_module(supernet.largest, build_unweighted(model_space, subnet), slicing_rules(model_space))


def supernet_values(supernet: Supernet) -> dict[str, Floats]:
    """The parameters of the supernet as arrays, by name."""
    return {name: parameter.detach().cpu().numpy() for name, parameter in supernet.largest.named_parameters()}


def share_weights(
    tiers: Sequence[SharedTier], full: Mapping[str, Floats], folder: Path, input_scale: Sequence[float] = ()
) -> SharedFiles:
    """Write the networks of a family as one file of weights and a graph for each, all into `folder`.

    The networks compute what their files compute: each constant is checked to be a part of a parameter, up to a factor
    per output channel and rounding. What is not, for example fine-tuned weights, stays in the network's own graph. The
    same files give the same bytes. Files are named by their digests, and a graph states the name of its weights, so
    graphs and weights of different releases cannot be confused.

    Args:
        tiers: The networks, at least one, in any order.
        full: The parameters of the supernet that the plans refer to, by name, see `supernet_values`.
        folder: The folder to write to. ONNX Runtime reads external data from the folder of the graph only.
        input_scale: The factor per channel of the preprocessing in files that take pixels, which the weights of their
            first convolution hold (`exports.onnx.input_scale`); empty for files that take tensors.

    Raises:
        EngineError: A file is damaged, or `tiers` is empty.
        DiskError: A file cannot be written.
    """
    if not tiers:
        raise EngineError("there is no network to share weights; pass at least one")
    ordered = sorted(tiers, key=lambda tier: (-tier.path.stat().st_size, tier.name))
    models = {tier.name: read_onnx(tier.path) for tier in ordered}
    of_pixels = _of_pixels(full, input_scale)
    known = {**full, **of_pixels}
    matches = without_flips(
        {tier.name: _matches(_with_plans_for(tier, of_pixels), models[tier.name].graph, known) for tier in ordered}
    )
    shared = unite(known, [found.values() for found in matches.values()])
    layout = lay_out(shared)
    weights = folder / f"{sha256_bytes(layout.data)[:16]}.bin"  # 64 bits distinguish the files of all releases
    write_bytes(weights, layout.data)
    graphs = {}
    for tier in tiers:
        model = models[tier.name]
        own = _rewritten(model.graph, matches[tier.name], shared, layout, weights.name)
        graphs[tier.name] = _written(model, folder, own, tier.plans)
    return SharedFiles(weights=weights, weights_bytes=len(layout.data), graphs=graphs)


def _of_pixels(full: Mapping[str, Floats], input_scale: Sequence[float]) -> dict[str, Floats]:
    """The weights that may read the image, as files hold them that take pixels, by another name than their own."""
    scale = np.array(input_scale, np.float32)[:, None, None].astype(np.float64)
    return {
        f"{name}{_OF_PIXELS}": (values * scale).astype(np.float32)
        for name, values in full.items()
        if values.ndim == 4 and values.shape[1] == len(scale)
    }


def _with_plans_for(tier: SharedTier, of_pixels: Mapping[str, Floats]) -> SharedTier:
    more = {name: tier.plans[own] for name in of_pixels if (own := name.removesuffix(_OF_PIXELS)) in tier.plans}
    return replace(tier, plans={**tier.plans, **more})


def _matches(tier: SharedTier, graph: Any, full: Mapping[str, Floats]) -> dict[str, Match]:
    """The constants of a file that are parts of parameters, in float32 or quantised, by name."""
    constants = constant_values(graph)
    found = match_constants(constants, tier.plans, full)
    if tier.source is not None:
        source = match_constants(constant_values(read_onnx(tier.source).graph), tier.plans, full)
        found |= match_quantised(quantised_weights(graph, constants), source)
        found |= match_halves({name: v for name, v in constants.items() if v.dtype == np.float16}, source)
    return found


def _rewritten(
    graph: Any, matches: Mapping[str, Match], shared: Mapping[Key, Shared], layout: Layout, file: str
) -> tuple[tuple[int, ...], ...]:
    """Replace the matched constants by expressions on the shared file; the shapes of weights that stay are returned."""
    own = tuple(
        tuple(tensor.dims)
        for tensor in graph.initializer
        if tensor.name not in matches and len(tensor.dims) > 1 and len(tensor.raw_data) >= SMALLEST_BYTES
    )
    constants = constant_values(graph)
    nodes = ConstantNodes(graph, file)
    values = {
        name: _value(nodes, match, shared[match.key], layout.offsets[match.key]) for name, match in matches.items()
    }
    _put_integers(nodes, graph, constants, matches, shared, values)
    names = {
        name: _scaled(nodes, match, shared[match.key], values[name])
        for name, match in matches.items()
        if match.quantised is None
    }
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.input[0] in names}
    for output, cast in casts.items():  # float16 is decoded before it is multiplied by the factors
        names[output] = names[cast.input[0]]
        graph.node.remove(cast)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    nodes.finish()
    remove_unused(graph)
    shorten(graph)
    return own


def _put_integers(
    nodes: ConstantNodes,
    graph: Any,
    constants: Mapping[str, NDArray[Any]],
    matches: Mapping[str, Match],
    shared: Mapping[Key, Shared],
    values: Mapping[str, str],
) -> None:
    layers = quantised_layers(graph, constants, [name for name, match in matches.items() if match.quantised])
    if not layers:
        return
    weights = []
    for layer in layers:
        name = layer.weight.input[0]
        weights.append((values[name], _scale(matches[name], shared[matches[name].key])))
    put_scales(nodes, layers, weights, constants)


def _scale(match: Match, shared: Shared) -> Floats:
    """The scales of a network for the shared integers."""
    if shared.quantised is None:
        raise EngineError(f"parameter {match.parameter!r}: is shared as floats, but a network needs integers")
    scale = shared.quantised.scale[shared.positions(match.axes)[0]] * _factor(match, shared)
    return scale.astype(np.float32)


def _factor(match: Match, shared: Shared) -> NDArray[np.float64]:
    factor = factor_between(match.values, part_of(shared.values, shared.positions(match.axes)))
    if factor is None:
        raise EngineError(f"parameter {match.parameter!r}: its shared values do not give those of a network")
    return factor


def _value(nodes: ConstantNodes, match: Match, shared: Shared, offset: int) -> str:
    """The name of the part of the shared file that a constant is, before its factors."""
    stored, runs = shared.stored, [runs_of(indices) for indices in shared.positions(match.axes)]
    if match.transposed:
        runs.reverse()
    whole = all(run == ((0, size),) for run, size in zip(runs[1:], stored.shape[1:], strict=True))
    if whole and len(runs[0]) == 1 and runs[0][0][0] == 0:  # leading rows are one piece of the file
        return nodes.external((runs[0][0][1], *stored.shape[1:]), stored.dtype, offset)
    return nodes.taken(nodes.external(stored.shape, stored.dtype, offset), stored.shape, runs)


def _scaled(nodes: ConstantNodes, match: Match, shared: Shared, value: str) -> str:
    """The name of a constant in float32: the part of the shared file with its factors."""
    factor = _factor(match, shared)
    if match.half:
        value = nodes.node("Cast", value, to=1)  # 1: float32
    if np.array_equal(factor, np.ones_like(factor)):
        return value
    shape = [1] * match.values.ndim
    shape[1 if match.transposed else 0] = -1
    return nodes.node("Mul", value, nodes.constant(factor.astype(np.float32).reshape(shape)))


def _written(model: Any, folder: Path, own: tuple[tuple[int, ...], ...], plans: Mapping[str, Plan]) -> SharedGraph:
    import onnx

    data = model.SerializeToString(deterministic=True)
    path = folder / f"{sha256_bytes(data)[:16]}.onnx"
    write_bytes(path, data)
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # the checker's error type is private to its extension module
        raise EngineError(f"{path.name}: the written graph is not valid ONNX ({first_line(error)})") from error
    computed = tuple(name for name, plan in plans.items() if not isinstance(plan, SlicePlan))
    return SharedGraph(path=path, bytes=len(data), own=own, computed=computed)
