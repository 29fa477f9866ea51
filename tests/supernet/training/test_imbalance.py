"""What training does about classes of unequal size: weights, offsets, the order of examples, the choice of `auto`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from factory_base.documents import shaping_values
from supernet.data.examples import ExampleInputs, Targets
from supernet.data.image_examples import ImageExamples, Normalisation
from supernet.evaluation.evaluation import predict, recalibrate
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig, StageConfig
from supernet.tasks.classification import Classification
from supernet.training.config import TrainingConfig
from supernet.training.imbalance import Balance, balance, imbalance_ratio
from supernet.training.training import train

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
NAMES = ("cat", "dog", "owl", "unseen")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def weights_of(made: Balance, labels: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
    return made.weighted(Targets(labels, given)).weights


def test_class_weights_give_each_class_the_same_sum_and_all_examples_a_mean_of_one():
    weights = weights_of(balance("class_weights", LABELS, 4), LABELS)
    sums = [float(weights[label == LABELS].sum()) for label in range(3)]
    assert sums == pytest.approx([100 / 3] * 3)
    assert float(weights.mean()) == pytest.approx(1)


def test_class_weights_and_the_weights_of_examples_multiply_and_the_classes_still_weigh_the_same():
    given = torch.linspace(0.5, 1.5, 100)
    weights = weights_of(balance("class_weights", LABELS, 3, given), LABELS, given)
    sums = [float(weights[label == LABELS].sum()) for label in range(3)]
    assert sums == pytest.approx([100 / 3] * 3, rel=1e-5)
    assert float(weights[1] / weights[0]) == pytest.approx(float(given[1] / given[0]))


def test_offsets_are_the_logarithms_of_the_shares_and_a_class_without_examples_counts_as_one():
    task = balance("logit_adjustment", LABELS, 4).adjusted(Classification(names=NAMES))
    assert task.offsets == pytest.approx([math.log(count / 100) for count in (60, 30, 10, 1)])


def test_shares_count_the_weights_of_examples():
    given = torch.tensor([3.0, 1.0])
    assert balance("logit_adjustment", torch.tensor([0, 1]), 2, given).shares == (0.75, 0.25)


def test_with_offsets_a_network_that_knows_no_more_than_the_shares_learns_to_answer_all_classes_alike():
    task = balance("logit_adjustment", LABELS, 3).adjusted(Classification(names=NAMES[:3]))
    outputs = torch.tensor([0.4, -0.2, 0.1], requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(outputs.expand(100, 3), LABELS)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = outputs.detach()
    assert float(found.max() - found.min()) < 1e-3


def test_smoothing_with_offsets_spreads_by_the_shares_so_that_a_sure_network_stays_even():
    task = balance("logit_adjustment", LABELS, 3).adjusted(Classification(names=NAMES[:3]))
    shares = torch.tensor([0.6, 0.3, 0.1])
    for label in range(3):
        wanted = 0.9 * torch.eye(3)[label] + 0.1 * shares
        best = (wanted / shares).log()[None]  # adjusted by the offsets, these are the wanted probabilities
        others = best[0, [index for index in range(3) if index != label]]
        assert float(others[0]) == pytest.approx(float(others[1]))
        loss = task.loss(best, torch.tensor([label]), smoothing=0.1)
        assert float(loss) == pytest.approx(float(-(wanted * wanted.log()).sum()), abs=1e-6)


def test_offsets_change_no_answer_and_no_lesson_for_students():
    plain = Classification(names=NAMES)
    task = balance("logit_adjustment", LABELS, 4).adjusted(plain)
    outputs = torch.randn(5, 4, generator=generator())
    assert torch.equal(task.teach(outputs), plain.teach(outputs))
    assert (task.predictions(outputs.numpy()) == plain.predictions(outputs.numpy())).all()


def test_balanced_sampling_draws_each_class_equally_often_and_its_examples_evenly():
    order = balance("balanced_sampling", LABELS, 4).order(LABELS, generator())
    counts = LABELS[order].bincount().tolist()
    assert len(order) == 100
    assert max(counts) - min(counts) <= 1
    repeats = order.bincount(minlength=100)
    assert repeats[:60].max() == 1
    assert repeats[90:].min() >= 3
    assert repeats[90:].max() <= 4


def test_balanced_sampling_mixes_the_classes_and_repeats_itself_for_the_same_seed():
    made = balance("balanced_sampling", LABELS, 4)
    order = made.order(LABELS, generator())
    assert torch.equal(order, made.order(LABELS, generator()))
    assert len(LABELS[order][:30].unique()) == 3


@pytest.mark.parametrize("method", ["none", "class_weights", "logit_adjustment"])
def test_other_methods_keep_the_order_that_training_always_had(method):
    order = balance(method, LABELS, 3).order(LABELS, generator())
    assert torch.equal(order, torch.randperm(100, generator=generator()))


def test_without_a_method_nothing_changes():
    made, task = balance("none", LABELS, 3), Classification(names=NAMES)
    targets = Targets(LABELS, None)
    assert made.adjusted(task) is task
    assert made.weighted(targets) is targets


@pytest.mark.parametrize("labels", [torch.zeros(5, 3, dtype=torch.uint8), torch.zeros(5, 1)])
def test_labels_that_are_not_single_classes_are_left_as_they_are(labels):
    assert balance("auto", labels, 3).method == "none"


@pytest.mark.parametrize(("counts", "chosen"), [((29, 10), "none"), ((30, 10), "balanced_sampling")])
def test_auto_chooses_by_the_ratio_of_the_largest_class_to_the_smallest(counts, chosen):
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    made = balance("auto", labels, 2)
    assert (made.method, made.is_chosen) == (chosen, True)


def test_the_plan_says_what_was_chosen_and_why():
    assert balance("auto", LABELS, 4).describe(NAMES) == (
        "imbalance: balanced_sampling (chosen by auto), each class is drawn equally often; "
        "'cat' has 60 training examples and 'owl' 10, 6 to 1"
    )
    even = balance("auto", torch.tensor([0, 0, 1, 1]), 2).describe(NAMES)
    assert even.endswith("each class has 2 training examples; auto changes nothing below 3 to 1")
    asked = balance("none", torch.tensor([0, 0, 1]), 2).describe(NAMES)
    assert asked == (
        "imbalance: none (as asked), all examples count alike; 'cat' has 2 training examples and 'dog' 1, 2 to 1"
    )


def test_the_ratio_leaves_out_classes_without_examples():
    assert imbalance_ratio((0, 4, 2)) == 2
    assert imbalance_ratio((0, 0)) == 1


def test_a_class_that_has_no_examples_is_never_drawn():
    labels = torch.tensor([0, 2] * 5)
    made = balance("balanced_sampling", labels, 3)
    assert set(labels[made.order(labels, generator())].tolist()) == {0, 2}


@pytest.fixture(scope="module")
def blurred() -> ImageExamples:
    """Two classes of noise that differ a little in brightness, 120 of the first and 8 of the second."""
    labels = torch.tensor([0] * 120 + [1] * 8)
    images = torch.randint(0, 200, (128, 3, 8, 8), generator=generator()) + 25 * labels[:, None, None, None]
    normalisation = Normalisation(mean=(0.4,) * 3, std=(0.25,) * 3)
    return ImageExamples(images=images.to(torch.uint8), labels=labels, normalisation=normalisation)


def trained(examples: ImageExamples, imbalance: str, folder: Path) -> Supernet:
    stages = (StageConfig(widths=(8,), depths=(1,)),)
    config = MobileNetConfig(resolutions=(8,), stem_width=8, stages=stages, head_width=16)
    supernet = Supernet(make_model_space(config, classes=2))
    recipe = TrainingConfig(epochs=4, batch_size=32, learning_rate=0.05, imbalance=imbalance, rollbacks=0)
    train(
        supernet, examples, recipe, seed=0, state_file=folder / f"{imbalance}.safetensors", key=imbalance,
        check=lambda _: 1.0, task=Classification(names=("day", "night")),
    )  # fmt: skip
    return supernet


def answers(supernet: Supernet, examples: ImageExamples) -> torch.Tensor:
    inputs = ExampleInputs(examples, (3, 8, 8))
    return torch.from_numpy(predict(recalibrate(supernet.extract(supernet.model_space.space.largest), inputs), inputs))


@pytest.mark.parametrize("method", ["class_weights", "balanced_sampling", "logit_adjustment"])
def test_each_method_makes_a_network_answer_the_rare_class_more_often(blurred, tmp_path, method):
    plain, balanced = (answers(trained(blurred, name, tmp_path), blurred) for name in ("none", method))
    assert int(balanced.sum()) > int(plain.sum())
    assert balanced[120:].sum() > plain[120:].sum()


def test_auto_trains_as_the_method_that_it_chooses(blurred, tmp_path):
    chosen, asked = (
        dict(trained(blurred, name, tmp_path).named_parameters()) for name in ("auto", "balanced_sampling")
    )
    assert all(torch.equal(value, asked[name]) for name, value in chosen.items())


def test_the_keys_of_runs_that_knew_no_such_option_stay():
    assert "imbalance" not in shaping_values(TrainingConfig(epochs=1))
    assert shaping_values(TrainingConfig(epochs=1, imbalance="auto"))["imbalance"] == "auto"
