"""Initial weights of the largest network: loading them, fitting a fresh head, and sorting units by importance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from factory_base.documents import nearest
from factory_base.errors import CheckpointError, ConfigError
from factory_base.foreign import printable
from supernet.data.examples import ExampleInputs, Examples
from supernet.evaluation.calibration import seeded_rows
from supernet.sharing.head import head_name
from supernet.sharing.importance import LabelledBatch, sort_by_importance
from supernet.sharing.supernet import Supernet
from supernet.spaces.config import SpaceConfig
from supernet.spaces.hf_config import TransformersConfig
from supernet.tasks.classification import Classification
from supernet.tasks.task import Task
from supernet.training.checkpoint import STATISTICS
from supernet.training.config import TrainingConfig
from supernet.training.tensor_file import read_tensors
from supernet.weights.hf_weights import read_pretrained
from supernet.weights.layouts import PRETRAINED_LAYOUT, read_layout
from supernet.weights.locating import initial_weights_file
from supernet.weights.probe import fit_head
from supernet.weights.statistics import VARIANCE, carry_over

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_CLASSIFIER = "classifier.weight"
_OURS = "largest."
"""Prefix of parameter names in a checkpoint of a supernet."""
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Types of weights that can be trained; those of 8 bits and fewer are for finished networks."""
_SHOWN = 3
"""Names listed in a message, so that it stays one line."""
_NAME_SHOWN = 100
"""Characters of such a name."""
_STATISTICS_EXAMPLES = 500
"""Training examples whose statistics replace those of pretrained weights: at the last layer of a network for images of
96 pixels, these are 4,500 values of a channel, whose mean is known to 1.5 % of their deviation."""
_SORTING_EXAMPLES, _SORTING_BATCH = 1024, 128
"""Examples from which gradients are computed, which takes seconds to minutes; and how many pass at a time, which is
also how many the magnitude of weights needs, to check the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What `load_initial_weights` did.

    Attributes:
        weights: Names of the parameters that were read from the file.
        fresh: Names of the parameters that were left as they were.
        statistics: The running statistics in the file, by name, which no supernet has; see `carry_over`.
        unused: Names of weights in the file that belong to heads for other tasks.
    """

    weights: tuple[str, ...]
    fresh: tuple[str, ...]
    statistics: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.weights)} weights loaded"]
        if self.fresh:
            parts.append(f"{len(self.fresh)} left fresh ({_some(self.fresh)})")
        if self.unused:
            parts.append(f"{len(self.unused)} of heads for other tasks not used ({_some(self.unused)})")
        return "; ".join(parts)


def load_initial_weights(supernet: Supernet, path: Path, fresh: Sequence[str] = ()) -> Loaded:
    """Replace the weights of `supernet` by those in `path`.

    Args:
        supernet: The supernet, changed in place. If loading fails, it is not changed at all.
        path: A safetensors file: a checkpoint of this package, or a plain state dict of the largest network, in any
            floating-point type.
        fresh: Patterns of parameter names, as in `fnmatch`, that are left as they are whatever the file holds, for
            example `classifier.*`.

    Raises:
        CheckpointError: The file is missing, unreadable or not in the safetensors format; or a weight is missing,
            unknown, of another shape, or not finite.
        ConfigError: A pattern of `fresh` matches no parameter.
    """
    return _load(supernet, path, _read(path), fresh)


def load_published_weights(supernet: Supernet, path: Path, fresh: Sequence[str] = ()) -> Loaded:
    """Replace the weights of `supernet` by those for which its `model` section says `from: pretrained`.

    If they are for another number of classes, the classifier is left as it is.

    Args:
        supernet: The supernet, changed in place. If loading fails, it is not changed at all.
        path: The file of the package.
        fresh: As in `load_initial_weights`.

    Raises:
        CheckpointError, ConfigError: See `read_layout` and `load_initial_weights`.
    """
    _, tensors = read_layout(path, PRETRAINED_LAYOUT)
    parameters = dict(supernet.largest.named_parameters())
    differs = tensors[_CLASSIFIER].shape != parameters[_CLASSIFIER].shape
    return _load(supernet, path, tensors, (*fresh, "classifier.*") if differs else fresh)


def load_transformers_weights(supernet: Supernet, path: Path, fresh: Sequence[str] = ()) -> Loaded:
    """Replace the weights of `supernet`, of the space `transformers`, by those of a pretrained model of the package.

    If the file has no head of the same shape, that of the network is left as it is.

    Args:
        supernet: The supernet, changed in place. If loading fails, it is not changed at all.
        path: The file `model.safetensors` of the model.
        fresh: As in `load_initial_weights`.

    Raises:
        CheckpointError, ConfigError: See `load_initial_weights`.
    """
    found = read_pretrained(path, supernet.largest)
    loaded = _load(supernet, path, found.tensors, (*fresh, *found.fresh_head))
    return replace(loaded, unused=found.unused)


def _load(supernet: Supernet, path: Path, tensors: Mapping[str, Tensor], fresh: Sequence[str]) -> Loaded:
    """Replace the weights of `supernet` by `tensors` from the file at `path`, by their names in the largest network."""
    network = supernet.largest
    parameters = dict(network.named_parameters())
    left = _matching(fresh, parameters)
    statistics = _statistics(network)
    ignored = {name: value for name, value in tensors.items() if name in statistics}
    given = {name: value for name, value in tensors.items() if name not in statistics and name not in left}
    _check_buffers(given, network, path)
    _check_names(given, [name for name in parameters if name not in left], path)
    _check_shapes(given, parameters, path)
    for name, value in given.items():
        _check_values(name, value, path)
    for name, value in ignored.items():
        _check_statistic(name, value, parameters.get(f"{name.rpartition('.')[0]}.weight"), path)
    with torch.no_grad():
        for name, value in given.items():
            parameters[name].copy_(value)
    return Loaded(weights=tuple(given), fresh=left, statistics=ignored)


def start_from(
    supernet: Supernet,
    model: SpaceConfig,
    config: TrainingConfig,
    folder: Path,
    examples: Examples,
    *,
    seed: int,
    task: Task | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Loaded | None:
    """Load the initial weights, fit a fresh head, and sort, as the config says. Without initial weights, do nothing.

    Args:
        supernet: The supernet, on the CPU, changed in place.
        model: The `model` section, which may name weights itself. Their classifier is left fresh if it has another
            number of classes.
        config: The recipe.
        folder: Folder to which the path of the weights is relative.
        examples: The training examples, to which the head is fitted, and some of which decide what is important.
        seed: Seed of the choice of these examples.
        task: What the networks learn; by default the classes of the examples.
        notify: Called with a line about each thing that was done.

    Returns:
        What was loaded; None if the config names no initial weights.

    Raises:
        CheckpointError, ConfigError: See `load_initial_weights` and `initial_weights_file`.
        SpaceError: See `sort_by_importance`.
        DataError: An example cannot be read.
    """
    path = initial_weights_file(model, config, folder)
    if path is None:
        return None
    loaded = _loader(model)(supernet, path, config.fresh_parameters)
    notify(f"{path}: {loaded}")
    task = task or Classification(names=())
    if loaded.statistics:
        notify(_keep_statistics(supernet, loaded, config, examples, seed))
    probed = _probe(supernet, loaded, config, examples, task, seed, notify)
    if config.sort_by_importance:
        has_classifier = probed or not (model.names_weights and loaded.fresh)
        by_gradient = config.importance == "gradients" and has_classifier
        batches = _batches(supernet, examples, seed, _SORTING_EXAMPLES if by_gradient else _SORTING_BATCH)
        count = sort_by_importance(supernet, batches, by_gradient=by_gradient, loss=task.loss)
        basis = "how the loss would change" if by_gradient else "the magnitude of weights"
        notify(f"{count} groups of channels, heads or neurons sorted by importance: {basis}")
    return loaded


def _loader(model: SpaceConfig) -> Callable[[Supernet, Path, Sequence[str]], Loaded]:
    if not model.names_weights:
        return load_initial_weights
    return load_transformers_weights if isinstance(model, TransformersConfig) else load_published_weights


def _keep_statistics(supernet: Supernet, loaded: Loaded, config: TrainingConfig, examples: Examples, seed: int) -> str:
    """Make the largest network compute as with the statistics of the file, if the config allows; a line about it."""
    unused = "its statistics of batch normalisation are not used"
    if not config.keep_statistics:
        return f"{unused}, as training.keep_statistics says"
    rows = seeded_rows(len(examples), _STATISTICS_EXAMPLES, seed)
    shape = supernet.model_space.input_shape(supernet.model_space.space.largest)
    count = carry_over(supernet, loaded.statistics, ExampleInputs(examples, shape, rows))
    if not count:
        return f"{unused}, because they are not complete"
    return f"its statistics of batch normalisation keep their effect: {count} scales and shifts fitted to these data"


def _probe(
    supernet: Supernet,
    loaded: Loaded,
    config: TrainingConfig,
    examples: Examples,
    task: Task,
    seed: int,
    notify: Callable[[str], None],
) -> bool:
    """Fit a fresh head to the features of the pretrained network, if the config allows; whether it was fitted.

    Raises `ConfigError` if the config demands it and there is no fresh head.
    """
    if config.probe is False or not (loaded.fresh or config.probe is True):
        return False
    head = head_name(supernet)
    if head is None or f"{head}.weight" not in loaded.fresh:
        fault = "the head is not a linear layer" if head is None else f"its head, {head}, is not fresh"
        if config.probe is True:
            raise ConfigError(f"training.probe: true needs a fresh linear layer at the end of the network, but {fault}")
        notify(f"no linear probe, because {fault}; fresh parameters start from random weights")
        return False
    probe = fit_head(supernet, head, examples, task, seed=seed)
    notify(f"{head}: {probe}")
    return True


def check_all_trained(loaded: Loaded | None) -> None:
    """Raise `ConfigError` if a supernet that nobody will train has weights that were not `loaded`."""
    if loaded is not None and not loaded.fresh:
        return
    fault = "there are none" if loaded is None else f"{len(loaded.fresh)} were left fresh ({_some(loaded.fresh)})"
    raise ConfigError(
        f"training.epochs: 0 searches initial weights that are trained already, but {fault}; raise epochs, or start "
        "from weights that were trained for these classes"
    )


def _batches(supernet: Supernet, examples: Examples, seed: int, count: int) -> list[LabelledBatch]:
    """Up to `count` training examples, without augmentation, as inputs of the largest network."""
    rows = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))[:count]
    shape = supernet.model_space.input_shape(supernet.model_space.space.largest)
    return [
        (
            examples.to_input(examples.batch(part, None), shape).cpu(),
            examples.labels[part.to(examples.labels.device)].cpu(),
        )
        for part in torch.split(rows, _SORTING_BATCH)
    ]


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors in the file, by their names in the largest network."""
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file; see training.initial_weights")
    tensors, metadata = read_tensors(path, "write one with safetensors.torch.save_file(network.state_dict(), PATH)")
    if "training" in metadata:
        raise CheckpointError(
            f"{path}: is the state of a training run, not a checkpoint; name the supernet.safetensors of a finished run"
        )
    if "space" not in metadata:
        return tensors
    return {name.removeprefix(_OURS).removeprefix(STATISTICS): value for name, value in tensors.items()}


def _matching(patterns: Sequence[str], names: Mapping[str, Tensor]) -> tuple[str, ...]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"training.fresh_parameters: {pattern!r} matches no parameter of the largest network; "
                f"{nearest(pattern, names)}"
            )
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _statistics(network: nn.Module) -> set[str]:
    """Names of the buffers that batch normalisations have in an ordinary network, and not in a supernet."""
    layers = (name for name, layer in network.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    return {f"{name}.{statistic}" if name else statistic for name in layers for statistic in _STATISTICS}


def _check_buffers(given: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Drop from `given` the buffers of the largest network. Raise `CheckpointError` if their values differ."""
    for name, buffer in network.named_buffers():
        if name in given and not torch.equal(given.pop(name).to(buffer.dtype), buffer):
            raise CheckpointError(
                f"{path}: {name!r} is a buffer whose values differ from those that the model space builds; subnets get "
                "their buffers from the model space, so build these values there, or make them a parameter"
            )


def _check_names(given: Mapping[str, Tensor], needed: Sequence[str], path: Path) -> None:
    unknown = [name for name in given if name not in needed]
    missing = [name for name in needed if name not in given]
    if unknown:
        raise CheckpointError(
            f"{path}: holds {len(unknown)} tensors that the largest network lacks ({_some(unknown)}) and "
            f"lacks {len(missing)} of its weights ({_some(missing)}); {unknown[0][:_NAME_SHOWN]!r}: "
            f"{nearest(unknown[0][:_NAME_SHOWN], missing or needed)}"
        )
    if missing:
        raise CheckpointError(
            f"{path}: lacks {len(missing)} weights of the largest network: {_some(missing)}; add those that should "
            "start fresh to training.fresh_parameters"
        )


def _check_shapes(given: Mapping[str, Tensor], parameters: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError`, which names each weight of another shape."""
    wrong = [name for name, value in given.items() if value.shape != parameters[name].shape]
    if wrong:
        faults = (
            f"{name!r} has shape {tuple(given[name].shape)} but the largest network's has "
            f"{tuple(parameters[name].shape)}"
            for name in wrong
        )
        last = wrong[-1]
        raise CheckpointError(
            f"{path}: {'; '.join(faults)}; change the model section or, for a new head, start it fresh: "
            f"training.fresh_parameters: ['{last.rpartition('.')[0] or last}.*']"
        )


def _check_values(name: str, value: Tensor, path: Path) -> None:
    if value.dtype not in _FLOATS:
        raise CheckpointError(
            f"{path}: {name!r} holds {value.dtype}, expected a floating-point type of 16 bits or more; quantised "
            "weights cannot be trained"
        )
    if not value.isfinite().all():
        raise CheckpointError(
            f"{path}: {name!r} holds values that are not finite; the file is damaged, or its training run diverged"
        )


def _check_statistic(name: str, value: Tensor, scale: Tensor | None, path: Path) -> None:
    """Check a running statistic of a layer with the given `scale`, (channels,), if the layer has one."""
    if value.ndim and scale is not None and value.shape != scale.shape:
        raise CheckpointError(f"{path}: {name!r} has shape {tuple(value.shape)}, expected {tuple(scale.shape)}")
    if not value.isfinite().all() or (name.endswith(VARIANCE) and bool((value < 0).any())):
        raise CheckpointError(f"{path}: {name!r} is not a statistic: it holds values below 0 or that are not finite")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, _NAME_SHOWN) for name in names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown or "none"
