"""Writes `exports/client/vectors/decoding.json`: what the client in Python makes of outputs, and of tokens.

    PYTHONPATH=. python tests/exports/client/decoding_vectors.py

Clients in other languages must return the same. Tests compare some results with numbers that were worked out by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exports.client.python.cli import answer_json
from exports.client.python.decoding import decoding_of
from exports.client.python.tokens import token_form

FILE = Path(__file__).parents[3] / "exports" / "client" / "vectors" / "decoding.json"
NOTES = {
    "decode": "what the outputs of a model stand for, with the manifest's task (without its labels) and the labels",
    "outputs": "what the model returned; each is a float32",
    "tokens": "the input of a model for the tokens of a text, with the manifest's task and what it says of the model",
    "result": "of decode an answer; of tokens the input; null if the client must refuse. Probabilities are rounded to "
    "whole billionths, of which the last one may differ; values are the same in every bit",
}
NAMES = ("cat", "dog", "owl")


def task(kind: str, **lists: Any) -> dict[str, Any]:
    """The task of a manifest with outputs of that kind."""
    count = len(next(iter(lists.values())))
    decoding = {"kind": kind, **lists}
    return {"outputs": [{"name": "logits", "dtype": "float32", "shape": [count], "decoding": decoding}]}


def decoded(name: str, given: dict[str, Any], outputs: list[float], labels: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """A vector of an answer."""
    numbers = [float(np.float32(output)) for output in outputs]
    made = {"op": "decode", "name": f"decode: {name}", "task": given, "labels": list(labels), "outputs": numbers}
    return {**made, "result": answer(made)}


def encoded(
    name: str,
    tokens: list[Any],
    *,
    length: int = 4,
    text_length: int = 6,
    file: str = "tokenizers_json",
    **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """A vector of an input."""
    given = {"name": "tokens", "dtype": "int64", "length": text_length, "padding": 0, "vocabulary": 100} | changes
    text = {"input": given, "tokenizer": {"format": file}}
    model = {"input": {"length": length}}
    made = {"op": "tokens", "name": f"tokens: {name}", "task": text, "model": model, "tokens": tokens}
    return {**made, "result": answer(made)}


def answer(case: dict[str, Any]) -> Any:
    """The result of the client in Python, in the form of the file."""
    try:
        if case["op"] == "tokens":
            return token_form(case["task"], case["model"]).prepare(case["tokens"])[0].tolist()
        decoding = decoding_of(case["task"])
        decoding.check(case["labels"])
        return answer_json(decoding.answer(np.array(case["outputs"], np.float32), case["labels"]))
    except ValueError:
        return None


def classes() -> Iterator[dict[str, Any]]:
    """One class."""
    given = {"output": {"name": "logits", "dtype": "float32", "classes": 3}}
    yield decoded("the largest", given, [0.5, 2.25, -1])
    yield decoded("of equals the first", given, [1.5, 3, 3])
    yield decoded("far apart", given, [-1000, 1000, 0])
    yield decoded("large and close", given, [30000.25, 30000.5, 30000])
    yield decoded("one class", {"output": {"classes": 1}}, [-4], ("cat",))
    yield decoded("fewer outputs than labels", given, [1, 2])
    yield decoded("no outputs that a list would name", {**given, "outputs": None}, [0, 1, 0])


def labels() -> Iterator[dict[str, Any]]:
    """Any number of labels."""
    half = task("labels", thresholds_ppm=[500_000] * 3)
    yield decoded("none", half, [-1, -0.001, -30])
    yield decoded("all, one at its threshold", half, [0, 0.001, 30])
    yield decoded("labels far apart", half, [-1000, 1000, 0])
    yield decoded("thresholds of their own", task("labels", thresholds_ppm=[900_000, 250_000, 1]), [2, -1, -13])
    for name, thresholds in (("0", [0]), ("1", [1_000_000]), ("a half", [0.5]), ("a text", ["500000"]), ("none", [])):
        given = task("labels", thresholds_ppm=[500_000] * 3)
        given["outputs"][0]["decoding"]["thresholds_ppm"] = [*thresholds, 500_000, 500_000]
        yield decoded(f"a threshold of {name}", given, [1, 2, 3])
    yield decoded("more labels than outputs", half, [1, 2, 3], (*NAMES, "yak"))


def values() -> Iterator[dict[str, Any]]:
    """Values in the unit of the data."""
    given = {"offset": [50_000_000_000, -1_250_000, 0], "scale": [12_345_678_901, 3_000_000, 1], "decimals": [9, 3, 0]}
    yield decoded("of three units", task("values", **given), [0.1, -2.75, 123456.789])
    yield decoded("zero outputs", task("values", **given), [0, 0, 0])
    small = {"offset": [123_456_789] * 3, "scale": [987_654_321] * 3, "decimals": [22, 12, -3]}
    yield decoded("small and large", task("values", **small), [1.5, -0.3333333, 1e-3])
    limit = 2**53 - 1
    largest = task("values", offset=[limit, -limit, 0], scale=[limit] * 3, decimals=[0, 0, 9])
    yield decoded("the largest integers", largest, [1, 1, -1])
    for name, change in (
        ("a scale of 0", {"scale": [0, 1, 1]}), ("a negative scale", {"scale": [-1, 1, 1]}),
        ("too many decimals", {"decimals": [23, 0, 0]}), ("too few decimals", {"decimals": [0, -23, 0]}),
        ("half an offset", {"offset": [0.5, 0, 0]}), ("an offset too few", {"offset": [0, 0]}),
        ("no scales", {"scale": None}),
    ):  # fmt: skip
        yield decoded(name, task("values", **(given | change)), [1, 2, 3])


def refused() -> Iterator[dict[str, Any]]:
    """Outputs that this version does not know."""
    known = task("labels", thresholds_ppm=[500_000] * 3)["outputs"][0]
    cases: dict[str, Any] = {
        "no output": [],
        "two outputs": [known, known],
        "two axes": [{**known, "shape": [3, 1]}],
        "boxes": [{**known, "decoding": {"kind": "boxes"}}],
        "classes in a list": [{**known, "decoding": {"kind": "classes"}}],
        "another number": [{**known, "shape": [4]}],
        "no decoding": [{**known, "decoding": None}],
        "a text": "labels",
    }
    for name, outputs in cases.items():
        yield decoded(name, {"outputs": outputs}, [1, 2, 3])


def inputs() -> Iterator[dict[str, Any]]:
    """Inputs of tokens."""
    yield encoded("padded", [7, 8])
    yield encoded("none", [])
    yield encoded("cut to what the model takes", [1, 2, 3, 4, 5, 6])
    yield encoded("of the whole length", [1, 2, 3, 4, 5], length=6)
    yield encoded("more than the text may have", [1, 2, 3, 4, 5, 6, 7])
    yield encoded("the last of the vocabulary", [99])
    yield encoded("beyond the vocabulary", [100])
    yield encoded("negative", [-1])
    yield encoded("a half", [0.5])
    yield encoded("padded with another", [5], padding=99)
    yield encoded("padding beyond the vocabulary", [5], padding=100)
    yield encoded("a model that takes more than the text has", [5], length=7)
    yield encoded("a model that takes none", [5], length=0)
    yield encoded("of another type", [5], dtype="int32")
    yield encoded("of another tokenizer", [5], file="sentencepiece")
    yield encoded("of half a million tokens", [5], text_length=1 << 19)


def document() -> str:
    """The file, with one case per line."""
    cases = [*classes(), *labels(), *values(), *refused(), *inputs()]
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in cases)
    return f'{{\n  "format": 1,\n  "notes": {json.dumps(NOTES)},\n  "cases": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
