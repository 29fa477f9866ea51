"""What a network's preprocessing of pixels adds to its workload. Imports no torch.

The operators are those of a file of `supernet.pixels.PixelInput`: the pixels' bytes are transposed, cast to float32,
and shifted; they are also scaled if the network does not begin with a convolution, whose weights would take the scale.
"""

from __future__ import annotations

from device_profiles.workload.exported import exported_view
from device_profiles.workload.file_size import FileContent, attribute_bytes, node_bytes, tensor_bytes
from device_profiles.workload.operators import KernelKind, Operator, Workload, totals_of

_CONVOLUTIONS: tuple[KernelKind, ...] = ("conv", "pointwise", "depthwise")
_BYTES_PER_ELEMENT = 4
"""Workloads count elements of float32; a pixel's byte is a quarter of one."""


def pixel_input(network: Workload) -> Workload:
    """Return the workload of the preprocessing of pixels, a part before `network`.

    Args:
        network: A network, or the first part of one, whose input is an image `(channels, height, width)`.
    """
    channels, height, width = network.input_shape
    image = channels * height * width
    pixels = -(-image // _BYTES_PER_ELEMENT)
    per_channel = 1 if _takes_scale(network) else 2
    operators = (
        _elementwise(pixels, pixels),
        _elementwise(pixels, image),
        *(_elementwise(image, image, channels) for _ in range(per_channel)),
    )
    constants = per_channel * tensor_bytes((channels, 1, 1))
    cast = node_bytes("Cast", 1, attribute_bytes("to", 1))
    content = exported_view("permute", 4) + cast + per_channel * node_bytes("Sub", 2) + constants
    return Workload(
        operators=operators,
        macs=0,
        weight_elements=per_channel * channels,
        arena_elements=2 * image,
        input_elements=pixels,
        input_shape=(height, width, channels),
        output_shape=network.input_shape,
        file_content=FileContent(fp32=content, fp16=content, int8=content, int8_weights=content),
        totals=totals_of(operators),
    )


def _takes_scale(network: Workload) -> bool:
    """Whether the first operator is a convolution of the image."""
    first = network.operators[0] if network.operators else None
    return first is not None and first.kind in _CONVOLUTIONS and first.input_elements == network.input_elements


def _elementwise(read: int, written: int, constants: int = 0) -> Operator:
    return Operator(kind="elementwise", macs=0, input_elements=read, output_elements=written, weight_elements=constants)
