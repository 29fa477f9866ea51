"""`factory import-ofa`: convert an official once-for-all checkpoint to a supernet and a config for further training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory_base.errors import ConfigError
from factory_base.files import write_text
from model_factory.config import CONFIG_NAME
from supernet.spaces.ofa_config import OfaConfig
from supernet.training.checkpoint import save_supernet
from supernet.weights.import_ofa import import_ofa, ofa_supernet

_WEIGHTS_NAME = "supernet.safetensors"

_TEMPLATE = """\
# Written by `factory import-ofa`. Fill in `data`, then run `factory build` in the folder of this file.
name: {name}
release: 1
seed: 0
threads: 2

data:
  source: folder          # or: parquet | npz | package.module:callable
  path: images            # your images, relative to this file: one folder per class
  image_size: {image_size}

model:
  space: {space}
  width_mult: {width_mult}
  resolutions: {resolutions}   # choose yours; the largest is at most image_size
  depths: {depths}     # keep the largest option of depths, kernels and expands, and kernel 3: the weights need them
  kernels: {kernels}
  expands: {expands}

training:                 # continued training: all sizes from the start, at a low learning rate
  initial_weights: {weights}
  fresh_parameters: [classifier.*]  # leave this out if your classes are the {classes} of the weights, in their order
  epochs: 10
  batch_size: 64
  learning_rate: 0.01
  weight_decay: 3.0e-5
  largest_only: 0
  random_subnets: 2
  augment: {{flip: true, shift: 16}}

targets:                  # device profiles; `budgets` override a profile's own
  - {{device: lowend_3gb}}
  - {{device: midrange}}
  - {{device: flagship}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSupernet:
    """What a checkpoint held, and the files that were written.

    Attributes:
        config: The model space, with the options of the checkpoint's family and its width multiplier.
        classes: Number of outputs of the classifier.
        parameters: Number of parameters of the supernet, kernel matrices included.
        subnets: Number of subnets in the space.
        weights: The checkpoint that was written.
        config_file: The config that was written.
        notes: What was put in place of something that the checkpoint lacks, a sentence each.
    """

    config: OfaConfig
    classes: int
    parameters: int
    subnets: int
    weights: Path
    config_file: Path
    notes: tuple[str, ...]


def import_checkpoint(checkpoint: Path, folder: Path) -> ImportedSupernet:
    """Write the supernet in `checkpoint` to `folder`, with a config that continues its training.

    Raises:
        CheckpointError: `checkpoint` is not an official once-for-all supernet; see `supernet.weights.import_ofa`.
        ConfigError: A file that would be written exists already.
        DiskError: A file cannot be written.
    """
    weights, config_file = folder / _WEIGHTS_NAME, folder / CONFIG_NAME
    for path in (weights, config_file):
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another folder with --output, or remove it first")
    notes: list[str] = []
    config, state = import_ofa(checkpoint, notes.append)
    supernet = ofa_supernet(config, state)
    save_supernet(weights, supernet)
    write_text(config_file, _config_text(config, len(state["classifier.weight"])))
    return ImportedSupernet(
        config=config,
        classes=len(state["classifier.weight"]),
        parameters=sum(parameter.numel() for parameter in supernet.parameters()),
        subnets=supernet.model_space.space.count(),
        weights=weights,
        config_file=config_file,
        notes=tuple(notes),
    )


def _config_text(config: OfaConfig, classes: int) -> str:
    return _TEMPLATE.format(
        name=f"{config.space}_w{config.width_mult}",
        space=config.space,
        width_mult=config.width_mult,
        image_size=config.resolutions[-1],
        weights=_WEIGHTS_NAME,
        classes=classes,
        **{name: list(getattr(config, name)) for name in ("resolutions", "depths", "kernels", "expands")},
    )
