"""Statistics of batch normalisation that come with pretrained weights, carried over to a network without any.

A pretrained network normalises with the statistics of the data that it was trained on. A supernet has none: it
normalises with those of the batch, and every subnet is recalibrated. On data that look different, for example blurred
where the pretraining data are sharp, this amplifies channels that hardly vary, and the features lose much of their
worth. So the scales and shifts are changed once, before training, such that the largest network, normalised with the
statistics of the new data, computes what the pretrained network computes with its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supernet.data.examples import Inputs
from supernet.evaluation.evaluation import batch_norms, received_statistics
from supernet.sharing.supernet import Supernet

MEAN, VARIANCE = "running_mean", "running_var"

_Norm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def carry_over(supernet: Supernet, statistics: Mapping[str, Tensor], inputs: Inputs) -> int:
    """Make the largest network compute, with statistics of `inputs`, what it computes with the given `statistics`.

    Args:
        supernet: The supernet with the pretrained weights, changed in place.
        statistics: `<layer>.running_mean` and `<layer>.running_var` of every batch normalisation, (channels,) each.
        inputs: Training examples as inputs of the largest network, without augmentation.

    Returns:
        The number of layers whose scale and shift were changed; 0, and nothing is changed, if there is no batch
        normalisation, one of them has no statistics in `statistics`, or one has no scale and shift.

    Raises:
        SpaceError: A layer keeps running statistics of another kind.
        DataError: An example cannot be read.
    """
    network = supernet.extract(supernet.model_space.space.largest).eval()
    batch_norms(network)
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, _Norm)}
    if not layers or not all(_is_complete(name, layer, statistics) for name, layer in layers.items()):
        return 0
    for name, layer in layers.items():
        _buffer(layer, MEAN).copy_(statistics[f"{name}.{MEAN}"])
        _buffer(layer, VARIANCE).copy_(statistics[f"{name}.{VARIANCE}"])
    parameters = dict(supernet.largest.named_parameters())
    for name, (mean, variance) in received_statistics(network, inputs).items():
        given_mean, given_variance = (_buffer(layers[name], kind).double() for kind in (MEAN, VARIANCE))
        scale, shift = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        slope, eps = scale.double() / (given_variance + layers[name].eps).sqrt(), layers[name].eps
        shift.copy_(shift + slope * (mean - given_mean))
        scale.copy_(slope * (variance + eps).sqrt())
    return len(layers)


def _is_complete(name: str, layer: _Norm, statistics: Mapping[str, Tensor]) -> bool:
    return layer.affine and f"{name}.{MEAN}" in statistics and f"{name}.{VARIANCE}" in statistics


def _buffer(layer: _Norm, name: str) -> Tensor:
    buffer: Tensor = getattr(layer, name)
    return buffer
