"""What each task of a manifest needs: the kind of its input, of its outputs, and the critical features that say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from exports.family.input_form import input_faults
from exports.family.records import (
    OUTPUTS_FEATURE,
    TOKENS_FEATURE,
    InputShape,
    Manifest,
    Task,
    TaskName,
    TokenShape,
    TokenSpec,
    ValuesDecoding,
)

AnswerKind = Literal["classes", "labels", "values"]
"""What a task answers: one class, any number of labels, or a value per label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskForm:
    """What a task takes and gives.

    Attributes:
        tokens: Whether its input is text; otherwise it is an image.
        answer: What it answers.
    """

    tokens: bool
    answer: AnswerKind


TASK_FORMS: Final[dict[TaskName, TaskForm]] = {
    "image_classification": TaskForm(tokens=False, answer="classes"),
    "image_multilabel": TaskForm(tokens=False, answer="labels"),
    "image_regression": TaskForm(tokens=False, answer="values"),
    "text_classification": TaskForm(tokens=True, answer="classes"),
}


def answer_kind(task: Task) -> AnswerKind:
    """What the first output of a task means."""
    return task.decoding.kind if task.decoding else "classes"


def task_faults(manifest: Manifest) -> Iterator[str]:
    """One line for each way in which what a manifest says about its task contradicts itself."""
    form = TASK_FORMS[manifest.task.name]
    yield from _output_faults(manifest.task, form)
    yield from _critical_faults(manifest, form)
    if form.tokens:
        yield from _token_faults(manifest)
    elif isinstance(manifest.task.input, TokenSpec) or manifest.task.preprocessing is None:
        yield f"the task {manifest.task.name} needs an image as input, and its preprocessing"
    elif manifest.task.tokenizer is not None:
        yield f"the task {manifest.task.name} takes images, but there is a tokenizer"
    else:
        yield from _shape_faults(manifest, InputShape)
        yield from input_faults(manifest)


def _output_faults(task: Task, form: TaskForm) -> Iterator[str]:
    if (task.output is None) == (task.outputs is None):
        yield "the task needs either `output` or `outputs`"
        return
    if answer_kind(task) != form.answer:
        yield f"the task {task.name} answers with {form.answer}, but its output means {answer_kind(task)}"
    if task.outputs and (len(task.outputs) > 1 or len(task.outputs[0].shape) > 1):
        yield f"the task {task.name} has one output with one axis"
    decoding, count = task.decoding, task.output_count
    if decoding is None:
        return
    lists = (
        (decoding.offset, decoding.scale, decoding.decimals)
        if isinstance(decoding, ValuesDecoding)
        else (decoding.thresholds_ppm,)
    )
    if any(len(values) != count for values in lists):
        yield f"the decoding of the output does not fit to its {count:,} values"


def _critical_faults(manifest: Manifest, form: TaskForm) -> Iterator[str]:
    for feature, needed, what in (
        (OUTPUTS_FEATURE, form.answer != "classes", f"the task answers with {form.answer}"),
        (TOKENS_FEATURE, form.tokens, "the task takes text" if form.tokens else "the task takes images"),
    ):
        if needed != (feature in manifest.critical):
            yield f"{what}, so {feature!r} must {'' if needed else 'not '}be among the critical features"


def _token_faults(manifest: Manifest) -> Iterator[str]:
    task = manifest.task
    if not isinstance(task.input, TokenSpec) or task.tokenizer is None or task.preprocessing is not None:
        yield f"the task {task.name} needs tokens as input, a tokenizer, and no preprocessing of images"
        return
    if task.input.padding >= task.input.vocabulary:
        yield f"the padding is the token {task.input.padding}, but there are {task.input.vocabulary:,}"
    yield from _shape_faults(manifest, TokenShape)
    for name, model in manifest.models.items():
        if isinstance(model.input, TokenShape) and model.input.length > task.input.length:
            yield f"model {name!r}: takes {model.input.length} tokens of the task's {task.input.length}"


def _shape_faults(manifest: Manifest, shape: type[InputShape] | type[TokenShape]) -> Iterator[str]:
    for name, model in manifest.models.items():
        if not isinstance(model.input, shape):
            yield f"model {name!r}: its input is not one of the task {manifest.task.name}"
