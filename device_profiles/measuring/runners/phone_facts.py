"""Facts that an Android phone reports about itself, and the machine that they identify."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, TypeAdapter

from device_profiles.measuring.reported import REMEDY, Cores, Line, RamBytes, Report, checked
from device_profiles.measuring.runner import Machine
from factory_base.errors import EngineError
from factory_base.files import digest_of
from factory_base.foreign import printable

_PROPERTIES: Final = {
    "ro.soc.manufacturer": "soc_maker",
    "ro.soc.model": "soc_model",
    "ro.product.manufacturer": "maker",
    "ro.product.model": "model",
    "ro.build.version.sdk": "api_level",
    "ro.product.cpu.abi": "abi",
    "ro.serialno": "serial",
}
"""Properties of Android and their names here. Phones leave those empty that they do not know."""

_KEYS: Final = _PROPERTIES | {"cores": "cores"}

FACTS_COMMAND: Final = (
    f"for name in {' '.join(_PROPERTIES)}; do echo $name=$(getprop $name); done; "
    "echo cores=$(cat /sys/devices/system/cpu/present); grep MemTotal: /proc/meminfo"
)
"""A command for the phone's shell whose output `read_facts` reads."""

_MEMORY: Final = re.compile(r"MemTotal:\s+([0-9]{1,15}) kB")
_CORES: Final = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?){0,64}")


def _count(present: object) -> object:
    """The number of cores in a list such as `0-3,6`, which has 5; anything else as it is."""
    if not isinstance(present, str) or not _CORES.fullmatch(present):
        return present
    spans = (span.split("-") for span in present.split(","))
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


class PhoneFacts(Report):
    """Facts that a phone reports. Those that it does not report are "".

    Attributes:
        soc_maker: Maker of its system on a chip.
        soc_model: Model of its system on a chip.
        maker: Maker of the phone.
        model: Model of the phone.
        api_level: Version of Android, as an API level.
        abi: Binary interface of its processor.
        serial: Its serial number.
        cores: Number of its cores.
        ram_bytes: Its RAM.
    """

    soc_maker: Line = ""
    soc_model: Line = ""
    maker: Line = ""
    model: Line = ""
    api_level: Annotated[str, Field(pattern=r"^[0-9]{0,3}$")] = ""
    abi: Line = ""
    serial: Line = ""
    cores: Annotated[Cores, BeforeValidator(_count)]
    ram_bytes: RamBytes

    def machine(self, engine_version: str, serial: str, pinned: str) -> Machine:
        """The machine that these facts identify.

        Args:
            engine_version: Version of the engine.
            serial: Serial number as `adb` lists it, for phones that do not report one.
            pinned: The cores that are used, in words to append to the name of the processor.
        """
        known = bool(self.soc_maker and self.soc_model)
        model = " ".join(filter(None, (self.maker, self.model))) or "phone"
        one = f"{model}, {digest_of(self.serial or serial)[:4]}"
        return Machine(
            processor=(f"{self.soc_maker} {self.soc_model} ({one})" if known else one) + pinned,
            platform="android",
            cores=self.cores,
            ram_bytes=self.ram_bytes,
            engine_version=engine_version,
            os_version=self.api_level,
            soc_maker=self.soc_maker if known else "",
            soc_model=self.soc_model if known else "",
        )


_FORM: Final = TypeAdapter(PhoneFacts)


def read_facts(text: str, phone: str) -> PhoneFacts:
    """Read the output of `FACTS_COMMAND`.

    Args:
        text: The output.
        phone: Name of the phone, for errors.

    Raises:
        EngineError: The phone reports no memory or no cores, or something that cannot be.
    """
    known: dict[str, Any] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name in _KEYS:
            if _KEYS[name] in known:
                raise EngineError(f"{phone}: reports {name} twice; {REMEDY}")
            known[_KEYS[name]] = value.strip()
    memory = _MEMORY.search(text)
    if memory is None or not known.get("cores"):
        last = (text.strip().splitlines() or [""])[-1]
        raise EngineError(f"{phone} must report its memory and cores, but reports {printable(last, 200)!r}")
    return checked(known | {"ram_bytes": int(memory[1]) * 1024}, _FORM, f"{phone}: what it reports about itself")
