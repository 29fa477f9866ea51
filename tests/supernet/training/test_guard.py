"""A run that diverges is detected, rolled back with a lower learning rate, and in the end given up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from factory_base.errors import TrainingError
from supernet.data.examples import Draws
from supernet.data.image_examples import ImageExamples
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace
from supernet.training.config import TrainingConfig
from supernet.training.guard import CurvePoint, DivergenceError, check_curve
from supernet.training.training import Outcome, good_state_file, train


class LinearSpace:
    """One linear layer; all subnets are alike."""

    space = SearchSpace((Choice(name="width", options=(4, 8)),))

    def build(self, subnet) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(432, subnet["width"]), nn.ReLU(), nn.Linear(subnet["width"], 4))

    def input_shape(self, _subnet) -> tuple[int, ...]:
        return (3, 12, 12)


class Poisoned:
    """`images`, with batches of NaN in some epochs, the first `times` times that one is read."""

    def __init__(self, images: ImageExamples, epochs: set[int], times: int) -> None:
        self._images, self._epochs, self.times, self.labels = images, epochs, times, images.labels
        self.weights = images.weights

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: torch.Tensor, draws: Draws | None) -> torch.Tensor:
        batch = self._images.batch(rows, None).float()
        if draws is not None and draws.epoch in self._epochs and self.times:
            self.times -= 1
            batch[:] = float("nan")
        return batch

    def to_input(self, batch: torch.Tensor, _shape: tuple[int, ...]) -> torch.Tensor:
        return batch / 255


def run(data, tmp_path: Path, check=lambda _: 0.5, check_images=None, **recipe) -> tuple[Outcome, list[str]]:
    notes: list[str] = []
    config = TrainingConfig.model_validate({"epochs": 5, "batch_size": 32, "learning_rate": 0.1} | recipe)
    outcome = train(
        Supernet(LinearSpace()), data, config,
        seed=0, state_file=tmp_path / "s.safetensors", key="k", check=check, check_images=check_images,
        notify=notes.append,
    )  # fmt: skip
    return outcome, notes


def test_nan_goes_back_to_the_last_good_state_with_half_the_learning_rate(easy_images, tmp_path: Path) -> None:
    outcome, notes = run(Poisoned(easy_images, {2}, times=1), tmp_path)
    assert (outcome.rollbacks, outcome.learning_rate_scale) == (1, 0.5)
    assert notes == [
        "the loss is nan at step 9 of 20; back to step 8 with a learning rate of 0.05 (roll-back 1 of at most 3)"
    ]
    assert outcome.curve[-1].step == 20


def test_divergence_before_the_first_check_goes_back_to_the_start(easy_images, tmp_path: Path) -> None:
    outcome, notes = run(Poisoned(easy_images, {0}, times=2), tmp_path)
    assert outcome.learning_rate_scale == 0.25
    assert "back to step 0" in notes[0]


def test_a_run_of_few_steps_never_returns_to_a_state_whose_own_loss_diverged(easy_images, tmp_path: Path) -> None:
    # With a check every step, the loss that fails is that of the state before, whatever the learning rate is.
    outcome, notes = run(easy_images, tmp_path, batch_size=64, warmup=0, learning_rate=1)
    assert "the loss rose from 1.4 to 37.4 before step 3 of 10; back to step 0 with a learning rate of 0.5" in notes[0]
    assert outcome.rollbacks == len(notes) == 2
    assert outcome.curve[-1].loss < outcome.curve[0].loss / 2


def test_a_run_that_keeps_diverging_ends_after_a_bounded_number_of_roll_backs(easy_images, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nan at step 5 of 20, .* 0.025 and after 2 roll-backs; set training.lear"):
        run(Poisoned(easy_images, {1}, times=99), tmp_path, rollbacks=2)


def test_collapse_to_chance_is_rolled_back(easy_images, tmp_path: Path) -> None:
    seen = iter([0.5, 0.6, 0.25, *[0.7] * 99])
    outcome, notes = run(easy_images, tmp_path, check=lambda _: next(seen), largest_only=1.0)
    assert outcome.rollbacks == 1
    assert "fell from 60.0% to 25.0%, which is chance, at step 6 of 20; back to step 4" in notes[0]
    assert [point.step for point in outcome.curve] == list(range(2, 21, 2))


def test_a_rolled_back_run_that_is_resumed_has_the_same_outcome(easy_images, tmp_path: Path) -> None:
    undisturbed, _ = run(Poisoned(easy_images, {2}, times=1), tmp_path)
    for path in (tmp_path / "s.safetensors", good_state_file(tmp_path / "s.safetensors")):
        path.unlink()
    poisoned = Poisoned(easy_images, {2}, times=1)
    checks = iter(range(99))

    def check(_: object) -> float:
        if next(checks) == 9:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        run(poisoned, tmp_path, check=check)
    resumed, _ = run(poisoned, tmp_path)
    assert resumed.curve == undisturbed.curve
    assert (resumed.rollbacks, resumed.learning_rate_scale) == (1, 0.5)


def interrupted(data, tmp_path: Path, after: int) -> None:
    """Start a run and interrupt it at its check number `after`, counted from 0."""
    checks = iter(range(99))

    def check(_: object) -> float:
        if next(checks) == after:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, check=check, save_every=1e-9, largest_only=1.0)


def test_a_resumed_run_says_after_which_step_it_continues(easy_images, tmp_path: Path) -> None:
    interrupted(easy_images, tmp_path, 2)
    assert run(easy_images, tmp_path, largest_only=1.0)[1] == ["training continues after step 5 of 20"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("weights.largest.1.bias"), "it lacks the tensor 'weights.largest.1.bias'"),
        (lambda t: t.update({"weights.largest.1.bias": torch.ones(3)}), r"has the shape \(3,\) instead of \(8,\)"),
        (lambda t: t.update({"other": torch.ones(1)}), "the tensor 'other'"),
        (lambda t: t.update({"optimizer.step.largest.1.bias": torch.ones(())}), "'optimizer.step.largest.1.bias'"),
    ],
)
def test_a_damaged_state_is_named_and_the_last_good_one_continued(easy_images, tmp_path: Path, change, reason) -> None:
    interrupted(easy_images, tmp_path, 2)
    path = tmp_path / "s.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, metadata)
    _, (fault, continued) = run(easy_images, tmp_path, largest_only=1.0)
    assert re.search(rf"s.safetensors: is damaged: .*{reason}.*; it is not continued", fault)
    assert continued == "training continues after step 4 of 20"


def test_the_unfinished_state_of_another_run_is_named(easy_images, tmp_path: Path) -> None:
    interrupted(easy_images, tmp_path, 1)
    config = TrainingConfig(epochs=1, batch_size=32)
    notes: list[str] = []
    train(
        Supernet(LinearSpace()), easy_images, config,
        seed=0, state_file=tmp_path / "s.safetensors", key="another", check=lambda _: 0.5, notify=notes.append,
    )  # fmt: skip
    assert [note.partition(": ")[0] for note in notes] == [
        f"{tmp_path}/s.safetensors",
        f"{tmp_path}/s.good.safetensors",
    ]
    assert all("belongs to a training run with another config" in note for note in notes)


def points(*losses: float) -> list[CurvePoint]:
    return [CurvePoint(step=i, loss=x, largest_accuracy=None, smallest_accuracy=None) for i, x in enumerate(losses)]


def test_a_loss_far_above_its_lowest_is_divergence_and_a_wobble_is_not() -> None:
    check_curve(points(2.3, 0.4, 1.3), 0.1, 3)
    with pytest.raises(DivergenceError, match=r"rose from 0.4 to 1.5 before step 2 of 3"):
        check_curve(points(2.3, 0.4, 1.5), 0.1, 3)


def accuracies(*values: float) -> list[CurvePoint]:
    return [CurvePoint(step=i, loss=1.0, largest_accuracy=x, smallest_accuracy=None) for i, x in enumerate(values)]


@pytest.mark.parametrize("images", [50, 100, 1000])
def test_a_fall_to_chance_on_enough_images_is_divergence(images: int) -> None:
    with pytest.raises(DivergenceError, match=rf"fell from 97.0% to 50.0% of {images:,} images, which is chance"):
        check_curve(accuracies(0.5, 0.97, 0.5), 0.5, 3, images)


@pytest.mark.parametrize(
    ("images", "values"), [(10, (0.5, 1.0, 0.5)), (20, (0.8, 0.85, 0.45)), (100, (0.6, 0.64, 0.5))]
)
def test_a_fall_that_few_images_explain_is_none(images: int, values: tuple[float, ...]) -> None:
    check_curve(accuracies(*values), 0.5, 3, images)


def test_a_network_that_never_left_chance_has_not_fallen() -> None:
    check_curve(accuracies(0.7, 0.3), 0.5, 2, 40)  # it answers one class, then the other


def test_chance_falls_of_a_steady_network_are_hardly_ever_divergence() -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        right = torch.rand(20, 12, generator=rng) < 0.7  # 20 checks on 12 images
        curve = accuracies(*right.double().mean(dim=1).tolist())
        for end in range(1, len(curve) + 1):
            check_curve(curve[:end], 0.5, 20, 12)


def test_the_advice_follows_the_cause(easy_images, tmp_path: Path) -> None:
    seen = iter([0.5, 1.0, *[0.0] * 99])
    with pytest.raises(
        TrainingError, match=r"or check the held-out images and their labels, of which 50 are few: data.he"
    ):
        run(easy_images, tmp_path, check=lambda _: next(seen), check_images=50, largest_only=1.0, rollbacks=0)
    with pytest.raises(TrainingError, match=r"set training.learning_rate below 0.1, or check the data$"):
        run(Poisoned(easy_images, {1}, times=99), tmp_path, rollbacks=0)
