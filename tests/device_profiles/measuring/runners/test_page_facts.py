"""The facts that a page reports about its browser, and the machine that they identify."""

import pytest

from device_profiles.measuring.runners.page_facts import UNKNOWN_RAM_BYTES, PageFacts


def facts(user_agent: str = "", **changes) -> PageFacts:
    given = {"cores": 4, "memory_gib": 8, "engine_version": "1.30.0", "isolated": True, "timer_us": 5}
    return PageFacts.model_validate(given | {"user_agent": user_agent} | changes)


@pytest.mark.parametrize(
    ("agent", "changes", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", {}, "Firefox 140 on Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            {},
            "Safari 18.5 on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile "
            "Safari/537.36",
            {"system": "Android", "model": "Pixel 8", "architecture": "arm", "bitness": "64"},
            "Chrome 150 on Android Pixel 8 (arm-64)",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 "
            "Safari/537.36 Edg/150.0.0.0",
            {"system": "Windows"},
            "Edge 150 on Windows",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
            {"brands": [{"brand": "Brave", "version": "150"}, {"brand": "Not)A;Brand", "version": "8"}]},
            "Brave 150 on Linux",
        ),
        ("something\x1b[31m", {"system": "\x1b[31mred"}, "a browser on 31mred"),
    ],
)
def test_browsers_are_identified_by_name_version_and_system(agent, changes, name) -> None:
    assert facts(user_agent=agent, **changes).machine().processor == name


def test_ram_that_a_browser_does_not_report_is_what_a_page_can_address() -> None:
    assert facts(memory_gib=None).machine().ram_bytes == UNKNOWN_RAM_BYTES
    assert facts(memory_gib=0.5).machine().ram_bytes == 2**29
