"""Tools that print a line for each event: bpftrace, libbpf-tools, forkstat, a bcc script."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.build import STORM_NAME
from bench.peers.records import EXEC, EXIT, FORK, Output, Record
from bench.peers.tool import (
    Command,
    ask_version,
    find_program,
    read_lines,
    sum_matches,
    with_tracefs,
)

_LOST = r"[Ll]ost (\d+) events"
_BPFTRACE_SCRIPT = r"""
tracepoint:sched:sched_process_fork {
	printf("fork %d %d %s\n", args->child_pid, args->parent_pid, comm);
}
tracepoint:sched:sched_process_exec {
	printf("exec %d %d %s\n", pid, curtask->real_parent->tgid, comm);
}
tracepoint:sched:sched_process_exit {
	printf("exit %d %d %s\n", pid, curtask->real_parent->tgid, comm);
}
"""


class Bpftrace:
    """A script on the three tracepoints that prints pid, ppid and comm."""

    name = "bpftrace"
    kinds = (FORK, EXEC, EXIT)

    def version(self) -> str:
        """See Tool."""
        return ask_version("bpftrace", "--version")

    def commands(self, directory: Path) -> list[Command]:
        """See Tool."""
        argv = [find_program("bpftrace", "bpftrace"), "-e", _BPFTRACE_SCRIPT]
        return [Command(with_tracefs(argv), directory / "bpftrace.out")]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool."""
        paths = [commands[0].data, commands[0].errors]
        return Output([list(_read_plain(commands[0].data))], sum_matches(_LOST, paths))


class BccCallback:
    """bcc_callback.py beside this file: its callback prints what bpftrace's script prints."""

    name = "bcc, Python callback"
    kinds = (FORK, EXEC, EXIT)

    def version(self) -> str:
        """See Tool."""
        return ask_version(sys.executable, "-c", "import bcc; print(bcc.__version__)")

    def commands(self, directory: Path) -> list[Command]:
        """See Tool."""
        script = Path(__file__).with_name("bcc_callback.py")
        return [Command([sys.executable, str(script)], directory / "bcc.out")]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool. bcc's ring buffer does not tell of losses."""
        return Output([list(_read_plain(commands[0].data))], None)


class LibbpfTools:
    """execsnoop and exitsnoop, two processes; forks are not among what they show."""

    name = "execsnoop + exitsnoop"
    kinds = (EXEC, EXIT)

    def version(self) -> str:
        """See Tool. What they print is not the package's version."""
        return ""

    def commands(self, directory: Path) -> list[Command]:
        """See Tool. Debian 13 has them with a suffix; bpfcc-tools' are other programs."""
        return [
            Command(
                with_tracefs([find_program("libbpf-tools", name, f"{name}-libbpf")]),
                directory / f"{name}.out",
            )
            for name in ("execsnoop", "exitsnoop")
        ]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool. Both: PCOMM PID ..., after a line of titles."""
        streams = [
            [
                Record(kind, int(fields[1]), fields[0], size)
                for fields, size in read_lines(command.data)
                if len(fields) > 1 and fields[1].isdecimal()
            ]
            for command, kind in zip(commands, self.kinds, strict=True)
        ]
        return Output(streams, sum_matches(_LOST, [command.errors for command in commands]))


class Forkstat:
    """forkstat, as it comes: forks, execs and exits from the kernel's process connector."""

    name = "forkstat"
    kinds = (FORK, EXEC, EXIT)

    def version(self) -> str:
        """See Tool."""
        return ask_version("forkstat", "-h")

    def commands(self, directory: Path) -> list[Command]:
        """See Tool."""
        return [Command([find_program("forkstat", "forkstat")], directory / "forkstat.out")]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool. forkstat does not notice that its socket overflowed."""
        return Output([list(_read_forkstat(commands[0].data))], None)


def _read_plain(path: Path) -> Iterator[Record]:
    """KIND PID PPID COMM"""
    for fields, size in read_lines(path):
        if len(fields) >= 4 and fields[0] in (FORK, EXEC, EXIT):
            yield Record(fields[0], int(fields[1]), " ".join(fields[3:]), size)


def _read_forkstat(path: Path) -> Iterator[Record]:
    """TIME EVENT PID INFO DURATION COMMAND...; a fork is two lines, of parent and child.

    What a process is called is looked up in /proc: of those that are gone by then only the pid
    is known. Once a storm has begun these are taken for its children.
    """
    parent, parent_size, storming = "", 0, False
    for fields, size in read_lines(path):
        if len(fields) < 4 or fields[1] not in (FORK, EXEC, EXIT) or not fields[2].isdecimal():
            continue
        kind, pid = fields[1], int(fields[2])
        name = next((field for field in fields[3:] if not _is_info(field)), "").rpartition("/")[2]
        storming = storming or name == STORM_NAME
        if name == "<unknown>" and storming:
            name = STORM_NAME
        if kind != FORK:
            yield Record(kind, pid, name, size)
        elif fields[3] == "parent":
            parent, parent_size = name, size
        else:
            yield Record(kind, pid, parent, parent_size + size)


def _is_info(field: str) -> bool:
    """Which side of a fork, or exit status and duration: they come before the command."""
    return field in ("parent", "child", "unknown") or field[:1].isdecimal()
