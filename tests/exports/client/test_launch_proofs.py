"""The contract of exports/client/README.md for every client: the proof of a model on the device, and floors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from launching import App, expect_model, in_languages, wait_for
from small_family import Family, hanging_model, make_family, with_nan


def with_wrong_outputs(family: Family, model: str) -> Family:
    """The family, whose expected outputs of a model are others than it computes."""
    name = family.manifest["samples"]["expected"]["name"]
    expected = json.loads(family.files[name])
    expected[model]["logits_micro"][2][1] += 40_000
    family.replace(name, json.dumps(expected).encode())
    return family


@in_languages(smoke=True)
@pytest.mark.parametrize("samples", ["images", "tensors"])
def test_wrong_outputs_lead_to_the_next_unit_then_to_the_next_tier(app: App, samples: str) -> None:
    app.publish(with_wrong_outputs(make_family(samples=samples), "large"))
    units = {"compute_units": ["imaginary", "cpu"]}
    found = app.launch(units)
    expect_model(found, "small", "passed")
    assert found.found["tier"] == "low"
    assert ["high", "large", "proof_failed"] in found.found["reasons"]
    assert found.events == ["proof_failed", "proof_failed", "proof_failed", "switched"]
    assert app.results() == [("imaginary", "refused"), ("cpu", "wrong"), ("imaginary", "refused"), ("cpu", "passed")]
    app.server.forget()
    again = app.launch(units)
    expect_model(again, "small", "remembered")
    assert (again.events, app.server.files()) == ([], set())


EXPECTED: dict[str, Any] = {
    "no object": [],
    "no model": {"small": {"logits_micro": [[0] * 4] * 3, "tolerance_micro": 1}},
    "too few samples": {"large": {"logits_micro": [[0] * 4] * 2, "tolerance_micro": 1}},
    "too few logits": {"large": {"logits_micro": [[0] * 3] * 3, "tolerance_micro": 1}},
    "texts": {"large": {"logits_micro": [["0"] * 4] * 3, "tolerance_micro": 1}},
    "no tolerance": {"large": {"logits_micro": [[0] * 4] * 3}},
}


@in_languages()
@pytest.mark.parametrize("content", EXPECTED)
def test_samples_that_do_not_fit_leave_the_last_release(app: App, content: str) -> None:
    app.publish(make_family())
    app.launch()
    family = make_family(release=2, seed=2)
    name = family.manifest["samples"]["expected"]["name"]
    family.replace(name, json.dumps(EXPECTED[content]).encode())
    app.publish(family)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
@pytest.mark.parametrize("samples", ["images", "tensors"])
def test_sample_inputs_that_are_none_leave_the_last_release(app: App, samples: str) -> None:
    app.publish(make_family())
    app.launch()
    family = make_family(release=2, seed=2, samples=samples)
    family.replace(family.manifest["samples"]["inputs"][0]["name"], b"These are no pixels.")
    app.publish(family)
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["manifest_refused"]


@in_languages()
def test_an_update_may_cure_a_model(app: App) -> None:
    app.publish(with_wrong_outputs(make_family(), "large"))
    expect_model(app.launch(), "small", "passed")
    app.server.forget()
    found = app.launch({"engine_version": "99.0"})
    assert found.events[0] == "proof_failed"
    assert found.found["model"] == "small"


@in_languages()
def test_a_release_of_which_nothing_runs_leaves_the_last_one(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(with_wrong_outputs(with_wrong_outputs(make_family(release=2, seed=2), "large"), "small"))
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == ["proof_failed", "proof_failed", "nothing_runs"]


@in_languages()
def test_a_file_that_is_no_model_is_refused(app: App) -> None:
    family = make_family()
    family.replace(family.model_file("large"), b"This is not ONNX. " * 100)
    app.publish(family)
    expect_model(app.launch(), "small", "passed")
    assert app.results() == [("cpu", "refused"), ("cpu", "passed")]


@in_languages()
def test_without_samples_the_outputs_must_be_finite(app: App) -> None:
    family = make_family(samples=None)
    name = family.model_file("large")
    family.replace(name, with_nan(family.files[name]))
    app.publish(family)
    expect_model(app.launch(), "small", "passed")
    assert app.results() == [("cpu", "wrong"), ("cpu", "passed")]


@in_languages()
def test_a_model_that_kills_the_app_twice_is_passed_over(app: App) -> None:
    family = make_family()
    family.replace(family.model_file("large"), hanging_model())
    app.publish(family)
    for starts in (1, 2):
        with app.client.started(*app.arguments()):
            wait_for(lambda starts=starts: recorded(app) == ("started", starts))
    found = app.launch()
    expect_model(found, "small", "passed")
    assert ["high", "large", "proof_failed"] in found.found["reasons"]


def recorded(app: App) -> tuple[str, int] | None:
    """The result of the first proof and its starts; None before there is one."""
    proofs = app.state()["proofs"] if (app.store / "state.json").exists() else []
    return (proofs[0]["result"], proofs[0]["starts"]) if proofs else None


@in_languages()
@pytest.mark.parametrize("action", ["cloud", "off"])
def test_a_floor_without_a_model_ends_the_launch(app: App, action: str) -> None:
    family = make_family()
    family.manifest["floors"] = [{"platform": "ios", "action": action}]
    app.publish(family)
    found = app.launch({"platform": "ios"}, image=app.folder / "image.png").found
    told = {key: found[key] for key in ("action", "model", "compute_unit", "slot", "proof", "label", "logits_micro")}
    assert told.pop("action") == action
    assert set(told.values()) == {None}
    assert (app.server.files(), found["downloaded_bytes"]) == (set(), 0)


@in_languages()
def test_a_floor_names_its_model(app: App) -> None:
    family = make_family()
    family.manifest["floors"] = [{"platform": "ios", "action": "model", "models": ["large"]}]
    app.publish(family)
    expect_model(app.launch({"platform": "ios"}), "large", "passed")
