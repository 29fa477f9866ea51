import pytest

from device_profiles.budgets import Budgets
from device_profiles.costs import Costs
from model_factory.base.documents import parse_document
from model_factory.base.errors import ConfigError

COSTS = Costs(latency_us=9100.0, peak_memory_bytes=3 * 2**20, file_bytes=2**20, macs=1)


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


def test_an_excess_that_rounding_hides_is_still_visible() -> None:
    excess = Budgets(latency="9.099 ms").excesses(COSTS)[0]
    assert excess.describe() == "latency 9.1 ms (by 0.011 %) exceeds 9.1 ms"


def test_a_cost_at_its_limit_is_no_excess() -> None:
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
    ],
)
def test_a_wrong_budget_is_refused_in_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_document(content, Budgets, "factory.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
