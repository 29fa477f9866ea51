"""Weights of published networks are read by the names that others gave them, and compute what they compute there."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from original_networks import original
from packaged_weights import random_state
from safetensors.torch import save_file
from torch import Tensor

from factory_base.errors import CheckpointError, ConfigError
from factory_base.files import digest_of
from supernet.spaces import make_model_space
from supernet.weights.layouts import LAYOUTS, read_layout

State = dict[str, Tensor]
TIMM = "timm:mobilenetv3_large_100"

RECORDED = {
    "timm:efficientnet_lite0": ("88fdc938b32e934d", [-0.02711, -0.36217, 0.00097, -0.33111, -0.1912]),
    "timm:tf_efficientnet_lite0": ("88fdc938b32e934d", [-0.03856, -0.33005, 0.02532, -0.30185, -0.19407]),
    "timm:mobilenetv3_large_100": ("368f5296b0c15e80", [0.06641, -0.07303, -0.1124, 0.15137, -0.08892]),
    "torchvision:mobilenet_v3_large": ("7fd73922f0accd3d", [0.06628, -0.07417, -0.11156, 0.15096, -0.09059]),
    "efficientnet_pytorch:efficientnet_lite0": (
        "107d01f9b27e91fb", [-0.03856, -0.33005, 0.02532, -0.30185, -0.19407],
    ),
}  # fmt: skip
"""Of the original classes in timm 1.0.31, torchvision 0.29.1 and efficientnet_lite_pytorch 0.1.0: the start of the
digest of keys and shapes, and the first outputs for the first image below, with `random_state`. They stand for the
classes where those are not installed."""


def images() -> Tensor:
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def outputs(name: str, path: Path, **changes: Any) -> Tensor:
    """What our largest network computes with weights of a layout, in a space with `changes`."""
    save_file(random_state(name, classes=7), path)
    layout, found = read_layout(path, name)
    model_space = make_model_space(layout.config.model_copy(update=changes), 7)
    network = model_space.build(model_space.space.largest).eval()
    assert not network.load_state_dict(found, strict=False).unexpected_keys
    with torch.no_grad():
        return network(images())


def keys_digest(state: State) -> str:
    return digest_of(sorted([name, list(value.shape)] for name, value in state.items()))[:16]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_largest_network_computes_what_the_original_class_computes(tmp_path: Path, name: str) -> None:
    theirs = original(name, classes=7)
    state = random_state(name, classes=7)
    theirs.load_state_dict(state)  # strict: the layout has exactly the keys and shapes of the class
    with torch.no_grad():
        expected = theirs(images())
    torch.testing.assert_close(outputs(name, tmp_path / "w.safetensors"), expected, atol=1e-5, rtol=1e-4)
    assert keys_digest(theirs.state_dict()) == RECORDED[name][0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_largest_network_computes_what_the_original_class_computed(tmp_path: Path, name: str) -> None:
    digest, expected = RECORDED[name]
    assert keys_digest(random_state(name, classes=7)) == digest
    found = outputs(name, tmp_path / "w.safetensors")
    torch.testing.assert_close(found[0, :5], torch.tensor(expected), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"padding": "symmetric"}, {"norm_eps": 1e-5}])
def test_the_comparison_sees_another_padding_and_another_epsilon(tmp_path: Path, changes: dict[str, Any]) -> None:
    name = "timm:tf_efficientnet_lite0"
    found = outputs(name, tmp_path / "w.safetensors", **changes)
    assert float((found[0, :5] - torch.tensor(RECORDED[name][1])).abs().max()) > 5e-3


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_weight_of_ours_has_one_place_in_the_file(name: str) -> None:
    expected = LAYOUTS[name].expected(5)
    model_space = make_model_space(LAYOUTS[name].config, 5)
    ours = model_space.build(model_space.space.largest).state_dict()
    assert sorted(ours) == sorted(own for own, _, _ in expected.values())


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(TIMM, classes=4)


@pytest.mark.parametrize("kind", ["safetensors", "without a suffix", "pth", "state_dict"])
def test_all_kinds_of_files_are_read(tmp_path: Path, state: State, kind: str) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights")
    if kind in ("safetensors", "without a suffix"):
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state} if kind == "state_dict" else state, path)
    found = read_layout(path, TIMM)[1]
    assert torch.equal(found["mix.bias"], state["conv_head.bias"])
    assert len(found) == len([name for name in state if "num_batches" not in name])


def test_counters_may_be_missing_and_halves_become_float32(tmp_path: Path, state: State) -> None:
    halves = {name: value.half() for name, value in state.items() if "num_batches" not in name}
    save_file(halves, tmp_path / "w.safetensors")
    found = read_layout(tmp_path / "w.safetensors", TIMM)[1]
    assert {value.dtype for value in found.values()} == {torch.float32}


def refusal(path: Path, name: str = TIMM) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_layout(path, name)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def written(path: Path, state: State) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


FAULTS: dict[str, tuple[Callable[[State], State], str]] = {
    "unknown": (lambda s: s | {"extra.weight": torch.ones(1)}, "unknown keys: extra.weight"),
    "missing": (lambda s: {n: t for n, t in s.items() if n != "bn1.bias"}, "missing keys: bn1.bias"),
    "no classifier": (
        lambda s: {n: t for n, t in s.items() if "classifier" not in n},
        "missing keys: classifier.weight, classifier.bias",
    ),
    "NaN": (lambda s: s | {"bn1.bias": s["bn1.bias"] * float("nan")}, "NaN or infinite values in bn1.bias"),
    "whole": (lambda s: s | {"bn1.bias": s["bn1.bias"].int()}, "expected floating-point numbers in bn1.bias"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_content_is_named(tmp_path: Path, state: State, fault: str) -> None:
    change, words = FAULTS[fault]
    assert words in refusal(written(tmp_path / "w.safetensors", change(state)))


def test_weights_of_another_width_have_each_layer_named(tmp_path: Path, state: State) -> None:
    wider = {
        n: torch.cat([t, t[: len(t) // 4]]) if n.startswith("blocks.3.") else t for n, t in state.items() if t.ndim
    }
    message = refusal(written(tmp_path / "w.safetensors", wider))
    assert "wrong shapes: blocks.3.0.conv_pw.weight ((300, 40, 1, 1) instead of (240, 40, 1, 1)), " in message
    assert all(name in message for name in wider if name.startswith("blocks.3."))
    assert "blocks.4" not in message


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_another_layout_is_recognised(tmp_path: Path, name: str) -> None:
    asked = "torchvision:mobilenet_v3_large" if name.startswith("timm") else TIMM
    path = written(tmp_path / "w.safetensors", random_state(name, classes=3))
    found = refusal(path, asked)
    same_keys = "timm:efficientnet_lite0" if name == "timm:tf_efficientnet_lite0" else name
    assert f"does not have the layout {asked}: it looks like {same_keys}" in found


def test_a_file_of_an_unknown_layout_shows_its_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", {f"layer.{i}": torch.ones(1) for i in range(5)})
    assert "its 5 keys are layer.0, layer.1, layer.2, ..." in refusal(path)


def test_an_unknown_layout_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown layout 'timm:mobilenetv3'; did you mean 'timm:mobilenetv3_large_100"
    ):
        read_layout(tmp_path / "none", "timm:mobilenetv3")


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, state: State, kind: str) -> None:
    path = tmp_path / f"weights.{kind}"
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    size = path.stat().st_size
    words = "is not a readable safetensors file" if kind == "safetensors" else "is damaged, or is not a PyTorch"
    for length in (size - 1, size // 2, 3000, 7, 0):
        os.truncate(path, length)
        assert words in refusal(path)


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    class Opener:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"classifier.weight": Opener()}))
    assert "code in a checkpoint is never run" in refusal(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
