"""`factory import`: convert published weights to a supernet and a config that continues its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from factory_base.documents import nearest
from factory_base.errors import ConfigError
from factory_base.files import write_text
from model_factory.config import CONFIG_NAME
from supernet.data.normalising import NAMED_STATISTICS, ChannelStatistics
from supernet.spaces.config import SpaceConfig
from supernet.training.checkpoint import save_supernet
from supernet.weights.foreign_tensors import supernet_with
from supernet.weights.import_ofa import import_ofa
from supernet.weights.layouts import LAYOUTS, read_layout

_WEIGHTS_NAME = "supernet.safetensors"

OFA_LAYOUT = "ofa"
"""The layout of official once-for-all supernets, which state their family and width themselves."""

IMPORT_LAYOUTS = (OFA_LAYOUT, *LAYOUTS)
"""Names of the layouts that can be imported."""

_TEMPLATE = """\
# Written by `factory import --layout {layout}`. Fill in `data`, then run `factory build` in the folder of this file.
name: {name}
release: 1
seed: 0
threads: 2

data:
  source: folder          # or: parquet | npz | package.module:callable
  path: images            # your images, relative to this file: one folder per class
  image_size: {image_size}
  normalize: {normalize}   # the statistics that the weights were trained with{doubt}

model:
  space: {space}
{model}

training:                 # continued training: all sizes from the start, at a low learning rate
  initial_weights: {weights}
  fresh_parameters: [classifier.*]  # leave this out if your classes are the {classes} of the weights, in their order
  epochs: 10
  batch_size: 64
  learning_rate: 0.01
  weight_decay: 3.0e-5
  largest_only: 0
  random_subnets: 2
  augment: {{flip: true, shift: 16}}{sorting}

targets:                  # device profiles; `budgets` override a profile's own
  - {{device: lowend_3gb}}
  - {{device: midrange}}
  - {{device: flagship}}
"""

_SORTING = """
  sort_by_importance: true  # a single network was trained, so its channels stand in no order
  importance: weights"""

_COMMENTS = {
    "resolutions": "choose yours; the largest is at most image_size",
    "depths": "keep the largest option of depths, kernels and expands, and kernel 3: the weights need them",
    "min_depth": "fewest blocks of a stage",
    "expands": "options below a block's own ratio, which it always has as well",
    "norm_eps": "of the weights; keep it",
    "padding": "of the weights; keep it",
}
_DOUBTS = {
    "timm:mobilenetv3_large_100": "; those of the tag ra4_e3600_r224_in1k: inception; of miil_in21k*: mean 0, std 1",
}
"""Weights of other tags of the same layout were trained with other statistics, by the table `default_cfgs` of timm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a file holds: the model space, its weights, and with what statistics they were trained."""

    name: str
    config: SpaceConfig
    state: Mapping[str, Tensor]
    statistics: ChannelStatistics
    is_supernet: bool

    @property
    def classes(self) -> int:
        """Number of outputs of the classifier."""
        return len(self.state["classifier.weight"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSupernet:
    """What a file of weights held, and the files that were written.

    Attributes:
        network: The network, for people.
        classes: Number of outputs of the classifier.
        parameters: Number of parameters of the supernet, kernel matrices included.
        subnets: Number of subnets in the space.
        weights: The checkpoint that was written.
        config_file: The config that was written.
        notes: What was put in place of something that the file lacks, a sentence each.
    """

    network: str
    classes: int
    parameters: int
    subnets: int
    weights: Path
    config_file: Path
    notes: tuple[str, ...]


def import_weights(path: Path, layout: str, folder: Path) -> ImportedSupernet:
    """Write the weights in `path` to `folder` as a supernet, with a config that continues its training.

    Running statistics, which fit the largest network only, are kept beside the weights for the start of training.

    Args:
        path: The file of weights.
        layout: One of `IMPORT_LAYOUTS`.
        folder: The folder to write to.

    Raises:
        CheckpointError: The file does not have the layout; see `supernet.weights`.
        ConfigError: There is no such layout, or a file that would be written exists already.
        DiskError: A file cannot be written.
    """
    weights, config_file = folder / _WEIGHTS_NAME, folder / CONFIG_NAME
    for written in (weights, config_file):
        if written.exists():
            raise ConfigError(f"{written} exists already; choose another folder with --output, or remove it first")
    notes: list[str] = []
    found = _read(path, layout, notes.append)
    supernet = supernet_with(found.config, found.state)
    parameters = dict(supernet.largest.named_parameters())
    save_supernet(weights, supernet, {name: value for name, value in found.state.items() if name not in parameters})
    write_text(config_file, _config_text(found, layout))
    return ImportedSupernet(
        network=found.name,
        classes=found.classes,
        parameters=sum(parameter.numel() for parameter in supernet.parameters()),
        subnets=supernet.model_space.space.count(),
        weights=weights,
        config_file=config_file,
        notes=tuple(notes),
    )


def _read(path: Path, layout: str, notify: Callable[[str], None]) -> _Found:
    if layout == OFA_LAYOUT:
        config, state = import_ofa(path, notify)
        name, statistics = f"{config.space}, width multiplier {config.width_mult:g}", NAMED_STATISTICS["imagenet"]
        return _Found(name=name, config=config, state=state, statistics=statistics, is_supernet=True)
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown layout {layout!r}; {nearest(layout, IMPORT_LAYOUTS)}")
    published, state = read_layout(path, layout)
    return _Found(
        name=layout.partition(":")[2],
        config=published.config,
        state=state,
        statistics=published.statistics,
        is_supernet=False,
    )


def _config_text(found: _Found, layout: str) -> str:
    values = found.config.model_dump(mode="json", exclude={"space", "from_"})
    return _TEMPLATE.format(
        layout=layout,
        name=found.config.space + (f"_w{values['width_mult']}" if "width_mult" in values else ""),
        space=found.config.space,
        image_size=found.config.largest_resolution,
        normalize=_stated(found.statistics),
        doubt=_DOUBTS.get(layout, ""),
        model="\n".join(_line(name, value) for name, value in values.items()),
        weights=_WEIGHTS_NAME,
        classes=found.classes,
        sorting="" if found.is_supernet else _SORTING,
    )


def _stated(statistics: ChannelStatistics) -> str:
    """The value of `data.normalize` for these statistics."""
    for name, named in NAMED_STATISTICS.items():
        if named == statistics:
            return name
    return f"{{mean: {list(statistics.mean)}, std: {list(statistics.std)}}}"


def _line(name: str, value: object) -> str:
    """A line of the `model` section."""
    comment = _COMMENTS.get(name)
    text = str(value).replace("e-0", "e-")
    if isinstance(value, float) and "." not in text:
        text = text.replace("e", ".0e")  # YAML takes 1e-5 for text
    return f"  {name}: {text}" + (f"   # {comment}" if comment else "")
