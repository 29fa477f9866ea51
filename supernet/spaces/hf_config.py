"""The `model` section of the space `transformers`, and its choices. Imports neither torch nor transformers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from factory_base.documents import HANDLING, Document, nearest
from supernet.space import Choice, SearchSpace
from supernet.spaces.config import InputKind, SpaceConfig
from supernet.spaces.options import Numbers, Sizes

Task = Literal["text_classification", "image_classification"]
"""The kinds of heads that a network can have."""

TOKENIZER_FILE = "tokenizer.json"
"""The name of the tokenizer in the folder of a pretrained model."""


class FollowerConfig(Document):
    """A field of the config class whose value depends on that of an elastic field."""

    field: str
    """Name of the elastic field."""
    values: Annotated[tuple[Annotated[int | float, Field(ge=-1e9, le=1e9)], ...], Field(max_length=64)]
    """One value for each option of the elastic field, in the same order."""


class SegmentsConfig(Document):
    """A weight that consists of equal segments; a subnet has the leading part of each. See `Segments`."""

    axis: int = Field(ge=0, le=7)
    """The axis along which the segments lie."""
    count: int = Field(ge=2, le=65_536)
    """Number of segments."""


class TransformersConfig(SpaceConfig):
    """The options of the space `transformers`.

    Exact weight sharing needs heads of equal size in all subnets. If a class has no `head_dim` (in BERT a head has
    `hidden_size` over `num_attention_heads` channels), let `num_attention_heads` follow `hidden_size`.
    """

    space: Literal["transformers"] = "transformers"
    from_: Annotated[str | None, HANDLING] = Field(default=None, alias="from")
    """Folder of a pretrained model, relative to the config's folder: `config.json`, `model.safetensors` and, for text,
    `tokenizer.json`. Its config gives `config_class` and all `settings` that are not given here, the largest option of
    an elastic field must be its value, and training starts from its weights. By default half to all of its layers and a
    quarter to all of its hidden neurons are elastic."""
    config_class: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of a config class in the package, for example `BertConfig`."""
    task: Task = "text_classification"
    """The task, which decides the head of the network."""
    fields: dict[str, Numbers] = Field(default_factory=dict)
    """The elastic fields of the config class and their options, for example `num_hidden_layers: [2, 4]`."""
    follows: dict[str, FollowerConfig] = Field(default_factory=dict)
    """Fields that change with an elastic one, such as `num_attention_heads: {field: hidden_size, values: [2, 4]}`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The fixed fields of the config class and their values."""
    lengths: Sizes | None = None
    """Numbers of tokens of an input; for text only."""
    segments: dict[str, SegmentsConfig] = Field(default_factory=dict)
    """Pattern of weight names -> its segments, for example `"*.gate_up_proj.weight": {axis: 0, count: 2}`. Needed for
    fused matrices, and for query heads in groups (one segment per group)."""
    leading: tuple[str, ...] = ()
    """Patterns of names of weights with three or more axes of which a subnet has the leading part on every axis, for
    example position embeddings. By default, axes from the third on are a kernel, and a subnet has its centre."""

    @property
    def names_weights(self) -> bool:
        """See `SpaceConfig`."""
        return self.from_ is not None

    @property
    def tokenizer(self) -> str | None:
        """See `SpaceConfig`."""
        return f"{self.from_}/{TOKENIZER_FILE}" if self.from_ is not None and self.inputs == "tokens" else None

    @property
    def inputs(self) -> InputKind:
        """See `SpaceConfig`."""
        return "tokens" if self.task == "text_classification" else "images"

    @property
    def largest_resolution(self) -> int | None:
        """See `SpaceConfig`."""
        size = self.fields["image_size"][-1] if "image_size" in self.fields else self.settings.get("image_size")
        return int(size) if self.inputs == "images" and isinstance(size, int | float) else None

    @model_validator(mode="after")
    def _fields_fit(self) -> TransformersConfig:
        named = [*self.fields, *self.follows, *self.settings]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"field {twice[0]!r} is in two of fields, follows and settings; keep it in one")
        if "num_labels" in named:
            raise ValueError("'num_labels' is the number of classes of the data; remove it")
        if self.config_class is None and self.from_ is None:
            raise ValueError("'config_class' is missing; name a config class, or a pretrained model with 'from'")
        if not self.fields and len(self.lengths or ()) < 2 and self.from_ is None:
            raise ValueError("nothing is elastic; name the elastic fields, for example 'num_hidden_layers: [2, 4]'")
        for name, follower in self.follows.items():
            self._check_follower(name, follower)
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> TransformersConfig:
        if self.inputs == "tokens" and self.lengths is None:
            raise ValueError("task text_classification needs 'lengths', the tokens of an input, for example [32]")
        if self.inputs == "images" and self.lengths is not None:
            raise ValueError("task image_classification takes no 'lengths'; remove them")
        return self

    def _check_follower(self, name: str, follower: FollowerConfig) -> None:
        if follower.field not in self.fields:
            hint = nearest(follower.field, self.fields)
            raise ValueError(f"{name!r} follows {follower.field!r}, which is not an elastic field; {hint}")
        options = self.fields[follower.field]
        if len(options) != len(follower.values):
            raise ValueError(
                f"{name!r} has {len(follower.values)} values but {follower.field!r} has {len(options)} options; "
                "give one for each option"
            )


def transformers_search_space(config: TransformersConfig) -> SearchSpace:
    """The named choices: `length` (for text), and every elastic field under its own name."""
    choices = [Choice(name=name, options=options) for name, options in config.fields.items()]
    if config.lengths is not None:
        choices.insert(0, Choice(name="length", options=config.lengths))
    return SearchSpace(tuple(choices))
