"""Facts that a browser page reports about itself, and the machine that they identify."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from device_profiles.measuring.reported import Cores, Line, Report
from device_profiles.measuring.runner import Machine

UNKNOWN_RAM_BYTES: Final = 4 * 2**30
"""Assumed if a browser does not report its machine's RAM: the 4 GiB that a WebAssembly page can address."""

# Bounds on what a page may send: user agents have up to 200 characters, names far fewer.
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
"""Browsers and the pattern of their version, in this order because a user agent also names browsers that it
resembles."""

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


class PageFacts(Report):
    """Facts that a page reports when it is opened. Facts that a browser does not report are None or empty.

    Attributes:
        user_agent: `navigator.userAgent`.
        brands: Brands in `navigator.userAgentData`, the source of the next four facts too.
        system: Platform.
        model: Model of a phone.
        architecture: Processor architecture such as `x86`.
        bitness: Word size of the processor such as `64`.
        cores: `navigator.hardwareConcurrency`.
        memory_gib: `navigator.deviceMemory`.
        engine_version: Version of ONNX Runtime Web.
        isolated: Whether the page is isolated from other origins. Otherwise it has one thread and a coarser timer.
        timer_us: Step of `performance.now()` in microseconds, measured.
    """

    user_agent: _Text
    brands: Annotated[tuple[Brand, ...], Field(max_length=16)] = ()
    system: _ShortText = ""
    model: _ShortText = ""
    architecture: _ShortText = ""
    bitness: _ShortText = ""
    cores: Cores | None = None
    memory_gib: Annotated[float, Field(strict=True, ge=2**-6, le=2**16)] | None = None
    engine_version: Annotated[Line, Field(min_length=1, max_length=40)]
    isolated: StrictBool
    timer_us: Annotated[float, Field(strict=True, gt=0, le=1e6)]

    def machine(self) -> Machine:
        """The machine that these facts identify."""
        return Machine(
            processor=f"{_browser(self)} on {_system(self)}",
            platform="web",
            cores=self.cores or 1,
            ram_bytes=UNKNOWN_RAM_BYTES if self.memory_gib is None else round(self.memory_gib * 2**30),
            engine_version=self.engine_version,
        )


def _browser(facts: PageFacts) -> str:
    """Name and major version: a browser may update its minor version during a measurement."""
    for name, pattern in _BROWSERS:
        found = re.search(pattern, facts.user_agent)
        if found and name not in ("Chrome", "Safari"):
            return f"{name} {found[1]}"
    # Browsers built from Chromium state their own name in the brands only; one of the brands is made up.
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
    """The text without characters that could disturb a terminal or a file."""
    return re.sub(r"[^\w .+-]", "", text).strip()
