"""Metrics of a training run in the format of TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from factory_base.errors import DiskError

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter


class TensorBoardEvents:
    """Writes event files; see `supernet.training.training.Events`. Metrics are in the file when `add` returns.

    Use it as a context manager, so that the file is closed.

    A run that is resumed or rolled back repeats steps that may have been added before. A new file then begins with a
    mark that makes TensorBoard drop these steps and later ones, so that no step is shown twice.

    Args:
        folder: Folder for the files of one training run, created when the first metrics are added.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: EventsWriter | None = None
        self._last_step = -1

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write the metrics of one step, by name. Raises `DiskError`."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        try:
            if self._writer is None or step <= self._last_step:
                self._writer = self._begun_at(step)
            metrics = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=metrics)))
            self._writer.flush()
        except OSError as error:
            raise DiskError(f"{self._folder}: cannot be written ({error.strerror or error})") from error
        self._last_step = step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begun_at(self, step: int) -> EventsWriter:
        """A new file, whose name sorts after those of earlier files."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(self._folder / "events"), f".{time.time_ns()}")
        start = SessionLog(status=SessionLog.START)
        writer.write_event(Event(wall_time=time.time(), step=step, session_log=start))
        return writer
