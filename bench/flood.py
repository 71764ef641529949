"""Synthetic events, made in BPF at a given rate (flood.bpf.c).

`python -m bench.flood OBJECT EVENTS_ID LOSSES_ID RATE SECONDS` is the producer: a process of its
own, so that the recorder is not disturbed. It prints how many events it made and the seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.recording import BUFFER_BYTES, Setup, recording
from tracer.engine import LOSS_SIZE, possible_cpus
from tracer.libbpf import BpfObject, library

EVENTS_A_PROCESS = 3
_RINGBUF, _ARRAY = 27, 2  # enum bpf_map_type
_BATCH = 256  # processes a call: some 100 us
_PAUSE_S = 0.0002


class _Options(ctypes.Structure):
    """struct bpf_test_run_opts (libbpf's bpf.h)."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class _Request(ctypes.Structure):
    """struct flood_request of flood.bpf.c."""

    _fields_ = [("processes", ctypes.c_uint32), ("first_tgid", ctypes.c_uint32)]


class FloodObject(BpfObject):
    """The loaded flood.bpf.o, writing into somebody else's maps."""

    def reuse_map(self, name: str, map_id: int) -> None:
        """Before load(): takes a map that exists for one of the object's."""
        lib = library()
        lib.bpf_map_get_fd_by_id.argtypes = [ctypes.c_uint32]
        lib.bpf_map__reuse_fd.argtypes = [ctypes.c_void_p, ctypes.c_int]
        fd = lib.bpf_map_get_fd_by_id(map_id)
        if fd < 0 or lib.bpf_map__reuse_fd(self._map(name), fd):
            raise BenchError(f"cannot use the recorder's BPF map {name}")
        os.close(fd)

    def make_events(self, processes: int, first_tgid: int) -> None:
        """One call of the program."""
        lib = library()
        lib.bpf_prog_test_run_opts.argtypes = [ctypes.c_int, ctypes.POINTER(_Options)]
        request = _Request(processes, first_tgid)
        options = _Options(
            sz=ctypes.sizeof(_Options),
            ctx_in=ctypes.addressof(request),
            ctx_size_in=ctypes.sizeof(request),
        )
        error = lib.bpf_prog_test_run_opts(
            lib.bpf_program__fd(self._program("flood")), ctypes.byref(options)
        )
        if error:
            raise BenchError(f"cannot run the flood program: {os.strerror(-error)}")


def produce(bpf: FloodObject, rate: float, seconds: float) -> tuple[int, float]:
    """Makes events at a steady rate, in short batches.

    Args:
        rate: events a second.

    Returns: how many were made (or lost), and in how many seconds.
    """
    processes, start = 0, time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        if processes * EVENTS_A_PROCESS < elapsed * rate:
            bpf.make_events(_BATCH, processes)
            processes += _BATCH
        else:
            time.sleep(_PAUSE_S)
    return processes * EVENTS_A_PROCESS, time.monotonic() - start


@dataclass(frozen=True, slots=True)
class FloodRun:
    """One rate that was tried.

    Attributes:
        asked_rate, made_rate: events a second, wanted and achieved.
        recorder_ns_per_event: CPU of the recorder, less what it takes when idle.
    """

    asked_rate: float
    made_rate: float
    made: int
    lost: int
    bytes_per_event: float
    recorder_ns_per_event: float
    ring_peak_bytes: int
    rss_bytes: int

    def as_json(self) -> dict[str, float]:
        """For the JSON file."""
        return asdict(self)


def measure_flood(
    setup: Setup, program: Path, rate: float, seconds: float, idle_share: float
) -> FloodRun:
    """Records a flood.

    Args:
        idle_share: see Outcome.ns_per_event.

    Raises:
        BenchError: this kernel does not take the program, or no recorder starts.
    """
    with recording(setup) as current:
        ids = (
            current.map_id(map_type=_RINGBUF, max_entries=BUFFER_BYTES),
            current.map_id(map_type=_ARRAY, value_size=LOSS_SIZE, max_entries=possible_cpus()),
        )
        arguments = [str(argument) for argument in (program, *ids, rate, seconds)]
        done = subprocess.run(
            [sys.executable, "-m", "bench.flood", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[1],
        )
    if done.returncode:
        raise BenchError.from_output("the producer", done.stderr)
    outcome = current.outcome
    assert outcome is not None
    made, elapsed = (float(field) for field in done.stdout.split())
    return FloodRun(
        asked_rate=rate,
        made_rate=made / elapsed,
        made=int(made),
        lost=outcome.lost,
        bytes_per_event=outcome.sizes.events_bytes / max(1, outcome.sizes.events),
        recorder_ns_per_event=outcome.ns_per_event(idle_share),
        ring_peak_bytes=outcome.ring_peak_bytes,
        rss_bytes=outcome.rss_bytes,
    )


def _main() -> None:
    path, events_id, losses_id, rate, seconds = sys.argv[1:]
    with contextlib.closing(FloodObject(path)) as bpf:
        bpf.reuse_map("events", int(events_id))
        bpf.reuse_map("losses", int(losses_id))
        bpf.load()
        print(*produce(bpf, float(rate), float(seconds)))


if __name__ == "__main__":
    _main()
