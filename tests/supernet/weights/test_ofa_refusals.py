"""What is not an official checkpoint, or is damaged, is refused in one clear line, and no code in it runs."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_ofa import official_state
from torch import Tensor

from factory_base.errors import CheckpointError
from supernet.weights.import_ofa import import_ofa

State = dict[str, Any]
BLOCK = "blocks.3.mobile_inverted_conv"
BOTTLENECK = f"{BLOCK}.inverted_bottleneck.conv.conv.weight"


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    return official_state("ofa_mbv3", 0.2)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        import_ofa(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def without(*parts: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not any(part in name for part in parts)}


def with_value(name: str, change: Callable[[Any], object]) -> Callable[[State], State]:
    return lambda state: state | {name: change(state.get(name))}


def poisoned(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.index_fill(0, torch.tensor([1]), value)


def both_spellings(state: State) -> State:
    return state | {BOTTLENECK.replace("mobile_inverted_conv", "conv"): state[BOTTLENECK]}


def of_resnet(_: State) -> State:
    return {
        "input_stem.0.conv.conv.weight": torch.ones(32, 3, 3, 3),
        "classifier.linear.linear.weight": torch.ones(5, 8),
    }


FAULTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "an unknown key": (with_value(f"{BLOCK}.extra.weight", lambda _: torch.ones(2)), f"unknown keys: {BLOCK}.extra"),
    "an unknown block": (with_value("blocks.21.conv.x", lambda _: torch.ones(2)), "unknown keys: blocks.21.conv.x"),
    "a block without its convolution": (
        lambda s: {n.replace("blocks.3.mobile_inverted_conv", "blocks.3"): t for n, t in s.items()},
        "unknown keys: blocks.3.inverted_bottleneck.conv.conv.weight, ",
    ),
    "a missing block": (without("blocks.20."), "missing keys: blocks.20.conv.inverted_bottleneck.conv.weight, "),
    "missing statistics": (without("blocks.3.mobile_inverted_conv.depth_conv.bn.bn.running_var"), "missing keys: "),
    "a missing matrix": (without(f"{BLOCK}.depth_conv.conv.5to3"), "missing keys: blocks.3.conv.depth_conv.conv.5to3"),
    "no matrix in a dynamic network": (without("_matrix"), "blocks.20.conv.depth_conv.conv.7to5_matrix; supported"),
    "a missing classifier": (without("classifier"), "classifier.linear.weight is missing"),
    "a missing stem": (without("first_conv.conv"), "missing keys: first_conv.conv.weight"),
    "a wrong shape": (with_value(BOTTLENECK, lambda t: t[:-8]), f"wrong shapes: {BOTTLENECK} (("),
    "a transposed classifier": (with_value("classifier.linear.weight", lambda t: t.T), "wrong shapes: classifier"),
    "a flat classifier": (with_value("classifier.linear.weight", lambda t: t.flatten()), "expected (classes, "),
    "a number": (with_value("first_conv.conv.weight", lambda _: 3), "'first_conv.conv.weight' is a int"),
    "a sparse tensor": (with_value(BOTTLENECK, lambda t: t.to_sparse()), "is a torch.sparse_coo tensor"),
    "whole numbers": (with_value(BOTTLENECK, lambda t: t.int()), f"expected floating-point numbers in {BOTTLENECK}"),
    "NaN": (with_value("first_conv.bn.bias", poisoned(float("nan"))), "NaN or infinite values in first_conv.bn.bias"),
    "infinity": (with_value("first_conv.bn.running_var", poisoned(float("inf"))), "infinite values in first_conv.bn"),
    "two spellings": (both_spellings, "are two spellings of the same weight"),
    "a ResNet": (of_resnet, "is an ofa_resnet50 supernet, which is not supported"),
    "another network": (lambda _: {"fc.weight": torch.ones(2, 2)}, "not a once-for-all supernet; its keys are fc.w"),
    "impossible widths": (
        lambda s: {n: t[:7] if t.ndim == 4 else t for n, t in s.items()}, "channels fit no width multiplier",
    ),
    "no keys": (lambda _: {}, "holds nothing"),
    "a list": (lambda s: list(s.values()), "holds a list"),
    "a tensor": (lambda _: torch.ones(3), "holds a Tensor"),
    "another state dict": (lambda _: {"state_dict": {"a": {"b": torch.ones(1)}}}, "'a' is a dict"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_content_is_named(tmp_path: Path, official: dict[str, Tensor], fault: str) -> None:
    change, words = FAULTS[fault]
    path = tmp_path / "ofa_net"
    torch.save(change(dict(official)), path)
    assert words in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(
    tmp_path: Path, official: dict[str, Tensor], zipped: bool
) -> None:
    path = tmp_path / "ofa_net"
    torch.save({"state_dict": official}, path, _use_new_zipfile_serialization=zipped)
    size = path.stat().st_size
    for length in (size - 1, size * 9 // 10, size // 2, size // 20, 3000, 100, 1, 0):
        os.truncate(path, length)
        assert "is damaged, or is not a PyTorch checkpoint" in refusal(path)


class Opener:
    """Its pickle creates a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, trace = tmp_path / "ofa_net", tmp_path / "ran"
    content = {"state_dict": {"first_conv.conv.weight": Opener(trace)}}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "code in a checkpoint is never run" in refusal(path)
    assert not trace.exists()


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x80\x02.", b"PK\x03\x04" + bytes(100), b"\x7fELF" + bytes(500)])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert "is damaged, or is not a PyTorch checkpoint" in refusal(tmp_path / "file")


def test_a_script_archive_is_refused(tmp_path: Path) -> None:
    class Doubling(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(Doubling()), tmp_path / "file")
    assert "is damaged, or is not a PyTorch checkpoint" in refusal(tmp_path / "file")


@pytest.mark.parametrize(
    "number", [np.float64(73.1), np.mean([73.0, 73.2]), np.float32(1), np.int64(119), np.bool_(True)]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_numbers_beside_the_weights_do_no_harm(
    tmp_path: Path, official: dict[str, Tensor], number: object, zipped: bool
) -> None:
    path = tmp_path / "ofa_net"
    torch.save({"best_acc": number, "state_dict": official}, path, _use_new_zipfile_serialization=zipped)
    assert import_ofa(path)[0].width_mult == 0.2


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (np.ones(3), "numpy._core.multiarray._reconstruct"),
        (Path("x"), "pathlib.PosixPath"),
    ],
)
def test_other_objects_beside_the_weights_are_named_and_the_file_is_not_called_damaged(
    tmp_path: Path, official: dict[str, Tensor], content: object, name: str
) -> None:
    torch.save({"args": content, "state_dict": official}, tmp_path / "ofa_net")
    message = refusal(tmp_path / "ofa_net")
    assert f"holds an object of {name} beside its tensors" in message
    assert "save its weights alone: torch.save({'state_dict'" in message
    assert "damaged" not in message
    assert "download" not in message


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "gone")
    assert "is a folder; name the checkpoint file" in refusal(tmp_path)
