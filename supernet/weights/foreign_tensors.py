"""Weights that others wrote: a safetensors file, or a pickle of tensors by name. Nothing in a file is executed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from factory_base.errors import CheckpointError, ForeignError
from factory_base.foreign import open_regular, printable
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.config import SpaceConfig
from supernet.training.tensor_file import read_tensors

COUNTER = "num_batches_tracked"
"""End of the names of counters of batch normalisation, which files may lack, and which nothing needs."""

Shape = tuple[int, ...]

_NAME_SHOWN = 100
"""Characters of a name that a message shows."""
_HEADER = slice(8, 9)
"""Where a safetensors file has the brace that opens its header; a pickle of `torch.save` has another byte there."""


def read_foreign(path: Path, expected: str) -> dict[str, Tensor]:
    """The tensors in a file by name.

    Args:
        path: A safetensors file; or a pickle of tensors by name, alone or under the key `state_dict`, as `torch.save`
            writes it. What else it holds may be plain or NumPy numbers.
        expected: What can be read, for messages.

    Raises:
        CheckpointError: The file is unreadable, or holds something other than dense tensors.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name the checkpoint file itself")
    try:
        with open_regular(path) as file:  # readers would wait for ever for the content of a FIFO
            start = file.read(_HEADER.stop)
    except ForeignError as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix == ".safetensors" or start[_HEADER] == b"{":
        return read_tensors(path, "download it again, or name another file")[0]
    return _named_tensors(_unpickled(path), path, expected)


def check_floats(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError`, which names each of `tensors` that holds anything other than finite floats."""
    values = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    if whole := [name for name, tensor in values.items() if not tensor.is_floating_point()]:
        raise CheckpointError(f"{path}: expected floating-point numbers in {listed(whole)}")
    if wrong := [name for name, tensor in values.items() if not tensor.float().isfinite().all()]:
        raise CheckpointError(
            f"{path}: NaN or infinite values in {listed(wrong)}; the file is damaged, or its training run diverged"
        )


def supernet_with(config: SpaceConfig, state: Mapping[str, Tensor]) -> Supernet:
    """The supernet of a model space with the weights in `state`, by their names in its largest network.

    Running statistics are left out, because every subnet needs its own. Recalibrate each subnet that you extract.
    """
    supernet = Supernet(make_model_space(config, len(state["classifier.weight"])))
    supernet.largest.load_state_dict({name: state[name] for name, _ in supernet.largest.named_parameters()})
    return supernet


def key_faults(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> str:
    """Every key of a file that is unknown, missing or misshapen, for people; "" if there is none.

    Args:
        found: Shape of each tensor in the file by name.
        expected: Shape of each tensor that it should hold; counters may be missing.
    """
    needed = {name: shape for name, shape in expected.items() if not name.endswith(COUNTER)}
    misshapen = [
        f"{printable(name, _NAME_SHOWN)} ({found[name]} instead of {shape})"
        for name, shape in needed.items()
        if found.get(name, shape) != shape
    ]
    faults = {
        "unknown keys": listed(name for name in found if name not in expected),
        "missing keys": listed(name for name in needed if name not in found),
        "wrong shapes": ", ".join(misshapen),
    }
    return "; ".join(f"{fault}: {names}" for fault, names in faults.items() if names)


def listed(names: Iterable[str]) -> str:
    """All `names`, for a message."""
    return ", ".join(printable(name, _NAME_SHOWN) for name in names)


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_scalars()):
            warnings.simplefilter("ignore")  # they concern old formats, and archives that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file or a foreign pickle makes the reader raise nearly anything
        raise CheckpointError(f"{path}: {_refusal(error)}") from error


def _numpy_scalars() -> list[Any]:
    """What a NumPy number in a pickle is made of, under its names in NumPy 1 and 2: it holds no code.

    Training code often stores its best accuracy as one. Arrays are left out, because their state is more than a number.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *{type(np.dtype(code)) for code in "?bhilqBHILQefdg"}, *((scalar, name) for name in names)]


def _refusal(error: Exception) -> str:
    """Why the reader refused the file, and what to do."""
    if foreign := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"holds an object of {printable(foreign[1], 80)} beside its tensors, and code in a checkpoint is never "
            "run; if you trust the file, save its weights alone: torch.save({'state_dict': torch.load(OLD, "
            "weights_only=False)['state_dict']}, NEW)"
        )
    return (
        f"is damaged, or is not a PyTorch checkpoint of tensors and numbers ({_cause(error)}); download it again, or "
        "name another file; code in a checkpoint is never run"
    )


def _cause(error: Exception) -> str:
    """The cause in few words, without the paragraphs of advice that PyTorch adds and that do not apply here."""
    text = str(error)
    cause = (text.partition("WeightsUnpickler error:")[2] or text).strip()
    return f"{type(error).__name__}: {printable(cause.splitlines()[0], 160)}" if cause else type(error).__name__


def _named_tensors(content: Any, path: Path, expected: str) -> dict[str, Tensor]:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        kind = "nothing" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise CheckpointError(f"{path}: holds {kind}, expected tensors by name; {expected}")
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            kind = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise CheckpointError(f"{path}: {str(name)[:100]!r} is a {kind}, expected a dense tensor; {expected}")
    return {str(name): value for name, value in state.items()}
