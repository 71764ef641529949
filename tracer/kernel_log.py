"""Which limit was hit when memory ran out: the kernel's log says so, and no event does.

The log is read where it is now, without waiting, and a bounded number of lines at a time: a log
that fills quickly costs the recording no more than one that does not.

Sources: dump_header() and oom_kill_process() (mm/oom_kill.c), mem_cgroup_print_oom_context()
(mm/memcontrol.c), the constraint and group since Linux 5.0; Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

PATH = "/dev/kmsg"
_RECORD = 8192  # a longer one is not given (PRINTK_MESSAGE_MAX)
_AT_ONCE = 256
_KIB = 1024
# A prefix of 8 or more is not the kernel's own: who may write to /dev/kmsg may write anything.
_KERNEL_PREFIXES = 8

_USAGE = re.compile(rb"memory: usage (\d{1,18})kB, limit (\d{1,18})kB")
_KILL = re.compile(
    rb"oom-kill:constraint=CONSTRAINT_(NONE|CPUSET|MEMORY_POLICY|MEMCG),"
    rb".*,task=.*,pid=(\d{1,9}),uid=\d+"
)
_GROUP = re.compile(rb",oom_memcg=(/.*),task_memcg=/")


class KernelLog:
    """The kernel's log from now on.

    Args:
        with_groups: names of cgroups may be written.

    Where the log may not be opened (CAP_SYSLOG, no /dev/kmsg) nothing is found. To read it later
    takes no rights.
    """

    def __init__(self, *, with_groups: bool = True) -> None:
        self._with_groups = with_groups
        self._usage: tuple[int, int] | None = None
        try:
            self._fd = os.open(PATH, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._fd = -1
            return
        try:
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self.close()

    def look(self, write_fact: Callable[[dict[str, Any]], None]) -> None:
        """Tell of what has been written since the last look.

        Args:
            write_fact: takes the content of a FACT chunk of the kind "oom".
        """
        for _ in range(_AT_ONCE if self._fd >= 0 else 0):
            try:
                record = os.read(self._fd, _RECORD)
            except BrokenPipeError:  # some were overwritten; the next read gives the oldest
                continue
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if not record:
                return
            if (fact := self._look_at(record)) is not None:
                write_fact(fact)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _look_at(self, record: bytes) -> dict[str, Any] | None:
        prefix, _, text = record.partition(b";")
        text = text.partition(b"\n")[0]
        priority = prefix.partition(b",")[0]
        if not priority.isdigit() or int(priority) >= _KERNEL_PREFIXES:
            return None
        if found := _USAGE.match(text):
            self._usage = int(found[1]) * _KIB, int(found[2]) * _KIB
        elif found := _KILL.fullmatch(text):
            usage, self._usage = self._usage, None
            return self._fact(found[1].decode().lower(), int(found[2]), text, usage)
        return None

    def _fact(
        self, constraint: str, tgid: int, text: bytes, used: tuple[int, int] | None
    ) -> dict[str, Any]:
        group = _GROUP.search(text) if self._with_groups else None
        usage, limit = (used or (None, None)) if constraint == "memcg" else (None, None)
        return {
            "kind": "oom",
            "tgid": tgid,
            "constraint": constraint,
            "cgroup": group[1].decode("utf-8", "backslashreplace") if group else None,
            "usage_bytes": usage,
            "limit_bytes": limit,
        }
