"""What training does about classes of unequal size: weights, offsets, the order of examples, the choice of `auto`."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from factory_base.documents import shaping_values
from supernet.training.config import TrainingConfig
from supernet.training.imbalance import Balance, balance, imbalance_ratio

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
NAMES = ("cat", "dog", "owl", "unseen")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_class_weights_give_each_class_the_same_sum_and_all_examples_a_mean_of_one():
    weights = balance("class_weights", LABELS, 4).weights(LABELS)
    sums = [float(weights[label == LABELS].sum()) for label in range(3)]
    assert sums == pytest.approx([100 / 3] * 3)
    assert float(weights.mean()) == pytest.approx(1)


def test_offsets_are_the_logarithms_of_the_shares_and_a_class_without_examples_counts_as_one():
    offsets = balance("logit_adjustment", LABELS, 4).offsets()
    assert offsets.tolist() == pytest.approx([math.log(count / 101) for count in (60, 30, 10, 1)])


def test_with_offsets_the_loss_is_lowest_for_logits_that_rank_classes_as_if_equally_frequent():
    offsets = balance("logit_adjustment", LABELS, 3).offsets()
    even = torch.zeros(len(LABELS), 3)  # what a network says that knows no more than the shares
    adjusted = functional.cross_entropy(even + offsets, LABELS)
    shares = torch.tensor([0.6, 0.3, 0.1])
    assert float(adjusted) == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-6)


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
    made = balance("none", LABELS, 3)
    assert (made.offsets(), made.weights(LABELS)) == (None, None)


@pytest.mark.parametrize(("counts", "chosen"), [((29, 10), "none"), ((30, 10), "logit_adjustment")])
def test_auto_chooses_by_the_ratio_of_the_largest_class_to_the_smallest(counts, chosen):
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    made = balance("auto", labels, 2)
    assert (made.method, made.is_chosen) == (chosen, True)


def test_the_plan_says_what_was_chosen_and_why():
    assert balance("auto", LABELS, 4).describe(NAMES) == (
        "imbalance: logit_adjustment (chosen by auto), the loss adds the logarithm of each class's share to its logit; "
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
    made = Balance(method="balanced_sampling", counts=(5, 0, 5))
    labels = torch.tensor([0, 2] * 5)
    assert set(labels[made.order(labels, generator())].tolist()) == {0, 2}


def test_the_keys_of_runs_that_knew_no_such_option_stay():
    assert "imbalance" not in shaping_values(TrainingConfig(epochs=1))
    assert shaping_values(TrainingConfig(epochs=1, imbalance="auto"))["imbalance"] == "auto"
