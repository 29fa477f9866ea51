"""The keys of stages that score networks: what changes scores changes them, and a default written out does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from model_factory.run import open_run
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.train import Trained

TRAINED = Trained(
    checkpoint_sha256="c", class_names=("a", "b"), counts=(4, 2, 2), mean=(), std=(), data_sha256="d",
    test_sha256="t", largest_only_steps=0, curve=(), seconds=1.0,
)  # fmt: skip


def inputs(folder: Path, **sections: Any) -> dict[str, Any]:
    config = {
        "name": "app", "data": {"source": "table", "path": "app.csv"},
        "model": {"space": "efficientnet_lite0", "resolutions": [32]},
        "training": {"epochs": 1}, "targets": [{"device": "midrange"}],
    } | sections  # fmt: skip
    (folder / "factory.yaml").write_text(yaml.safe_dump(config))
    return evaluation_inputs(open_run(folder / "factory.yaml", folder), TRAINED)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy"])
def test_only_another_metric_than_the_usual_one_scores_anew(tmp_path: Path, metric: str) -> None:
    assert (inputs(tmp_path) == inputs(tmp_path, metric=metric)) == (metric == "accuracy")


def test_another_threshold_scores_a_supernet_anew_that_was_adopted(tmp_path: Path) -> None:
    loose, strict = (inputs(tmp_path, task={"name": "multilabel", "threshold": t}) for t in (0.3, 0.7))
    assert loose != strict


def test_classification_written_out_is_the_default(tmp_path: Path) -> None:
    assert inputs(tmp_path, task="classification") == inputs(tmp_path)
