"""The contract of exports/client/README.md for every client: blacklist, policy, a full disk, two launches at once."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from client_programs import Client, outcome
from launching import NOW, App, expect_model, in_languages, wait_for
from small_family import BLOCK, make_family


@in_languages()
def test_a_blacklisted_model_is_passed_over_until_its_time_is_over(app: App) -> None:
    family = app.publish(make_family())
    app.launch()
    digest = family.manifest["models"]["large"]["files"][0]["sha256"]
    app.change_state(blacklist=[{"sha256": digest, "until": NOW + 10}])
    found = app.launch()
    expect_model(found, "small", "passed", slot="b")
    assert ["high", "large", "blacklisted"] in found.found["reasons"]
    expect_model(app.launch(now=NOW + 10), "large", "remembered", slot="a")


@in_languages()
def test_a_revoked_model_stays_revoked_without_the_policy(app: App) -> None:
    family = app.publish(make_family())
    app.launch()
    digest = family.manifest["models"]["large"]["files"][0]["sha256"]
    policy = {"policy_version": "1.0", "critical": [], "revoked": [{"sha256": digest}]}
    expect_model(app.launch(policy=policy), "small", "passed", slot="b")
    found = app.launch()
    expect_model(found, "small", "remembered", slot="b")
    assert ["high", "large", "revoked"] in found.found["reasons"]
    found = app.launch(policy={"policy_version": "2.0"})
    expect_model(found, "small", "remembered", slot="b")
    assert found.events == ["policy_refused"]


@in_languages()
def test_a_long_and_deep_policy_does_not_make_the_state_unreadable(app: App) -> None:
    app.publish(make_family())
    deep: list[Any] = []
    for _ in range(14):  # with the policy and this list, 16 levels: the most that a policy may have
        deep = [deep]
    revoked = [{"sha256": f"{number:064x}"} for number in range(3200)]  # just below 256 KiB, the limit of a policy
    app.launch(policy={"policy_version": "1.0", "critical": [], "revoked": revoked, "later": deep})
    found = app.launch()
    expect_model(found, "large", "remembered")
    assert found.events == []


@in_languages()
def test_a_remembered_policy_that_is_not_usable_does_not_stop_the_app(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.change_state(policy={"policy_version": "2.0"})
    expect_model(app.launch(), "large", "remembered")


@in_languages()
def test_a_full_disk_leaves_the_last_release(app: App) -> None:
    app.publish(make_family())
    app.launch()
    app.publish(make_family(release=2, seed=2))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing reports an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, BLOCK))

    found = app.client.launch(*app.arguments(), preexec_fn=limit)
    assert found.code == 0, found.error
    expect_model(found, "large", "remembered")
    assert "quota" in found.events
    expect_model(app.launch(), "large", "passed", slot="b", release=2)


@in_languages()
def test_two_launches_at_once_download_once(app: App) -> None:
    family = app.publish(make_family())
    with app.client.started(*app.arguments()) as one, app.client.started(*app.arguments()) as other:
        texts = [process.communicate(timeout=60) for process in (one, other)]
    found = [outcome(process.returncode, *text) for process, text in zip((one, other), texts, strict=True)]
    assert [each.code for each in found] == [0, 0], [each.error for each in found]
    assert sorted(each.found["proof"] for each in found) == ["passed", "remembered"]
    assert app.server.bytes_of("/models") == len(family.files[family.model_file("large")])


@in_languages()
def test_a_launch_that_died_holds_no_lock(app: App) -> None:
    family = app.publish(make_family())
    app.server.faults[family.model_file("large")] = ["stalls"]
    with app.client.started(*app.arguments()):
        wait_for(lambda: app.server.bytes_of("/models") > 0)
    expect_model(app.launch(), "large", "passed")


@in_languages()
@pytest.mark.parametrize(
    "facts", [{"platform": ""}, {"ram_bytes": -5, "soc_maker": "", "os_version": "9" * 5000}, {"compute_units": 5}]
)
def test_nonsense_facts_get_a_model_all_the_same(app: App, facts: dict[str, Any]) -> None:
    app.publish(make_family())
    assert app.launch(facts).found["model"] in ("large", "small")


@in_languages()
def test_wrong_arguments_are_one_line(client: Client, tmp_path: Path) -> None:
    for arguments in (
        [],
        ["--url", str(tmp_path), "--store", str(tmp_path / "s"), "--image", str(tmp_path / "no.png")],
    ):
        found = client.launch(*arguments)
        assert found.code == 1
        assert [line for line in found.error.splitlines() if line.startswith("launch: ")]
