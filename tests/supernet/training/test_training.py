"""Training: it learns, it continues exactly where it stopped, and if it cannot, it says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from factory_base.errors import TrainingError
from supernet.data.examples import ExampleInputs
from supernet.data.image_examples import ImageExamples
from supernet.evaluation.evaluation import accuracy, recalibrate
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.training.config import TrainingConfig
from supernet.training.training import good_state_file, train

RECIPE = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05, "largest_only": 0.3, "rollbacks": 0}


class Session:
    """One model space, its images and a state file; every run starts with a fresh supernet."""

    def __init__(self, space: MobileNetSpace, images: ImageExamples, state_file: Path) -> None:
        self.space, self.images, self.state_file = space, images, state_file

    def run(self, *, key="run", progress=lambda *_: None, check=lambda _: 0.5, **recipe) -> tuple[Supernet, tuple]:
        supernet = Supernet(self.space)
        config = TrainingConfig.model_validate(RECIPE | recipe)
        outcome = train(
            supernet, self.images, config,
            seed=0, state_file=self.state_file, key=key, check=check, progress=progress,
        )  # fmt: skip
        return supernet, outcome.curve

    def forget(self) -> None:
        for path in (self.state_file, good_state_file(self.state_file)):
            path.unlink()


@pytest.fixture
def session(small_space: MobileNetSpace, easy_images: ImageExamples, tmp_path: Path) -> Session:
    return Session(small_space, easy_images, tmp_path / "state.safetensors")


def same_weights(one: Supernet, other: Supernet) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == again and torch.equal(a, b) for (name, a), (again, b) in pairs)


def stop_at(step: int):
    def progress(done: int, _total: int, _detail: str = "") -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_all_subnets_learn_easy_images(session: Session, easy_images: ImageExamples) -> None:
    supernet, curve = session.run(epochs=12)
    assert curve[-1].loss < 0.7 * curve[0].loss
    for subnet in (session.space.space.smallest, session.space.space.largest):
        images = ExampleInputs(easy_images, session.space.input_shape(subnet))
        module = recalibrate(supernet.extract(subnet), images)
        assert accuracy(module, images, easy_images.labels) > 0.8


def test_the_curve_has_the_smallest_network_once_it_is_trained(session: Session) -> None:
    seen: list[int] = []
    _, curve = session.run(check=lambda _: 0.25, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(step, 12) for step in range(1, 13)]
    assert [point.step for point in curve] == [2, 4, 6, 8, 10, 12]  # twice an epoch
    assert [point.smallest_accuracy for point in curve] == [None] + [0.25] * 5
    assert all(point.largest_accuracy == 0.25 for point in curve)


def test_no_other_network_is_trained_while_the_largest_trains_alone(session: Session) -> None:
    one, _ = session.run(epochs=1, largest_only=0.99, random_subnets=0)
    other, _ = session.run(epochs=1, largest_only=0.99, random_subnets=3, key="other")
    together, _ = session.run(epochs=1, largest_only=0.0, random_subnets=0, key="together")
    assert same_weights(one, other)
    assert not same_weights(one, together)


def test_two_runs_with_one_seed_are_equal_to_the_bit(session: Session) -> None:
    one, curve = session.run()
    session.forget()
    other, again = session.run()
    assert same_weights(one, other)
    assert curve == again


@pytest.mark.parametrize("step", [1, 5, 12])
def test_an_interrupted_run_ends_bit_identical(session: Session, step: int) -> None:
    undisturbed, curve = session.run()
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(progress=stop_at(step))
    seen: list[int] = []
    resumed, again = session.run(progress=lambda done, *_: seen.append(done))
    assert seen == list(range(step + 1, 13))
    assert same_weights(undisturbed, resumed)
    assert again == curve


def test_a_loss_averaged_over_an_interruption_is_the_same(session: Session) -> None:
    _, curve = session.run(epochs=6)
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(epochs=6, progress=stop_at(5))
    assert session.run(epochs=6)[1] == curve
    assert [point.step for point in curve] == list(range(2, 25, 2))


def test_bfloat16_with_momentum_is_resumed_bit_identical_too(session: Session) -> None:
    undisturbed, _ = session.run(precision="bfloat16")
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(precision="bfloat16", progress=stop_at(7))
    resumed, _ = session.run(precision="bfloat16")
    assert same_weights(undisturbed, resumed)


def test_an_interruption_during_a_check_keeps_no_half_step(session: Session) -> None:
    undisturbed, curve = session.run()
    session.forget()
    calls: list[object] = []

    def check(subnet) -> float:
        calls.append(subnet)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        session.run(check=check)
    resumed, again = session.run()
    assert same_weights(undisturbed, resumed)
    assert again == curve


def test_a_killed_run_continues_from_the_last_state_that_was_saved(session: Session, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"

    def keep_state_of_step_4(done: int, *_: object) -> None:
        if done == 5:
            shutil.copy(session.state_file, earlier)

    undisturbed, curve = session.run(save_every=1e-9, progress=keep_state_of_step_4)
    shutil.copy(earlier, session.state_file)
    seen: list[int] = []
    resumed, again = session.run(progress=lambda done, *_: seen.append(done))
    assert seen[0] == 5
    assert same_weights(undisturbed, resumed)
    assert again == curve


def test_a_finished_run_is_not_repeated(session: Session) -> None:
    first, curve = session.run()
    again, same_curve = session.run(progress=stop_at(1))
    assert same_weights(first, again)
    assert curve == same_curve


def test_the_state_of_another_run_is_ignored(session: Session) -> None:
    expected, _ = session.run(key="b")
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(key="a", learning_rate=0.5, progress=stop_at(6))
    found, _ = session.run(key="b")
    assert same_weights(found, expected)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_run_with_a_damaged_state_falls_back_to_the_last_good_one(session: Session, damage: str) -> None:
    expected, curve = session.run(epochs=6)
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(epochs=6, progress=stop_at(7))
    whole = session.state_file.read_bytes()
    session.state_file.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"\xff" * 999, "empty": b""}[damage])
    seen: list[int] = []
    found, again = session.run(epochs=6, progress=lambda done, *_: seen.append(done))
    assert seen[0] == 7  # checks, and with them good states, are two steps apart
    assert same_weights(found, expected)
    assert again == curve


def test_if_both_states_are_damaged_the_run_starts_from_scratch(session: Session) -> None:
    expected, _ = session.run()
    for path in (session.state_file, good_state_file(session.state_file)):
        path.write_bytes(b"")
    seen: list[int] = []
    found, _ = session.run(progress=lambda done, *_: seen.append(done))
    assert seen[0] == 1
    assert same_weights(found, expected)


def test_a_learning_rate_at_which_the_run_diverges_is_named(session: Session) -> None:
    with pytest.raises(TrainingError, match=r"step \d+ of 12, .* set training.learning_rate below 1e\+03"):
        session.run(learning_rate=1000)
    assert not session.state_file.exists()


def test_fewer_images_than_a_batch_are_refused(session: Session) -> None:
    with pytest.raises(
        TrainingError, match=r"128 training examples are fewer than one batch of 129; set training.batch"
    ):
        session.run(batch_size=129)


class PoisonedSpace:
    """Multiplies the output of the smallest network by `scale`, for example NaN; both networks have `dropout`."""

    space = SearchSpace((Choice(name="width", options=(4, 8)),))

    def __init__(self, scale: float = 1.0, dropout: float = 0.0) -> None:
        self._scale, self._dropout = scale, dropout

    def build(self, subnet):
        width = subnet["width"]
        scale = _Scale(self._scale if width == 4 else 1.0)
        layers = [nn.Flatten(), nn.Linear(3 * 12 * 12, width), nn.Dropout(self._dropout), nn.Linear(width, 4)]
        return nn.Sequential(*layers, scale)

    def input_shape(self, _subnet):
        return (3, 12, 12)


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, x):
        return x * self._factor


def test_a_run_with_a_gradient_that_is_not_finite_stops_before_it_changes_the_weights(session: Session) -> None:
    session.space = PoisonedSpace(scale=float("nan"))
    with pytest.raises(TrainingError, match="the norm of the gradient is nan at step 5 of 12"):
        session.run()


def test_networks_with_dropout_are_resumed_bit_identical(session: Session) -> None:
    session.space = PoisonedSpace(dropout=0.5)
    undisturbed, _ = session.run()
    session.forget()
    with pytest.raises(KeyboardInterrupt):
        session.run(progress=stop_at(5))
    torch.rand(3)
    resumed, _ = session.run()
    assert same_weights(undisturbed, resumed)


def test_a_compiled_run_learns_the_same_as_a_plain_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def compile_without_a_compiler(function, **_options):
        compiled.append(function)
        return function

    plain, _ = session.run()
    session.forget()
    monkeypatch.setattr(torch, "compile", compile_without_a_compiler)
    other, _ = session.run(compile=True)
    assert len(compiled) == 2
    assert same_weights(plain, other)


def test_the_error_on_a_machine_without_a_compiler_says_what_to_do(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_and_fail(_function, **_options):
        def fail(_x):
            raise torch._dynamo.exc.BackendCompilerFailed(print, RuntimeError("no g++"), None)

        return fail

    monkeypatch.setattr(torch, "compile", compile_and_fail)
    with pytest.raises(TrainingError, match=r"cannot be compiled .*no g\+\+.* set training.compile to false"):
        session.run(compile=True)
