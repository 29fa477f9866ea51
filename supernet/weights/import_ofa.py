"""Reads the weights of official once-for-all supernets (`ofa_mbv3_*`, `ofa_proxyless_*`) and of their largest teachers.

Source: the names and shapes of github.com/mit-han-lab/once-for-all at f03b267. The reader was checked only with
synthetic checkpoints of that layout, not with a downloaded file. It reads both spellings of blocks (`conv` and
`mobile_inverted_conv`), and the names of static networks (`conv.weight` for `conv.conv.weight`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from factory_base.errors import CheckpointError
from factory_base.foreign import printable
from supernet.spaces import make_model_space
from supernet.spaces.ofa_config import OFA_FAMILIES, OfaConfig, OfaFamily, make_divisible
from supernet.weights.foreign_tensors import COUNTER, check_floats, key_faults, read_foreign

_READABLE = "supported are the supernets ofa_mbv3_* and ofa_proxyless_*"
_SHOWN = 3
"""Names listed in a message, so that it stays one line."""

_Expected = dict[str, tuple[str, tuple[int, ...]]]
"""Official name -> our name and the shape, for every tensor of the largest network."""

_SPELLINGS = (
    (re.compile(r"^(blocks\.\d+)\.mobile_inverted_conv\."), r"\1.conv."),
    (re.compile(r"\.conv\.conv\.weight$"), ".conv.weight"),
    (re.compile(r"\.bn\.bn\."), ".bn."),
    (re.compile(r"\.linear\.linear\."), ".linear."),
)
"""Substitutions that turn every known spelling into that of a static network in the source's current code."""

_OFFICIAL_NAMES = (
    (re.compile(r"^trunk\.stem\."), "first_conv."),
    (re.compile(r"^trunk\.first_block\."), "blocks.0.conv."),
    (re.compile(r"\.expand\."), ".inverted_bottleneck."),
    (re.compile(r"\.depthwise\."), ".depth_conv."),
    (re.compile(r"\.squeeze_excite\.squeeze\."), ".depth_conv.se.fc.reduce."),
    (re.compile(r"\.squeeze_excite\.excite\."), ".depth_conv.se.fc.expand."),
    (re.compile(r"\.kernel_matrices\.(\w+)$"), r".depth_conv.conv.\1_matrix"),
    (re.compile(r"\.project\."), ".point_linear."),
    (re.compile(r"^final_expand\."), "final_expand_layer."),
    (re.compile(r"^feature_mix\.weight$"), "feature_mix_layer.conv.weight"),
    (re.compile(r"^feature_mix\."), "feature_mix_layer."),
    (re.compile(r"^classifier\."), "classifier.linear."),
    (re.compile(r"\.norm\."), ".bn."),
)
"""Substitutions that turn one of our names into that spelling, after the blocks of stages are renumbered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfaFile:
    """The tensors of a file by name in that spelling, and each name as the file itself spells it."""

    path: Path
    tensors: dict[str, Tensor]
    written: dict[str, str]

    def error(self, text: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {text}")

    def some(self, names: Iterable[str]) -> str:
        """The first few of `names`, as the file spells them."""
        listed = [printable(self.written.get(name, name), 100) for name in names]
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        return ", ".join(listed[:_SHOWN]) + more


def import_ofa(path: Path, notify: Callable[[str], None] = lambda _: None) -> tuple[OfaConfig, dict[str, Tensor]]:
    """The weights of an official supernet, under the names of our model space.

    Nothing in the file is executed. Every key of the file is used exactly once, except `num_batches_tracked`. A static
    largest network (a teacher) has no kernel matrices; each of them becomes the identity.

    Args:
        path: A pickle of tensors by name, alone or under the key `state_dict`, as `torch.save` writes it. What else it
            holds may be plain or NumPy numbers.
        notify: Called with a line about what was put in place of something that the file lacks.

    Returns:
        The config of the space, with all options, for the family and width of the file; and the state of its largest
        network in float32, as `model_space.build(space.largest).load_state_dict` takes it. The running statistics fit
        that network only.

    Raises:
        CheckpointError: The file is unreadable, holds more than tensors, or belongs to another network; or a key is
            unknown, missing or given twice, or its tensor has a wrong shape or values that are not finite.
    """
    file = _one_spelling(read_foreign(path, _READABLE), path)
    config = _recognise(file)
    largest = _expected(config, _classes(file))
    if not any(name.endswith(".conv.conv.weight") for name in file.written.values()):
        file = _with_matrices(file, largest, notify)
    _check_keys(file, largest)
    check_floats({file.written.get(name, name): tensor for name, tensor in file.tensors.items()}, path)
    needed = {name: ours for name, (ours, _) in largest.items() if not name.endswith(COUNTER)}
    return config, {ours: file.tensors[name].float().contiguous() for name, ours in needed.items()}


def _one_spelling(found: Mapping[str, Tensor], path: Path) -> _OfaFile:
    tensors: dict[str, Tensor] = {}
    written: dict[str, str] = {}
    for name, tensor in found.items():
        plain = name
        for pattern, replacement in _SPELLINGS:
            plain = pattern.sub(replacement, plain)
        if plain in tensors:
            raise CheckpointError(f"{path}: {written[plain]!r} and {name!r} are two spellings of the same weight")
        tensors[plain], written[plain] = tensor, name
    return _OfaFile(path=path, tensors=tensors, written=written)


def _recognise(file: _OfaFile) -> OfaConfig:
    """The config: the family follows from layers that only it has, the width multiplier from the widths."""
    if any(name.startswith("input_stem.") for name in file.tensors):
        raise file.error(f"is an ofa_resnet50 supernet, which is not supported; {_READABLE}")
    if "final_expand_layer.conv.weight" in file.tensors:
        space = "ofa_mbv3"
    elif {"first_conv.conv.weight", "feature_mix_layer.conv.weight"} & file.tensors.keys():
        space = "ofa_proxyless"
    else:
        raise file.error(f"is not a once-for-all supernet; its keys are {file.some(file.tensors)}; {_READABLE}")
    entry = OFA_FAMILIES[space]
    return entry.config(width_mult=_width_mult(file, entry.family))


def _width_mult(file: _OfaFile, family: OfaFamily) -> float:
    """The roundest multiplier that explains most widths. Widths that it does not explain become wrong shapes later."""
    widths = {"first_conv.conv.weight": family.stem_width, "blocks.0.conv.point_linear.conv.weight": family.first_width}
    block = 1
    for stage in family.stages:
        widths[f"blocks.{block}.conv.point_linear.conv.weight"] = stage.width
        block += stage.blocks
    widths["final_expand_layer.conv.weight"] = family.expand_width
    widths["feature_mix_layer.conv.weight"] = family.mix_width
    shapes = {name: tuple(tensor.shape) for name, tensor in file.tensors.items() if tensor.ndim == 4}
    seen = [(base, shapes[name][0]) for name, base in widths.items() if name in shapes]

    def explained(thousandths: int) -> int:
        return sum(make_divisible(base * thousandths / 1000) == width for base, width in seen)

    # candidates are 0.01 to 4 in thousandths, the roundest first: 1.0 before 1.2 before 0.25 before 1.205
    candidates = sorted(range(10, 4001), key=lambda n: (n % 1000 != 0, n % 100 != 0, n % 10 != 0))
    best = max(candidates, key=explained)
    if 2 * explained(best) <= len(seen):
        raise file.error(f"layers of {[width for _, width in seen]} channels fit no width multiplier of 0.01 to 4")
    return best / 1000


def _classes(file: _OfaFile) -> int:
    weight = file.tensors.get("classifier.linear.weight")
    if weight is None or weight.ndim != 2 or not len(weight):
        shape = "missing" if weight is None else f"of shape {tuple(weight.shape)}"
        raise file.error(f"classifier.linear.weight is {shape}, expected (classes, channels)")
    return len(weight)


def _expected(config: OfaConfig, classes: int) -> _Expected:
    model_space = make_model_space(config, classes)
    with torch.device("meta"):
        state = model_space.build(model_space.space.largest).state_dict()
    return {_official_name(name): (name, tuple(tensor.shape)) for name, tensor in state.items()}


def _official_name(name: str) -> str:
    stage = re.match(r"trunk\.stages\.(\d+)\.(\d+)\.", name)
    if stage:  # all stages except the last of a family have four blocks, and block 0 comes before the stages
        name = f"blocks.{1 + 4 * int(stage[1]) + int(stage[2])}.conv.{name[stage.end() :]}"
    for pattern, replacement in _OFFICIAL_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _with_matrices(file: _OfaFile, expected: _Expected, notify: Callable[[str], None]) -> _OfaFile:
    """`file` with the identity as every kernel matrix, if it has no kernel matrices."""
    matrices = {name: shape for name, (_, shape) in expected.items() if name.endswith("_matrix")}
    if file.tensors.keys() & matrices.keys():
        return file
    notify(
        f"no kernel transforms in the file, so it is a teacher: each of the {len(matrices)} starts as the identity, "
        "and networks with smaller kernels are only as good as further training makes them"
    )
    return replace(file, tensors=file.tensors | {name: torch.eye(shape[0]) for name, shape in matrices.items()})


def _check_keys(file: _OfaFile, expected: _Expected) -> None:
    found = {file.written.get(name, name): tuple(tensor.shape) for name, tensor in file.tensors.items()}
    needed = {file.written.get(name, name): shape for name, (_, shape) in expected.items()}
    if faults := key_faults(found, needed):
        raise file.error(f"does not fit the once-for-all layout; {faults}; {_READABLE}")
