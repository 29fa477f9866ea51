"""`factory plan`: the models of a fleet, and tiers with which a build exports them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

FLEET = """\
name,share,profile,latency_scale,latency,peak_memory,file_size
old phones,30 %,midrange,,0.2 ms,1 MiB,
slow phones,20 %,midrange,1.5,0.4 ms,2 MiB,
phones,40 %,midrange,,1 ms,4 MiB,
speakers,10 %,speaker,,,,
"""


@pytest.fixture
def fleet(app: Path) -> Path:
    (app / "fleet.csv").write_text(FLEET, encoding="utf-8")
    return app


def planned(factory, app: Path, *options: str) -> dict:
    answer = factory(app, "plan", "fleet.csv", "--json", "-q", *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_every_class_gets_the_best_model_that_keeps_its_budgets(fleet: Path, factory) -> None:
    found = planned(factory, fleet, "--models", "3")
    models = {model["model"]: model for model in found["models"]}
    assert 1 <= len(models) <= 3
    assert [one["name"] for one in found["classes"]] == ["old phones", "slow phones", "phones", "speakers"]
    for one in found["classes"]:
        assert one["latency_us"] <= one["budgets"]["latency_us"]
        assert one["peak_memory_bytes"] <= one["budgets"]["peak_memory_bytes"]
    mean = sum(one["share"] * models[one["model"]]["heldout_accuracy"] for one in found["classes"])
    assert math.isclose(found["value"], mean)
    assert found["value"] <= found["bound"] + 1e-9
    assert found["value"] <= found["ceiling"] + 1e-9


def test_the_curve_never_falls_and_names_the_last_model_that_pays(fleet: Path, factory) -> None:
    found = planned(factory, fleet)
    values = [point["value"] for point in found["curve"]]
    assert values == sorted(values)
    charged = {point["models"]: point["value"] - 0.001 * point["used"] for point in found["curve"]}
    assert found["models_that_pay"] == max(charged, key=lambda models: (charged[models], -models))
    assert len(found["models"]) <= found["models_that_pay"]


def test_a_repeated_plan_scores_nothing_and_is_the_same(fleet: Path, factory) -> None:
    first = planned(factory, fleet, "--models", "2")
    answer = factory(fleet, "plan", "fleet.csv", "--models", "2", "--json")
    assert json.loads(answer.out) == first


def test_a_build_with_the_tiers_of_a_plan_exports_its_models(fleet: Path, factory) -> None:
    found = planned(factory, fleet, "--models", "2")
    text = (fleet / "factory.yaml").read_text(encoding="utf-8")
    tiers = Path(found["tiers"]).read_text(encoding="utf-8")
    (fleet / "factory.yaml").write_text(text[: text.index("targets:")] + tiers, encoding="utf-8")
    targets = yaml.safe_load(tiers)["targets"]
    assert factory(fleet, "build", "-q").code == 0
    manifest = json.loads((fleet / "dist" / "tiny" / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["models"]) == len({json.dumps([t["subnet"], t["precisions"]]) for t in targets})
    assert {tier["id"] for tier in manifest["tiers"]} >= {target["device"] for target in targets}


def test_classes_that_share_a_profile_are_named_in_the_tiers(fleet: Path, factory) -> None:
    shown = factory(fleet, "plan", "fleet.csv", "--models", "4", "-q").out
    found = planned(factory, fleet, "--models", "4")
    letters = {one["name"]: one["model"] for one in found["classes"]}
    tiers = Path(found["tiers"]).read_text(encoding="utf-8")
    differ = len({letters[name] for name in ("old phones", "slow phones", "phones")}) > 1
    assert ("it needs a profile with selectors of its own" in tiers) == differ
    assert ("a manifest tells devices apart by profile" in shown) == differ


def test_more_models_than_are_useful_are_not_used_and_that_is_said(fleet: Path, factory) -> None:
    shown = factory(fleet, "plan", "fleet.csv", "--models", "40", "-q").out
    assert "note: 40 models were allowed, but the plan has " in shown


def test_a_limit_on_downloads_is_kept(fleet: Path, factory) -> None:
    found = planned(factory, fleet, "--models", "4", "--download", "40 kB")
    assert sum(model["file_bytes"] for model in found["models"]) <= 40_000


def test_a_floor_that_a_class_cannot_reach_names_it(fleet: Path, factory) -> None:
    error = factory(fleet, "plan", "fleet.csv", "--floor", "99.99 %", "-q").error
    assert "cannot reach the floor of 99.99 %: the best candidate that '" in error


def test_a_class_that_nothing_fits_is_named(fleet: Path, factory) -> None:
    (fleet / "fleet.csv").write_text(FLEET.replace("0.2 ms", "1 us"), encoding="utf-8")
    error = factory(fleet, "plan", "fleet.csv", "-q").error
    assert error.startswith("error: target 'old phones':")


@pytest.mark.parametrize(
    ("change", "options", "fault"),
    [
        (("slow phones,20 %", "slow phones,2 %"), (), "the shares add up to 82 %, expected 100 %"),
        (("slow phones", "phones"), (), "class 'phones' is there already"),
        (("speakers,10 %,speaker", "speakers,10 %,speeker"), (), "class 'speakers': device profile 'speeker'"),
        (("", ""), ("--pays", "-1"), "--pays -1: is not a number of points from 0 to 100"),
        (("", ""), ("--download", "5"), "--download 5: '5' is not"),
        (("", ""), ("--floor", "60"), "--floor 60: 60.0 is not"),
    ],
)
def test_bad_input_is_refused(
    fleet: Path, factory, change: tuple[str, str], options: tuple[str, ...], fault: str
) -> None:
    (fleet / "fleet.csv").write_text(FLEET.replace(*change) if change[0] else FLEET, encoding="utf-8")
    answer = factory(fleet, "plan", "fleet.csv", "-q", *options)
    assert answer.code != 0
    assert fault in answer.error


@pytest.mark.parametrize(
    ("subnet", "fault"),
    [
        ({"resolution": 12}, "target 'speaker': `subnet` is not one of this model space: choice"),
        ({"resolutoin": 12}, "unknown choice 'resolutoin'; did you mean 'resolution'"),
    ],
)
def test_a_target_that_names_no_subnet_of_the_space_is_refused(app: Path, factory, subnet, fault) -> None:
    config = yaml.safe_load((app / "factory.yaml").read_text(encoding="utf-8"))
    config["targets"][0]["subnet"] = subnet
    (app / "factory.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert fault in factory(app, "build", "-q").error


def test_a_named_subnet_over_a_budget_is_refused(fleet: Path, factory) -> None:
    app, found = fleet, planned(factory, fleet, "--models", "4")
    largest = max(found["models"], key=lambda model: model["file_bytes"])
    config = yaml.safe_load((app / "factory.yaml").read_text(encoding="utf-8"))
    config["targets"][1] |= {"subnet": largest["subnet"], "budgets": {"file_size": "1 KiB"}}
    (app / "factory.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    error = factory(app, "build", "-q").error
    assert "target 'midrange': the subnet that it names" in error
    assert "exceeds the budgets: file size" in error
