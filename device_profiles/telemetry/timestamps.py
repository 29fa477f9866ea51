"""Timestamps of telemetry as tools export them: seconds, ms, us or ns since 1970, ISO 8601, or dates of Parquet."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from device_profiles.foreign.written_numbers import Notation, is_text, numbers_of
from factory_base.foreign import printable
from factory_base.wording import counted

START_OF_2015 = 1_420_070_400.0
"""Seconds since 1970. No app with such models existed before, so an earlier timestamp is from a clock that was not
set."""

DAY = 86_400.0
"""Seconds in a day: the tolerance for time zones and clocks that are ahead; a timestamp that is a multiple of it is a
mere date, which many rows share."""

_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""Other units of time since 1970. A date since 2015 in one of them lies beyond the year 40000 in the next larger one,
so the unit of a number is never in doubt."""

_LONGEST = 64
"""Characters of a timestamp: twice as many as ISO 8601 with nanoseconds and a time zone takes."""

_FARTHEST = 1e15
"""Seconds: an infinite timestamp is as wrong as one of thirty million years."""

_DAY_OR_MONTH_FIRST = r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b"


class Timestamps:
    """Reads the timestamps of a file, batch by batch, and remembers what people should know about them.

    Args:
        now: Seconds since 1970; possible timestamps are at most a day later.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._units: Counter[str] = Counter()
        self._unclear, self._example = 0, ""

    def seconds(self, array: Any) -> NDArray[np.float64]:
        """The timestamps in a flat Arrow array in seconds since 1970, (rows,); NaN if one cannot be read.

        Raises:
            ForeignError: The array holds truth values.
        """
        from pyarrow import compute, timestamp, types

        if types.is_timestamp(array.type) or types.is_date(array.type):
            micro = compute.cast(array, timestamp("us", tz=getattr(array.type, "tz", None)), safe=False)
            dates = micro.to_pandas()
            return self._since_1970(dates.dt.tz_localize("UTC") if dates.dt.tz is None else dates)
        seconds = self._in_seconds(numbers_of(array, Notation()))
        rest = np.isnan(seconds)
        if rest.any() and is_text(array):
            seconds[rest] = self._from_texts(array.filter(rest))
        return np.clip(seconds, -_FARTHEST, _FARTHEST)

    def notes(self) -> list[str]:
        """What people should know, a sentence each."""
        found = [
            f"the unit of {counted(count, 'timestamp')} is {unit} since 1970"
            for unit, count in sorted(self._units.items())
        ]
        if self._unclear:
            found.append(
                f"{counted(self._unclear, 'timestamp')} such as {self._example} cannot be read, because day and month "
                "could be confused, so rows that were sent twice are not noticed; write 2026-03-31T12:00:00Z"
            )
        return found

    def _in_seconds(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        late = numbers > self._now + DAY
        for unit, per_second in _UNITS.items():
            seconds = numbers / per_second
            fits = late & (seconds >= START_OF_2015) & (seconds <= self._now + DAY)
            if fits.any():
                numbers = np.where(fits, seconds, numbers)
                self._units[unit] += int(fits.sum())
        return numbers

    def _from_texts(self, texts: Any) -> NDArray[np.float64]:
        from pyarrow import compute

        texts = compute.utf8_trim_whitespace(texts)
        texts = compute.if_else(compute.less_equal(compute.utf8_length(texts), _LONGEST), texts, "")
        texts = compute.replace_substring_regex(texts, r" (UTC|GMT)$", "Z")
        unclear = texts.filter(compute.match_substring_regex(texts, _DAY_OR_MONTH_FIRST))
        if len(unclear):
            self._example = self._example or printable(unclear[0].as_py(), 40)
            self._unclear += len(unclear)
        return self._since_1970(pd.to_datetime(texts.to_pandas(), format="ISO8601", utc=True, errors="coerce"))

    @staticmethod
    def _since_1970(dates: Any) -> NDArray[np.float64]:
        return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=np.float64)
