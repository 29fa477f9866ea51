"""A family of small ONNX files, made in milliseconds without training, with a manifest that tests can change."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from exports.client.python.preprocess import resize

LABELS = ("cat", "dog", "owl", "yak")
SIDE, BASE = 8, 16
BLOCK = 1 << 16
TOLERANCE_MICRO = 20_000
"""Logits are of the order of 1; sums of 12,000 products in float32 differ by less than a thousandth."""
WIDTHS = {"large": 12_000, "small": 3_000}


@dataclass
class Family:
    """The files of a release by name, and its manifest."""

    manifest: dict[str, Any]
    files: dict[str, bytes]
    images: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the release; files of an earlier one stay."""
        for name, data in {**self.files, "manifest.json": json.dumps(self.manifest).encode()}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder

    def model_file(self, model: str, index: int = 0) -> str:
        """The name of a model's file."""
        return str(self.manifest["models"][model]["files"][index]["name"])

    def bytes_for(self, model: str) -> int:
        """The bytes that a device downloads for a model: its files and the samples."""
        samples = self.manifest.get("samples")
        files = list(self.manifest["models"][model]["files"])
        files += [*samples["inputs"], samples["expected"]] if samples else []
        return sum(file["bytes"] for file in files)

    def add_labels_file(self, labels: list[str]) -> None:
        """Move the labels to a file of their own."""
        data = json.dumps(labels).encode()
        self.files["labels.json"] = data
        self.manifest["critical"].append("labels_file")
        self.manifest["task"].update(labels=[], labels_file=file_entry("class_names", "labels.json", data))

    def replace(self, old: str, data: bytes) -> None:
        """Other content for a file, with its true digest in the manifest."""
        entry = file_entry("x", old, data)
        del self.files[old]
        name = f"{old.rpartition('-')[0]}-{entry['sha256'][:8]}.{old.rpartition('.')[2]}"
        self.files[name] = data
        for place in _entries(self.manifest):
            if place.get("name") == old:
                place.pop("blocks", None)
                place.update({key: value for key, value in entry.items() if key != "role"}, name=name)


def make_family(
    *, release: int = 1, seed: int = 1, samples: str | None = "images", shared: bool = False, blocks: bool = True
) -> Family:
    """A family with the models `large` (tier `high`, `high` RAM) and `small` (tier `low` and the floor)."""
    files: dict[str, bytes] = {}
    models = {}
    weights = _weights(WIDTHS["large"], 0) if shared else None
    for number, (name, width) in enumerate(WIDTHS.items()):
        if weights is not None:
            parts = _shared_model(weights, seed + number)
        else:
            parts = {"onnx": _model(_weights(width, seed + number))}
        entries = []
        for ending, data in parts.items():
            stem = f"models/{'weights' if ending == 'bin' else name}"
            entry = file_entry(
                "weights" if ending == "bin" else "model", f"{stem}-{digest_of(data)[:8]}.{ending}", data
            )
            if blocks and len(data) > BLOCK:
                entry["blocks"] = {"bytes": BLOCK, "sha256": [digest_of(part) for part in _blocks(data)]}
            files[entry["name"]] = data
            entries.append(entry)
        models[name] = _model_entry(entries)
    images = [_png(index) for index in range(3)]
    batches = np.stack([_pixels(data) for data in images])
    expected = {
        name: {
            "logits_micro": [[round(float(v) * 1e6) for v in row] for row in _logits(name, batches, seed, weights)],
            "tolerance_micro": TOLERANCE_MICRO,
            "top1": [int(row.argmax()) for row in _logits(name, batches, seed, weights)],
        }
        for name in models
    }
    family = Family(
        manifest={
            "schema": "urn:model-factory:manifest:1", "manifest_version": "1.6", "critical": ["pixel_input"],
            "family_id": "animals", "release": release, "task": _TASK, "tiers": _TIERS, "models": models,
            "samples": None,
        },
        files=files,
        images={f"{index}.png": data for index, data in enumerate(images)},
    )  # fmt: skip
    if samples:
        _add_samples(family, samples, images, batches, expected)
    return json_copy(family)


def json_copy(family: Family) -> Family:
    """A copy that shares nothing with the tables of this module."""
    return Family(json.loads(json.dumps(family.manifest)), dict(family.files), dict(family.images))


_TASK: dict[str, Any] = {
    "name": "image_classification",
    "input": {
        "name": "image", "layout": "NHWC", "dtype": "uint8", "channels": 3, "colour": "RGB", "image_min": 0,
        "image_max": 255,
    },
    "output": {"name": "logits", "dtype": "float32", "classes": len(LABELS)},
    "preprocessing": {
        "version": 2,
        "steps": [
            {"op": "resize", "width": BASE, "height": BASE, "method": "integer_bilinear_antialias"},
            {"op": "resize_to_model", "method": "integer_bilinear"},
        ],
    },
    "labels": list(LABELS),
}  # fmt: skip
_TIERS: list[dict[str, Any]] = [
    {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["small"]},
    {"id": "low", "platform": "linux", "rank": 1, "match": [{"cores_min": 1}], "models": ["small"]},
    {"id": "high", "platform": "linux", "rank": 2, "match": [{"ram_class_min": 4096}], "models": ["large"]},
]


def _model_entry(files: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "files": files,
        "input": {"channels": 3, "height": SIDE, "width": SIDE},
        "engine": {
            "name": "onnxruntime", "format_version": 17, "min": "1.0", "max_tested": "1.0", "forward_ok": True,
        },
        "needs": {
            "peak_memory_bytes": 1 << 20, "disk_bytes": sum(file["bytes"] for file in files), "basis": "modelled",
        },
        "selftest": {"samples": 3, "tolerance_micro": TOLERANCE_MICRO},
    }  # fmt: skip


def _add_samples(family: Family, kind: str, images: list[bytes], batches: np.ndarray, expected: dict[str, Any]) -> None:
    outputs = json.dumps(expected).encode()
    answers = file_entry("expected", f"samples/expected-{digest_of(outputs)[:8]}.json", outputs)
    inputs = []
    if kind == "tensors":
        data = batches.tobytes()
        entry = file_entry("tensors", f"samples/tensors-{digest_of(data)[:8]}.bin", data)
        inputs.append(entry | {"height": SIDE, "width": SIDE, "dtype": "uint8", "count": len(batches)})
        family.files[entry["name"]] = data
    for index, data in enumerate(images if kind == "images" else []):
        inputs.append(file_entry("sample", f"samples/{index:03}-{digest_of(data)[:8]}.png", data))
        family.files[inputs[-1]["name"]] = data
    family.files[answers["name"]] = outputs
    family.manifest["samples"] = {"kind": kind, "inputs": inputs, "expected": answers}


def hanging_model() -> bytes:
    """A model with the right inputs and outputs that computes for years."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Sin", ["v"], ["v_out"]), helper.make_node("Identity", ["c"], ["c_out"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("c_out", TensorProto.BOOL, []), value("v_out", TensorProto.FLOAT, None)],
    )
    constants = [
        numpy_helper.from_array(np.array(1 << 60, np.int64), "trips"),
        numpy_helper.from_array(np.array(True), "go"),
        numpy_helper.from_array(np.ones((3, len(LABELS)), np.float32), "w"),
    ]
    nodes = [
        *_mean(),
        helper.make_node("MatMul", ["mean", "w"], ["start"]),
        helper.make_node("Loop", ["trips", "go", "start"], ["logits"], body=body),
    ]
    return _serialised(nodes, constants)


def with_nan(data: bytes) -> bytes:
    """A model of this family whose outputs are not numbers."""
    model = onnx.load_model_from_string(data)
    for tensor in model.graph.initializer:
        if tensor.name == "second":
            tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))
    return bytes(model.SerializeToString())


@cache
def _weights(width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    first = generator.normal(0, 1 / 255, (3, width)).astype(np.float32)
    second = generator.normal(0, 3 / np.sqrt(width), (width, len(LABELS))).astype(np.float32)
    return first, second


def _logits(name: str, batches: np.ndarray, seed: int, shared: Any) -> np.ndarray:
    number = list(WIDTHS).index(name)
    first, second = shared if shared is not None else _weights(WIDTHS[name], seed + number)
    bias = _bias(seed + number) if shared is not None else np.zeros(len(LABELS))
    return batches.astype(np.float64).mean((1, 2)) @ first.astype(np.float64) @ second.astype(np.float64) + bias


def _bias(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, len(LABELS)).astype(np.float32)


def _mean() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
    ]


def _model(weights: tuple[np.ndarray, np.ndarray]) -> bytes:
    nodes = [
        *_mean(),
        helper.make_node("MatMul", ["mean", "first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["logits"]),
    ]
    return _serialised(
        nodes, [numpy_helper.from_array(w, n) for w, n in zip(weights, ("first", "second"), strict=True)]
    )


def _shared_model(weights: tuple[np.ndarray, np.ndarray], seed: int) -> dict[str, bytes]:
    """A graph with a bias of its own, over weights in a file of their own."""
    data = b"".join(part.tobytes() for part in weights)
    tensors, offset = [], 0
    for part, name in zip(weights, ("first", "second"), strict=True):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=part.shape)
        tensor.data_location = TensorProto.EXTERNAL
        location = f"weights-{digest_of(data)[:8]}.bin"
        for key, value in (("location", location), ("offset", offset), ("length", part.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
        offset += part.nbytes
    nodes = [
        *_mean(),
        helper.make_node("MatMul", ["mean", "first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    return {"onnx": _serialised(nodes, [*tensors, numpy_helper.from_array(_bias(seed), "bias")]), "bin": data}


def _serialised(nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, SIDE, SIDE, 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, len(LABELS)))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@cache
def _png(index: int) -> bytes:
    generator = np.random.default_rng(100 + index)
    colour = generator.integers(0, 256, 3)
    pixels = np.clip(colour + generator.normal(0, 20, (BASE, BASE, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _pixels(data: bytes) -> np.ndarray:
    return resize(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), SIDE, SIDE)


def file_entry(role: str, name: str, data: bytes) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"role": role, "name": name, "bytes": len(data), "sha256": digest_of(data)}


def _entries(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        inner = [entry for item in value.values() for entry in _entries(item)]
        return [value, *inner] if "name" in value else inner
    return [entry for item in value for entry in _entries(item)] if isinstance(value, list) else []


def _blocks(data: bytes) -> list[bytes]:
    return [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]


def digest_of(data: bytes) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(data).hexdigest()
