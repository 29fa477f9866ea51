import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from family_files import predictions, sample
from PIL import Image

from exports.client.python.preprocess import model_input
from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import resolve
from exports.engines import get_engine
from exports.exporter import export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import evaluate_artifact
from exports.family.diff import Limits, diff_families
from exports.family.family import check_family, write_family
from exports.family.judge import classes_judge
from exports.family.labels import family_labels
from exports.family.manifest import manifest_text, read_manifest, read_manifest_value
from exports.family.records import Selector
from exports.family.specs import TierSpec
from exports.family.verify import verify_family
from factory_base.errors import DataError, DiskError, IncomparableError, ManifestError, ParityError
from factory_base.files import sha256_bytes, sha256_file


def files(folder):
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()}


def test_the_manifest_names_every_file_with_its_size_and_digest(make_family):
    folder = make_family()
    named = {file.name: file for file in read_manifest(folder).files()}
    assert set(named) | {"manifest.json"} == set(files(folder))
    for name, file in named.items():
        assert (file.bytes, file.sha256) == ((folder / name).stat().st_size, sha256_file(folder / name))


def test_the_same_specification_gives_the_same_bytes(make_family):
    assert files(make_family("one")) == files(make_family("two"))


def test_ranks_grow_with_memory_within_a_platform_above_an_explicit_floor(make_family):
    tiers = read_manifest(make_family()).tiers
    assert [(t.platform, t.id, t.rank, t.models) for t in tiers] == [
        ("any", "floor", 0, ("small",)),
        ("android", "entry", 1, ("small",)),
        ("android", "phone", 2, ("large",)),
        ("linux", "computer", 1, ("large",)),
    ]


def test_the_manifest_states_what_was_measured_on_the_file(make_family, spec):
    model = read_manifest(make_family()).models["large"]
    evaluation = spec.models[1].evaluation
    assert model.quality.value_ppm == round(1e6 * evaluation.correct / 200)
    assert model.quality.low_ppm < model.quality.value_ppm < model.quality.high_ppm
    assert (model.quality.images, model.parity.images, model.parity.top1_agreement_ppm) == (200, 16, 1_000_000)
    assert model.subnet.values == {"width": 8, "ratio": 0.5}
    assert (model.engine.name, model.engine.format_version, model.input.width) == ("onnxruntime", 20, 12)


def test_the_manifest_sums_up_what_the_file_is_worth(make_family, spec):
    folder = make_family()
    for model in spec.models:
        quality = read_manifest(folder).models[model.artifact.model_id].quality
        predicted, labels = model.evaluation.predictions, np.asarray(spec.test_labels)
        recalls = [(predicted[labels == index] == index).mean() for index in np.unique(labels)]
        assert quality.measures["balanced_accuracy"] == pytest.approx(1e6 * np.mean(recalls), abs=1)
        assert quality.measures["majority_accuracy"] == round(1e6 * np.bincount(labels).max() / len(labels))
        assert set(quality.measures) <= {"balanced_accuracy", "macro_f1", "majority_accuracy", "calibration_error"}


def test_expected_outputs_are_those_of_the_file_on_the_png(make_family, spec):
    folder = make_family()
    expected = json.loads(next(folder.glob("samples/expected-*.json")).read_text())["small"]
    pixels = np.asarray(Image.open(sample(folder, 3)))
    np.testing.assert_array_equal(pixels, spec.sample_images[3])
    session = get_engine("onnxruntime").load(folder / spec.models[0].artifact.path, 1)
    logits = session.run(model_input(pixels, 8, spec.mean_ppm, spec.std_ppm)[None])[0]
    np.testing.assert_allclose(logits, np.array(expected["logits_micro"][3]) / 1e6, atol=1e-5)
    assert expected["top1"][3] == logits.argmax()


def test_evaluation_files_hold_labels_and_predictions(make_family, spec):
    folder = make_family()
    np.testing.assert_array_equal(np.load(predictions(folder, "labels")), spec.test_labels)
    np.testing.assert_array_equal(np.load(predictions(folder, "large")), spec.models[1].evaluation.predictions)


def test_files_of_an_older_family_are_removed_and_others_are_left_alone(make_family, spec):
    folder = make_family()
    for name in ("models/old.onnx", "samples/099.png", "evaluation/gone.npy", "report.html"):
        (folder / name).write_text("x")
    write_family(folder, dataclasses.replace(spec, models=spec.models[:1], tiers=spec.tiers[1:2], release=2))
    left = files(folder)
    assert "report.html" in left
    assert not {"models/old.onnx", "samples/099.png", "evaluation/gone.npy", "evaluation/large.npy"} & set(left)
    assert sum(name.startswith("models/") for name in left) == 1


@pytest.mark.parametrize(
    "change", [{"family_id": "Bad Name"}, {"judge": classes_judge(("x",) * 5)}, {"release": 2**60}]
)
def test_a_refused_specification_leaves_the_family_as_it_was(make_family, spec, change):
    folder = make_family()
    before = files(folder)
    with pytest.raises(ManifestError):
        write_family(folder, dataclasses.replace(spec, sample_images=spec.sample_images[::-1], **change))
    assert files(folder) == before


RULE = (Selector(ram_class_min=1),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tiers": (TierSpec(id="a", platform="ios", selectors=RULE, model_id="gone"),)},
            "names the model 'gone'; known",
        ),
        (
            {"tiers": (TierSpec(id="floor", platform="ios", selectors=RULE, model_id="small"),)},
            "an id other than 'floor'",
        ),
        ({"tiers": (TierSpec(id="a", platform="ios", selectors=(), model_id="small"),)}, "needs at least one selector"),
        (
            {"tiers": (TierSpec(id="a", platform="ios", selectors=RULE, model_id="small"),) * 2},
            "the tier id 'a' is used twice",
        ),
        (
            {"tiers": (TierSpec(id="A b", platform="ios", selectors=RULE, model_id="small"),)},
            "'id': string should match",
        ),
        ({"models": (), "tiers": ()}, "at least one"),
        ({"family_id": "Big One"}, "family 'Big One': 'family_id'"),
        ({"release": 0}, "'release'"),
        ({"judge": classes_judge(("cat", "dog", "owl", "yak", "fox"))}, "has 4 outputs, but there are 5 labels"),
        ({"judge": classes_judge(("cat", "dog"))}, "test labels must be in 0 to 1"),
        ({"std_ppm": (0, 1, 1)}, "std_ppm"),
        ({"test_labels": np.zeros(9, int)}, "evaluated on 200 images, but the test set has 9"),
        ({"sample_images": np.zeros((8, 4, 4, 3))}, "expected uint8"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused_in_one_line(make_family, change, message):
    with pytest.raises(ManifestError, match=message) as caught:
        make_family(**change)
    assert "\n" not in str(caught.value)


def test_a_misspelt_selector_key_is_refused_when_writing(make_family, spec):
    rule = Selector.model_validate({"ram_clas_min": 5})
    with pytest.raises(ManifestError, match=r"unknown keys \['ram_clas_min'\]"):
        make_family(tiers=(dataclasses.replace(spec.tiers[0], selectors=(rule,)),))


def test_exporting_again_changes_nothing(tiny_net, tmp_path):
    images = np.random.default_rng(0).normal(size=(8, 3, 12, 12)).astype(np.float32)
    images += np.random.default_rng(1).normal(size=(8, 3, 1, 1)).astype(np.float32)
    first, second = (
        export_artifact(tiny_net, (3, 12, 12), tmp_path, get_exporter("onnxruntime"), images, 1) for _ in "ab"
    )
    assert (first.files, first.parity, first.conversion) == (second.files, second.parity, second.conversion)
    assert list(files(tmp_path)) == [f"models/{first.sha256[:16]}.onnx"]
    assert (first.bytes, first.format_version, first.engine) == (
        (tmp_path / first.path).stat().st_size,
        20,
        "onnxruntime",
    )


@pytest.fixture
def update(make_family, built, spec, process):
    """A family, and a function that replaces it by one with other samples and labels and a model of its own."""
    folder = make_family()
    changed = dataclasses.replace(
        spec, release=2, sample_images=255 - spec.sample_images, test_labels=(spec.test_labels + 1) % 4,
        models=(spec.models[0],), tiers=(spec.tiers[1],),
    )  # fmt: skip

    def write():
        write_family(folder, changed, source=built[0], process=process)

    return folder, write


@pytest.mark.parametrize("failing", range(4))
def test_an_update_that_fails_leaves_the_earlier_family_as_it_was(update, monkeypatch, failing):
    folder, write = update
    before, written = files(folder), []

    def full(path, data):
        written.append(path)
        if len(written) > 3 * failing:
            raise DiskError(f"{path}: the disk is full")
        path.write_bytes(data)

    monkeypatch.setattr("exports.family.publishing.write_bytes", full)
    with pytest.raises(DiskError):
        write()
    assert files(folder) == before


def test_a_disk_with_too_little_space_is_noticed_before_anything_is_written(update, monkeypatch):
    folder, write = update
    before = files(folder)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskError, match=r"the family needs \S+ KiB, 1000 B are free; free some space"):
        write()
    assert files(folder) == before


def test_an_update_replaces_the_family_by_the_files_of_the_new_one(update, process):
    folder, write = update
    before = files(folder)
    write()
    assert verify_family(folder, process).ok
    assert not any(name in before for name in files(folder) if name.startswith("samples/"))


def test_a_model_that_fails_parity_leaves_no_file(tiny_net, tmp_path):
    images = np.zeros((8, 3, 12, 12), np.float32)
    with pytest.raises(ParityError, match="collapsed"):
        export_artifact(tiny_net, (3, 12, 12), tmp_path, get_exporter("onnxruntime"), images, 1)
    assert not files(tmp_path)


def test_evaluation_counts_reports_progress_and_gives_the_wilson_interval(built):
    folder, spec = built
    artifact, seen = spec.models[0].artifact, []
    images = np.random.default_rng(0).normal(size=(70, 3, 8, 8)).astype(np.float32)
    truth = get_engine("onnxruntime").load(folder / artifact.path, 1).run(images).argmax(axis=1)
    truth[:7] = (truth[:7] + 1) % 4
    evaluation = evaluate_artifact(artifact, folder, images, truth, 1, lambda *event: seen.append(event))
    assert (evaluation.correct, evaluation.images) == (63, 70)
    found = spec.judge.estimate(evaluation.predictions, truth)
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.80770, 0.95079), abs=1e-4)
    assert seen == [(64, 70, "small"), (70, 70, "small")]


def test_evaluation_keeps_how_sure_the_file_is_of_each_prediction(built):
    folder, spec = built
    artifact = spec.models[0].artifact
    images = np.random.default_rng(0).normal(size=(70, 3, 8, 8)).astype(np.float32)
    logits = get_engine("onnxruntime").load(folder / artifact.path, 1).run(images).astype(np.float64)
    evaluation = evaluate_artifact(artifact, folder, images, np.zeros(70, int), 1)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluation.confidences, softmax.max(axis=1), rtol=1e-5)


@pytest.mark.parametrize("labels", [0, 3])
def test_images_without_labels_are_refused(built, labels):
    folder, spec = built
    images = np.zeros((labels and 2, 3, 8, 8), np.float32)
    with pytest.raises(DataError, match="cannot evaluate"):
        evaluate_artifact(spec.models[0].artifact, folder, images, np.zeros(labels, int), 1)


def long_labels(length, count=4):
    return tuple(f"{index:05}" + "x" * length for index in range(count))


def test_labels_that_do_not_fit_into_the_manifest_are_in_a_file_of_their_own(make_family):
    folder = make_family(judge=classes_judge(long_labels(70_000)))
    manifest = read_manifest(folder)
    assert (manifest.critical, manifest.task.labels) == (("labels_file",), ())
    file = manifest.task.labels_file
    assert file in manifest.files()
    assert json.loads((folder / file.name).read_text(encoding="utf-8")) == list(long_labels(70_000))
    assert family_labels(folder, manifest) == long_labels(70_000)
    assert verify_family(folder).ok
    assert (
        resolve(read_manifest_value(folder), None, DeviceFacts(platform="ios"), ClientState(), now=0).model == "small"
    )


def test_labels_that_fit_are_in_the_manifest_as_before(make_family):
    manifest = read_manifest(make_family(judge=classes_judge(long_labels(50_000))))
    assert (manifest.critical, manifest.task.labels_file) == ((), None)
    assert "labels_file" not in manifest_text(manifest)


def test_families_whose_labels_are_in_files_are_compared_by_the_names(make_family):
    old, new = (
        make_family("old", judge=classes_judge(long_labels(70_000))),
        make_family("new", judge=classes_judge(long_labels(70_001))),
    )
    assert diff_families(old, old, Limits()).exit_code == 0
    with pytest.raises(IncomparableError, match="different tasks or labels"):
        diff_families(old, new, Limits())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "c"], "has 3 labels, the output has 4"),
        (["a", "b", "c", 5], "is not a list of names"),
        (["a", "b", "c", "b"], "two classes have the label 'b'"),
        ([["a"], "b", "c", "d"], "nested deeper than 1"),
        ({"a": 1}, "is not a list of names"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_file_of_labels_is_a_fault_and_cannot_be_compared(make_family, names, message):
    folder = make_family(judge=classes_judge(long_labels(70_000)))
    value = json.loads((folder / "manifest.json").read_text())
    data = json.dumps(names).encode()
    path = folder / value["task"]["labels_file"]["name"]
    path.write_bytes(data) if names else path.unlink()
    value["task"]["labels_file"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}
    (folder / "manifest.json").write_text(json.dumps(value))
    next(folder.glob("samples/expected-*.json")).unlink()  # so that no model runs
    checks = {check.name: check for check in verify_family(folder).checks}
    assert message in checks["labels"].detail
    assert not checks["labels"].ok
    with pytest.raises(IncomparableError, match=message):
        diff_families(folder, folder, Limits())


def test_labels_in_two_places_or_without_the_critical_feature_are_faults(make_family):
    folder = make_family(judge=classes_judge(long_labels(70_000)))
    value = json.loads((folder / "manifest.json").read_text())
    for change, message in (
        ({"critical": []}, "'labels_file' is not among the critical features"),
        ({"task": value["task"] | {"labels": ["a"]}}, "both in the manifest and in a file"),
    ):
        (folder / "manifest.json").write_text(json.dumps(value | change))
        with pytest.raises(ManifestError, match=message):
            read_manifest(folder)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (tuple(map(str, range(65_537))), "there are 65,537 classes, a family has at most 65,536; merge some"),
        (long_labels(5_000_000), "at most 16,777,216 are allowed; shorten them"),
        (("caf\udce9", "b", "c", "d"), r"the class name 'caf\\udce9' is not valid Unicode; rename the class"),
    ],
)
def test_labels_that_no_family_can_have_are_refused_before_any_model_is_made(spec, labels, message):
    with pytest.raises(ManifestError, match=message):
        check_family(dataclasses.replace(spec, judge=classes_judge(labels)))


def test_too_many_targets_are_refused_before_any_model_is_made(spec):
    perf = tuple(spec.models[0].perf[0].model_copy(update={"device": f"device-{index}"}) for index in range(1500))
    with pytest.raises(ManifestError, match=r"2 models for 3 tiers take .* at most 262,144 are allowed; name fewer"):
        check_family(dataclasses.replace(spec, models=tuple(dataclasses.replace(m, perf=perf) for m in spec.models)))
    many = tuple(
        dataclasses.replace(m, artifact=dataclasses.replace(m.artifact, model_id=f"{m.artifact.model_id}{index}"))
        for m in spec.models
        for index in range(30)
    )
    wide = dataclasses.replace(spec, judge=classes_judge(tuple(map(str, range(60_000)))), models=many, tiers=())
    with pytest.raises(ManifestError, match="expected outputs of 60 models for 60,000 classes"):
        check_family(wide)


def test_checking_a_family_accepts_what_can_be_written(spec):
    check_family(spec)
