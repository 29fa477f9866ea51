"""The noise of scores that come from the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.scored import Scored

_OWN = 0.1
"""Share of the variance that is taken as a score's own, whatever the images say: a covariance estimated from as many
images as there are scores, or from scores that are all alike, would promise differences without noise."""


def noise_covariance(scored: Sequence[Scored]) -> NDArray[np.float64]:
    """The covariance of the accuracies of `scored` over draws of the held-out images, (subnets, subnets).

    It is estimated image by image, on the images that both subnets were scored on, and shrunk towards independence
    (after Ledoit and Wolf, 2004). Variances are at least those of `Scored.std`, so none is 0.
    """
    counts = np.array([s.images for s in scored])
    scores = np.stack([_scores(s, int(counts.max())) for s in scored])
    shared, most = np.minimum.outer(counts, counts), np.maximum.outer(counts, counts)
    covariance = np.zeros(shared.shape)
    for images in np.unique(counts):
        seen = np.cov(scores[:, :images], bias=True).reshape(shared.shape)
        covariance = np.where(shared == images, (1 - _OWN) * seen / most, covariance)
    np.fill_diagonal(covariance, np.maximum(np.diag(covariance) / (1 - _OWN), [s.std**2 for s in scored]))
    if len(np.unique(counts)) > 1:  # entries from different images need not make a covariance: take the nearest
        values, vectors = np.linalg.eigh(covariance)
        covariance = (vectors * np.maximum(values, 0)) @ vectors.T
    return covariance


def _scores(scored: Scored, images: int) -> NDArray[np.float64]:
    """The scores, followed by zeros, (images,)."""
    if scored.is_graded:
        found = np.asarray(scored.scores, dtype=np.float64)
    else:
        digits = len(scored.correct) + len(scored.correct) % 2
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(scored.correct.zfill(digits)), dtype=np.uint8))
        found = bits[len(bits) - scored.images :].astype(np.float64)
    return np.pad(found, (0, images - scored.images))
