import dataclasses
import json
import os

import numpy as np
import pytest
from family_files import predictions

from exports.family.artifact import Evaluation
from exports.family.diff import Limits, diff_families
from exports.family.judge import classes_judge
from exports.family.metric_change import paired_difference
from exports.family.records import Perf, Selector
from exports.onnx.conversion import Attempt, Conversion, Drop
from factory_base.errors import ConfigError, IncomparableError
from factory_base.files import sha256_bytes


def changed(spec, **changes):
    """The models of `spec` with the changes applied to the large one."""
    return (spec.models[0], dataclasses.replace(spec.models[1], **changes))


def with_right(spec, right):
    labels = np.asarray(spec.test_labels)
    predictions = np.where(right, labels, (labels + 1) % 4).astype(np.uint16)
    return Evaluation(predictions=predictions, correct=int(right.sum()), images=len(labels))


def of_tier(diff, tier):
    return next(change for change in diff.tiers if change.tier == tier)


def test_a_family_is_not_worse_than_itself(make_family):
    folder = make_family()
    diff = diff_families(folder, folder / "manifest.json", Limits())
    assert diff.exit_code == 0
    assert {change.status for change in diff.tiers} == {"same"}
    assert of_tier(diff, "phone").accuracy.mean == 0


def test_the_paired_difference_counts_discordant_pairs():
    old = np.array([1] * 80 + [0] * 20, bool)
    new = np.array([1] * 70 + [0] * 10 + [1] * 5 + [0] * 15, bool)
    change = paired_difference(old, new)
    assert change.mean == pytest.approx(-0.05)
    assert (change.low + change.high) / 2 == pytest.approx(-5 / 102)
    assert change.high - change.low == pytest.approx(2 * 1.96 * np.sqrt(16 - 25 / 102) / 102, rel=1e-3)


def test_four_lost_images_and_none_gained_are_within_chance():
    old = np.ones(450, bool)
    new = old.copy()
    new[:4] = False
    assert paired_difference(old, new).high > 0


@pytest.mark.parametrize(("lost", "exit_code"), [(2, 0), (30, 1)])
def test_only_a_drop_beyond_chance_is_worse(make_family, spec, lost, exit_code):
    right = np.arange(200) < 150
    less = right.copy()
    less[:lost] = False
    old = make_family("old", models=changed(spec, evaluation=with_right(spec, right)))
    new = make_family("new", models=changed(spec, evaluation=with_right(spec, less)))
    diff = diff_families(old, new, Limits())
    assert diff.exit_code == exit_code
    assert of_tier(diff, "phone").accuracy.mean == pytest.approx(-lost / 200)
    assert of_tier(diff, "entry").accuracy.mean == 0
    whole = [line for line in diff.worse if "class" not in line]
    assert len(whole) == 2 * exit_code  # the large model serves two tiers
    assert diff_families(old, new, Limits(max_accuracy_drop=0.5)).exit_code == 0
    assert diff_families(new, old, Limits()).exit_code == 0


def test_further_figures_of_both_families_are_stated_and_have_no_limit(make_family, spec):
    right = np.arange(200) < 150
    old = make_family("old", models=changed(spec, evaluation=with_right(spec, right)))
    new = make_family("new", models=changed(spec, evaluation=with_right(spec, np.arange(200) < 151)))
    figures = {one.name: (one.old, one.new) for one in of_tier(diff_families(old, new, Limits()), "phone").measures}
    assert set(figures) == {"balanced_accuracy", "macro_f1", "majority_accuracy"}  # no confidences were given
    before, after = figures["balanced_accuracy"]
    assert before < after


@pytest.mark.parametrize(("lost", "exit_code"), [(3, 0), (12, 1)])
def test_a_class_that_drops_beyond_chance_is_worse_even_if_the_whole_is_as_good(make_family, spec, lost, exit_code):
    labels = np.asarray(spec.test_labels)
    right, traded = np.arange(200) % 4 > 0, np.arange(200) % 4 > 0
    traded[np.flatnonzero((labels == 1) & right)[:lost]] = False
    traded[np.flatnonzero((labels != 1) & ~right)[:lost]] = True
    old = make_family("old", models=changed(spec, evaluation=with_right(spec, right)))
    new = make_family("new", models=changed(spec, evaluation=with_right(spec, traded)))
    diff = diff_families(old, new, Limits())
    assert of_tier(diff, "phone").accuracy.mean == 0
    assert diff.exit_code == exit_code
    assert all("accuracy on class dog changed by -0.2" in line for line in diff.worse)
    assert diff_families(old, new, Limits(max_class_drop=0.5)).exit_code == 0
    assert diff_families(old, new, Limits(max_accuracy_drop=0.5)).exit_code == 0


@pytest.mark.parametrize(("low", "exit_code"), [(0.2, 0), (0.6, 1)])
def test_a_conversion_to_int8_that_cost_too_much_is_worse_even_if_it_did_so_before(make_family, spec, low, exit_code):
    drop = Drop(points=1.0, low=low, high=1.4, images=5000)
    attempt = Attempt(ranges="minmax", equalised=False, float_layers=(), finetuned=False, drop=drop)
    conversion = Conversion(precision="int8", attempts=(attempt,), chosen=0)
    artifact = dataclasses.replace(spec.models[1].artifact, conversion=conversion)
    family = make_family("family", models=changed(spec, artifact=artifact))
    diff = diff_families(family, family, Limits())
    assert diff.exit_code == exit_code
    assert all("cost 0.0100 of the accuracy on held-out images (95 % interval 0.0060" in line for line in diff.worse)
    assert diff_families(family, family, Limits(max_conversion_drop=0.01)).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"peak_memory_bytes": 88_000}, "peak memory grew from 78.1 KiB to 85.9 KiB (+10.0%)"),
        ({"perf": 880}, "latency on phone, 1 thread, cpu, modelled grew from 800 us to 880 us (+10.0%)"),
    ],
)
def test_growth_is_worse_only_above_its_limit(make_family, spec, changes, name):
    if "perf" in changes:
        changes = {"perf": (spec.models[1].perf[0].model_copy(update={"latency_us": 880}),)}
    old, new = make_family("old"), make_family("new", models=changed(spec, **changes))
    diff = diff_families(old, new, Limits())
    assert diff.exit_code == 1
    assert all(name in line and "at most +5.0%" in line for line in diff.worse)
    roomy = Limits(max_latency_increase=0.11, max_memory_increase=0.11)
    assert diff_families(old, new, roomy).exit_code == 0


def test_a_larger_file_is_worse(make_family, spec):
    tiers = (dataclasses.replace(spec.tiers[1], model_id="large"),)
    diff = diff_families(make_family("old", tiers=spec.tiers[1:2]), make_family("new", tiers=tiers), Limits())
    change = of_tier(diff, "entry")
    assert (change.status, change.old_model, change.new_model) == ("changed", "small", "large")
    assert any(line.startswith("file size grew") for line in change.worse)


@pytest.mark.parametrize(("machine", "compared"), [("box-1", True), ("box-2", False), ("", False)])
def test_measured_latency_is_compared_on_one_machine_only(make_family, spec, machine, compared):
    def perf(latency_us, where):
        return (
            Perf(device="phone", threads=1, compute_unit="cpu", latency_us=latency_us, basis="measured", machine=where),
        )

    old = make_family("old", models=changed(spec, perf=perf(100, "box-1" if machine else "")))
    new = make_family("new", models=changed(spec, perf=perf(900, machine)))
    diff = diff_families(old, new, Limits())
    assert diff.exit_code == int(compared)
    assert any("different machines" in note for note in of_tier(diff, "phone").notes) != compared


def test_memory_of_another_basis_is_noted_not_compared(make_family, spec):
    models = changed(spec, peak_memory_bytes=10**6, needs_basis="measured")
    diff = diff_families(make_family("old"), make_family("new", models=models), Limits())
    assert diff.exit_code == 0
    assert "peak memory is not compared: its bases differ (modelled and measured)" in of_tier(diff, "phone").notes


def test_a_removed_tier_is_worse_and_an_added_one_is_not(make_family, spec):
    whole, part = make_family("whole"), make_family("part", tiers=spec.tiers[:2])
    diff = diff_families(whole, part, Limits())
    assert diff.worse == ("tier computer: was removed; its devices get a lower tier",)
    back = diff_families(part, whole, Limits())
    assert (back.exit_code, of_tier(back, "computer").status) == (0, "added")


def test_a_changed_selector_is_noted(make_family, spec):
    tiers = (dataclasses.replace(spec.tiers[0], selectors=(Selector(ram_class_min=8192),)), *spec.tiers[1:])
    change = of_tier(diff_families(make_family("old"), make_family("new", tiers=tiers), Limits()), "phone")
    assert change.status == "changed"
    assert change.notes == ("its selectors changed, so other devices may get this tier",)


@pytest.mark.parametrize(
    "changes",
    [
        {"judge": classes_judge(("a", "b", "c", "d"))},
        {"test_set_sha256": "cd" * 32},
        {"test_labels": np.zeros(200, int)},
    ],
)
def test_another_task_or_test_set_cannot_be_compared(make_family, changes):
    with pytest.raises(IncomparableError, match="different") as caught:
        diff_families(make_family("old"), make_family("new", **changes), Limits())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("damage", [None, b"", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["labels", "large"])
def test_missing_or_damaged_evaluations_cannot_be_compared(make_family, name, damage):
    old, new = make_family("old"), make_family("new")
    path = predictions(new, name)
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(IncomparableError, match="evaluation cannot be read"):
        diff_families(old, new, Limits())


@pytest.mark.parametrize("change", [{"manifest_version": "2.0"}, {"critical": ["x"]}, {"tiers": []}])
def test_a_manifest_it_cannot_read_cannot_be_compared(make_family, change):
    old, new = make_family("old"), make_family("new")
    value = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps(value | change))
    with pytest.raises(IncomparableError, match="cannot compare"):
        diff_families(old, new, Limits())


def test_an_evaluation_that_is_no_regular_file_or_no_array_of_classes_cannot_be_compared(make_family):
    old, new = make_family("old"), make_family("new")
    path = predictions(new, "labels")
    data = path.read_bytes()
    for damaged, words in (
        (data.replace(b"}", b" "), "is not an NPY file of uint16 with one dimension"),
        (data.replace(b"(200,)", b"(1000000000,)"), "is not an NPY file|states 1,000,000,000 values"),
        (data.replace(b"<u2", b"|O1"), "is not an NPY file"),
        (data[:-1], "states 200 values"),
    ):
        path.write_bytes(damaged)
        rewrite(new, lambda v, d=damaged: v["evaluation"]["labels"].update(bytes=len(d), sha256=sha256_bytes(d)))
        with pytest.raises(IncomparableError, match=words):
            diff_families(old, new, Limits())
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IncomparableError, match="is not a regular file"):
        diff_families(new, old, Limits())


def rewrite(folder, change):
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("releases", "note"),
    [
        ((1, 1), "changed, but its release number is still 1; set `release: 2` in the config before you publish it"),
        ((3, 2), "changed, but its release number is lower than 3: 2; set `release: 4`"),
        ((1, 2), None),
    ],
)
def test_other_content_under_a_release_number_that_did_not_grow_is_noted(make_family, spec, releases, note):
    old = make_family("old", release=releases[0])
    new = make_family("new", release=releases[1], models=changed(spec, peak_memory_bytes=80_001))
    diff = diff_families(old, new, Limits())
    assert diff.exit_code == 0
    assert [note in line for line in diff.notes] == ([True] if note else [])


def test_the_same_content_needs_no_new_release_number(make_family, spec):
    provenance = spec.provenance.model_copy(update={"tool_version": "9.9", "config_sha256": "cd" * 32})
    assert diff_families(make_family("old"), make_family("new", provenance=provenance), Limits()).notes == ()


def test_a_limit_must_be_a_number():
    with pytest.raises(ConfigError, match="max_latency_increase is nan"):
        Limits(max_latency_increase=float("nan"))


def test_another_precision_and_latency_of_the_files_are_stated(make_family):
    old, new = make_family("old"), make_family("new")
    value = json.loads((new / "manifest.json").read_text())
    for model in value["models"].values():
        model["precision"] = "int8"
        model["proof"]["host"]["latency_p50_us"] += 10**6
    (new / "manifest.json").write_text(json.dumps(value))
    change = diff_families(old, new, Limits()).tiers[0]
    assert "its precision changed from fp32 to int8" in change.notes
    latency = next(value for value in change.values if value.name.startswith("latency_p50_us"))
    assert latency.label.startswith("median latency on ")
    assert latency.new == latency.old + 10**6
    assert change.worse == ()
