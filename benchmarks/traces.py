"""What TensorFlow's profiler has written of this process: events of its threads."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Event(NamedTuple):
    """Something that a thread did.

    Attributes:
        thread: its number.
        name: of an operation "NAME:KIND", such as "gcn/br_up2_relu_1/Relu:Relu".
        start, duration: in picoseconds.
    """

    thread: int
    name: str
    start: int
    duration: int


def events(folder: Path) -> Iterator[Event]:
    """All that is in the one trace under a folder, thread by thread."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (trace,) = folder.glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(trace.read_bytes())
    (host,) = (plane for plane in space.planes if plane.name == "/host:CPU")
    for thread, line in enumerate(host.lines):
        for event in line.events:
            name = host.event_metadata[event.metadata_id].name
            # `timestamp_ns` is in nanoseconds, all else in picoseconds.
            start = line.timestamp_ns * 1000 + event.offset_ps
            yield Event(thread, name, start, event.duration_ps)
