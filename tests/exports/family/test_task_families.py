"""Families whose models answer with labels, values, or the class of a text: written, verified, run, compared."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from exports.client.python.cli import main
from exports.exporter import ConvertOptions, export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import evaluate_artifact
from exports.family.consistency import churn_between
from exports.family.diff import Limits, diff_families
from exports.family.evaluations import evaluation_of
from exports.family.family import write_family
from exports.family.judge import Judge, judge_of
from exports.family.manifest import manifest_schema, read_manifest
from exports.family.parity import compare_logits
from exports.family.records import Perf, Selector
from exports.family.specs import ModelSpec, Publish, TierSpec
from exports.family.task_spec import TextSpec
from exports.family.verify import verify_family
from factory_base.errors import IncomparableError, ManifestError
from factory_base.files import sha256_bytes
from supernet.tasks import Classification, Multilabel, Regression

NAMES = ("cat", "dog", "owl", "yak")
MULTILABEL = Judge(task=Multilabel(names=NAMES, threshold=0.4), metric="f1")
REGRESSION = Judge(
    task=Regression(names=NAMES, mean=(250_000.0, 0.003, -5.0, 0.0), std=(80_000.0, 0.001, 2.0, 1e6)), metric="r2"
)
WORDS = ("[PAD]", "[UNK]", "good", "bad", "film")
TEXT = Judge(
    task=Classification(names=("negative", "positive"), name="text_classification", inputs="tokens"),
    metric="balanced_accuracy",
)


def true_labels(judge, count):
    generator = np.random.default_rng(6)
    if judge.kind == "labels":
        return generator.integers(0, 2, (count, len(NAMES)), dtype=np.uint8)
    return (generator.normal(size=(count, len(NAMES))) * judge.task.std + judge.task.mean).astype(np.float32)


def of_task(built, judge):
    """The images and the models of `built`, which learnt another task."""
    folder, spec = built
    labels = true_labels(judge, 200)
    images = np.random.default_rng(7).normal(size=(200, 3, 12, 12)).astype(np.float32)
    models = tuple(
        dataclasses.replace(
            model,
            evaluation=evaluate_artifact(
                model.artifact, folder, images[:, :, : model.artifact.input_shape[1], : model.artifact.input_shape[1]],
                labels, 1, task=judge.task,
            ),
        )
        for model in spec.models
    )  # fmt: skip
    return dataclasses.replace(spec, judge=judge, test_labels=labels, models=models)


@pytest.fixture(scope="module")
def multilabel(built):
    return built[0], of_task(built, MULTILABEL)


@pytest.fixture(scope="module")
def regression(built):
    return built[0], of_task(built, REGRESSION)


class Sentiment(nn.Module):
    """The mean of what words say."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), 2)
        self.words.weight.data = torch.tensor([[0, 0], [0, 0], [-2, 2], [2, -2], [0.2, 0.1]], dtype=torch.float32)

    def forward(self, tokens):
        return self.words(tokens).mean(1)


def tokenizer_json():
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    return json.dumps(
        {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    ).encode()  # fmt: skip


@pytest.fixture(scope="module")
def texts(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    tokens = np.random.default_rng(8).integers(0, len(WORDS), (60, 6), dtype=np.int64)
    labels = np.random.default_rng(9).integers(0, 2, 60)
    models = []
    for name, length in (("small", 4), ("large", 6)):
        artifact = export_artifact(
            Sentiment().eval(), (length,), folder, get_exporter("onnxruntime"), tokens[:16, :length], 1, model_id=name,
            options=ConvertOptions(input_type="int64"), task=TEXT.task,
        )  # fmt: skip
        perf = Perf(device="phone", threads=1, compute_unit="cpu", latency_us=100, basis="modelled")
        models.append(
            ModelSpec(
                artifact=artifact,
                evaluation=evaluate_artifact(artifact, folder, tokens[:, :length], labels, 1, task=TEXT.task),
                subnet_values={"length": length}, macs=100, parameters=10, peak_memory_bytes=1000 * length,
                needs_basis="modelled", perf=(perf,),
            )
        )  # fmt: skip
    text = TextSpec(tokenizer=tokenizer_json(), length=6, padding=0, vocabulary=len(WORDS), samples=tokens[:8])
    tiers = (TierSpec(id="phone", platform="linux", selectors=(Selector(cores_min=1),), model_id="large"),)
    return folder, dataclasses.replace(
        built[1], judge=TEXT, test_labels=labels, models=tuple(models), tiers=tiers, texts=text,
        sample_images=np.zeros((0, 0, 0, 3), np.uint8), publish=Publish(samples="tensors", evaluation=True),
    )  # fmt: skip


@pytest.fixture(params=["multilabel", "regression", "texts"])
def made(request):
    return request.getfixturevalue(request.param)


def written(made, folder, process, **changes):
    write_family(folder, dataclasses.replace(made[1], **changes), source=made[0], process=process)
    return folder


def launched(capsys, family, store, *given):
    main(["launch", "--url", str(family), "--store", str(store), *given])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("samples", ["images", "tensors", "none"])
def test_a_family_of_any_task_passes_every_check(made, samples, tmp_path, process):
    folder = written(made, tmp_path / "family", process, publish=Publish(samples=samples))
    faults = [check for check in verify_family(folder, process).checks if not check.ok]
    assert faults == []


def test_the_manifest_says_what_a_client_before_1_6_would_misread(made, tmp_path, process):
    jsonschema = pytest.importorskip("jsonschema")
    folder = written(made, tmp_path / "family", process)
    value = json.loads((folder / "manifest.json").read_text())
    jsonschema.Draft202012Validator(manifest_schema()).validate(value)
    is_text = "tokenizer" in value["task"]
    assert value["critical"] == (["token_input"] if is_text else ["outputs"])
    assert ("output" in value["task"], "preprocessing" in value["task"]) == (is_text, not is_text)


def test_probabilities_from_the_threshold_on_are_labels_of_the_client(multilabel, tmp_path, process, capsys):
    folder = written(multilabel, tmp_path / "family", process)
    assert read_manifest(folder).task.decoding.thresholds_ppm == (400_000,) * 4
    for image in sorted(folder.glob("samples/*.png")):
        found = launched(capsys, folder, tmp_path / "store", "--image", str(image))
        logits = np.array([found["logits_micro"]]) / 1e6
        names = [name for name, has in zip(NAMES, MULTILABEL.task.predictions(logits)[0], strict=True) if has]
        assert found["answer"]["labels"] == names


def test_values_of_the_client_are_those_of_the_task_in_any_unit(regression, tmp_path, process, capsys):
    folder = written(regression, tmp_path / "family", process)
    for image in sorted(folder.glob("samples/*.png"))[:3]:
        found = launched(capsys, folder, tmp_path / "store", "--image", str(image))
        expected = REGRESSION.task.predictions(np.array([found["logits_micro"]]) / 1e6)[0]
        assert found["answer"]["values"] == pytest.approx(expected.tolist(), rel=1e-4)


def test_a_text_is_classified_with_the_tokenizer_of_the_family(texts, tmp_path, process, capsys):
    pytest.importorskip("tokenizers")
    folder = written(texts, tmp_path / "family", process)
    assert launched(capsys, folder, tmp_path / "store", "--text", "good film")["label"] == "positive"
    assert launched(capsys, folder, tmp_path / "store", "--text", "bad bad zebra")["label"] == "negative"
    file = read_manifest(folder).task.tokenizer.file
    assert (folder / file.name).read_bytes() == texts[1].texts.tokenizer


def test_the_metric_of_the_family_is_stated_with_its_interval(made, tmp_path, process):
    manifest, spec = read_manifest(written(made, tmp_path / "family", process)), made[1]
    for model in spec.models:
        quality = manifest.models[model.artifact.model_id].quality
        mean = spec.judge.scores(model.evaluation.predictions, spec.test_labels).mean()
        assert (quality.metric, quality.value_ppm) == (spec.judge.metric, round(1e6 * mean))
        assert quality.low_ppm < quality.value_ppm < quality.high_ppm


def test_kept_predictions_are_found_again_and_judged_like_those_of_the_task(made, tmp_path, process):
    spec = dataclasses.replace(made[1], publish=Publish(evaluation=False))
    folder, store = tmp_path / "family", tmp_path / "kept"
    manifest = write_family(folder, spec, source=made[0], process=process, evaluations=store)
    found = evaluation_of(folder, manifest, (store,))
    judge = judge_of(manifest.task, spec.labels, spec.judge.metric)
    for model in spec.models:
        kept = found.predictions[model.artifact.model_id]
        assert kept.dtype == model.evaluation.predictions.dtype
        own = spec.judge.scores(model.evaluation.predictions, spec.test_labels)
        assert judge.scores(kept, found.labels) == pytest.approx(own, rel=1e-5, abs=1e-6)


def test_worse_predictions_are_found_by_diff(made, tmp_path, process):
    old = written(made, tmp_path / "old", process, publish=Publish(evaluation=True))
    labels = made[1].test_labels
    spoiled = labels[::-1].astype(made[1].models[0].evaluation.predictions.dtype)
    perfect = labels.astype(spoiled.dtype)

    def answering(predictions):
        models = [
            dataclasses.replace(model, evaluation=dataclasses.replace(model.evaluation, predictions=predictions))
            for model in made[1].models
        ]
        return {"models": tuple(models), "publish": Publish(evaluation=True)}

    best = written(made, tmp_path / "best", process, **answering(perfect))
    worst = written(made, tmp_path / "worst", process, **answering(spoiled))
    assert diff_families(old, best, Limits()).worse == ()
    worse = diff_families(best, worst, Limits()).worse
    assert worse
    assert all(made[1].judge.metric.replace("_", " ") in line for line in worse)


def test_families_of_other_metrics_or_tasks_are_not_compared(texts, regression, tmp_path, process):
    old = written(texts, tmp_path / "old", process)
    accuracy = written(texts, tmp_path / "new", process, judge=dataclasses.replace(TEXT, metric="accuracy"))
    with pytest.raises(IncomparableError, match="different metrics, balanced accuracy and accuracy"):
        diff_families(old, accuracy, Limits())
    with pytest.raises(IncomparableError, match="different tasks or labels"):
        diff_families(old, written(regression, tmp_path / "other", process), Limits())


def test_small_changes_of_values_are_no_churn(regression):
    labels = regression[1].test_labels
    moved = labels + np.float32(0.001) * np.array(REGRESSION.task.std, np.float32)
    churn = churn_between("entry", REGRESSION, labels, moved, labels)
    assert (churn.changed_ppm, churn.gained_ppm, churn.lost_ppm) == (0, 1_000_000, 0)
    assert churn_between("entry", REGRESSION, labels, moved[::-1], labels).changed_ppm > 900_000


def test_parity_counts_the_answers_of_the_task():
    reference = np.array([[1.0, -1.0], [-0.001, 2.0], [3.0, 0.5]])
    found = reference + 0.01
    labels = compare_logits(reference, found, Multilabel(names=("a", "b")))
    assert (labels.disagreements, labels.near_ties) == (1, 1)
    values = compare_logits(reference, found * 1.01, Regression(names=("a", "b"), mean=(0, 0), std=(1, 1)))
    assert (values.disagreements, values.near_ties) == (3, 3)


def test_labels_of_another_kind_than_the_task_are_refused(multilabel, regression, tmp_path, process):
    with pytest.raises(ManifestError, match="is not that of labels for the 4 names"):
        written(multilabel, tmp_path / "a", process, test_labels=np.zeros(200, np.int64))
    narrow = Judge(task=Regression(names=NAMES, mean=(1e12,) * 4, std=(1e-9,) * 4), metric="r2")
    with pytest.raises(ManifestError, match=r"the value 'cat' has the mean 1e\+12 and the standard deviation 1e-09"):
        written(regression, tmp_path / "b", process, judge=narrow)


CONTRADICTIONS = [
    (lambda v: v["critical"].remove("outputs"), "'outputs' must be among the critical features"),
    (lambda v: v["critical"].append("token_input"), "'token_input' must not be among"),
    (lambda v: v["task"].update(name="image_regression"), "answers with values, but its output means labels"),
    (
        lambda v: v["task"].update(output={"name": "x", "dtype": "float32", "classes": 4}),
        "either `output` or `outputs`",
    ),
    (lambda v: v["task"]["outputs"][0]["decoding"]["thresholds_ppm"].pop(), "does not fit to its 4 values"),
    (lambda v: v["task"].pop("preprocessing"), "needs an image as input, and its preprocessing"),
    (lambda v: v["task"]["labels"].append("bee"), "has 4 labels, but there are 5 labels"),
    (lambda v: v["models"]["small"].update(input={"length": 5}), "its input is not one of the task"),
]


@pytest.mark.parametrize(("change", "message"), CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused_in_one_line(multilabel, change, message, tmp_path, process):
    folder = written(multilabel, tmp_path / "family", process)
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(ManifestError, match=message):
        read_manifest(folder)


def test_damaged_outputs_of_labels_and_texts_fail_in_one_line(multilabel, texts, tmp_path, process):
    for name, made in (("labels", multilabel), ("texts", texts)):
        folder = written(made, tmp_path / name, process)
        path = folder / read_manifest(folder).samples.expected.name
        expected = json.loads(path.read_text())
        expected["small"]["logits_micro"][0][0] += 900_000
        data = json.dumps(expected).encode()
        path.write_bytes(data)
        value = json.loads((folder / "manifest.json").read_text())
        value["samples"]["expected"].update(bytes=len(data), sha256=sha256_bytes(data))
        (folder / "manifest.json").write_text(json.dumps(value))
        faults = [check.name for check in verify_family(folder, process).checks if not check.ok]
        assert faults == ["samples small"]
