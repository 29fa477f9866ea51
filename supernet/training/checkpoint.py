"""Checkpoints and training states: safetensors with JSON metadata, written atomically. No pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from factory_base.errors import CheckpointError
from factory_base.files import digest_of, write_bytes
from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet
from supernet.training.guard import CurvePoint
from supernet.training.trainer import Progression


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """Everything that a training run needs to continue exactly.

    Attributes:
        key: Digest of everything that shapes the run.
        progression: How far the run has come.
        curve: Results of the checks.
        losses: Losses of the steps since the last check.
        rollbacks: How often the run has returned to an earlier state.
        seconds: Time spent so far.
        tensors: The tensors that `Trainer.tensors` returns.
    """

    key: str
    progression: Progression
    curve: tuple[CurvePoint, ...]
    losses: tuple[float, ...]
    rollbacks: int
    seconds: float
    tensors: dict[str, Tensor]


def save_state(path: Path, state: TrainingState) -> None:
    """Write `state` to `path`. Raises `DiskError`."""
    note = {
        "key": state.key,
        "progression": asdict(state.progression),
        "curve": [asdict(point) for point in state.curve],
        "losses": state.losses,
        "rollbacks": state.rollbacks,
        "seconds": state.seconds,
    }
    _save(path, state.tensors, {"training": json.dumps(note)})


def load_state(path: Path, key: str) -> TrainingState | None:
    """The state in `path`, or None if there is none, it is damaged, or it belongs to a run with another key."""
    try:
        tensors, metadata = _load(path)
        note = json.loads(metadata["training"])
        if note["key"] != key:
            return None
        return TrainingState(
            key=key,
            progression=Progression(**note["progression"]),
            curve=tuple(CurvePoint(**point) for point in note["curve"]),
            losses=tuple(note["losses"]),
            rollbacks=note["rollbacks"],
            seconds=note["seconds"],
            tensors=tensors,
        )
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def state_key(path: Path) -> str | None:
    """The key of the run that the state in `path` belongs to, or None if there is no state or it is damaged."""
    try:
        with _opened(path) as file:
            return str(json.loads(file.metadata()["training"])["key"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def space_digest(model_space: ModelSpace) -> str:
    """Digest of what a checkpoint and a model space must agree on: choices, and layers of the largest network."""
    largest = model_space.build(model_space.space.largest)
    shapes = {name: list(parameter.shape) for name, parameter in largest.named_parameters()}
    return digest_of({"choices": model_space.space.to_json(), "shapes": shapes, "layers": repr(largest)})


def save_supernet(path: Path, supernet: Supernet) -> None:
    """Write the weights of `supernet` to `path`. Raises `DiskError`."""
    _save(path, dict(supernet.named_parameters()), {"space": space_digest(supernet.model_space)})


def load_supernet(path: Path, model_space: ModelSpace) -> Supernet:
    """The supernet in `path`.

    Raises:
        CheckpointError: The file is missing or damaged, or belongs to another model space.
    """
    tensors, metadata = _load(path)
    if metadata.get("space") != space_digest(model_space):
        raise CheckpointError(
            f"{path}: was trained for a model space other than the config's; "
            "retrain with `factory train --retrain`, or restore the model section of the config"
        )
    supernet = Supernet(model_space)
    with torch.no_grad():  # buffers come from the model space
        for name, parameter in supernet.named_parameters():
            parameter.copy_(tensors[name])
    return supernet


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    write_bytes(path, save({name: t.detach().contiguous() for name, t in tensors.items()}, metadata))


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The safetensors file at `path`. Raises `CheckpointError` if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no checkpoint; run `factory train` first") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: is not a readable checkpoint ({error}); retrain with `factory train --retrain`"
        ) from error
