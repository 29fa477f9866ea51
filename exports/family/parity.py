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
"""Logits whose spread is below this part of their size are collapsed: parity on them would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How close a file is to its module.

    Attributes:
        max_abs_difference: of any logit.
        top1_agreement: the fraction of images with the same top-1 class.
        images: how many were compared.
        logit_spread: standard deviation of a logit over the images, mean over the classes (of the module).
        sqnr_db: the power of the logits, less their mean over the images, over the power of the difference, in
            decibels; infinite where there is no difference.
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
    """Run both on `images`, float32 `(n, *input_shape)` with n >= 2, and compare the logits.

    The gates are relative, because sound fp32 engines differ by 1e-6 on one network and by 5e-4 on another.

    Raises:
        ParityError: the logits are collapsed or not finite, or one of the gates fails.
    """
    if len(images) < 2:
        raise ParityError(f"parity needs at least 2 images, got {len(images)}")
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
    """Compare `found` with `reference`, both `(n, classes)`, without gates on the difference.

    Raises:
        ParityError: shapes differ, something is not finite, or the reference is collapsed.
    """
    if reference.shape != found.shape:
        raise ParityError(f"the exported file gives logits {found.shape}, the module {reference.shape}")
    for who, values in (("the module", reference), ("the exported file", found)):
        if not np.isfinite(values).all():
            raise ParityError(f"{who} gives logits that are not finite; retrain, or lower the learning rate")
    spread = float(reference.std(axis=0).mean())
    if spread <= MIN_SPREAD * math.sqrt(float(np.mean(reference**2))):
        raise ParityError(
            f"the logits are collapsed (spread {spread:.1e} over {len(reference)} images): the module answers the same "
            "to every image, so parity says nothing; train it and recalibrate its batch norm first"
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
