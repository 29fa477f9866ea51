"""The config of a pretrained model in a folder, as a `model` section of the space `transformers`. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from factory_base.errors import ConfigError, FactoryError, ForeignError
from factory_base.files import read_json
from factory_base.foreign import one_line, printable
from supernet.data.source_splits import located
from supernet.spaces.hf_config import TransformersConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""The names of a model's files, as `save_pretrained` writes them."""
_DEPTHS: Final = ("num_hidden_layers", "n_layers", "n_layer")
_HIDDEN: Final = ("intermediate_size", "hidden_dim", "ffn_dim", "n_inner")
"""Usual names of the number of layers, and of the neurons between the two layers of an MLP."""
_NOT_SETTINGS: Final = frozenset(
    {"architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache", "problem_type"}
    | {"num_labels", "id2label", "label2id", "_name_or_path"}
)
"""Values of a config that do not shape the network, or that follow from the data."""


def import_transformers() -> Any:
    """The package. Raises `ConfigError` if it is not installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            "model space 'transformers' needs the package transformers, which is not installed; "
            "run pip install -e '.[transformers]'"
        ) from error


def model_folder(config: TransformersConfig, folder: Path) -> Path:
    """The folder of the pretrained model that `config` names, which is in the folder `folder`."""
    return located(config.from_ or "", folder)


def with_pretrained_config(config: TransformersConfig, folder: Path) -> TransformersConfig:
    """A `model` section that states all that the config of the pretrained model says.

    Args:
        config: A section with `from`.
        folder: Folder of the config.

    Raises:
        ConfigError: The folder has no config of a model of the package, or an elastic field does not end at its value.
    """
    path = model_folder(config, folder) / CONFIG_FILE
    written = _read(path)
    config_class = _config_class(written, path)
    if config.config_class not in (None, config_class.__name__):
        raise ConfigError(
            f"{path}: is a {config_class.__name__}, but model.config_class is {config.config_class}; remove that key"
        )
    known = set(config_class().to_dict())
    values = {name: value for name, value in written.items() if name in known and name not in _NOT_SETTINGS}
    fields = config.fields or _default_fields(values, path)
    _check_largest(config, fields, values, config_class.attribute_map, path)
    given = {*fields, *config.follows, *config.settings}
    given |= {config_class.attribute_map.get(name, name) for name in given}
    settings = {name: value for name, value in values.items() if name not in given} | config.settings
    return config.model_copy(
        update={"config_class": config_class.__name__, "fields": fields, "settings": settings, "from_": None}
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        written = read_json(path)
    except (FactoryError, ForeignError) as error:
        raise ConfigError(
            f"model.from: {one_line(error)}; name a folder that save_pretrained wrote, with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}"
        ) from error
    if not isinstance(written, dict) or not isinstance(written.get("model_type"), str):
        raise ConfigError(f"{path}: is not the config of a model of the package transformers; it states no model_type")
    return written


def _config_class(written: Mapping[str, Any], path: Path) -> Any:
    package = import_transformers()
    try:
        return type(package.AutoConfig.for_model(written["model_type"]))
    except Exception as error:  # the package raises errors of many types
        kind = printable(str(written["model_type"]), 60)
        raise ConfigError(
            f"{path}: transformers {package.__version__} has no models of type {kind!r} ({one_line(error, 80)})"
        ) from error


def _default_fields(values: Mapping[str, Any], path: Path) -> dict[str, tuple[int | float, ...]]:
    """Half to all of the layers, and a quarter to all of the neurons of their MLPs."""
    fields: dict[str, tuple[int | float, ...]] = {}
    for names, shares in ((_DEPTHS, (2, 3, 4)), (_HIDDEN, (1, 2, 4))):
        found = next((name for name in names if isinstance(values.get(name), int)), None)
        if found is not None:
            fields[found] = tuple(sorted({max(1, values[found] * share // 4) for share in shares}))
    if not fields:
        raise ConfigError(f"{path}: states no number of layers; name the elastic fields in model.fields")
    return fields


def _check_largest(
    config: TransformersConfig,
    fields: Mapping[str, tuple[int | float, ...]],
    values: Mapping[str, Any],
    aliases: Mapping[str, str],
    path: Path,
) -> None:
    """Raise `ConfigError` unless the largest network is the pretrained one."""
    largest = {name: options[-1] for name, options in fields.items()}
    largest |= {name: follower.values[-1] for name, follower in config.follows.items()}
    for name, value in largest.items():
        written = values.get(aliases.get(name, name), value)
        if written != value:
            raise ConfigError(
                f"model.fields: {name} goes up to {value:g}, but the pretrained model in {path.parent} has {written}; "
                f"make {written} its largest option"
            )
