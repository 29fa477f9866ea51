"""What the caller says about a family; `family.write_family` turns it into files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exports.family.artifact import Artifact, Evaluation
from exports.family.records import Basis, Perf, Provenance, Selector


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModelSpec:
    """One model of the family.

    Attributes:
        artifact: its file, already in the family's folder.
        evaluation: of that file, on the family's test set.
        subnet_values: the JSON form of the subnet.
        finetuned_sha256: of the subnet's own weights; None where it has the supernet's.
        macs: of one inference.
        parameters: how many.
        peak_memory_bytes: of one inference, the weights included.
        needs_basis: measured, few_shot, modelled or assumed.
        perf: latencies, one per device.
    """

    artifact: Artifact
    evaluation: Evaluation
    subnet_values: dict[str, int | float]
    macs: int
    parameters: int
    peak_memory_bytes: int
    needs_basis: Basis
    perf: tuple[Perf, ...]
    finetuned_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpec:
    """A rule that selects a model. The rank follows from the rules, see `write_family`.

    Attributes:
        id: unique; `floor` is taken.
        platform: `android`, `linux`, ...
        selectors: any of them takes a device.
        model_id: of a `ModelSpec`.
    """

    id: str
    platform: str
    selectors: tuple[Selector, ...]
    model_id: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FamilySpec:
    """Everything a family's manifest needs.

    Attributes:
        family_id: lower case, digits, `_.-`.
        release: at least 1; grows with every release.
        labels: names of the classes, in the order of the logits.
        mean_ppm: of the normalisation, per channel, in millionths of full scale.
        std_ppm: likewise.
        sample_images: uint8 `(8, height, width, 3)`, RGB at base size; they are published with the family.
        test_labels: `(images,)`, classes of the test set.
        test_set_sha256: digest of the test set.
        models: at least one.
        tiers: may be empty: then every device gets the floor.
        provenance: digests of what it was made from.
    """

    family_id: str
    release: int
    labels: tuple[str, ...]
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[int, ...]
    sample_images: NDArray[np.uint8]
    test_labels: NDArray[np.integer]
    test_set_sha256: str
    models: tuple[ModelSpec, ...]
    tiers: tuple[TierSpec, ...]
    provenance: Provenance
