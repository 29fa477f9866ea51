"""What a model of texts needs of the data: the tokens that its tokenizer must have, and how many a text has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.errors import ConfigError
from model_factory.run import Run
from model_factory.stages.cached import stage_key
from model_factory.stages.fingerprint import data_fingerprint
from supernet.spaces import CHECKED_CLASSES, make_model_space

if TYPE_CHECKING:
    from supernet.data.texts import TokenNeeds

_TOKENIZER_VERSION = 1


def token_needs(run: Run) -> TokenNeeds:
    """What the networks of a run need of its tokenizer. None of it depends on the number of classes.

    Raises:
        ConfigError: The model takes longer texts than `data.length`, or does not say how many tokens it knows.
    """
    from supernet.data.texts import TokenNeeds
    from supernet.model_space import TokenModelSpace

    config = run.config
    space = make_model_space(config.model, CHECKED_CLASSES, run.config_folder)
    if not isinstance(space, TokenModelSpace):
        raise ConfigError(
            f"model: {config.model.space} takes tokens but has no attributes vocabulary and padding; add them"
        )
    (largest,) = space.input_shape(space.space.largest)
    length = config.data.length or largest
    if length < largest:
        raise ConfigError(
            f"model: lengths go up to {largest} tokens but data.length is {length}; raise it, or lower the lengths"
        )
    data = data_fingerprint(config.data, run.config_folder, run.fingerprints)
    key = stage_key(
        "tokenizer",
        _TOKENIZER_VERSION,
        (),
        {"data": data, "seed": config.seed, "vocabulary": space.vocabulary},
    )
    return TokenNeeds(vocabulary=space.vocabulary, padding=space.padding, length=length, kept=run.tokenizer(key[:12]))
