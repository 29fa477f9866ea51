"""Pretrained models of `transformers` as a start: a folder gives config and weights, and is read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factory_base.documents import parse_document
from factory_base.errors import CheckpointError, ConfigError
from supernet.sharing.importance import sort_by_importance
from supernet.sharing.supernet import Supernet
from supernet.spaces import make_model_space
from supernet.spaces.hf_config import TransformersConfig
from supernet.weights.pretrained import load_transformers_weights

transformers = pytest.importorskip("transformers", reason="needs the extra 'transformers'")

TOKENS = torch.tensor([[5, 6, 7, 0], [3, 0, 0, 0], [9, 8, 2, 4]])


def pretrained(folder: Path, kind: str = "BertForSequenceClassification", **values: Any) -> Any:
    """A random BERT in `folder`."""
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = transformers.BertConfig(
        **{**sizes, "intermediate_size": 32, "max_position_embeddings": 12, "num_labels": 3, **values}
    )
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    folder.mkdir(exist_ok=True)
    config.architectures = [kind]
    config.save_pretrained(folder)
    named = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(named, folder / "model.safetensors")
    return model


def section(**values: Any) -> TransformersConfig:
    return parse_document({"space": "transformers", "from": "bert", "lengths": [4], **values}, TransformersConfig, "f")


def supernet_of(folder: Path, classes: int = 3, **values: Any) -> Supernet:
    return Supernet(make_model_space(section(**values), classes, folder))


def logits(supernet: Supernet) -> Tensor:
    with torch.no_grad():
        return supernet.eval().largest(TOKENS)


def test_the_largest_network_is_the_pretrained_one_and_layers_and_neurons_are_elastic(tmp_path: Path) -> None:
    model = pretrained(tmp_path / "bert")
    supernet = supernet_of(tmp_path)
    loaded = load_transformers_weights(supernet, tmp_path / "bert" / "model.safetensors")
    assert (loaded.fresh, loaded.unused) == ((), ())
    with torch.no_grad():
        expected = model(input_ids=TOKENS, attention_mask=(TOKENS != 0).long()).logits
    torch.testing.assert_close(logits(supernet), expected)
    options = {choice.name: choice.options for choice in supernet.model_space.space}
    assert options == {"length": (4,), "num_hidden_layers": (2, 3, 4), "intermediate_size": (8, 16, 32)}
    assert (supernet.model_space.vocabulary, supernet.model_space.padding) == (30, 0)


def test_sorting_keeps_the_outputs_and_moves_what_matters_to_the_front(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert")
    fields = {"hidden_size": [8, 16], "intermediate_size": [8, 32]}
    follows = {"num_attention_heads": {"field": "hidden_size", "values": [2, 4]}}
    supernet = supernet_of(tmp_path, fields=fields, follows=follows)
    load_transformers_weights(supernet, tmp_path / "bert" / "model.safetensors")
    before = logits(supernet)
    assert sort_by_importance(supernet, [(TOKENS, torch.tensor([0, 1, 2]))]) == 10  # stream, pooler, 4 heads, 4 MLPs
    torch.testing.assert_close(logits(supernet), before)
    weight = dict(supernet.largest.named_parameters())["model.bert.encoder.layer.0.output.dense.weight"]
    importance = weight.detach().abs().sum(0)
    assert (importance[:-1] >= importance[1:] - 1e-6).all()


def test_a_head_for_other_classes_starts_fresh(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert")
    loaded = load_transformers_weights(supernet_of(tmp_path, classes=5), tmp_path / "bert" / "model.safetensors")
    assert sorted(loaded.fresh) == ["model.classifier.bias", "model.classifier.weight"]
    assert sorted(loaded.unused) == ["classifier.bias", "classifier.weight"]
    assert "2 of heads for other tasks not used (classifier." in str(loaded)


def test_models_without_a_head_or_with_that_of_another_task_are_a_start(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert", "BertModel")
    path = tmp_path / "bert" / "model.safetensors"
    assert len(load_transformers_weights(supernet_of(tmp_path), path).fresh) == 2
    pretrained(tmp_path / "bert", "BertForMaskedLM")
    save_file({n: v for n, v in load_file(path).items() if not n.endswith("decoder.weight")}, path)
    with pytest.raises(CheckpointError, match=r"lacks 2 weights .*model\.bert\.pooler\.dense\.weight"):
        load_transformers_weights(supernet_of(tmp_path), path)
    loaded = load_transformers_weights(supernet_of(tmp_path), path, ["model.bert.pooler.*"])
    assert len(loaded.fresh) == 4
    assert any(name.startswith("cls.predictions") for name in loaded.unused)


def test_the_names_of_old_files_are_understood(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {
        next((name.removesuffix(new) + was for new, was in old.items() if name.endswith(new)), name): value
        for name, value in load_file(path).items()
    }
    save_file(renamed, path)
    assert not load_transformers_weights(supernet_of(tmp_path), path).fresh


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("bert.pooler.dense.bias"),
            r"lacks 1 weights of the largest network: model\.bert\.pooler",
        ),
        (
            lambda t: t.update({"bert.odd": torch.zeros(1)}),
            r"holds 1 tensors that the largest network lacks \(model",
        ),
        (
            lambda t: t.update({"bert.encoder.layer.1.output.dense.bias": torch.zeros(5)}),
            r"'model\.bert\.encoder\.layer\.1\.output\.dense\.bias' has shape \(5,\)",
        ),
    ],
)
def test_every_weight_that_does_not_fit_is_named(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    pretrained(tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    supernet = supernet_of(tmp_path)
    before = logits(supernet)
    with pytest.raises(CheckpointError, match=message):
        load_transformers_weights(supernet, path)
    torch.testing.assert_close(logits(supernet), before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fields": {"num_hidden_layers": [2, 3]}}, "goes up to 3, but the pretrained model in .* has 4; make 4 its"),
        ({"fields": {"hidden_size": [8, 32]}}, "hidden_size goes up to 32, but the pretrained model in .* has 16"),
        (
            {"config_class": "RobertaConfig"},
            "is a BertConfig, but model.config_class is RobertaConfig",
        ),
        ({"lengths": [8, 16]}, "model.lengths: go up to 16 tokens, but BertConfig has 12 positions"),
        ({"from": "nowhere"}, "model.from: .*nowhere.* name a folder that save_pretrained wrote"),
    ],
)
def test_a_section_that_contradicts_the_pretrained_model_is_refused(tmp_path: Path, values: Any, message: str) -> None:
    pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match=message) as caught:
        supernet_of(tmp_path, **values)
    assert "\n" not in str(caught.value)


def test_a_config_of_an_unknown_model_is_refused(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    for text, message in [
        (json.dumps({"model_type": "nobodys"}), "has no models of type 'nobodys'"),
        ("[1]", "states no model_type"),
        ("{", "is not valid JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            supernet_of(tmp_path)


def test_settings_of_the_section_come_before_those_of_the_pretrained_model(tmp_path: Path) -> None:
    pretrained(tmp_path / "bert")
    space = make_model_space(section(settings={"hidden_dropout_prob": 0.0}), 3, tmp_path)
    assert space.build(space.space.largest).model.config.hidden_dropout_prob == 0.0
