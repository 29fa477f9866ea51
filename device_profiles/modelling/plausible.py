"""Plausible ranges of the published figures of chips. A value outside was most likely written in another unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """The plausible range of a figure.

    Attributes:
        low: Smallest plausible value.
        high: Largest plausible value.
        unit: Unit of both.
        below: What a smaller value probably is, and what to write instead.
        above: What a larger value probably is, and what to write instead.
    """

    low: float
    high: float
    unit: str
    below: str
    above: str

    def check(self, value: float) -> None:
        """Raise `ValueError` for a value that is out of range."""
        if not self.low <= value <= self.high:
            hint = self.below if value < self.low else self.above
            raise ValueError(
                f"{value:g} {self.unit} is implausible, it should be from {self.low:g} to {self.high:g}; {hint}"
            )


PLAUSIBLE = {
    "clock_ghz": Plausible(
        low=0.2, high=8, unit="GHz", below="write the clock in GHz, as in 1.4",
        above="it looks like MHz or Hz: write 2.2 for 2200 MHz",
    ),
    "fp32_lanes": Plausible(
        low=1, high=128, unit="multiply-adds per cycle", below="count lanes x pipes, 4 for one pipe of 128 bits",
        above="count multiply-adds of one core in one cycle, not operations of all cores or bits of a vector",
    ),
    "int8_lanes": Plausible(
        low=1, high=2048, unit="multiply-adds per cycle", below="count lanes x pipes, 16 for one pipe of 128 bits",
        above="count multiply-adds of one core in one cycle, not operations of all cores",
    ),
    "bus_bits": Plausible(
        low=8, high=1024, unit="bits", below="it looks like bytes or channels: write 32 for two channels of 16 bits",
        above="write the width of all channels together in bits, as in 64",
    ),
    "rate_mt_per_s": Plausible(
        low=200, high=20_000, unit="MT/s",
        below="it looks like GT/s or like a bandwidth in GB/s: write the transfers of one pin, 4266 for 4.266 GT/s",
        above="it looks like kT/s or T/s: write 4266 for 4266 million transfers per second",
    ),
    "streamed_gbytes_per_s": Plausible(
        low=0.1, high=2000, unit="GB/s", below="it looks like TB/s: write 500 for 0.5 TB/s",
        above="it looks like MB/s or a rate in MT/s: write 10 for 10000 MB/s",
    ),
    "gmacs_per_s": Plausible(
        low=0.1, high=1_000_000, unit="GMAC/s", below="it looks like TMAC/s: write 1000 for 1 TMAC/s",
        above="it looks like MAC/s or operations per second: write 500 for 1 TFLOPS or 1 TOPS",
    ),
    "process_nm": Plausible(
        low=1, high=180, unit="nm", below="write the node in nanometres, as in 7",
        above="it looks like picometres or angstroms: write 7 for 7 nm",
    ),
    "running_mw": Plausible(
        low=5, high=200_000, unit="mW", below="it looks like watts: write 1500 for 1.5 W",
        above="it looks like microwatts: write 1500 for 1.5 W",
    ),
    "dram_pj_per_bit": Plausible(
        low=0.5, high=100, unit="pJ/bit", below="it looks like nJ/bit: write 4 for 0.004 nJ",
        above="it looks like a figure for a word or a burst: divide by its bits",
    ),
}  # fmt: skip
"""Key in a sheet -> plausible range. Each range includes chips from microcontrollers to servers, with a margin. A value
in another unit usually falls outside."""
