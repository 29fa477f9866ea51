"""The model space of a model of the package `transformers`, built from its config class with unchanged layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import Any, Final

import torch
from torch import Tensor, nn

from factory_base.documents import nearest
from factory_base.errors import ConfigError, SpaceError
from factory_base.foreign import one_line
from supernet.sharing.importance import SortGroup
from supernet.sharing.slicing import Leading, Segments, SliceRule
from supernet.space import Option, SearchSpace, SubnetConfig
from supernet.spaces.hf_config import Task, TransformersConfig, transformers_search_space
from supernet.spaces.hf_folder import import_transformers
from supernet.spaces.hf_sorting import sort_groups_of

_AUTO_CLASSES: Final[dict[Task, str]] = {
    "text_classification": "AutoModelForSequenceClassification",
    "image_classification": "AutoModelForImageClassification",
}
_FUSED: Final[dict[str, int]] = {"*qkv*": 3, "*c_attn*": 3, "*query_key_value*": 3, "*in_proj*": 3, "*gate_up*": 2}
"""Usual name patterns of fused weights -> number of matrices: query, key and value, or gate and up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    """The attention heads of a network; all numbers are 0 if it has none.

    Attributes:
        channels: Channels of one head.
        keys: Number of key heads, which equals that of value heads.
        queries_per_key: Number of query heads that share a key head.
    """

    channels: int
    keys: int
    queries_per_key: int

    @staticmethod
    def of(model_config: Any) -> _Heads:
        heads = getattr(model_config, "num_attention_heads", None)
        if not isinstance(heads, int):
            return _Heads(channels=0, keys=0, queries_per_key=0)
        keys = getattr(model_config, "num_key_value_heads", None) or heads
        channels = getattr(model_config, "head_dim", None) or model_config.hidden_size // heads
        return _Heads(channels=channels, keys=keys, queries_per_key=heads // keys)


class TransformersSpace:
    """The model space of a `TransformersConfig` for `classes` classes.

    Raises:
        ConfigError: The package is not installed, or it lacks the config class or a field.
        SpaceError: A network cannot be built, or heads or fused weights of subnets would not correspond to those of
            the largest network.
    """

    def __init__(self, config: TransformersConfig, classes: int) -> None:
        self._config, self._classes = config, classes
        self._space = transformers_search_space(config)
        self._package = import_transformers()
        self._config_class = _find_config_class(self._package, config.config_class or "")
        self._rules = _rules(config)
        _check_fields(config, self._config_class)
        self._defaults = _defaults(config, self._config_class)
        self._check_lengths()
        self._check_sharing()

    @property
    def space(self) -> SearchSpace:
        """The named choices; see `transformers_search_space`."""
        return self._space

    @property
    def slicing(self) -> Mapping[str, SliceRule]:
        """The rules `segments` and `leading` of the config. See `SlicedModelSpace`."""
        return self._rules

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """The network of `subnet`: int64 tokens (batch, length) or float images -> logits (batch, classes)."""
        model_config = self._model_config(subnet)
        auto_class = getattr(self._package, _AUTO_CLASSES[self._config.task])
        try:
            model = auto_class.from_config(model_config, attn_implementation="eager")
        except Exception as error:  # model code raises errors of many types
            reason = one_line(error) or type(error).__name__
            raise SpaceError(
                f"{self._config.config_class}: {_listed(subnet.to_dict())} cannot be built ({reason})"
            ) from error
        expected = "input_ids" if self._config.inputs == "tokens" else "pixel_values"
        if model.main_input_name != expected:
            raise SpaceError(
                f"{type(model).__name__} takes {model.main_input_name}, not {expected}; choose another class"
            )
        return _TextLogits(model) if self._config.inputs == "tokens" else _ImageLogits(model)

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """(length,) for text; (channels, image_size, image_size) for images."""
        if self._config.inputs == "tokens":
            return (int(subnet["length"]),)
        model_config = self._model_config(subnet)
        return (int(getattr(model_config, "num_channels", 3)), model_config.image_size, model_config.image_size)

    @cached_property
    def sortable(self) -> tuple[SortGroup, ...]:
        """The neurons, heads and channels that elastic fields shrink. See `SortableModelSpace`."""
        largest = self._space.largest
        with torch.device("meta"):
            network = self.build(largest)
        smaller = [
            self._shapes(self._space.subnet(largest.to_dict() | {name: options[0]}))
            for name, options in self._config.fields.items()
        ]
        channels = _Heads.of(self._model_config(largest)).channels
        return sort_groups_of(self._shapes(largest), smaller, network, channels, self._config.segments)

    @property
    def vocabulary(self) -> int:
        """Number of tokens, for text. See `TokenModelSpace`."""
        return int(self._model_config(self._space.largest).get_text_config().vocab_size)

    @property
    def padding(self) -> int | None:
        """The token that the networks ignore, for text. See `TokenModelSpace`."""
        found = self._model_config(self._space.largest).get_text_config().pad_token_id
        return None if found is None else int(found)

    def _model_config(self, subnet: SubnetConfig) -> Any:
        values = {**self._config.settings, **_field_values(self._config, subnet), "num_labels": self._classes}
        try:
            return self._config_class(**(self._defaults | values))
        except Exception as error:  # config classes raise errors of many types
            reason = one_line(error) or type(error).__name__
            raise SpaceError(
                f"{self._config.config_class}: {_listed(subnet.to_dict())} is refused ({reason})"
            ) from error

    def _check_lengths(self) -> None:
        """Raise `ConfigError` if a text may have more tokens than the network has positions."""
        model_config = self._model_config(self._space.largest)
        positions = getattr(model_config, "max_position_embeddings", None)
        longest = (self._config.lengths or (0,))[-1]
        if isinstance(positions, int) and longest > positions:
            raise ConfigError(
                f"model.lengths: go up to {longest} tokens, but {self._config.config_class} has {positions} positions "
                "(max_position_embeddings); choose shorter lengths"
            )

    def _check_sharing(self) -> None:
        """Compare the largest network with the subnets that differ from it in one or two choices."""
        largest = self._space.largest
        heads = _Heads.of(self._model_config(largest))
        for one, other in combinations_with_replacement(self._space, 2):
            for options in product(one.options, other.options):
                values = dict(zip((one.name, other.name), options, strict=True))
                subnet = self._space.subnet(largest.to_dict() | values)
                self._check_heads(heads, _Heads.of(self._model_config(subnet)), _listed(values))
        shapes = self._shapes(largest)
        for name in self._config.fields:
            smaller = self._space.subnet(largest.to_dict() | {name: self._config.fields[name][0]})
            if smaller != largest and self._shapes(smaller) == shapes:
                raise SpaceError(
                    f"{self._config.config_class}: {name!r} changes no weight, so all its options cost the same; "
                    "move it to settings, or let it follow an elastic field"
                )
        self._check_fused(shapes, self._shapes(self._space.smallest))

    def _check_heads(self, largest: _Heads, other: _Heads, difference: str) -> None:
        if largest.channels != other.channels:
            raise SpaceError(
                f"{self._config.config_class}: a head has {largest.channels} channels in the largest network but "
                f"{other.channels} with {difference}, so heads would mix; set head_dim in settings if the class has "
                "it, or let num_attention_heads and hidden_size change together by 'follows'"
            )
        count = largest.keys
        is_cut = count == 1 or any(rule.count == count for rule in self._config.segments.values())
        if largest.queries_per_key != other.queries_per_key and not (is_cut and count == other.keys):
            raise SpaceError(
                f"{self._config.config_class}: {largest.queries_per_key} query heads share a key head in the largest "
                f"network but {other.queries_per_key} with {difference}; keep num_key_value_heads fixed, with segments "
                f"{{'*.q_proj.*': {{axis: 0, count: {count}}}, '*.o_proj.weight': {{axis: 1, count: {count}}}}}"
            )

    def _shapes(self, subnet: SubnetConfig) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            return {name: tuple(parameter.shape) for name, parameter in self.build(subnet).named_parameters()}

    def _check_fused(self, largest: dict[str, tuple[int, ...]], smallest: dict[str, tuple[int, ...]]) -> None:
        for name, shape in smallest.items():
            count = next((count for pattern, count in _FUSED.items() if fnmatchcase(name, pattern)), None)
            is_cut = any(fnmatchcase(name, pattern) for pattern in self._config.segments)
            if count and not is_cut and shape != largest.get(name):
                raise SpaceError(
                    f"{self._config.config_class}: weight {name!r} looks like {count} matrices in one; cut it by "
                    f"segments: {{'*.{name.split('.')[-2]}.*': {{axis: ..., count: {count}}}}}"
                )


class _TextLogits(nn.Module):
    """A text classifier that returns its logits; token `pad_token_id` is padding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.padding: int | None = model.config.get_text_config().pad_token_id  # type: ignore[union-attr, operator]

    def forward(self, tokens: Tensor) -> Tensor:  # (batch, length) -> (batch, classes)
        mask = torch.ones_like(tokens) if self.padding is None else (tokens != self.padding).to(tokens.dtype)
        if tokens.is_meta:  # models read the values of a mask with two axes, but not of one with four
            mask = torch.zeros(len(tokens), 1, tokens.shape[1], tokens.shape[1], device="meta")
        return self.model(input_ids=tokens, attention_mask=mask).logits  # type: ignore[no-any-return]


class _ImageLogits(nn.Module):
    """An image classifier that returns its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, size, size) -> (batch, classes)
        return self.model(pixel_values=x).logits  # type: ignore[no-any-return]


def _find_config_class(package: Any, name: str) -> Any:
    known = [word for word in dir(package) if word.endswith("Config")]
    if name not in known:
        raise ConfigError(
            f"model.config_class: transformers {package.__version__} has no {name!r}; {nearest(name, known)}"
        )
    return getattr(package, name)


def _known_fields(config_class: Any) -> set[str]:
    """The fields of the class, aliases included. It accepts any other name without using it."""
    return {*config_class().to_dict(), *config_class.attribute_map}


def _check_fields(config: TransformersConfig, config_class: Any) -> None:
    known = _known_fields(config_class)
    for section in ("fields", "follows", "settings"):
        for name in getattr(config, section):
            if name not in known:
                raise ConfigError(f"model.{section}: {config.config_class} has no {name!r}; {nearest(name, known)}")


def _defaults(config: TransformersConfig, config_class: Any) -> dict[str, Any]:
    """Replacements for defaults that do not fit: special tokens as in `supernet.data.tokenizer`, and no key cache."""
    known = config_class().to_dict()
    values: dict[str, Any] = {name: False for name in ("use_cache",) if name in known}
    if config.inputs == "tokens":
        size = int(config.settings.get("vocab_size", known.get("vocab_size", 0)))
        values |= {name: 0 for name in ("pad_token_id",) if name in known}
        values |= {name: None for name in ("bos_token_id", "eos_token_id") if (known.get(name) or 0) >= size}
    return values


def _rules(config: TransformersConfig) -> dict[str, SliceRule]:
    rules: dict[str, SliceRule] = {
        pattern: Segments(axis=rule.axis, count=rule.count) for pattern, rule in config.segments.items()
    }
    return rules | {pattern: Leading() for pattern in config.leading}


def _field_values(config: TransformersConfig, subnet: SubnetConfig) -> dict[str, Option]:
    chosen = subnet.to_dict()
    values = {name: chosen[name] for name in config.fields}
    for name, follower in config.follows.items():
        values[name] = follower.values[config.fields[follower.field].index(chosen[follower.field])]
    return values


def _listed(values: Mapping[str, Option]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
