"""The proof of a model file: what was measured of it in its engine before it is published."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.engine import Precision
from exports.family.parity import Parity
from exports.onnx.conversion import Attempt, Conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRun:
    """How a file ran in its engine on this machine.

    Attributes:
        machine: The name of the processor.
        threads: The number of threads of the engine.
        engine_version: The version of the engine.
        latency_p50_us: The median of the timed runs, each of one input.
        latency_p95_us: Their 95th percentile.
        runs: The number of timed runs.
        load_us: The time from the file to a session that is ready to run.
        peak_memory_bytes: By how much the memory of a process grew at most while it loaded and ran the file: weights,
            activations, and what the engine adds; None where the system does not report it.
    """

    machine: str
    threads: int
    engine_version: str
    latency_p50_us: float
    latency_p95_us: float
    runs: int
    load_us: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was measured of one file.

    Attributes:
        precision: The precision of the file.
        parity: How close its outputs are to those of the PyTorch module, on held-out images.
        host: How it ran on this machine.
        classes: The number of logits.
        opset: The opset or format version that it needs.
        operators: The names of its operators, sorted, each once.
        versions_tried: The versions of the engine that ran it.
    """

    precision: Precision
    parity: Parity
    host: HostRun
    classes: int
    opset: int
    operators: tuple[str, ...]
    versions_tried: tuple[str, ...]


def drop_note(conversion: Conversion, limit: float) -> str:
    """What people should know about a file that loses more accuracy than the limit; "" if it does not.

    A drop counts if it is above the limit beyond chance: with a few hundred images, the label of a single one is worth
    as much as the limit.

    Args:
        conversion: How the file came about.
        limit: The largest drop in percentage points.
    """
    drop = conversion.drop
    if drop is None or drop.low <= limit:
        return ""
    tried = ", then ".join(dict.fromkeys(describe_attempt(attempt) for attempt in conversion.attempts))
    return (
        f"the {conversion.precision} file loses {drop.points:.2f} points of accuracy (95 % interval {drop.low:.2f} to "
        f"{drop.high:.2f}, {drop.images:,} held-out images), more than `export.drop_limit`, "
        f"{limit:g}, after {tried}"
    )


def describe_attempt(attempt: Attempt) -> str:
    """One way of quantising in a few words: `mse ranges, equalised, 2 layers in float`."""
    layers = len(attempt.float_layers)
    parts = [
        f"{attempt.ranges} ranges",
        *(["equalised"] if attempt.equalised else []),
        *([f"{layers} {'layer' if layers == 1 else 'layers'} in float"] if layers else []),
        *(["fine-tuned"] if attempt.finetuned else []),
    ]
    return ", ".join(parts)
