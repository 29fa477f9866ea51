import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_profiles.budgets import Budgets
from device_profiles.costs import Costs
from device_profiles.profile import check_energy_budget, digest_of_profile, find_profile
from device_profiles.profile_writer import write_profile
from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from factory_base.quantities import WITH_UNITS

COSTS = Costs(latency_us=9100.0, peak_memory_bytes=3 * 2**20, file_bytes=2**20, macs=1)
MEMORY = {"ram": "3 GiB", "system_reserve": "1.2 GiB", "app_share": "10 %"}
AS_PEOPLE_THINK = """\
frame_rate: 30 fps
memory: {ram: 3 GiB, system_reserve: 1.2 GiB, app_share: 10 %}
download: 5 MB
"""


def derived_budgets() -> Budgets:
    return parse_document(yaml.safe_load(AS_PEOPLE_THINK), Budgets, "mine.yaml")


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse_document(content, Budgets, "factory.yaml")
    message = str(error.value)
    assert "\n" not in message
    return message


def test_budgets_are_written_with_units_and_short_keys() -> None:
    budgets = Budgets(latency="8 ms", peak_memory="6 MiB", file_size="2 MiB")
    assert budgets.latency_us == 8000
    assert budgets.peak_memory_bytes == 6 * 2**20
    assert budgets.file_bytes == 2 * 2**20


def test_a_set_limit_overrides_and_a_missing_one_does_not() -> None:
    merged = Budgets(latency="8 ms", file_size="1 MiB").overridden_by(Budgets(latency="5 ms", peak_memory="4 MiB"))
    assert merged == Budgets(latency="5 ms", peak_memory="4 MiB", file_size="1 MiB")


def test_excesses_come_worst_first_and_describe_themselves() -> None:
    excesses = Budgets(latency="8 ms", peak_memory="1 MiB", file_size="1 MiB").excesses(COSTS)
    assert [excess.budget for excess in excesses] == ["peak_memory", "latency"]
    assert excesses[0].ratio == pytest.approx(3)
    assert excesses[0].describe() == "peak memory 3 MiB exceeds 1 MiB"
    assert excesses[1].describe() == "latency 9.1 ms exceeds 8 ms"


def test_an_excess_that_rounding_would_hide_is_still_visible() -> None:
    excess = Budgets(latency="9.099 ms").excesses(COSTS)[0]
    assert excess.describe() == "latency 9.1 ms (by 0.011 %) exceeds 9.1 ms"


def test_macs_and_energy_are_limits_too() -> None:
    budgets = Budgets(macs="60 M", energy="3 mJ")
    costs = replace(COSTS, macs=90_000_000, energy_uj=2400.0)
    assert [limit.describe() for limit in budgets.limits()] == ["MACs <= 60 M", "energy <= 3 mJ"]
    assert [excess.describe() for excess in budgets.excesses(costs)] == ["MACs 90 M exceeds 60 M"]
    assert budgets.slack(costs) == pytest.approx({"macs": 1.5, "energy": 0.8})
    assert budgets.overridden_by(Budgets(energy="1 J")) == Budgets(macs="60 M", energy="1 J")
    written = budgets.model_dump(by_alias=True, exclude_none=True, context=WITH_UNITS)
    assert written == {"macs": "60 M", "energy": "3 mJ"}


def test_a_budget_for_an_energy_that_is_not_known_is_never_taken_for_kept() -> None:
    for check in (Budgets(energy="3 mJ").excesses, Budgets(energy="3 mJ").slack):
        with pytest.raises(ConfigError, match="the budget energy <= 3 mJ cannot be checked"):
            check(COSTS)


def test_a_budget_for_the_energy_needs_energy_costs(tmp_path: Path) -> None:
    check_energy_budget(Budgets(energy="3 mJ"), find_profile("midrange", tmp_path))
    check_energy_budget(Budgets(macs="3 M"), find_profile("host", tmp_path))
    with pytest.raises(ConfigError, match=r"has no energy costs, which the budget energy: 3 mJ needs; .*costs.energy"):
        check_energy_budget(Budgets(energy="3 mJ"), find_profile("host", tmp_path))


def test_a_cost_at_its_limit_is_not_an_excess() -> None:
    assert Budgets(file_size="1 MiB").excesses(COSTS) == ()


def test_slack_is_the_used_share_of_every_set_budget() -> None:
    slack = Budgets(latency="18.2 ms", file_size="4 MiB").slack(COSTS)
    assert slack == pytest.approx({"latency": 0.5, "file_size": 0.25})
    assert Budgets().slack(COSTS) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"latency": 8}, "8 is not a duration such as '8 ms'"),
        ({"latency": "-8 ms"}, "'-8 ms' is not a duration"),
        ({"peak_memory": "0 MiB"}, "not above zero"),
        ({"peak_memory": "6 ms"}, "'6 ms' is not a size"),
        ({"latancy": "8 ms"}, "did you mean 'latency'?"),
        ({"macs": 60_000_000}, "'macs': 60000000 is not a number of MACs such as '60 M'; units: k, M, G, MACs"),
        ({"macs": "60"}, "'60' is not a number of MACs such as '60 M'"),
        ({"macs": "-60 M"}, "'-60 M' is not a number of MACs"),
        ({"macs": "0 M"}, "'0 M' is not above zero; write a number of MACs such as '60 M'"),
        ({"macs": "60 MFLOPs"}, "'60 MFLOPs' is not a number of MACs"),
        ({"macs": "60 MB"}, "'60 MB' is not a number of MACs such as '60 M'; a size goes under peak_memory"),
        ({"latency": "60 MMACs"}, "'60 MMACs' is not a duration such as '8 ms'; a number of MACs goes under macs"),
        ({"macs": "2e9 G"}, "'2e9 G' is too large, the most is 1000000000 G"),
        ({"energy": 3}, "'energy': 3 is not an energy such as '3 mJ'; units: uJ, mJ, J"),
        ({"energy": "3 ms"}, "'3 ms' is not an energy such as '3 mJ'; a duration goes under latency"),
        ({"energy": "-3 mJ"}, "'-3 mJ' is not an energy"),
        ({"energy": "0.1 uJ"}, "'0.1 uJ' is not above zero"),
        ({"energy": "3 mJ", "energy_uj": "4 mJ"}, "energy_uj"),
    ],
)
def test_a_wrong_budget_is_refused_in_one_line(content: dict[str, Any], message: str) -> None:
    assert message in refusal(content)


def test_limits_are_derived_from_frames_ram_and_download() -> None:
    budgets = derived_budgets()
    assert budgets.latency_us == 33_333
    assert budgets.peak_memory_bytes == int((3 - 1.2) * 2**30 * 0.1)
    assert budgets.file_bytes == 5_000_000


def test_a_derived_limit_shows_what_it_comes_from_and_a_given_one_does_not() -> None:
    assert [limit.describe() for limit in derived_budgets().limits()] == [
        "latency <= 33.3 ms (30 fps)",
        "peak memory <= 184 MiB (10 % of 3 GiB less 1.2 GiB)",
        "file size <= 4.77 MiB (download 5 MB)",
    ]
    assert [limit.describe() for limit in Budgets(latency="8 ms").limits()] == ["latency <= 8 ms"]
    assert Budgets().limits() == ()


def test_the_whole_frame_is_for_the_model_unless_it_has_a_share_of_it() -> None:
    assert Budgets(frame_rate="50 fps").latency_us == 20_000
    shared = Budgets(frame_rate="50 fps", frame_share="60 %")
    assert shared.latency_us == 12_000
    assert shared.limits()[0].describe() == "latency <= 12 ms (60 % of a frame at 50 fps)"


def test_a_derived_limit_is_rounded_towards_the_strict_side() -> None:
    budgets = Budgets(frame_rate="60 fps", memory={"ram": "10 B", "system_reserve": "1 B", "app_share": 0.2})
    assert budgets.latency_us == 16_666
    assert budgets.peak_memory_bytes == 1


def test_a_share_of_ram_may_be_a_number_or_a_percentage() -> None:
    assert Budgets(memory=MEMORY) == Budgets(memory=MEMORY | {"app_share": 0.1})
    everything = Budgets(memory=MEMORY | {"ram": "2 GiB", "system_reserve": "1 GiB", "app_share": "100 %"})
    assert everything.peak_memory_bytes == 2**30


def test_excesses_of_derived_limits_say_where_the_limit_comes_from() -> None:
    budgets = Budgets(frame_rate="120 fps", download="1 MB")
    assert [excess.describe() for excess in budgets.excesses(COSTS)] == [
        "latency 9.1 ms exceeds 8.33 ms (120 fps)",
        "file size 1 MiB exceeds 977 KiB (download 1 MB)",
    ]
    assert budgets.slack(COSTS) == pytest.approx({"latency": 9100 / 8333, "file_size": 2**20 / 1e6})


@pytest.mark.parametrize(
    ("profile", "target", "wins"),
    [
        ({"latency": "8 ms"}, {"frame_rate": "30 fps"}, {"frame_rate": "30 fps"}),
        ({"frame_rate": "30 fps", "frame_share": "50 %"}, {"frame_rate": "60 fps"}, {"frame_rate": "60 fps"}),
        ({"frame_rate": "30 fps"}, {"latency": "80 ms"}, {"latency": "80 ms"}),
        ({"peak_memory": "1 MiB"}, {"memory": MEMORY}, {"memory": MEMORY}),
        ({"memory": MEMORY}, {"peak_memory": "1 MiB"}, {"peak_memory": "1 MiB"}),
        ({"file_size": "1 MiB"}, {"download": "5 MB"}, {"download": "5 MB"}),
        ({"download": "5 MB"}, {"latency": "8 ms"}, {"download": "5 MB", "latency": "8 ms"}),
    ],
)
def test_a_target_overrides_a_limit_in_whichever_form_each_is_given(
    profile: dict[str, Any], target: dict[str, Any], wins: dict[str, Any]
) -> None:
    merged = Budgets(**profile).overridden_by(Budgets(**target))
    assert merged == Budgets(**wins)
    assert merged.limits() == Budgets(**wins).limits()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"latency": "8 ms", "frame_rate": "30 fps"}, "latency says 8 ms and frame_rate says 33.3 ms"),
        ({"peak_memory": "9 MiB", "memory": MEMORY}, "peak_memory says 9 MiB and memory says 184 MiB"),
        ({"file_size": "5 MB", "download": "5 MB"}, "file_size says 4.77 MiB and download says 4.77 MiB"),
    ],
)
def test_one_limit_given_twice_is_refused_rather_than_the_tighter_taken(content: dict[str, Any], message: str) -> None:
    assert f"{message}; keep one of the two keys" in refusal(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"latency": "30 fps"}, "'30 fps' is not a duration such as '8 ms'; a frame rate goes under frame_rate"),
        ({"frame_rate": "33 ms"}, "'33 ms' is not a frame rate such as '30 fps'; a duration goes under latency"),
        ({"peak_memory": "8 ms"}, "'8 ms' is not a size such as '64 MiB'; a duration goes under latency"),
        ({"peak_memory": "9 %"}, "'9 %' is not a size such as '64 MiB'; a share goes under"),
        ({"download": "2 s"}, "'2 s' is not a size such as '64 MiB'; a duration goes under latency"),
        ({"frame_rate": "30 fps", "frame_share": "9 MiB"}, "'9 MiB' is not a share such as '10 %' or 0.1; a size goes"),
    ],
)
def test_a_unit_that_belongs_elsewhere_names_the_key(content: dict[str, Any], message: str) -> None:
    assert message in refusal(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"frame_rate": 30}, "'frame_rate': 30 is not a frame rate such as '30 fps'; units: fps"),
        ({"frame_rate": math.nan}, "'frame_rate': nan is not a frame rate"),
        ({"frame_rate": "0 fps"}, "'0 fps' is not above zero"),
        ({"frame_rate": "-30 fps"}, "'-30 fps' is not a frame rate"),
        ({"frame_share": "50 %"}, "50 % needs a frame_rate in the same section; add one"),
        ({"frame_rate": "1e6 fps", "frame_share": "9 %"}, "9 % of a frame at 1000000 fps is less than 1 us"),
        ({"download": 5}, "'download': 5 is not a size such as '64 MiB'; units: B, kB, MB"),
        ({"download": "0 MB"}, "'0 MB' is not above zero"),
        ({"memory": "64 MiB"}, "for a limit write peak_memory"),
        ({"ram": "3 GiB"}, "ram belongs in a section such as memory: {ram: 3 GiB,"),
        ({"memory": {"ram": "3 GiB", "app_share": "9 %"}}, "key 'memory.system_reserve' is missing"),
    ],
)
def test_a_limit_that_cannot_be_derived_is_refused(content: dict[str, Any], message: str) -> None:
    assert message in refusal(content)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (10, "10 is not a share such as '10 %' or 0.1; did you mean '10 %'?"),
        (1, "1 is not a share such as '10 %' or 0.1; did you mean '1 %'?"),
        (0, "0 is not a share"),
        (-0.1, "-0.1 is not a share"),
        (math.nan, "nan is not a share"),
        (True, "must not be true or false"),
        ("10", "'10' is not a share such as '10 %' or 0.1; units: %"),
        ("0 %", "'0 %' is not above zero"),
        ("101 %", "'101 %' is too large"),
    ],
)
def test_a_share_that_may_mean_something_else_is_refused(share: object, message: str) -> None:
    assert f"'memory.app_share': {message}" in refusal({"memory": MEMORY | {"app_share": share}})


@pytest.mark.parametrize(("reserve", "left"), [("3 GiB", "0 B"), ("3.2 GiB", "-205 MiB")])
def test_a_reserve_that_leaves_no_ram_is_refused_with_the_calculation(reserve: str, left: str) -> None:
    message = refusal({"memory": MEMORY | {"system_reserve": reserve}})
    assert f"ram 3 GiB - system_reserve {reserve} = {left}, and app_share 10 % of that leaves nothing" in message


def test_budgets_are_written_as_they_were_given() -> None:
    assert derived_budgets().model_dump(mode="json", by_alias=True, exclude_none=True, context=WITH_UNITS) == (
        yaml.safe_load(AS_PEOPLE_THINK)
    )


def test_machines_see_the_derived_limits_beside_what_they_come_from() -> None:
    values = derived_budgets().model_dump(mode="json")
    assert (values["latency_us"], values["frames_per_s"]) == (33_333, 30)
    assert (values["file_bytes"], values["download_bytes"]) == (5_000_000, 5_000_000)


def test_what_is_not_used_leaves_no_trace_in_a_digest() -> None:
    assert Budgets(latency="8 ms").model_dump(mode="json") == {
        "latency_us": 8000,
        "peak_memory_bytes": None,
        "file_bytes": None,
    }


def test_a_profile_with_derived_budgets_is_read_back_equal(tmp_path: Path) -> None:
    plain = find_profile("midrange", tmp_path).profile
    profile = plain.model_copy(update={"budgets": derived_budgets()})
    write_profile(profile, tmp_path / "mine.yaml")
    found = find_profile("mine.yaml", tmp_path)
    assert found.profile == profile
    assert found.digest == digest_of_profile(profile) != digest_of_profile(plain)
