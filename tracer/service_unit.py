"""The systemd unit of the flight recorder: the one place that has its text.

Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5), capabilities(7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tracer.engine import DETAILS_RING_BYTES
from tracer.least_rights import LOADING, RECORDING
from tracer.units import format_size

NAME = "rtrace.service"
MARK = "# Made by `rtrace install-service`."
CAPTURE = "host.rtrace"

_MIB = 1 << 20
# Peak of the recorder without its rings (docs/benchmarks.md), and what a save takes besides.
_RECORDER_BYTES = 30 * _MIB
_SPARE_BYTES = 34 * _MIB
# LLVM, with which the bcc engine compiles.
_COMPILER_BYTES = 192 * _MIB
_STATE = "/var/lib/"

_CORE = """\
ProtectKernelModules=yes
MemoryDenyWriteExecute=yes"""
_COMPILING = """\
# This host has no BTF, so the programs are compiled: with the kernel's headers, which
# ProtectKernelModules would hide, by LLVM, which MemoryDenyWriteExecute would stop.
PrivateTmp=yes"""

_TEMPLATE = """\
{mark}
# Another bound or other triggers: run it again with --force.
# On the disk this is {total} at most: {bound} of what is going on, {keep} saves of as much, and
# while it stops the same once more beside the one of the last stop.

[Unit]
Description=Flight recorder for the processes of container runtimes
Documentation=man:systemd.service(5)
RequiresMountsFor={directory}
StartLimitIntervalSec=10min
StartLimitBurst=5

[Service]
Type=notify
ExecStart={command}
{places}
UMask=0077

# A recorder that hangs is killed: what it recorded is on the disk, and is saved by the next one.
WatchdogSec=30s
WatchdogSignal=SIGKILL
Restart=on-failure
RestartSec=2s
TimeoutStartSec=2min
TimeoutStopSec=2min

# Bounds. The kernel counts both mappings of a ring; {rings} of rings are in this.
MemoryHigh={memory_high}
MemoryMax={memory_max}
MemorySwapMax=0
CPUQuota=50%
TasksMax=64
LimitCORE=0
# Ahead of others, or events are lost when a host is out of CPU; alive when it is out of memory.
Nice=-10
OOMScoreAdjust=-500
# Before kernel 5.11 maps count as locked memory.
LimitMEMLOCK=infinity

# What root may do until it records, and then; it gives up what is not needed any more.
{rights}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
SystemCallFilter=@system-service bpf perf_event_open
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
PrivateDevices=yes
{by_engine}
# Left out, for it would be blind: ProtectProc, ProcSubset, PrivateUsers, PrivatePIDs.

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What the unit runs.

    Attributes:
        rtrace: absolute path of the command.
        directory: for the recording and its saves, an absolute path.
        max_bytes: bound of the recording; each save is that large at most.
        triggers: words of tracer.triggers.
        keep: how many saves are kept.
        buffer_bytes: size of the events ring, a power of two.
        no_args: record no arguments of programs.
        compiles: the host has no BTF, so that the bcc engine is used.
    """

    rtrace: str
    directory: str
    max_bytes: int
    triggers: Sequence[str]
    keep: int
    buffer_bytes: int
    no_args: bool = False
    compiles: bool = False

    @property
    def record_options(self) -> list[str]:
        """Arguments of `rtrace record`."""
        options = ["-o", f"{self.directory}/{CAPTURE}", "--force"]
        options += ["--max-size", _size(self.max_bytes), "--keep", str(self.keep)]
        options += ["--buffer", _size(self.buffer_bytes)]
        for trigger in self.triggers:
            options += ["--trigger", trigger]
        return [*options, "--no-args"] if self.no_args else options


def render_unit(service: Service) -> str:
    """Content of the unit file."""
    rings = service.buffer_bytes + DETAILS_RING_BYTES
    memory_high = 2 * rings + _RECORDER_BYTES + _SPARE_BYTES
    memory_high += _COMPILER_BYTES if service.compiles else 0
    directory = service.directory
    inside = directory.removeprefix(_STATE) if directory.startswith(_STATE) else None
    places = [
        f"StateDirectory={_quote(inside)}" if inside else f"ReadWritePaths={_quote(directory)}",
        *(["StateDirectoryMode=0700"] if inside else []),
        "RuntimeDirectory=rtrace",
        "RuntimeDirectoryMode=0700",
        "RuntimeDirectoryPreserve=yes",
    ]
    command = [service.rtrace, "record", *service.record_options]
    rights = LOADING | RECORDING
    return _TEMPLATE.format(
        mark=MARK,
        total=format_size(service.max_bytes * (service.keep + 3)),
        bound=format_size(service.max_bytes),
        keep=service.keep,
        directory=_quote(directory),
        command=" ".join(_quote(word).replace("$", "$$") for word in command),
        places="\n".join(places),
        rings=format_size(rings),
        rights="\n".join(f"#   {name!s:19}  {why}" for name, why in rights.items()),
        capabilities=" ".join(map(str, rights)),
        by_engine=_COMPILING if service.compiles else _CORE,
        memory_high=_size(memory_high),
        memory_max=_size(memory_high + 64 * _MIB),
    )


def _size(size_bytes: int) -> str:
    """As both systemd and `rtrace record` read it."""
    return str(size_bytes) if size_bytes % _MIB else f"{size_bytes // _MIB}M"


def _quote(word: str) -> str:
    """As systemd.syntax(7) reads it: specifiers, and quotes only where there is need."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9/.,:=!%@+_-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
