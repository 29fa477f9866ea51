"""Families of small ONNX files for tasks other than image classification, on the model of `small_family`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from small_family import LABELS, TOLERANCE_MICRO, Family, digest_of, file_entry, json_copy, make_family

THRESHOLDS_PPM = [500_000, 900_000, 250_000, 500_000]
SCALES = {"offset": [50_000, -1_250, 0, 7], "scale": [12_345, 3_000, 1, 10], "decimals": [3, 0, -2, 1]}
TEXTS = ("good film", "bad film", "a very good film with a bad end")
WORDS = ("[PAD]", "[UNK]", "good", "bad", "film", "a", "very", "with", "end")
TEXT_LENGTH = 6
LENGTHS = {"large": 6, "small": 3}
SENTIMENTS = ("negative", "positive")


def multilabel_family(**options: Any) -> Family:
    """The family of `make_family`, whose outputs are the logits of labels that apply or not."""
    return _with_outputs(make_family(**options), "image_multilabel", kind="labels", thresholds_ppm=THRESHOLDS_PPM)


def regression_family(**options: Any) -> Family:
    """The family of `make_family`, whose outputs are four values."""
    return _with_outputs(make_family(**options), "image_regression", kind="values", **SCALES)


def _with_outputs(family: Family, name: str, **decoding: Any) -> Family:
    output = family.manifest["task"].pop("output")
    outputs = [{"name": output["name"], "dtype": "float32", "shape": [len(LABELS)], "decoding": decoding}]
    family.manifest["task"] |= {"name": name, "outputs": outputs}
    family.manifest["critical"].append("outputs")
    return json_copy(family)


def text_family(*, samples: bool = True) -> Family:
    """A family of two classifiers of texts, with a tokenizer of nine words."""
    family = make_family(samples=None)
    files: dict[str, bytes] = {}
    tokenizer = _entry(files, "tokenizer", "tokenizer/words", "json", tokenizer_json())
    for number, (name, model) in enumerate(family.manifest["models"].items()):
        data = _model(LENGTHS[name], number)
        model["files"] = [_entry(files, "model", f"models/{name}", "onnx", data)]
        model["needs"]["disk_bytes"] = len(data)
        model["input"] = {"length": LENGTHS[name]}
    family.files.clear()
    family.files.update(files)
    family.manifest["critical"] = ["token_input"]
    family.manifest["task"] = {
        "name": "text_classification",
        "input": {"name": "tokens", "dtype": "int64", "length": TEXT_LENGTH, "padding": 0, "vocabulary": len(WORDS)},
        "tokenizer": {"format": "tokenizers_json", "file": tokenizer},
        "output": {"name": "logits", "dtype": "float32", "classes": len(SENTIMENTS)},
        "labels": list(SENTIMENTS),
    }
    if samples:
        _add_samples(family)
    return json_copy(family)


def tokens_of(text: str) -> list[int]:
    """The tokens of a text of known words, at most as many as a text may have."""
    return [WORDS.index(word) for word in text.split()][:TEXT_LENGTH]


def logits_of(name: str, tokens: list[int]) -> np.ndarray:
    """What a model of `text_family` returns: the mean over its tokens of what each word says."""
    padded = ([*tokens] + [0] * TEXT_LENGTH)[: LENGTHS[name]]
    return _table(list(LENGTHS).index(name))[padded].mean(axis=0)


def tokenizer_json() -> bytes:
    """A tokenizer of whole words between white space, in the format of the package `tokenizers`."""
    tokens = [
        {"id": index, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for index, word in enumerate(WORDS[:2])
    ]  # fmt: skip
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    return json.dumps(
        {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
            "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    ).encode()  # fmt: skip


def _add_samples(family: Family) -> None:
    inputs, expected = [], {}
    for name, length in LENGTHS.items():
        rows = np.zeros((len(TEXTS), TEXT_LENGTH), np.int64)
        for row, text in zip(rows, TEXTS, strict=True):
            row[: len(tokens_of(text))] = tokens_of(text)
        entry = _entry(family.files, "tensors", f"samples/{length}", "bin", rows[:, :length].astype("<i8").tobytes())
        inputs.append(entry | {"length": length, "dtype": "int64", "count": len(TEXTS)})
        logits = [logits_of(name, tokens_of(text)) for text in TEXTS]
        expected[name] = {
            "logits_micro": [[round(float(value) * 1e6) for value in row] for row in logits],
            "tolerance_micro": TOLERANCE_MICRO,
            "top1": [int(row.argmax()) for row in logits],
        }
    answers = _entry(family.files, "expected", "samples/expected", "json", json.dumps(expected).encode())
    family.manifest["samples"] = {"kind": "tensors", "inputs": inputs, "expected": answers}


def _entry(files: dict[str, bytes], role: str, stem: str, ending: str, data: bytes) -> dict[str, Any]:
    name = f"{stem}-{digest_of(data)[:8]}.{ending}"
    files[name] = data
    return file_entry(role, name, data)


def _table(number: int) -> np.ndarray:
    table = np.random.default_rng(number).normal(0, 0.1, (len(WORDS), len(SENTIMENTS)))
    table[WORDS.index("good")] += (-2, 2)
    table[WORDS.index("bad")] += (2, -2)
    return table.astype(np.float32)


def _model(length: int, number: int) -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "tokens"], ["found"]),
            helper.make_node("ReduceMean", ["found"], ["logits"], axes=[1], keepdims=0),
        ],
        "model",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, (1, length))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, len(SENTIMENTS)))],
        [numpy_helper.from_array(_table(number), "words")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())
