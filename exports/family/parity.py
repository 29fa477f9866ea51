"""Parity: does an exported file compute what the PyTorch module computes?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ParityError

if TYPE_CHECKING:
    from torch import nn

    from device_profiles.engine import Session

MIN_SPREAD = 1e-3
"""Logits are collapsed if their spread is below this fraction of their root mean square; parity on them would be
meaningless. A trained network spreads its logits by about their own size, a collapsed one by little more than
rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How close the outputs of a file are to those of its module.

    Attributes:
        max_abs_difference: The largest absolute difference of a logit.
        top1_agreement: The fraction of images with the same top-1 class.
        images: The number of images that were compared.
        logit_spread: The standard deviation of the module's logits over the images, averaged over the classes.
        sqnr_db: The signal-to-quantisation-noise ratio in decibels: the power of the module's logits, minus their mean
            over the images, divided by the power of the difference. Infinite if there is no difference.
    """

    max_abs_difference: float
    top1_agreement: float
    images: int
    logit_spread: float
    sqnr_db: float


def check_parity(
    module: nn.Module,
    session: Session,
    images: NDArray[np.float32],
    *,
    min_sqnr_db: float = 60.0,
    min_top1_agreement: float = 0.99,
    batch: int = 32,
) -> Parity:
    """Run both on `images` and compare the logits.

    The thresholds are relative, because sound fp32 engines differ by 1e-6 on one network and by 5e-4 on another. The
    defaults are for fp32: 60 dB is an error of 0.1 % of the signal, and the files of the tests reach 90 dB and more.

    Args:
        module: The network, in evaluation mode.
        session: The exported file, loaded in its engine.
        images: Model inputs, float32 `(n, *input_shape)`, n >= 2.
        min_sqnr_db: The smallest accepted signal-to-quantisation-noise ratio, in decibels.
        min_top1_agreement: The smallest accepted fraction of images with the same top-1 class.
        batch: The number of images per call.

    Raises:
        ParityError: There are fewer than 2 images, the logits are collapsed or not finite, or a threshold is not met.
    """
    if len(images) < 2:
        raise ParityError(f"parity needs at least 2 images, got {len(images)}; pass more")
    reference = _module_logits(module, images, batch)
    found = np.concatenate([session.run(images[i : i + batch]) for i in range(0, len(images), batch)])
    parity = compare_logits(reference, found.astype(np.float64))
    if parity.sqnr_db < min_sqnr_db or parity.top1_agreement < min_top1_agreement:
        raise ParityError(
            f"the exported file differs from the module: SQNR {parity.sqnr_db:.1f} dB (at least {min_sqnr_db:g}), "
            f"top-1 agreement {parity.top1_agreement:.4f} (at least {min_top1_agreement:g}) on {parity.images} images"
        )
    return parity


def compare_logits(reference: NDArray[np.float64], found: NDArray[np.float64]) -> Parity:
    """Compare the logits `found` with `reference`, both `(n, classes)`, without a threshold on the difference.

    Raises:
        ParityError: The shapes differ, a logit is not finite, or the reference is collapsed.
    """
    if reference.shape != found.shape:
        raise ParityError(f"the exported file returns logits {found.shape}, the module {reference.shape}")
    for who, values in (("the module", reference), ("the exported file", found)):
        if not np.isfinite(values).all():
            raise ParityError(f"{who} returns logits that are not finite; train again, or lower the learning rate")
    spread = float(reference.std(axis=0).mean())
    if spread <= MIN_SPREAD * math.sqrt(float(np.mean(reference**2))):
        raise ParityError(
            f"the logits are collapsed (spread {spread:.1e} over {len(reference)} images): the module returns the same "
            "for every image, so parity is meaningless; train it and recalibrate its batch normalisation first"
        )
    noise = float(np.mean((found - reference) ** 2))
    signal = float(np.mean((reference - reference.mean(axis=0)) ** 2))
    return Parity(
        max_abs_difference=float(np.abs(found - reference).max()),
        top1_agreement=float(np.mean(found.argmax(axis=1) == reference.argmax(axis=1))),
        images=len(reference),
        logit_spread=spread,
        sqnr_db=10 * math.log10(signal / noise) if noise > 0 else math.inf,
    )


def _module_logits(module: nn.Module, images: NDArray[np.float32], batch: int) -> NDArray[np.float64]:
    import torch

    with torch.inference_mode():
        parts = [module(torch.from_numpy(images[i : i + batch])).numpy() for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)
