"""Checkpoints and training states: safetensors with JSON metadata, written atomically. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from factory_base.errors import CheckpointError, FactoryError
from factory_base.files import digest_of, write_bytes
from factory_base.foreign import parse_json, printable
from supernet.model_space import ModelSpace
from supernet.sharing.supernet import Supernet
from supernet.training.guard import CurvePoint
from supernet.training.tensor_file import misfit, opened_tensors, read_tensors
from supernet.training.trainer import Progression

_DAMAGED: Final = "retrain with `factory train --retrain`, or restore the file"
STATISTICS: Final = "statistics."
"""Prefix of the names of running statistics that a checkpoint may hold beside the weights."""
NOT_CONTINUED: Final = "it is not continued"
"""What becomes of a training state that cannot be used; the end of every message about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingNote:
    """The part of a training state that its file keeps as metadata.

    Attributes:
        key: Digest of everything that shapes the run.
        progression: How far the run has come.
        curve: Results of the checks.
        losses: Losses of the steps since the last check.
        rollbacks: How often the run has returned to an earlier state.
        seconds: Time spent so far.
    """

    key: str
    progression: Progression
    curve: tuple[CurvePoint, ...]
    losses: tuple[float, ...]
    rollbacks: int
    seconds: float


_NOTE = TypeAdapter(TrainingNote)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """Everything that a training run needs to continue exactly.

    Attributes:
        note: The numbers.
        tensors: The tensors that `Trainer.tensors` returns.
    """

    note: TrainingNote
    tensors: dict[str, Tensor]


def save_state(path: Path, state: TrainingState) -> None:
    """Write `state` to `path`. Raises `DiskError`."""
    _save(path, state.tensors, {"training": json.dumps(asdict(state.note))})


def load_state(path: Path, key: str) -> TrainingState | None:
    """The state in `path`; None if there is no such file.

    Raises:
        CheckpointError: The file is damaged, or belongs to a run with another key.
    """
    if not path.exists():
        return None
    with opened_tensors(path, NOT_CONTINUED) as file:
        note = _note(file.metadata(), path)
        if note.key != key:
            raise CheckpointError(
                f"{path}: belongs to a training run with another config or other data, or of another version of the "
                f"factory; {NOT_CONTINUED}"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return TrainingState(note=note, tensors=tensors)


def state_key(path: Path) -> str | None:
    """The key of the run that the state in `path` belongs to, or None if there is no state or it is damaged."""
    try:
        with opened_tensors(path, NOT_CONTINUED) as file:
            return _note(file.metadata(), path).key
    except CheckpointError:
        return None


def space_digest(model_space: ModelSpace) -> str:
    """Digest of what a checkpoint and a model space must agree on: choices, and layers of the largest network."""
    largest = model_space.build(model_space.space.largest)
    shapes = {name: list(parameter.shape) for name, parameter in largest.named_parameters()}
    return digest_of({"choices": model_space.space.to_json(), "shapes": shapes, "layers": repr(largest)})


def save_supernet(path: Path, supernet: Supernet, statistics: Mapping[str, Tensor] = MappingProxyType({})) -> None:
    """Write the weights of `supernet` to `path`.

    Args:
        path: The file.
        supernet: The supernet.
        statistics: Running statistics that the weights of the largest network came with, by name, for a training run
            that starts from the file. A supernet has none.

    Raises:
        DiskError: The file cannot be written.
    """
    kept = {STATISTICS + name: tensor for name, tensor in statistics.items()}
    _save(path, dict(supernet.named_parameters()) | kept, {"space": space_digest(supernet.model_space)})


def load_supernet(path: Path, model_space: ModelSpace) -> Supernet:
    """The supernet in `path`.

    Raises:
        CheckpointError: The file is missing or damaged, or belongs to another model space.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no checkpoint; run `factory train` first")
    tensors, metadata = read_tensors(path, _DAMAGED)
    if metadata.get("space") != space_digest(model_space):
        raise CheckpointError(
            f"{path}: was trained for a model space other than the config's; "
            "retrain with `factory train --retrain`, or restore the model section of the config"
        )
    supernet = Supernet(model_space)
    parameters = dict(supernet.named_parameters())  # buffers come from the model space
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(STATISTICS)}
    if fault := misfit(tensors, parameters):
        raise CheckpointError(f"{path}: is damaged: it {fault}; {_DAMAGED}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    return supernet


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    write_bytes(path, save({name: t.detach().contiguous() for name, t in tensors.items()}, metadata))


def _note(metadata: Mapping[str, str] | None, path: Path) -> TrainingNote:
    """What the metadata of a training state says. Raises `CheckpointError` if it is not one, or is damaged."""
    text = (metadata or {}).get("training")
    if text is None:
        raise CheckpointError(f"{path}: is not the state of a training run; {NOT_CONTINUED}")
    try:
        data = text.encode()
        note = _NOTE.validate_python(parse_json(data, "its metadata", max_bytes=len(data)))
    except (FactoryError, UnicodeEncodeError, ValidationError) as error:
        reason = printable(str(error).replace("\n", " "), 200)
        raise CheckpointError(f"{path}: is damaged: it has wrong metadata ({reason}); {NOT_CONTINUED}") from error
    now, steps = note.progression, [point.step for point in note.curve]
    in_order = steps == sorted(set(steps)) and (not steps or steps[-1] <= now.step)
    if not in_order or min(now.step, now.drawn, note.rollbacks) < 0 or not 0 < now.learning_rate_scale <= 1:
        raise CheckpointError(f"{path}: is damaged: its metadata contradict each other; {NOT_CONTINUED}")
    return note
