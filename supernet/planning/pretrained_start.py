"""The recipe for a start from pretrained weights on small data, and what a plan says about it. Imports no torch.

The numbers were tried with EfficientNet-Lite0 on CIFAR-10 thinned to 500 images a class; `benchmarks/README.md` has
what was tried.
"""

from __future__ import annotations

from typing import Any

from supernet.spaces.config import SpaceConfig
from supernet.training.config import TrainingConfig

CONVOLUTIONAL_RECIPE: dict[str, Any] = {
    "epochs": 5.0,
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "largest_only": 0.0,
    "sampler": "macs",
    "hard_label_share": 0.5,
    "sort_by_importance": True,
}
"""Defaults of the `training` section for convolutional networks. The largest network is good from the start, so it
teaches from the first step on, together with the labels; small batches give enough steps from few images."""

TRANSFORMER_RECIPE: dict[str, Any] = CONVOLUTIONAL_RECIPE | {"batch_size": 32, "learning_rate": 1e-4}
"""The same for transformers, whose fine-tuning takes rates of 2e-5 to 1e-4 (Devlin et al., "BERT", 2019; Hou et al.,
"DynaBERT", 2020). It was not measured here."""


def pretrained_recipe(model: SpaceConfig) -> dict[str, Any]:
    """The defaults of the `training` section if this `model` section names weights to start from."""
    return TRANSFORMER_RECIPE if model.space == "transformers" else CONVOLUTIONAL_RECIPE


def describe_start(model: SpaceConfig, config: TrainingConfig) -> tuple[str, ...]:
    """What is done with initial weights before and in training, and why, one line each; none for random weights."""
    if not model.names_weights and config.initial_weights is None:
        return ()
    return (f"start: {'; '.join(_before(config))}", *((_recipe_line(model, config),) if model.names_weights else ()))


def _before(config: TrainingConfig) -> list[str]:
    """What is done before the first step."""
    done = ["pretrained weights"]
    if config.keep_statistics:
        done.append("any statistics of batch normalisation keep their effect, as other images would spoil the features")
    if config.probe is not False:
        done.append("a fresh head is fitted to the features (linear probe), as a random one would misdirect them")
    if config.sort_by_importance:
        done.append("units are sorted, as smaller networks keep the first ones")
    return done


def _recipe_line(model: SpaceConfig, config: TrainingConfig) -> str:
    """The recipe, and which of its values the config changed."""
    recipe = pretrained_recipe(model)
    changed = [key for key, value in recipe.items() if getattr(config, key) != value]
    backbone = "" if config.backbone_rate == 1 else f", {config.backbone_rate:g} of that for all but the head"
    when = "from the first step" if config.largest_only == 0 else f"after {config.largest_only:.0%} of the steps"
    labels = f", with {config.hard_label_share:.0%} of the weight on labels" if config.hard_label_share else ""
    text = (
        f"recipe for pretrained weights on few data: {config.optimizer}, learning rate {config.learning_rate:g}"
        f"{backbone}, {config.epochs:g} epochs in batches of {config.batch_size}; the largest network teaches the "
        f"others {when}{labels}"
    )
    return text + (f" (set in the config: {', '.join(changed)})" if changed else "")
