"""TensorBoard: an event file in the store. Each attempt writes a whole one, so that no step stands in two."""

from __future__ import annotations

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import text

from limr.tracking.folder import TrackingFolder
from limr.tracking.run import Run, flat
from limr.tracking.sink import Ending, Record


class TensorBoardSink:
    """Writes in the caller's thread: tensorboardX's usual writer waits without end for one of its own if that dies."""

    def __init__(self, run: Run, folder: TrackingFolder) -> None:
        self.next_step = 1
        self._folder = folder
        self._writer = EventsWriter(str(folder.path / "events"))
        rows = ["| setting | value |", "| --- | --- |"]
        rows += [f"| {name} | {value.replace('|', '&#124;')} |" for name, value in flat({**run.tags, **run.config})]
        self._written = False
        self._settings = text("spec", "\n".join(rows))

    def log(self, record: Record) -> None:
        if not self._written:
            self._writer.write_event(Event(step=0, wall_time=record.time, summary=self._settings))
            self._written = True
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.metrics.items()]
        self._writer.write_event(Event(step=record.step, wall_time=record.time, summary=Summary(value=values)))
        self._writer.flush()
        self._folder.written()

    def close(self, ending: Ending) -> None:
        self._writer.close()
        self._folder.close()
