"""What `record --trigger` adds: a look at each batch of events, here of a fork storm."""

from __future__ import annotations

import random
import struct
import time

from bench.stats import Summary
from tracer import abi
from tracer.capture_format import EVENT_STRIDE
from tracer.triggers import Trigger, TriggerWatch

_SHIM = "/usr/bin/containerd-shim-runc-v2"
_LOOKS = 20  # at one batch, for one figure


def measure_watch(containers: int, rounds: int) -> Summary:
    """Nanoseconds of CPU an event, while all triggers are waited for.

    Args:
        containers: so many live on the host.
    """
    watch = TriggerWatch(tuple(Trigger))
    _add_host(watch, containers)
    batch = _storm(2000)
    count = len(batch) // EVENT_STRIDE
    costs = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        for _ in range(_LOOKS):
            watch.look_at_events(batch)
        costs.append((time.thread_time_ns() - began) / _LOOKS / count)
    return Summary.of(costs)


def _add_host(watch: TriggerWatch, containers: int) -> None:
    programs = [
        ("/usr/bin/dockerd", ["dockerd"], "/"),
        ("/usr/bin/containerd", ["containerd"], "/"),
    ]
    for number in range(containers):
        name = f"{number:064x}"
        programs.append((_SHIM, [_SHIM, "-namespace", "moby", "-id", name], "/"))
        programs.append(("/bin/web", ["web"], f"/docker/{name}"))
    for number, (exe, args, cgroup) in enumerate(programs):
        watch.look_at_process(
            {
                "tgid": 1000 + number,
                "start_ns": 10**9 + number * 7_654_321,
                "exe": exe,
                "args": args,
                "cgroup": f"0::{cgroup}\n",
            }
        )


def _storm(processes: int) -> bytes:
    """Each is forked, exits and is reaped, as it lies in the ring."""
    numbers = random.Random(1)
    now, records = 10**13, bytearray()
    for index in range(processes):
        now += numbers.randrange(40_000)
        for kind in (abi.Type.FORK, abi.Type.EXIT, abi.Type.REAP):
            tgid = 300 + index % 32000
            event = abi.Event(ts_ns=now, start_ns=now, tgid=tgid, tid=tgid, type=kind)
            records += struct.pack("<II", abi.EVENT_SIZE, 0) + bytes(event)
    return bytes(records)
