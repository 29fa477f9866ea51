"""The rules that every task keeps, as tests that its own tests inherit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from supernet.data.types import Labels, label_kind
from supernet.tasks import task_of, task_values
from supernet.tasks.task import Outputs, Task

_STEP = 0.2
"""Length of a step against the gradient, in the outputs: small enough for a loss to fall along it."""


class TaskConformance:
    """Inherit this in a test class, and define `task`, `labels` and `perfect`.

    >>> from supernet.tasks import Classification
    >>> class TestMine(TaskConformance):
    ...     def task(self):
    ...         return Classification(names=("a", "b", "c"))
    ...     def labels(self):
    ...         return np.array([0, 1, 2, 1, 0, 1])
    ...     def perfect(self):
    ...         return 20 * np.eye(3)[self.labels()]
    >>> TestMine().test_right_answers_reach_1_in_every_metric()
    """

    def task(self) -> Task:
        """The task."""
        raise NotImplementedError

    def labels(self) -> Labels:
        """Labels of at least six examples, not all alike."""
        raise NotImplementedError

    def perfect(self) -> NDArray[np.float64]:
        """Outputs whose answers are exactly the labels, (n, outputs)."""
        raise NotImplementedError

    def noisy(self, seed: int = 0) -> Outputs:
        """Outputs of a network that has learnt nothing, float32 (n, outputs)."""
        return np.random.default_rng(seed).normal(size=self.perfect().shape).astype(np.float32)

    def test_the_labels_are_of_the_kind_that_the_task_states(self) -> None:
        """Otherwise a source would be asked for other labels than the losses take."""
        assert label_kind(self.labels()) == self.task().labels
        assert self.perfect().shape == (len(self.labels()), len(self.task().names))

    def test_right_answers_reach_1_in_every_metric(self) -> None:
        """1 is the best that can be reached, whatever the metric."""
        task, labels = self.task(), self.labels()
        assert np.array_equal(task.predictions(self.perfect()), labels)
        for metric in task.metrics:
            assert math.isclose(float(task.scores(self.perfect(), labels, metric, labels).mean()), 1.0)

    def test_a_constant_answer_does_not_beat_the_baseline(self) -> None:
        """The answer that is right for one example is given for all of them."""
        task, labels = self.task(), self.labels()
        for metric in task.metrics:
            baseline = task.baseline(labels, metric)
            assert baseline < 1
            for row in self.perfect():
                constant = np.tile(row, (len(labels), 1))
                assert float(task.scores(constant, labels, metric, labels).mean()) <= baseline + 1e-9

    def test_scores_do_not_depend_on_how_examples_are_divided(self) -> None:
        """The search scores examples in ranges, and compares subnets example by example."""
        task, labels, outputs = self.task(), self.labels(), self.noisy()
        for metric in task.metrics:
            whole = task.scores(outputs, labels, metric, labels)
            parts = [task.scores(outputs[i : i + 1], labels[i : i + 1], metric, labels) for i in range(len(labels))]
            assert np.allclose(whole, np.concatenate(parts))
            assert np.isfinite(whole).all()

    def test_the_loss_falls_along_its_gradient_and_is_least_for_right_answers(self) -> None:
        """What training minimises must lead to the labels."""
        task, labels = self.task(), torch.from_numpy(self.labels())
        outputs = torch.from_numpy(self.noisy()).requires_grad_()
        loss = task.loss(outputs, labels)
        (gradient,) = torch.autograd.grad(loss, outputs)
        step = _STEP * gradient / gradient.norm()
        assert _value(task.loss(outputs - step, labels)) < _value(loss)
        perfect = torch.from_numpy(self.perfect()).float()
        assert _value(task.loss(perfect, labels)) < _value(loss)

    def test_a_student_equal_to_its_teacher_has_no_gradient(self) -> None:
        """And one that differs from it comes closer along its gradient."""
        task = self.task()
        teacher = torch.from_numpy(self.noisy())
        student = teacher.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(task.distillation(student, task.teach(teacher)), student)
        assert float(gradient.abs().max()) < 1e-5
        other = torch.from_numpy(self.noisy(1)).requires_grad_()
        distance = task.distillation(other, task.teach(teacher))
        (gradient,) = torch.autograd.grad(distance, other)
        nearer = task.distillation(other - _STEP * gradient / gradient.norm(), task.teach(teacher))
        assert 0 <= _value(nearer) < _value(distance)

    def test_weights_count_examples_as_if_they_were_repeated(self) -> None:
        """In the loss and in the distillation."""
        task, labels = self.task(), torch.from_numpy(self.labels())
        outputs, teacher = torch.from_numpy(self.noisy()), torch.from_numpy(self.noisy(1))
        counts = torch.arange(len(labels)) % 3 + 1
        weights = counts / counts.float().mean()
        rows = torch.repeat_interleave(torch.arange(len(labels)), counts)
        pairs: list[tuple[Any, Any]] = [
            (task.loss(outputs, labels, weights), task.loss(outputs[rows], labels[rows])),
            (
                task.distillation(outputs, task.teach(teacher), "kl", weights),
                task.distillation(outputs[rows], task.teach(teacher[rows])),
            ),
        ]
        for weighted, repeated in pairs:
            assert math.isclose(_value(weighted), _value(repeated), rel_tol=1e-4)

    def test_outputs_are_the_same_as_themselves_and_not_as_others(self) -> None:
        """Parity and churn compare the answers of two networks."""
        task = self.task()
        assert task.same(self.perfect(), self.perfect()).all()
        assert not task.same(self.perfect(), self.perfect()[::-1]).all()

    def test_the_task_is_a_value_that_can_be_stored(self) -> None:
        """Other processes and later commands decode outputs with it."""
        assert task_of(task_values(self.task())) == self.task()

    def test_what_is_published_has_an_entry_for_each_output(self) -> None:
        """An app needs a name, and a threshold or a unit, for each."""
        published = self.task().published()
        assert published.names == self.task().names
        lists = (published.thresholds, published.scale, published.offset)
        assert all(values is None or len(values) == len(published.names) for values in lists)
        assert (published.kind == "labels") == (published.thresholds is not None)
        assert (published.kind == "values") == (published.scale is not None) == (published.offset is not None)


def _value(scalar: torch.Tensor) -> float:
    return float(scalar.detach())
