"""Whether the file of a model is what the manifest says about it, and whether the engine here may run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exports.client.python.values import version_key
from exports.family.checks import Check
from exports.family.records import EngineRange, Model
from exports.isolation.process import IsolatedProcess, JobTimeoutError
from factory_base.errors import FactoryError
from factory_base.foreign import printable
from factory_base.wording import counted

DESCRIBED = ("onnxruntime",)
"""The engines whose files can be described."""
_SECONDS = 60.0


def facts_check(folder: Path, name: str, model: Model, process: IsolatedProcess) -> Check:
    """Whether the file is what the manifest says about it, and whether the engine here may run it."""
    path = folder / model.files[0].name
    arguments = {"engine": model.engine.name, "path": str(path.absolute())}
    try:
        found = process.call("describe", arguments, subject=path.name, seconds=_SECONDS).values
    except JobTimeoutError:
        raise
    except FactoryError as error:
        return Check(name=f"facts {name}", ok=False, detail=str(error))
    faults = [*_described_faults(model, found), *_range_faults(model.engine, str(found["engine_version"]))]
    precision, operators = model.precision or found["precisions"][0], len(found["operators"])
    stated = f"{precision}, opset {found['opset']}, {counted(operators, 'operator')}"
    detail = "; ".join(faults) or f"{stated}; {_range_text(model.engine, str(found['engine_version']))}"
    return Check(name=f"facts {name}", ok=not faults, detail=printable(detail, 500))


def _described_faults(model: Model, found: Mapping[str, Any]) -> Iterator[str]:
    if found["opset"] != model.engine.format_version:
        yield f"the file needs opset {found['opset']}, the manifest says {model.engine.format_version}"
    if model.precision is not None and model.precision not in found["precisions"]:
        yield f"the file is in {found['precisions'][0]}, the manifest says {model.precision}"
    if model.proof is not None and found["operators"] != list(model.proof.operators):
        other = ", ".join(sorted(set(found["operators"]) ^ set(model.proof.operators)))
        yield f"the file and the manifest differ in these operators: {other}"


def _range_faults(engine: EngineRange, version: str) -> Iterator[str]:
    if version_key(version) < version_key(engine.min):
        yield (
            f"{engine.name} {version} is older than {engine.min}, the oldest version that the file is for; upgrade "
            "it to repeat the proof"
        )


def _range_text(engine: EngineRange, version: str) -> str:
    """Which version runs the file here, and whether it was tried when the family was made."""
    if version_key(version) > version_key(engine.max_tested):
        return f"{engine.name} {version} is newer than {engine.max_tested}, the newest version that was tried"
    return f"{engine.name} {version}"
