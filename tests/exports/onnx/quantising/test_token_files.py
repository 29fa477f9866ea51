"""Files of text classifiers: int64 tokens in, narrow tables of tokens, and the sizes that were predicted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from device_profiles.engine import Precision
from device_profiles.workload.workloads import workload_of
from exports.engines import get_engine
from exports.family.parity import check_parity
from factory_base.errors import EngineError
from supernet.quantisation.fake import fake_quantised
from supernet.quantisation.storage import round_to_int8
from supernet.spaces import make_model_space
from supernet.spaces.transformer_config import TextEncoderConfig

VOCABULARY = 300
SPACE = make_model_space(
    TextEncoderConfig(vocabulary=VOCABULARY, lengths=(8, 12), widths=(32, 64), depths=(1, 2), heads=(1, 2)), 3
)
PRECISIONS = get_args(Precision)


@dataclass(frozen=True)
class Files:
    folder: Path
    network: nn.Module
    tokens: np.ndarray

    def run(self, precision: Precision) -> np.ndarray:
        return get_engine("onnxruntime").load(self.folder / precision, 1).run(self.tokens)

    def size(self, precision: Precision) -> int:
        return (self.folder / precision).stat().st_size


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    torch.manual_seed(0)
    folder, network = tmp_path_factory.mktemp("tokens"), SPACE.build(SPACE.space.largest).eval()
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (64, 12))
    tokens[::2, 7:] = 0
    for precision in PRECISIONS:
        get_engine("onnxruntime").convert(
            network, (12,), folder / precision, precision=precision, calibration=tokens, input_type="int64"
        )
    return Files(folder, network, tokens)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_computes_what_its_network_computes(files: Files, precision: Precision) -> None:
    session = get_engine("onnxruntime").load(files.folder / precision, 1)
    assert check_parity(files.network, session, files.tokens, precision).images == 64


def test_tables_of_tokens_are_stored_in_as_few_bytes_as_other_weights(files: Files) -> None:
    sizes = {}
    for precision in PRECISIONS:
        tables = [
            t for t in onnx.load(files.folder / precision).graph.initializer if tuple(t.dims)[:1] == (VOCABULARY,)
        ]
        sizes[precision] = [len(table.raw_data) // (VOCABULARY * 64) for table in tables]
    assert sizes == {"fp32": [4], "fp16": [2], "int8": [1], "int8_weights": [1]}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_size_of_a_file_is_known_before_it_is_written(files: Files, precision: Precision) -> None:
    predicted = workload_of(SPACE, SPACE.space.largest).file_content.of(precision)
    assert 0 <= predicted - files.size(precision) < 0.02 * files.size(precision)


def test_a_looked_up_table_is_read_row_by_row_but_stored_whole() -> None:
    found = workload_of(SPACE, SPACE.space.largest)
    assert found.operators[1].weight_elements == 12 * 64
    assert found.weight_elements > VOCABULARY * 64


@torch.no_grad()
def test_rounding_in_pytorch_is_that_of_the_files(files: Files) -> None:
    tokens = torch.from_numpy(files.tokens)
    quantised = fake_quantised(files.network, tokens)(tokens).numpy()
    assert np.abs(quantised - files.run("int8")).max() < 0.3 * np.abs(files.run("fp32") - files.run("int8")).max()
    plain = SPACE.build(SPACE.space.largest).eval()
    plain.load_state_dict(files.network.state_dict())
    table = round_to_int8(plain).words.weight
    assert all(len(column.unique()) <= 255 for column in table.T)


def test_tokens_of_another_type_or_length_are_refused(files: Files) -> None:
    session = get_engine("onnxruntime").load(files.folder / "fp32", 1)
    for wrong in (files.tokens.astype(np.float32), files.tokens[:, :5]):
        with pytest.raises(EngineError, match=r"expected int64 \('n', 12\)"):
            session.run(wrong)
