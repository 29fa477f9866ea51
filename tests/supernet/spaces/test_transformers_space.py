"""Models of the package `transformers` as model spaces: the laws, a hand-written index table, and what is refused."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from factory_base.documents import parse_document
from factory_base.errors import ConfigError, FactoryError, SpaceError
from supernet.conformance import IndexTableConformance, ModelSpaceConformance
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.space import SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.hf_config import TransformersConfig

pytest.importorskip("transformers", reason="needs the extra 'transformers'")

BERT: dict[str, Any] = {
    "config_class": "BertConfig",
    "lengths": [4, 6],
    "fields": {"hidden_size": [8, 16], "intermediate_size": [10, 20, 30], "num_hidden_layers": [1, 2]},
    "follows": {"num_attention_heads": {"field": "hidden_size", "values": [2, 4]}},
    "settings": {"vocab_size": 20, "max_position_embeddings": 6},
}
LLAMA: dict[str, Any] = {
    "config_class": "LlamaConfig",
    "lengths": [5],
    "fields": {
        "hidden_size": [12, 24],
        "num_attention_heads": [2, 4, 6],
        "intermediate_size": [8, 16],
        "num_hidden_layers": [1, 2],
    },
    "settings": {"vocab_size": 20, "max_position_embeddings": 5, "head_dim": 4, "num_key_value_heads": 2},
    "segments": {"*.q_proj.*": {"axis": 0, "count": 2}, "*.o_proj.weight": {"axis": 1, "count": 2}},
}
GPT2: dict[str, Any] = {
    "config_class": "GPT2Config",
    "lengths": [5],
    "fields": {"n_embd": [8, 16], "n_layer": [1, 2]},
    "follows": {"n_head": {"field": "n_embd", "values": [1, 2]}},
    "settings": {"vocab_size": 20, "n_positions": 5},
    "segments": {"*.c_attn.weight": {"axis": 1, "count": 3}, "*.c_attn.bias": {"axis": 0, "count": 3}},
}
VIT: dict[str, Any] = {
    "config_class": "ViTConfig",
    "task": "image_classification",
    "fields": {"hidden_size": [8, 16], "num_hidden_layers": [1, 2]},
    "follows": {"num_attention_heads": {"field": "hidden_size", "values": [1, 2]}},
    "settings": {"image_size": 8, "patch_size": 4, "intermediate_size": 16},
    "leading": ["*.cls_token", "*.position_embeddings"],
}


def space_of(section: Mapping[str, Any], classes: int = 3) -> ModelSpace:
    config = parse_document({"space": "transformers", **section}, TransformersConfig, "factory.yaml")
    return make_model_space(config, classes)


bert, llama, vit = (cache(partial(space_of, section)) for section in (BERT, LLAMA, VIT))


def tokens_for(space: ModelSpace, subnet: SubnetConfig) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 20, (4, *space.input_shape(subnet)), generator=generator)
    tokens[0, 2:] = 0
    return tokens


class TestBert(IndexTableConformance):
    def model_space(self) -> ModelSpace:
        return bert()

    def batch(self, subnet: SubnetConfig) -> Tensor:
        return tokens_for(self.model_space(), subnet)

    def index_table(self, subnet: SubnetConfig) -> Mapping[str, tuple[Sequence[int], ...]]:
        """Heads have 4 channels, so the leading channels are the leading heads."""
        width, hidden = range(subnet["hidden_size"]), range(subnet["intermediate_size"])
        embeddings = {"word_embeddings": range(20), "position_embeddings": range(6), "token_type_embeddings": range(2)}
        table = {f"bert.embeddings.{name}.weight": (rows, width) for name, rows in embeddings.items()}
        layers = {"bert.embeddings.LayerNorm": (width,), "bert.pooler.dense": (width, width)}
        layers["classifier"] = (range(3), width)
        for i in range(subnet["num_hidden_layers"]):
            block = f"bert.encoder.layer.{i}"
            layers |= {f"{block}.attention.self.{name}": (width, width) for name in ("query", "key", "value")}
            layers |= {f"{block}.attention.output.dense": (width, width), f"{block}.output.dense": (width, hidden)}
            layers |= {f"{block}.{name}.LayerNorm": (width,) for name in ("attention.output", "output")}
            layers[f"{block}.intermediate.dense"] = (hidden, width)
        table |= {f"{name}.weight": axes for name, axes in layers.items()}
        table |= {f"{name}.bias": axes[:1] for name, axes in layers.items()}
        return {f"model.{name}": axes for name, axes in table.items()}


class TestGroupedHeads(IndexTableConformance):
    def model_space(self) -> ModelSpace:
        return llama()

    def batch(self, subnet: SubnetConfig) -> Tensor:
        return tokens_for(self.model_space(), subnet)

    def index_table(self, subnet: SubnetConfig) -> Mapping[str, tuple[Sequence[int], ...]]:
        """Six query heads of 4 channels, three for each of two key heads; a subnet has the leading ones."""
        width, hidden = range(subnet["hidden_size"]), range(subnet["intermediate_size"])
        used = range(subnet["num_attention_heads"] // 2 * 4)
        queries, keys = [*used, *(12 + row for row in used)], range(8)
        table: dict[str, tuple[Sequence[int], ...]] = {"model.embed_tokens": (range(20), width)}
        table |= {"model.norm": (width,), "score": (range(3), width)}
        for i in range(subnet["num_hidden_layers"]):
            layer = f"model.layers.{i}"
            table |= {f"{layer}.self_attn.q_proj": (queries, width), f"{layer}.self_attn.o_proj": (width, queries)}
            table |= {f"{layer}.self_attn.{name}_proj": (keys, width) for name in "kv"}
            table |= {f"{layer}.mlp.{name}_proj": (hidden, width) for name in ("gate", "up")}
            table[f"{layer}.mlp.down_proj"] = (width, hidden)
            table |= {f"{layer}.{name}_layernorm": (width,) for name in ("input", "post_attention")}
        return {f"model.{name}.weight": axes for name, axes in table.items()}


class TestImageClassifier(ModelSpaceConformance):
    def model_space(self) -> ModelSpace:
        return vit()


def test_macs_of_all_kinds_of_models_are_counted_on_the_meta_device() -> None:
    settings = {"vocab_size": 20, "n_positions": 5, "n_embd": 8, "n_head": 2}
    deep = {"config_class": "GPT2Config", "lengths": [5], "fields": {"n_layer": [1, 2]}, "settings": settings}
    for space in (bert(), llama(), vit(), space_of(deep)):
        assert 0 < count_macs(space, space.space.smallest) < count_macs(space, space.space.largest)


def test_padding_does_not_reach_the_output_of_an_encoder() -> None:
    space = space_of(BERT)
    network = space.build(space.space.largest).eval()
    with torch.no_grad():
        assert torch.allclose(network(torch.tensor([[5, 9]])), network(torch.tensor([[5, 9, 0, 0]])), atol=1e-6)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (BERT | {"config_class": "BertConfg"}, "has no 'BertConfg'; did you mean 'BertConfig'"),
        (BERT | {"settings": {"vocab": 9}}, "model.settings: BertConfig has no 'vocab'; did you mean 'vocab_size'"),
        (BERT | {"fields": {"depth": [1, 2]}, "follows": {}}, "model.fields: BertConfig has no 'depth'; known: "),
        (BERT | {"fields": {"num_labels": [1, 2]}, "follows": {}}, "'num_labels' is the number of classes"),
        (BERT | {"fields": {}, "follows": {}, "lengths": [4]}, "nothing is elastic; name the elastic fields"),
        (BERT | {"lengths": None}, "task text_classification needs 'lengths'"),
        (VIT | {"lengths": [4]}, "task image_classification takes no 'lengths'; remove them"),
        (BERT | {"settings": {"hidden_size": 8}}, "field 'hidden_size' is in two of fields, follows and settings"),
        (BERT | {"follows": {"x": {"field": "hiden", "values": []}}}, "not an elastic field; .*'hidden_size'"),
        (
            BERT | {"follows": {"num_attention_heads": {"field": "hidden_size", "values": [2]}}},
            "has 1 values but 'hidden_size' has 2 options",
        ),
        ({"config_class": "CLIPConfig", "lengths": [4, 6]}, "CLIPConfig: length=.* cannot be built"),
        (
            BERT | {"follows": {}, "settings": {"num_attention_heads": 4}},
            "a head has 4 channels in the largest network but 2 with .*hidden_size=8, so heads would mix",
        ),
        (
            LLAMA | {"segments": {}},
            "3 query heads share a key head in the largest network but 1 with .*num_attention_heads=2",
        ),
        (
            LLAMA | {"fields": {"hidden_size": [8, 12], "num_attention_heads": [2, 3]}},
            "LlamaConfig: .*hidden_size=8, num_attention_heads=3 is refused",
        ),
        (GPT2 | {"segments": {}}, r"weight 'model.transformer.h.0.attn.c_attn.weight' looks like 3 matrices in one"),
        (
            BERT | {"fields": {"hidden_size": [8, 16], "layer_norm_eps": [0.1, 0.2]}},
            "'layer_norm_eps' changes no weight, so all its options cost the same",
        ),
        (GPT2 | {"lengths": [5, 6]}, "go up to 6 tokens, but GPT2Config has 5 positions"),
    ],
)
def test_a_space_that_cannot_share_weights_is_refused_in_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(FactoryError, match=message) as caught:
        space_of(section)
    assert "\n" not in str(caught.value)


def test_a_value_that_the_class_refuses_is_a_space_error() -> None:
    with pytest.raises(SpaceError, match=r"BertConfig: .* is refused .*hidden_size") as caught:
        space_of({"config_class": "BertConfig", "lengths": [4, 6], "settings": {"hidden_size": "wide"}})
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError):
        importlib.import_module("transformers")
    with pytest.raises(ConfigError, match=r"not installed; run pip install -e '\.\[transformers\]'"):
        space_of(BERT)


def test_describing_the_transformer_spaces_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, supernet.spaces, supernet.data.tokenizer;"
        "from supernet.spaces.hf_config import transformers_search_space;"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
