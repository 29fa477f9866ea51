"""What a browser page says of itself, and the machine that it is taken for."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from device_profiles.measuring.runner import Machine

UNKNOWN_RAM_BYTES: Final = 4 * 2**30
"""Taken where a browser does not tell its machine's RAM: what a WebAssembly page can address."""

_Text = Annotated[str, Field(max_length=400)]
_ShortText = Annotated[str, Field(max_length=80)]

_BROWSERS: Final = (
    ("Edge", r"\bEdg(?:A|iOS)?/(\d+)"),
    ("Opera", r"\bOPR/(\d+)"),
    ("Samsung Internet", r"\bSamsungBrowser/(\d+)"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/(\d+)"),
    ("Headless Chrome", r"\bHeadlessChrome/(\d+)"),
    ("Chrome", r"\b(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"\bVersion/(\d+(?:\.\d+)?)\b.*\bSafari/"),
)
"""In this order, because a browser also names those that it resembles."""

_SYSTEMS: Final = (
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("Windows", r"\bWindows\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("macOS", r"\bMacintosh\b"),
    ("Linux", r"\bLinux\b"),
)


class Brand(BaseModel):
    """An entry of `navigator.userAgentData.brands`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    brand: _ShortText
    version: _ShortText


class PageFacts(BaseModel):
    """What a page says when it comes. What a browser does not tell is None or empty.

    Attributes:
        user_agent: `navigator.userAgent`.
        brands: of `navigator.userAgentData`, as are the next four.
        system: the platform.
        model: of a phone.
        architecture: such as `x86`.
        bitness: such as `64`.
        cores: `navigator.hardwareConcurrency`.
        memory_gib: `navigator.deviceMemory`.
        engine_version: of ONNX Runtime Web.
        isolated: whether the page is isolated from other origins: without it there are no threads, and a coarser timer.
        timer_us: the step of `performance.now()`, measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_agent: _Text
    brands: Annotated[tuple[Brand, ...], Field(max_length=16)] = ()
    system: _ShortText = ""
    model: _ShortText = ""
    architecture: _ShortText = ""
    bitness: _ShortText = ""
    cores: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory_gib: Annotated[float, Field(gt=0, le=65536)] | None = None
    engine_version: Annotated[str, Field(min_length=1, max_length=40)]
    isolated: bool
    timer_us: Annotated[float, Field(gt=0, le=1e6)]

    def machine(self) -> Machine:
        """The machine that pages with these facts are taken for."""
        return Machine(
            processor=f"{_browser(self)} on {_system(self)}",
            platform="web",
            cores=self.cores or 1,
            ram_bytes=UNKNOWN_RAM_BYTES if self.memory_gib is None else round(self.memory_gib * 2**30),
            engine_version=self.engine_version,
        )


def _browser(facts: PageFacts) -> str:
    """Name and first number of the version: the numbers behind it change under a running measurement."""
    for name, pattern in _BROWSERS:
        found = re.search(pattern, facts.user_agent)
        if found and name not in ("Chrome", "Safari"):
            return f"{name} {found[1]}"
    # Browsers made from Chromium tell their own name among the brands alone; one of these is made up.
    named = [entry for entry in facts.brands if not re.search(r"Not.?A|Chromium", entry.brand)]
    if named:
        return f"{_plain(named[0].brand)} {_plain(named[0].version.partition('.')[0])}"
    matches = ((name, re.search(pattern, facts.user_agent)) for name, pattern in _BROWSERS)
    return next((f"{name} {found[1]}" for name, found in matches if found), "a browser")


def _system(facts: PageFacts) -> str:
    name = next((name for name, pattern in _SYSTEMS if re.search(pattern, facts.user_agent)), "")
    system = " ".join(word for word in (_plain(facts.system) or name or "a device", _plain(facts.model)) if word)
    architecture = "-".join(word for word in (_plain(facts.architecture), _plain(facts.bitness)) if word)
    return f"{system} ({architecture})" if architecture else system


def _plain(text: str) -> str:
    """Without what could disturb a terminal or a file."""
    return re.sub(r"[^\w .+-]", "", text).strip()
