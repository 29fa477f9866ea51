"""The ONNX nodes that an ATen call becomes in a file that `exports.onnx.onnx_file` writes.

Observed operator by operator in files from the exporter of PyTorch 2.13 at opset 20. Imports no torch: only the shapes
of tensors are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from device_profiles.workload.file_size import attribute_bytes, node_bytes, tensor_bytes

Args = Sequence[Any]

_UNKNOWN_BYTES = 256
"""Size of a call that is not in the tables: more than any node of an image classifier takes, so that the file size is
rather over- than underestimated."""
_INT64 = 8
"""Bytes of one axis, shape or index in a constant."""
_SCALAR, _VECTOR_OF_ONE = tensor_bytes(()), tensor_bytes((1,))


@dataclass(frozen=True, slots=True)
class Exported:
    """One node and what comes with it.

    Attributes:
        op_type: Operator of the node; "" for a call that leaves no node.
        attributes: Bytes of the node's attributes.
        others: Bytes of further nodes and of constants that are not weights.
        numbers: Number of these constants that are inputs of the node.
        values: What they are, for the operators of a written-out activation: a factor, divisor, summand, or limits.
    """

    op_type: str
    attributes: int = 0
    others: int = 0
    numbers: int = 0
    values: tuple[float, ...] = ()


def exported_call(name: str, args: Args) -> Exported:
    """Return the node of a call that computes.

    Args:
        name: Name of the ATen function, without namespace, overload and the underscore of in-place functions.
        args: Positional arguments of the call.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _BINARY:
        numbers = sum(isinstance(arg, (int, float)) for arg in args[:2])
        values = (float(args[1]),) if len(args) > 1 and isinstance(args[1], (int, float)) else ()
        return Exported(_BINARY[name], others=numbers * _SCALAR, numbers=numbers, values=values)
    rule = _RULES.get(name)
    return rule(args) if rule else Exported("", others=_UNKNOWN_BYTES)


@cache
def exported_view(name: str, axes: int) -> int:
    """Return the bytes of a view for each of its outputs.

    Args:
        name: Name of the ATen function, as in `exported_call`.
        axes: Number of axes of the result if the view is a reshape, otherwise of the source.
    """
    if name in RESHAPES:
        return _reshape(axes)
    if name in ("t", "transpose", "permute"):
        return _transpose(axes)
    if name == "unbind":
        return node_bytes("Slice", 4) + node_bytes("Squeeze", 2) + 4 * tensor_bytes((1,), _INT64)
    if name == "unsqueeze":
        return node_bytes("Unsqueeze", 2) + tensor_bytes((1,), _INT64)
    if name == "select":
        return node_bytes("Gather", 2, attribute_bytes("axis", 1)) + tensor_bytes((), _INT64)
    return _UNKNOWN_BYTES


RESHAPES = frozenset({"view", "_unsafe_view", "_reshape_alias"})
PRODUCTS = frozenset({"addmm", "mm", "bmm"})


def _reshape(axes: int) -> int:
    return node_bytes("Reshape", 2, attribute_bytes("allowzero", 1)) + tensor_bytes((axes,), _INT64)


def _transpose(axes: int) -> int:
    return node_bytes("Transpose", 1, attribute_bytes("perm", tuple(range(axes))))


@cache
def _attributes(**values: int | float | str | tuple[int, ...]) -> int:
    return sum(attribute_bytes(name, value) for name, value in values.items())


def _convolution(args: Args) -> Exported:
    kernel, (stride, padding, dilation, transposed, more, groups) = tuple(args[1].shape[2:]), args[3:9]
    output_padding = {"output_padding": tuple(more)} if transposed else {}
    attributes = _attributes(
        group=groups,
        dilations=tuple(dilation),
        kernel_shape=kernel,
        strides=tuple(stride),
        pads=tuple(padding) * 2,
        auto_pad="NOTSET",
        **output_padding,
    )
    return Exported("ConvTranspose" if transposed else "Conv", attributes)


def _max_pool(args: Args) -> Exported:
    kernel = tuple(args[1])
    window = _attributes(kernel_shape=kernel, strides=kernel, pads=kernel * 2, auto_pad="NOTSET", ceil_mode=0)
    return Exported("MaxPool", window + _attributes(dilations=kernel, storage_order=0))


def _average_pool(args: Args) -> Exported:
    kernel = tuple(args[1])
    window = _attributes(kernel_shape=kernel, strides=kernel, pads=kernel * 2, auto_pad="NOTSET", ceil_mode=0)
    return Exported("AveragePool", window + _attributes(count_include_pad=1))


def _reduction(op_type: str) -> Callable[[Args], Exported]:
    attributes = _attributes(keepdims=1, noop_with_empty_axes=0)

    def rule(args: Args) -> Exported:
        axes = len(args[1]) if len(args) > 1 and args[1] else args[0].dim()
        return Exported(op_type, attributes, tensor_bytes((axes,), _INT64), numbers=1)

    return rule


def _pad(args: Args) -> Exported:
    pads = tensor_bytes((2 * args[0].dim(),), _INT64)
    return Exported("Pad", attribute_bytes("mode", "constant"), pads, numbers=1)


def _concatenation(_: Args) -> Exported:
    return Exported("Concat", _attributes(axis=1))


def _clip(args: Args) -> Exported:
    limits = [arg for arg in args[1:3] if isinstance(arg, (int, float))]
    values = tuple(map(float, limits)) if len(limits) == 2 else ()
    return Exported("Clip", others=2 * _SCALAR, numbers=2, values=values)


_GEMM = Exported("Gemm", _attributes(alpha=1.0, beta=1.0, transA=0, transB=1))
_SOFTMAX = Exported("Softmax", _attributes(axis=-1))
_TURNED_KEYS = _reshape(3) + _transpose(3) + _reshape(4) - _transpose(4) + 2 * (_VECTOR_OF_ONE - _SCALAR)
"""In scaled dot-product attention the exporter transposes the keys in three axes, and the two scales are vectors."""

_PLAIN = {
    "relu": Exported("Relu"),
    "sigmoid": Exported("Sigmoid"),
    "tanh": Exported("Tanh"),
    "hardswish": Exported("HardSwish"),
    "hardsigmoid": Exported("HardSigmoid", _attributes(alpha=1 / 6, beta=0.5)),
    "leaky_relu": Exported("LeakyRelu", _attributes(alpha=0.01)),
    "elu": Exported("Elu", _attributes(alpha=1.0)),
    "gelu": Exported("Gelu", _attributes(approximate="none")),
    "silu": Exported("Sigmoid", others=node_bytes("Mul", 2)),
    "native_layer_norm": Exported("LayerNormalization", _attributes(axis=-1, epsilon=1e-5, stash_type=1)),
    "_softmax": _SOFTMAX,
    "_safe_softmax": Exported("Softmax", _attributes(axis=-1), others=_TURNED_KEYS),  # occurs in attention only
    "embedding": Exported("Gather", _attributes(axis=0)),
    "ne": Exported("Equal", others=node_bytes("Not", 1) + tensor_bytes((), _INT64), numbers=1),
    "where": Exported("Where", others=2 * _SCALAR, numbers=2),
    "addmm": _GEMM,
    "mm": _GEMM,
    "bmm": Exported("MatMul"),
    "clone": Exported(""),
    "_to_copy": Exported(""),
}
_BINARY = {"add": "Add", "mul": "Mul", "sub": "Sub", "div": "Div"}
_RULES: dict[str, Callable[[Args], Exported]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "mean": _reduction("ReduceMean"),
    "sum": _reduction("ReduceSum"),
    "amax": _reduction("ReduceMax"),
    "amin": _reduction("ReduceMin"),
    "cat": _concatenation,
    "constant_pad_nd": _pad,
    "hardtanh": _clip,
    "clamp": _clip,
}
