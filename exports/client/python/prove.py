"""The proof that a model computes on this device what it computed where it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, EngineCrashedError, EngineRefusedError, Session
from .images import decode_png
from .plan import NeededFile, Plan, Samples
from .records import ProofResult
from .strict_json import parse_json, take
from .tokens import TokenForm

MAX_EXPECTED_VALUES = 5_000_000
"""Values in a file of expected outputs: 8 samples of 50 models for 10,000 classes are 4 million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An input with a batch of one, and what the model must return; without `logits`, anything finite.

    Attributes:
        batch: The input.
        logits: The expected outputs, float64 `(classes,)`.
        tolerance: How much each may differ.
    """

    batch: NDArray[Any]
    logits: NDArray[np.float64] | None
    tolerance: float


def attempt(
    engine: Engine, files: Sequence[Path], compute_unit: str, cases: Sequence[Case], classes: int
) -> tuple[ProofResult, Session | None, str]:
    """Load a model and run the cases; whatever the engine raises becomes a result.

    Args:
        engine: The engine.
        files: The files of the model, which were checked.
        compute_unit: Where to run it.
        cases: What to run; none for a model that passed before.
        classes: The number of logits.

    Returns:
        The result, the session if it passed, and a text for people if not.
    """
    try:
        session = engine.load(files, compute_unit)
        for case in cases:
            fault = _fault(session.run(case.batch), case, classes)
            if fault:
                return "wrong", None, fault
    except EngineRefusedError as error:
        return "refused", None, str(error)
    except EngineCrashedError as error:
        return "crashed", None, str(error)
    except MemoryError as error:
        return "out_of_memory", None, f"there is too little memory ({str(error)[:200]})"
    return "passed", session, ""


def read_cases(plan: Plan, read: Callable[[NeededFile], bytes], classes: int) -> list[Case]:
    """The cases of a proof, from samples whose digests were checked.

    Args:
        plan: The model.
        read: Returns the content of a file.
        classes: The number of logits.

    Raises:
        ValueError: The samples do not fit to the manifest.
    """
    if plan.samples is None:
        return [Case(batch=plan.form.zeros(), logits=None, tolerance=0.0)]
    expected = parse_json(read(plan.samples.expected), "the file of expected outputs", values=MAX_EXPECTED_VALUES)
    rows, tolerance = (
        take(expected, list, plan.model, "logits_micro"),
        take(expected, int, plan.model, "tolerance_micro"),
    )
    if len(rows) != plan.samples.count or not all(_is_row(row, classes) for row in rows):
        raise ValueError(f"the expected outputs do not fit to the samples of {plan.model}; download the family again")
    batches = _batches(plan.samples, plan, read)
    return [
        Case(batch=batch, logits=np.asarray(row, np.float64) / 1e6, tolerance=tolerance / 1e6)
        for batch, row in zip(batches, rows, strict=True)
    ]


def _batches(samples: Samples, plan: Plan, read: Callable[[NeededFile], bytes]) -> Iterator[NDArray[Any]]:
    if samples.kind == "tensors":
        tensors = plan.form.unpack(read(samples.inputs[0]), samples.count)
        yield from (tensor[None] for tensor in tensors)
    else:
        yield from (_prepared(plan, read(file)) for file in samples.inputs)


def _prepared(plan: Plan, png: bytes) -> NDArray[Any]:
    if isinstance(plan.form, TokenForm):
        raise ValueError("the samples are images, but the model takes tokens; download the family again")
    return plan.form.prepare(decode_png(png))


def _is_row(row: Any, classes: int) -> bool:
    return (
        isinstance(row, list)
        and len(row) == classes
        and all(isinstance(value, int) and not isinstance(value, bool) for value in row)
    )


def _fault(logits: NDArray[np.float32], case: Case, classes: int) -> str:
    """What is wrong with the outputs; "" if nothing is."""
    if logits.shape != (classes,) or not np.isfinite(logits).all():
        return f"the model does not return a finite logit for each of the {classes} labels"
    if case.logits is None:
        return ""
    difference = float(np.abs(logits - case.logits).max())
    # Half a millionth is what rounding has taken from the expected outputs.
    if difference > case.tolerance + 5e-7:
        return f"a logit differs by {difference:g} from that of the manifest, at most {case.tolerance:g} is allowed"
    return ""
