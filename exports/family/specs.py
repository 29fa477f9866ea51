"""The specification of a family; `family.write_family` turns it into files.

The functions below the records make them from what the other packages return: a profile, costs, a data set's splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from exports.family.artifact import Artifact, Evaluation
from exports.family.judge import Judge, Predictions, classes_judge
from exports.family.records import (
    PPM,
    Basis,
    Device,
    NormaliseStep,
    Perf,
    PlatformFloor,
    Probe,
    Provenance,
    Selector,
    Soc,
)
from exports.family.task_spec import TextSpec
from factory_base.errors import ManifestError
from factory_base.files import digest_of, sha256_file
from supernet.data.image_form import Fitting

if TYPE_CHECKING:
    from device_profiles.costs import Costs
    from device_profiles.profile import DeviceProfile
    from supernet.data.types import Splits
    from supernet.space import SubnetConfig

_MIB = 1 << 20

SAMPLE_IMAGES = 8
"""Images that a family ships as samples: enough to catch a wrong model or preprocessing, and only some KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """What of the user's data a family publishes.

    Attributes:
        samples: `images`: some test images; `tensors`: invented inputs in their place; `none`: an app can only find out
            whether a model runs, not whether it computes what it should.
        evaluation: Whether the test labels and each model's predictions are published.
    """

    samples: Literal["images", "tensors", "none"] = "tensors"
    evaluation: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModelSpec:
    """One model of the family.

    Attributes:
        artifact: The model file, already in the family's folder.
        evaluation: The evaluation of that file on the family's test set.
        subnet_values: The JSON form of the subnet.
        macs: The MACs of one inference.
        parameters: The number of parameters.
        peak_memory_bytes: The peak memory of one inference, weights included.
        needs_basis: The provenance of the peak memory: `measured`, `few_shot`, `modelled` or `assumed`.
        perf: The latencies, one per device.
        finetuned_sha256: The digest of the subnet's own weights; None if it has the supernet's.
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
    """A tier: selectors and the model that they select. Its rank follows from the selectors, see `tier_ranks`.

    Attributes:
        id: A unique id other than `floor`.
        platform: The platform: `android`, `linux`, ...
        selectors: A device gets the tier if any of these holds.
        model_id: The id of a `ModelSpec`'s artifact.
    """

    id: str
    platform: str
    selectors: tuple[Selector, ...]
    model_id: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FamilySpec:
    """Everything that a family's manifest needs.

    Attributes:
        family_id: The name of the family: lower-case letters, digits, `_`, `.` and `-`.
        release: The number of the release, at least 1; it increases with every release.
        judge: What the models learnt, and the metric that the family states.
        mean_ppm: The mean of the normalisation per channel, in millionths of full scale.
        std_ppm: The standard deviation of the normalisation per channel, in millionths of full scale.
        sample_images: Images at base size, uint8 `(n, height, width, channels)`, in RGB or gray; whether they are
            published, `publish` says. None of texts.
        test_labels: The labels of the test set: classes `(images,)`, or what else the task has.
        test_set_sha256: The digest of the test set.
        models: The models, at least one.
        tiers: The tiers above the floor. If there are none, every device gets the floor.
        provenance: The digests of what the family was made from.
        floors: What the devices of a platform get that match no tier; by default the smallest model.
        publish: What of the user's data is published.
        fitting: How images of other shapes were fitted to the base size for training; apps do the same.
        texts: What models of texts need; None for images.
    """

    family_id: str
    release: int
    judge: Judge
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[int, ...]
    sample_images: NDArray[np.uint8]
    test_labels: Predictions
    test_set_sha256: str
    models: tuple[ModelSpec, ...]
    tiers: tuple[TierSpec, ...]
    provenance: Provenance
    floors: tuple[PlatformFloor, ...] = ()
    publish: Publish = Publish()
    fitting: Fitting = "squash"

    @property
    def channels(self) -> int:
        """The channels of the images: 3 for RGB, 1 for gray."""
        return int(self.sample_images.shape[3])

    @property
    def takes_usual_images(self) -> bool:
        """Whether the models take square images in RGB."""
        return self.channels == 3 and all(m.artifact.image_shape[1] == m.artifact.image_shape[2] for m in self.models)

    texts: TextSpec | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, labels or values, in the order of the outputs."""
        return self.judge.task.names

    @property
    def has_classes(self) -> bool:
        """Whether the models answer with one class."""
        return self.judge.kind == "classes"

    @property
    def takes_pixels(self) -> bool:
        """Whether the models take pixels and hold the normalisation."""
        return self.models[0].artifact.input_type == "uint8"

    @property
    def normalise(self) -> NormaliseStep | None:
        """The normalisation that an app computes; None if the models hold it, or take text."""
        return (
            None
            if self.takes_pixels or self.texts is not None
            else NormaliseStep(mean_ppm=self.mean_ppm, std_ppm=self.std_ppm)
        )


def model_spec(
    artifact: Artifact,
    evaluation: Evaluation,
    subnet: SubnetConfig,
    parameters: int,
    costs: Sequence[tuple[DeviceProfile, Costs]],
) -> ModelSpec:
    """The specification of an exported subnet whose costs are predicted.

    Args:
        artifact: The model file, already in the family's folder.
        evaluation: The evaluation of that file on the family's test set.
        subnet: The subnet.
        parameters: The number of its parameters.
        costs: The predicted costs of the subnet on each device that is to be listed, at least one.
    """
    return ModelSpec(
        artifact=artifact,
        evaluation=evaluation,
        subnet_values=subnet.to_dict(),
        macs=costs[0][1].macs,
        parameters=parameters,
        peak_memory_bytes=max(predicted.peak_memory_bytes for _, predicted in costs),
        needs_basis="modelled",
        perf=tuple(_perf(profile, predicted) for profile, predicted in costs),
    )


def tier_spec(profile: DeviceProfile, model_id: str) -> TierSpec:
    """The tier of the devices of `profile`, which get the model `model_id`."""
    return TierSpec(
        id=profile.name,
        platform=profile.selectors.platform,
        selectors=(_selector(profile),),
        model_id=model_id,
    )


def tier_ranks(tiers: Sequence[TierSpec]) -> tuple[int, ...]:
    """The rank of each tier within its platform, counted from 1.

    Ranks increase with a tier's lowest `ram_class_min`, then with its lowest `cores_min`, then in the given order.
    """
    order = sorted(range(len(tiers)), key=lambda i: _demand(tiers[i]))
    by_platform: dict[str, list[int]] = {}
    for index in order:
        by_platform.setdefault(tiers[index].platform, []).append(index)
    return tuple(by_platform[tier.platform].index(index) + 1 for index, tier in enumerate(tiers))


def family_spec(
    family_id: str,
    splits: Splits,
    models: Sequence[ModelSpec],
    tiers: Sequence[TierSpec],
    *,
    checkpoint: Path,
    config: Any,
    judge: Judge | None = None,
    release: int = 1,
    tool_version: str = "notebook",
    floors: Sequence[PlatformFloor] = (),
    publish: Publish = Publish(),
    fitting: Fitting = "squash",
) -> FamilySpec:
    """The specification of a family whose labels, normalisation, samples and digests follow from a data set.

    Args:
        family_id: The name of the family: lower-case letters, digits, `_`, `.` and `-`.
        splits: The data set. The first test images of each class become the samples if the family publishes images.
        models: The models, at least one.
        tiers: The tiers above the floor.
        checkpoint: The file of the supernet, for its digest.
        config: Any JSON value that states how the family was made, for its digest.
        judge: What the models learnt, and the metric that the family states; by default classes and their accuracy.
        release: The number of the release, at least 1.
        tool_version: The version of the program that makes the family.
        floors: What the devices of a platform get that match no tier.
        publish: What of the user's data is published.
        fitting: How images of other shapes were fitted for training.

    Raises:
        OSError: The checkpoint cannot be read.
    """
    provenance = Provenance(
        supernet_sha256=sha256_file(checkpoint),
        config_sha256=digest_of(config),
        dataset_sha256=splits.digest,
        tool_version=tool_version,
    )
    return spec_from_splits(
        family_id,
        splits,
        models,
        tiers,
        provenance,
        judge=judge,
        release=release,
        floors=floors,
        publish=publish,
        fitting=fitting,
    )


def spec_from_splits(
    family_id: str,
    splits: Splits,
    models: Sequence[ModelSpec],
    tiers: Sequence[TierSpec],
    provenance: Provenance,
    *,
    judge: Judge | None = None,
    release: int,
    floors: Sequence[PlatformFloor] = (),
    publish: Publish = Publish(),
    fitting: Fitting = "squash",
) -> FamilySpec:
    """As `family_spec`, with a `provenance` that is known."""
    samples = _sample_images(splits)
    return FamilySpec(
        family_id=family_id,
        release=release,
        judge=judge or classes_judge(splits.class_names),
        mean_ppm=tuple(round(value * PPM) for value in splits.mean),
        std_ppm=tuple(round(value * PPM) for value in splits.std),
        sample_images=samples,
        test_labels=splits.test.labels,
        test_set_sha256=splits.test_digest,
        models=tuple(models),
        tiers=tuple(tiers),
        provenance=provenance,
        floors=tuple(floors),
        publish=publish,
        fitting=fitting,
        texts=_texts(splits),
    )


def _texts(splits: Splits) -> TextSpec | None:
    """What models of texts need; None for images. Raises `ManifestError` if nobody knows the tokenizer."""
    from supernet.data.types import LabelledTexts

    test, tokenizer = splits.test, splits.tokenizer
    if not isinstance(test, LabelledTexts):
        return None
    if tokenizer is None:
        raise ManifestError("the tokenizer of the texts is not known, which an app needs; name it in `data.tokenizer`")
    return TextSpec(
        tokenizer=tokenizer.content,
        length=test.tokens.shape[1],
        padding=test.padding,
        vocabulary=tokenizer.vocabulary,
        samples=test.tokens[sample_rows(test.labels)],
    )


def _sample_images(splits: Splits) -> NDArray[np.uint8]:
    """The images that become samples, (n, height, width, channels); none of texts."""
    from supernet.data.types import LabelledImages

    if not isinstance(splits.test, LabelledImages):
        return np.zeros((0, 0, 0, 3), np.uint8)
    images: NDArray[np.uint8] = splits.test.images[sample_rows(splits.test.labels)].transpose(0, 2, 3, 1)
    return images


def sample_rows(labels: Predictions, count: int = SAMPLE_IMAGES) -> list[int]:
    """The rows of up to `count` examples, in ascending order, that show as many classes as possible; else the first."""
    if labels.ndim > 1:
        return list(range(min(count, len(labels))))
    firsts = [int((labels == kind).argmax()) for kind in np.unique(labels)]
    others = (row for row in range(len(labels)) if row not in firsts)
    return sorted([*firsts, *others][:count])


def _perf(profile: DeviceProfile, costs: Costs) -> Perf:
    return Perf(
        device=profile.name,
        threads=profile.threads,
        compute_unit=profile.compute_unit,
        latency_us=max(1, round(costs.latency_us)),
        basis=profile.latency_provenance,
        machine=profile.costs.machine,
    )


def _demand(tier: TierSpec) -> tuple[int, int]:
    ram = min(selector.ram_class_min or 0 for selector in tier.selectors)
    return ram, min(selector.cores_min or 0 for selector in tier.selectors)


def _selector(profile: DeviceProfile) -> Selector:
    """The selectors of a profile in the manifest's units: RAM in MiB."""
    found = profile.selectors
    return Selector(
        platforms=(found.platform,),
        ram_class_min=found.ram_class_min // _MIB if found.ram_class_min else None,
        ram_class_max=found.ram_class_max // _MIB if found.ram_class_max else None,
        cores_min=found.cores_min,
        os_min=found.os_min,
        soc_include=tuple(Soc(maker=soc.maker, model=soc.model) for soc in found.soc_include) or None,
        soc_exclude=tuple(Soc(maker=soc.maker, model=soc.model) for soc in found.soc_exclude) or None,
        device_include=tuple(Device(maker=d.maker, model=d.model) for d in found.device_include) or None,
        device_exclude=tuple(Device(maker=d.maker, model=d.model) for d in found.device_exclude) or None,
        features_all=found.features_all or None,
        features_none=found.features_none or None,
        probe_min=Probe(id=found.probe_min.id, score=found.probe_min.score) if found.probe_min else None,
    )
