"""Reading safetensors files: whatever is wrong with one becomes an error in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from factory_base.errors import CheckpointError, FactoryError
from factory_base.foreign import open_regular, printable

_SHOWN = 100
"""Characters of a tensor's name that a message shows."""


@contextmanager
def opened_tensors(path: Path, advice: str) -> Iterator[Any]:
    """The open safetensors file at `path`, as `safetensors.safe_open` returns it.

    Args:
        path: The file, which must exist.
        advice: What to do if the file cannot be read, for the message.

    Raises:
        CheckpointError: The file cannot be read, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(path).close()  # `safe_open` waits for ever for the content of a FIFO
        with safe_open(path, framework="pt") as file:
            yield file
    except CheckpointError:
        raise
    except (OSError, SafetensorError, FactoryError) as error:
        reason = printable(str(error).removeprefix(f"{path}: "), 200)
        raise CheckpointError(f"{path}: is not a readable safetensors file ({reason}); {advice}") from error


def read_tensors(path: Path, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata. Arguments and errors as for `opened_tensors`."""
    with opened_tensors(path, advice) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What is wrong with the first tensor that does not fit, for people; "" if all tensors fit.

    Args:
        found: The tensors of a file.
        expected: Tensors, of which name, shape and type count.
    """
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    for names, fault in ((missing, "lacks"), (unknown, "has, beyond those of this network,")):
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            return f"{fault} the tensor {_quoted(names[0])}{more}"
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
            return f"the tensor {_quoted(name)} has the shape {shapes}"
        if found[name].dtype != tensor.dtype:
            return f"the tensor {_quoted(name)} holds {found[name].dtype} instead of {tensor.dtype}"
        if not found[name].isfinite().all():
            return f"the tensor {_quoted(name)} has values that are not finite"
    return ""


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
