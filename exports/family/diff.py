"""Compare two families tier by tier, and refuse a worse one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from exports.family.evaluations import default_stores, evaluation_of
from exports.family.input_form import fitting_notes
from exports.family.judge import PUBLISHED_ACCURACY, Predictions, judge_of, metric_text
from exports.family.labels import family_labels
from exports.family.manifest import manifest_path, read_manifest
from exports.family.measure_changes import MeasureChange, measure_changes
from exports.family.metric_change import AccuracyChange, paired_difference, unpaired_difference
from exports.family.records import PIXELS_FEATURE, PPM, Manifest, Model, Perf, Tier, TokenSpec
from exports.onnx.conversion import DROP_LIMIT
from factory_base.errors import ConfigError, IncomparableError, ManifestError
from factory_base.foreign import printable
from factory_base.quantities import format_bytes, format_duration
from factory_base.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a new family may lose.

    Attributes:
        max_accuracy_drop: The largest drop of accuracy, or of another metric of the family. The default is 0, because
            only a drop beyond chance counts.
        max_class_drop: The largest drop of accuracy on the test images of one class, as a fraction of them. The default
            of 2 % is an assumed allowance for a pick that moves to a neighbouring subnet; only a drop beyond chance
            counts, and a class may always drop by as much as the whole.
        max_conversion_drop: The largest drop of accuracy that a conversion such as that to int8 may cost, against the
            float32 network on held-out images, as a fraction of them. As in a build, it is exceeded if the whole
            interval is above it. The default is that of a build, 0.3 points.
        max_latency_increase: The largest relative increase of a latency. The default of this and the next two is 5 %,
            an assumed allowance for a pick that moves to a neighbouring subnet.
        max_memory_increase: The largest relative increase of peak memory.
        max_bytes_increase: The largest relative increase of the file size.
    """

    max_accuracy_drop: float = 0.0
    max_class_drop: float = 0.02
    max_conversion_drop: float = DROP_LIMIT / 100
    max_latency_increase: float = 0.05
    max_memory_increase: float = 0.05
    max_bytes_increase: float = 0.05

    def __post_init__(self) -> None:
        """Raises `ConfigError` for a limit that is not a number, which nothing would exceed."""
        for name in self.__slots__:
            if math.isnan(getattr(self, name)):
                raise ConfigError(f"{name} is nan, expected a number; write 0.05 for 5 %")


_LABELS = {
    "file_bytes": "file size",
    "peak_memory_bytes": "peak memory",
    "latency_us": "latency",
    "latency_p50_us": "median latency",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """One value before and after.

    Attributes:
        name: The field of the manifest, which includes its unit, and for a latency where it holds.
        old: The value in the old family.
        new: The value in the new family.
    """

    name: str
    old: int
    new: int

    @property
    def label(self) -> str:
        """The name for people: `latency on phone, 4 threads, cpu, modelled`."""
        field, _, place = self.name.partition(" ")
        return " ".join(filter(None, (_LABELS[field], place)))

    def shown(self, value: int) -> str:
        """A value for people, with its unit."""
        return format_duration(value) if self.name.startswith("latency") else format_bytes(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChange:
    """The change of one tier.

    Attributes:
        tier: The id of the tier.
        platform: The platform of the tier.
        status: `same` (the same model with the same selectors), `changed`, `added` or `removed`.
        old_model: The id of the old model; "" if the tier was added.
        new_model: The id of the new model; "" if the tier was removed.
        accuracy: The change of accuracy; None if the tier was added or removed.
        values: File size, peak memory, the latencies that can be compared, and the one of the proof for information.
        measures: Further figures of the evaluation that both manifests state, for information.
        notes: What could not be compared, and why.
        worse: One line for each limit that is exceeded.
    """

    tier: str
    platform: str
    status: str
    old_model: str
    new_model: str
    accuracy: AccuracyChange | None = None
    values: tuple[ValueChange, ...] = ()
    measures: tuple[MeasureChange, ...] = ()
    notes: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyDiff:
    """The changes of all tiers of both families.

    Attributes:
        tiers: The change of each tier.
        worse: One line for each limit that is exceeded, with the name of the tier.
        notes: What should be known before the new family is published, such as a release number that did not grow.
    """

    tiers: tuple[TierChange, ...]
    worse: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if nothing is worse, otherwise 1."""
        return 1 if self.worse else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """A family; `labels` is None and `scores` empty without its evaluation."""

    manifest: Manifest
    names: tuple[str, ...]
    labels: Predictions | None
    scores: dict[str, NDArray[np.float64]]


def diff_families(old: Path, new: Path, limits: Limits, evaluations: Sequence[Path] = ()) -> FamilyDiff:
    """Compare `new` with `old`, each given by the family's folder or manifest.

    A tier is worse if it was removed; if its accuracy dropped by more than the limit and the 95 % interval of the
    paired difference excludes zero; if the accuracy on a class did, with intervals that all hold together with 95 %
    (Bonferroni's correction, since one of many classes drops by chance alone); if the conversion of its model, for
    example to int8, cost more than the limit; or if a latency, the memory or the file size grew by more than its limit.
    Latencies are compared if device, threads, compute unit and basis agree (only on
    the tier's own device if the manifest has a latency for it); measured latencies are compared only if they come from
    the same machine.

    Test labels and predictions that a family does not publish are taken from the runs that keep them. If there are
    none, a note says so; then accuracies are compared as the manifests state them, with the interval of the difference
    of two independent proportions, and those of the classes are not compared.

    Args:
        old: The old family.
        new: The new family.
        limits: What the new family may lose.
        evaluations: Further folders where runs keep test labels and predictions, which are looked into first.

    Raises:
        IncomparableError: A manifest cannot be read (another major version, damage); task, labels or test set differ;
            or an evaluation file is damaged, or published and missing.
    """
    stores = (*evaluations, *default_stores(*(manifest_path(path).parent for path in (old, new))))
    before, after = _side(old, stores), _side(new, stores)
    _check_comparable(before, after)
    tiers = {(tier.platform, tier.id): tier for tier in before.manifest.tiers}
    followers = {(tier.platform, tier.id): tier for tier in after.manifest.tiers}
    changes = [
        _tier_change(tier, followers[key], before, after, limits) if key in followers else _removed(tier)
        for key, tier in tiers.items()
    ]
    changes += [_added(tier, after, limits) for key, tier in followers.items() if key not in tiers]
    worse = tuple(f"tier {change.tier}: {line}" for change in changes for line in change.worse)
    return FamilyDiff(
        tiers=tuple(changes),
        worse=worse,
        notes=(*_unpaired_notes(before, after), *release_notes(before.manifest, after.manifest)),
    )


def release_notes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """What people should know before they publish `new` in place of `old`.

    There is a note if the models take another form of input, which apps must know, and one if `new` has other content
    than `old` of the same family, but no higher release number: apps and servers that compare release numbers would not
    take it. Its `provenance` does not count as content.
    """
    return (*input_notes(old, new), *_number_notes(old, new))


def input_notes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Notes if the models of `new` take another form of input than those of `old`, which apps must know."""
    before, after = old.task.input, new.task.input
    if isinstance(before, TokenSpec) or isinstance(after, TokenSpec):  # there is one form of tokens
        return ()
    if (before.dtype, before.layout) == (after.dtype, after.layout):
        return fitting_notes(old.task.preprocessing, new.task.preprocessing)
    if after.dtype == "float32":
        effect = "apps must normalise images again"
    else:
        effect = f"apps that do not know the critical feature {PIXELS_FEATURE!r} keep their earlier family"
    return (
        f"models take {after.dtype} {after.layout} and no longer {before.dtype} {before.layout}: {effect}; "
        "`export.input` in the config decides",
    )


def _number_notes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    if old.family_id != new.family_id or new.release > old.release or content_of(old) == content_of(new):
        return ()
    kept = "still" if new.release == old.release else f"lower than {old.release}:"
    return (
        f"the content of family {new.family_id} changed, but its release number is {kept} {new.release}; "
        f"set `release: {old.release + 1}` in the config before you publish it",
    )


def content_of(manifest: Manifest) -> Manifest:
    """`manifest` without what may change although the family is the same.

    That is its release number, its format, its provenance, the figures that follow from the files, and what was
    measured on the machine that made it.
    """
    nothing = manifest.provenance.model_copy(
        update={"supernet_sha256": "", "config_sha256": "", "dataset_sha256": "", "tool_version": ""}
    )
    changes = {
        "release": 1,
        "manifest_version": "",
        "provenance": nothing,
        "evaluation": None,
        "class_images": None,
        "models": {name: _without_figures(model) for name, model in manifest.models.items()},
        "tiers": tuple(tier.model_copy(update={"churn": None}) for tier in manifest.tiers),
    }
    return manifest.model_copy(update=changes)


def _without_figures(model: Model) -> Model:
    return model.model_copy(
        update={
            "quality": model.quality.model_copy(update={"classes": None, "measures": None}),
            "engine": model.engine.model_copy(update={"tried": ()}),
            "needs": model.needs.model_copy(update={"load_us": None, "load_basis": None, "load_machine": None}),
            "files": tuple(file.model_copy(update={"blocks": None}) for file in model.files),
            "precision": None,
            "proof": None,
            "conversion": None,
        }
    )


def _unpaired_notes(before: _Side, after: _Side) -> tuple[str, ...]:
    lacking = [name for name, side in (("old", before), ("new", after)) if side.labels is None]
    if not lacking:
        return ()
    families = "neither family has" if len(lacking) > 1 else f"the {lacking[0]} family has no"
    return (
        f"{families} test labels and predictions, neither published nor in the run that made it, so accuracies are "
        "compared as the manifests state them, with wider intervals, and not class by class; name the run's folder "
        "with --evaluation",
    )


def _side(path: Path, stores: Sequence[Path]) -> _Side:
    folder = manifest_path(path).parent
    try:
        manifest = read_manifest(path)
        names = family_labels(folder, manifest)
    except ManifestError as error:
        raise IncomparableError(f"cannot compare: {error}") from error
    try:
        found = evaluation_of(folder, manifest, stores)
    except ManifestError as error:
        raise IncomparableError(
            f"{printable(str(folder))}: the evaluation cannot be read ({error}); run `factory verify` on it"
        ) from error
    if found is None:
        return _Side(manifest=manifest, names=names, labels=None, scores={})
    labels = found.labels
    if any(array.shape != labels.shape or not len(labels) for array in found.predictions.values()):
        raise IncomparableError(
            f"{printable(str(folder))}: the numbers of predictions and labels differ; run `factory verify` on it"
        )
    scores = {name: _scores(manifest, names, array, labels) for name, array in found.predictions.items()}
    return _Side(manifest=manifest, names=names, labels=labels, scores=scores)


def _scores(
    manifest: Manifest, names: tuple[str, ...], predictions: Predictions, labels: Predictions
) -> NDArray[np.float64]:
    if _has_right_answers(manifest):  # without the libraries that tasks import
        return np.asarray(predictions == labels, dtype=np.float64)
    return judge_of(manifest.task, names, _metric(manifest)).scores(predictions, labels)


def _metric(manifest: Manifest) -> str:
    """The metric that a family states. Raises `IncomparableError` if its models have different ones."""
    metrics = {model.quality.metric for model in manifest.models.values()}
    if len(metrics) > 1:
        raise IncomparableError(f"cannot compare: the models state different metrics: {', '.join(sorted(metrics))}")
    return metrics.pop()


def _check_comparable(old: _Side, new: _Side) -> None:
    if old.manifest.task.name != new.manifest.task.name or old.names != new.names:
        raise IncomparableError("cannot compare: the families have different tasks or labels")
    digests = [{model.quality.test_set_sha256 for model in side.manifest.models.values()} for side in (old, new)]
    other = old.labels is not None and new.labels is not None and not np.array_equal(old.labels, new.labels)
    if (metrics := [_metric(side.manifest) for side in (old, new)]) and metrics[0] != metrics[1]:
        named = " and ".join(metric_text(metric) for metric in metrics)
        raise IncomparableError(f"cannot compare: the families state different metrics, {named}; build both with one")
    if digests[0] != digests[1] or other:
        raise IncomparableError("cannot compare: the families were evaluated on different test sets; evaluate on one")


def _tier_change(old: Tier, new: Tier, before: _Side, after: _Side, limits: Limits) -> TierChange:
    names = old.models[0], new.models[0]
    models = before.manifest.models[names[0]], after.manifest.models[names[1]]
    paired = before.labels is not None and after.labels is not None
    scores = (before.scores[names[0]], after.scores[names[1]]) if paired else None
    accuracy = paired_difference(*scores) if scores else unpaired_difference(models[0].quality, models[1].quality)
    latencies, notes = _latencies(old.id, *models)
    if old.match != new.match:
        notes.append("its selectors changed, so other devices may get this tier")
    sizes = [ValueChange(name="file_bytes", old=_file_bytes(models[0]), new=_file_bytes(models[1]))]
    memory = []
    if models[0].needs.basis == models[1].needs.basis:
        peaks = [model.needs.peak_memory_bytes for model in models]
        memory = [ValueChange(name="peak_memory_bytes", old=peaks[0], new=peaks[1])]
    else:
        bases = " and ".join(model.needs.basis for model in models)
        notes.append(f"peak memory is not compared: its bases differ ({bases})")
    worse = [
        *_accuracy_worse(accuracy, limits, metric_text(models[1].quality.metric)),
        *(_classes_worse(before, *scores, limits) if scores and _has_right_answers(before.manifest) else ()),
        *_conversion_worse(models[1], limits),
        *_grown(sizes, limits.max_bytes_increase),
        *_grown(memory, limits.max_memory_increase),
        *_grown(latencies, limits.max_latency_increase),
    ]
    if models[0].precision != models[1].precision and models[0].precision is not None:
        notes.append(f"its precision changed from {models[0].precision} to {models[1].precision}")
    same = [f.sha256 for f in models[0].files] == [f.sha256 for f in models[1].files] and old.match == new.match
    return TierChange(
        tier=old.id, platform=old.platform, status="same" if same else "changed", old_model=names[0],
        new_model=names[1], accuracy=accuracy, values=(*sizes, *memory, *latencies, *_proven(*models)),
        measures=measure_changes(models[0].quality, models[1].quality), notes=tuple(notes), worse=tuple(worse),
    )  # fmt: skip


def _removed(tier: Tier) -> TierChange:
    return TierChange(
        tier=tier.id, platform=tier.platform, status="removed", old_model=tier.models[0], new_model="",
        worse=("was removed; its devices get a lower tier",),
    )  # fmt: skip


def _added(tier: Tier, after: _Side, limits: Limits) -> TierChange:
    return TierChange(
        tier=tier.id, platform=tier.platform, status="added", old_model="", new_model=tier.models[0],
        worse=tuple(_conversion_worse(after.manifest.models[tier.models[0]], limits)),
    )  # fmt: skip


def _has_right_answers(manifest: Manifest) -> bool:
    """Whether scores say for each class which of its images are labelled correctly."""
    return manifest.task.decoding is None and _metric(manifest) == PUBLISHED_ACCURACY


def _accuracy_worse(change: AccuracyChange, limits: Limits, metric: str) -> list[str]:
    if change.high >= 0 or -change.mean <= limits.max_accuracy_drop:
        return []
    return [
        f"{metric} changed by {change.mean:+.4f} (95 % interval {change.low:+.4f} to {change.high:+.4f}), "
        f"at most -{limits.max_accuracy_drop:g} is allowed"
    ]


def _classes_worse(side: _Side, old: NDArray[np.float64], new: NDArray[np.float64], limits: Limits) -> Iterator[str]:
    """One line for each class whose accuracy dropped by more than the limit, and beyond chance."""
    labels = np.asarray(side.labels)
    present = np.unique(labels)
    sure = 1 - 0.05 / len(present)
    z, limit = NormalDist().inv_cdf((1 + sure) / 2), max(limits.max_class_drop, limits.max_accuracy_drop)
    for index in present.tolist():
        images = labels == index
        change = paired_difference(old[images], new[images], z)
        if change.high < 0 and -change.mean > limit:
            name = printable(side.names[index]) if index < len(side.names) else str(index)
            yield (
                f"accuracy on class {name} changed by {change.mean:+.4f} ({sure:.1%} interval {change.low:+.4f} to "
                f"{change.high:+.4f}, {counted(int(images.sum()), 'test image')}), at most -{limit:g} is allowed"
            )


def _conversion_worse(model: Model, limits: Limits) -> list[str]:
    """One line if the conversion of a model cost more than the limit, beyond chance."""
    found = model.conversion
    drop = found.attempts[found.chosen].drop if found is not None and found.chosen is not None else None
    if drop is None or drop.low_ppm <= limits.max_conversion_drop * PPM:
        return []
    return [
        f"the conversion to {model.precision} cost {drop.drop_ppm / PPM:.4f} of the accuracy on held-out images "
        f"(95 % interval {drop.low_ppm / PPM:.4f} to {drop.high_ppm / PPM:.4f}), at most "
        f"{limits.max_conversion_drop:g} is allowed"
    ]


def _grown(changes: list[ValueChange], limit: float) -> list[str]:
    return [
        f"{change.label} grew from {change.shown(change.old)} to {change.shown(change.new)}"
        f"{f' ({change.new / change.old - 1:+.1%})' if change.old else ''}, at most {limit:+.1%} is allowed"
        for change in changes
        if change.new > change.old * (1 + limit)
    ]


def _latencies(tier: str, old: Model, new: Model) -> tuple[list[ValueChange], list[str]]:
    """The latencies that can be compared, and notes on why the others cannot."""
    before, after = _by_key(tier, old), _by_key(tier, new)
    changes, notes = [], []
    for key, perf in before.items():
        device, threads, unit, basis = key
        name = f"latency_us on {device}, {counted(threads, 'thread')}, {unit}, {basis}"
        follower = after.get(key)
        if follower is None:
            notes.append(f"{name}: not compared, because the new family does not state it")
        elif basis == "measured" and (perf.machine != follower.machine or not perf.machine):
            notes.append(f"{name}: not compared, because it was measured on different machines")
        else:
            changes.append(ValueChange(name=name, old=perf.latency_us, new=follower.latency_us))
    return changes, notes


def _proven(old: Model, new: Model) -> list[ValueChange]:
    """The latency that was measured of each file, if both were on the same machine with the same engine.

    No limit applies to it: two measurements on a machine that also does other work differ by more than any limit.
    """
    if old.proof is None or new.proof is None:
        return []
    a, b = old.proof.host, new.proof.host
    if (a.machine, a.threads, a.engine_version) != (b.machine, b.threads, b.engine_version):
        return []
    name = f"latency_p50_us on {a.machine}, {counted(a.threads, 'thread')}, measured"
    return [ValueChange(name=name, old=a.latency_p50_us, new=b.latency_p50_us)]


def _by_key(tier: str, model: Model) -> dict[tuple[str, int, str, str], Perf]:
    own = [perf for perf in model.perf if perf.device == tier]
    return {(perf.device, perf.threads, perf.compute_unit, perf.basis): perf for perf in own or model.perf}


def _file_bytes(model: Model) -> int:
    return sum(file.bytes for file in model.files)
