"""Tracing on the meta device: every ATen call becomes a node, then nodes are folded and fused. Imports torch."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from device_profiles.workload.file_graph import FileGraph
from device_profiles.workload.operators import KernelKind, Operator, Workload, totals_of
from factory_base.errors import FactoryError, SpaceError
from supernet.sharing.meta_calls import PRODUCTS, macs_of, name_of, run_on_meta

_Rule = Literal["view", "pad", "convolution", "product", "batch_norm", "activation", "pool", "elementwise"]

_VIEWS = frozenset({"detach", "alias", "_unsafe_view", "lift_fresh", "_reshape_alias"})
_FUSABLE = frozenset(
    {"relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "leaky_relu", "sigmoid", "hardsigmoid", "tanh"}
)
_LOOKUPS = frozenset({"embedding", "index_select"})
"""Calls that read only some rows of a constant."""
_REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "max", "min", "var", "var_mean", "logsumexp"})


@dataclass(slots=True)
class _Node:
    """An operator that may still be folded or fused. Values are numbered; `inputs` holds activations only."""

    rule: _Rule
    kind: KernelKind
    macs: int
    inputs: tuple[int, ...]
    input_elements: int
    output: int
    output_elements: int
    weights: dict[int, int]
    weights_read: int
    channels: int
    has_bias: bool
    has_activation: bool = False


def trace(module: nn.Module, input_shape: tuple[int, ...], *, tokens: bool = False) -> Workload:
    """Run `module` in evaluation mode on a meta tensor `(1, *input_shape)` and record what an engine would run.

    Works for any plain PyTorch network, on the meta device or with real weights, and does not change it. Operators are
    counted as onnxruntime runs them on a CPU: batch normalisation after a convolution or linear layer is folded; ReLU,
    clip, leaky ReLU, sigmoid, hard sigmoid and tanh are fused if they directly follow such a layer and are its only
    consumer; so is padding with zeros that a convolution follows; hard-swish, SiLU and GELU are element-wise operators
    of their own; views are free; anything that depends on weights only is a constant.

    Args:
        module: The network.
        input_shape: Shape of its input, without the batch.
        tokens: Whether the input is int64 tokens; otherwise it is float32.

    Raises:
        SpaceError: The network does not accept this shape, or its control flow depends on the values of its data.
    """
    image = torch.empty((1, *input_shape), dtype=torch.int64 if tokens else torch.float32, device="meta")
    recorder = _Recorder(image)
    try:
        with torch.no_grad(), _evaluating(module), recorder:
            outputs = _output_of(module, image)
    except FactoryError:
        raise
    except (Exception, SystemExit) as error:  # a network is the user's own code, so it may fail in any way
        reason = str(error).strip().split("\n")[0]
        raise SpaceError(
            f"{type(module).__name__} cannot be traced with an input of shape {tuple(image.shape)}: {reason}; "
            "a network must accept the model space's input shape, and its control flow must not depend on the values "
            "of its data"
        ) from error
    tensors = _tensors_in((outputs,))
    results = {recorder.value_of(tensor) for tensor in tensors}
    if not results or None in results:
        raise SpaceError(
            f"{type(module).__name__} cannot be traced: its output does not depend on its input; return a tensor that "
            "is computed from the input"
        )
    values = [value for value in results if value is not None]
    return _workload(recorder, values, tensors)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every call that depends on the input. Tensors are kept alive, so that an `id` identifies one tensor."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without the guard of PyTorch, which takes as long as the recorder itself; `_output_of` has another."""
        return False

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.input_shape = tuple(image.shape[1:])
        self.nodes: list[_Node] = []
        self.elements: list[int] = [image.numel()]
        self.file = FileGraph(image)
        self._values: dict[int, int] = {id(image): 0}
        self._constants: dict[int, tuple[int, int]] = {}
        self._metas: dict[int, Tensor] = {}
        self._kept: list[Tensor] = [image]

    def value_of(self, tensor: Tensor) -> int | None:
        """Return the number of the activation that `tensor` is or views; None for a constant."""
        return self._values.get(id(tensor))

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = _tensors_in(args)
        rule = _rule_of(func)
        inputs = [tensor for tensor in tensors if id(tensor) in self._values]
        result = self._run(func, tensors, args, kwargs or {})
        outputs = _tensors_in((result,))
        self._kept += outputs
        if not inputs:
            self._note_constants(rule, tensors, outputs)
        elif rule == "view":
            self.file.add_view(name_of(func), inputs[0], outputs)
            self._values |= {id(output): self._values[id(inputs[0])] for output in outputs}
        elif outputs:
            self._note(func, rule, tensors, inputs, outputs, args)
        return result

    def _run(self, func: Any, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if any(tensor.is_meta for tensor in tensors):
            args = tuple([self._meta(arg) for arg in args])
        if not any(id(tensor) in self._values for tensor in tensors):
            return func(*args, **kwargs)
        return run_on_meta(func, args, kwargs)

    def _meta(self, arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return type(arg)([self._meta(item) for item in arg])
        if not isinstance(arg, Tensor) or arg.is_meta:
            return arg
        if id(arg) not in self._metas:
            self._kept.append(arg)
            self._metas[id(arg)] = torch.empty_like(arg, device="meta")
        return self._metas[id(arg)]

    def _note_constants(self, rule: _Rule, sources: list[Tensor], outputs: list[Tensor]) -> None:
        for output in outputs:
            is_view = rule == "view" and sources
            self._constants[id(output)] = self._constant(sources[0]) if is_view else (id(output), output.numel())

    def _constant(self, tensor: Tensor) -> tuple[int, int]:
        return self._constants.get(id(tensor), (id(tensor), tensor.numel()))

    def _note(
        self,
        func: Any,
        rule: _Rule,
        tensors: list[Tensor],
        inputs: list[Tensor],
        outputs: list[Tensor],
        args: tuple[Any, ...],
    ) -> None:
        output = outputs[0]
        constants = [tensor for tensor in tensors if id(tensor) not in self._values]
        owned = [(self._constant(tensor)[0], tensor) for tensor in constants]
        self.file.add_call(name_of(func), args, inputs, owned, output)
        weights = dict(self._constant(tensor) for tensor in constants)
        node = _Node(
            rule=rule,
            kind=_kind(rule, args),
            macs=macs_of(name_of(func), args, output),
            inputs=tuple(self._values[id(tensor)] for tensor in inputs),
            input_elements=sum(tensor.numel() for tensor in inputs),
            output=len(self.elements),
            output_elements=output.numel(),
            weights=weights,
            weights_read=output.numel() if name_of(func) in _LOOKUPS else sum(weights.values()),
            channels=output.shape[1] if output.dim() > 1 else 0,
            has_bias=len(constants) > 1,
        )
        self.nodes.append(node)
        self.elements.append(node.output_elements)
        self._values |= {id(tensor): node.output for tensor in outputs}
        if id(output) in self._constants:
            self._overwrite(output, node.output)

    def _overwrite(self, constant: Tensor, value: int) -> None:
        """Treat a constant buffer that an activation was written into, and its views, as an activation from here on."""
        key, elements = self._constants[id(constant)]
        self.elements[value] = elements
        self._values |= {name: value for name, (owner, _) in self._constants.items() if owner == key}


def _output_of(module: nn.Module, image: Tensor) -> Any:
    """The output of `module`, whose compiled layers run as plain PyTorch: else the recorder would be compiled, too."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and to import it takes a second
        return module(image)
    with torch.compiler.set_stance("force_eager"):
        return module(image)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    # Attributes are set through `vars`: nn.Module.__setattr__ takes a millisecond in all.
    states = [vars(part) for part in module.modules() if part.training]
    for state in states:
        state["training"] = False
    try:
        yield
    finally:
        for state in states:
            state["training"] = True


def _tensors_in(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors_in(value)
        elif isinstance(value, dict):
            found += _tensors_in(value.values())
    return found


@cache
def _rule_of(func: Any) -> _Rule:
    name = name_of(func)
    if func.is_view or name in _VIEWS:
        return "view"
    if name == "constant_pad_nd":
        return "pad"
    if name == "convolution":
        return "convolution"
    if name in PRODUCTS:
        return "product"
    if "batch_norm" in name:
        return "batch_norm"
    if name in _FUSABLE:
        return "activation"
    return "pool" if "pool" in name or name in _REDUCTIONS else "elementwise"


def _kind(rule: _Rule, args: tuple[Any, ...]) -> KernelKind:
    if rule == "convolution":
        return _convolution_kind(args)
    if rule == "product":
        return "linear"
    return "pool" if rule == "pool" else "elementwise"


def _convolution_kind(args: tuple[Any, ...]) -> KernelKind:
    weight, groups = args[1], args[8]
    if groups > 1:
        return "depthwise" if groups == args[0].shape[1] else "conv"
    return "pointwise" if math.prod(weight.shape[2:]) == 1 else "conv"


def _workload(recorder: _Recorder, outputs: list[int], tensors: list[Tensor]) -> Workload:
    nodes = _fused(recorder.nodes, outputs)
    weights = {key: elements for node in nodes for key, elements in node.weights.items()}
    operators = tuple(
        Operator(
            kind=node.kind,
            macs=node.macs,
            input_elements=node.input_elements,
            output_elements=node.output_elements,
            weight_elements=node.weights_read,
        )
        for node in nodes
    )
    return Workload(
        operators=operators,
        macs=sum(operator.macs for operator in operators),
        weight_elements=sum(weights.values()),
        arena_elements=_arena(nodes, recorder.elements, outputs),
        input_elements=recorder.elements[0],
        input_shape=recorder.input_shape,
        output_shape=tuple(tensors[0].shape[1:]),
        file_content=recorder.file.content(tensors),
        totals=totals_of(operators),
    )


def _fused(nodes: list[_Node], outputs: list[int]) -> list[_Node]:
    consumers = Counter([value for node in nodes for value in node.inputs] + outputs)
    producers: dict[int, _Node] = {}
    kept: list[_Node] = []
    for node in nodes:
        producer = producers.get(node.inputs[0]) if consumers[node.inputs[0]] == 1 else None
        if producer is not None and producer.rule == "pad" and node.rule == "convolution":
            node.inputs, node.input_elements = producer.inputs, producer.input_elements
            kept.remove(producer)
            producer = None
        if producer is not None and _absorbs(producer, node):
            producer.output = node.output
            producers[node.output] = producer
        else:
            kept.append(node)
            producers[node.output] = node
    return kept


def _absorbs(producer: _Node, node: _Node) -> bool:
    """Whether `node` is folded or fused into `producer`. If so, `producer` is changed to include it."""
    if producer.macs == 0 or producer.has_activation:
        return False
    if node.rule == "batch_norm" and producer.weights:
        if not producer.has_bias:
            producer.weights[-node.output] = node.channels
            producer.weights_read += node.channels
            producer.has_bias = True
        return True
    producer.has_activation = node.rule == "activation"
    return producer.has_activation


def _arena(nodes: list[_Node], elements: list[int], outputs: list[int]) -> int:
    last_use = {value: step for step, node in enumerate(nodes) for value in node.inputs}
    last_use |= dict.fromkeys(outputs, len(nodes))
    live = peak = elements[0]
    for step, node in enumerate(nodes):
        live += elements[node.output]
        peak = max(peak, live)
        ending = {value for value in (*node.inputs, node.output) if last_use.get(value, step) <= step}
        live -= sum(elements[value] for value in ending)
    return peak
