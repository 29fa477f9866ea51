"""From what was measured of a file to what the manifest states about it, in integers."""

from __future__ import annotations

import math

from exports.family.proof import HostRun, Proof
from exports.family.records import (
    PPM_PER_POINT,
    AttemptRecord,
    ConversionRecord,
    DropRecord,
    ProofRecord,
)
from exports.family.records import HostRun as HostRunRecord
from exports.onnx.conversion import Attempt, Conversion, Drop

_LONGEST_NAME = 128


def proof_record(proof: Proof) -> ProofRecord:
    """What the manifest states of a proof, except its precision, its opset and the agreement, which stand elsewhere."""
    parity = proof.parity
    return ProofRecord(
        max_difference_nano=math.ceil(parity.max_share * 1e9),
        sqnr_millidb=round(parity.sqnr_db * 1e3) if math.isfinite(parity.sqnr_db) else None,
        disagreements=parity.disagreements,
        near_ties=parity.near_ties,
        operators=proof.operators,
        host=_host_record(proof.host),
    )


def conversion_record(conversion: Conversion) -> ConversionRecord:
    """What the manifest states of how a file came about."""
    attempts, chosen = conversion.attempts, conversion.chosen
    return ConversionRecord(
        attempts=tuple(_attempt_record(attempt) for attempt in attempts),
        chosen=chosen,
        float_layers=() if chosen is None else tuple(name[:_LONGEST_NAME] for name in attempts[chosen].float_layers),
    )


def _host_record(host: HostRun) -> HostRunRecord:
    return HostRunRecord(
        machine=host.machine[:_LONGEST_NAME],
        threads=host.threads,
        engine_version=host.engine_version.split("+")[0],
        latency_p50_us=round(host.latency_p50_us),
        latency_p95_us=round(host.latency_p95_us),
        runs=host.runs,
        load_us=round(host.load_us),
        peak_memory_bytes=host.peak_memory_bytes,
    )


def _attempt_record(attempt: Attempt) -> AttemptRecord:
    return AttemptRecord(
        ranges=attempt.ranges,
        equalised=attempt.equalised,
        float_layers=len(attempt.float_layers),
        finetuned=attempt.finetuned,
        drop=_drop_record(attempt.drop),
    )


def _drop_record(drop: Drop) -> DropRecord:
    return DropRecord(
        drop_ppm=round(drop.points * PPM_PER_POINT),
        low_ppm=round(drop.low * PPM_PER_POINT),
        high_ppm=round(drop.high * PPM_PER_POINT),
        images=drop.images,
    )
