"""Which directory of /proc is the process that a record names.

Records name processes by their ids in the initial pid namespace and by the kernel's boot clock.
/proc has the ids of the pid namespace that it was mounted in, and the reader's time namespace's
clock. In a container with a pid namespace of its own, process 100 of a record is not /proc/100
and must not be taken for it: there the task iterator is asked, which knows both ids.

Source: pid_namespaces(7), proc(5); bpf_iter_init_seq_pidns() (kernel/bpf/task_iter.c), by which
an iterator shows the processes of its reader's pid namespace and those below.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator

from tracer import abi
from tracer.clock import boot_offset_ns

# PROC_PID_INIT_INO (include/linux/proc_ns.h): the inode of the initial pid namespace.
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
# /proc gives start times in clock ticks of 10 ms (USER_HZ is 100 on every architecture).
TICK_NS = 10_000_000
_FLAGS_FIELD, _START_FIELD = 6, 19  # of /proc/PID/stat, counted behind the comm
_PF_KTHREAD = 0x00200000  # include/linux/sched.h


def own_pid_namespace() -> int:
    """Inode of this process's pid namespace; 0 if it cannot be told (no /proc)."""
    return _inode("/proc/self/ns/pid")


def shown_pid_namespace() -> int:
    """Inode of the pid namespace whose ids /proc has; 0 if it cannot be told.

    /proc/self is there only if that is this process's own namespace or one above it.
    """
    own = own_pid_namespace()
    if own in (0, INITIAL_PID_NAMESPACE) or len(_ids("/proc/self")) == 1:
        return own
    if _is_kernel_thread("/proc/2"):  # kthreadd, which only the initial one has
        return INITIAL_PID_NAMESPACE
    return _inode("/proc/1/ns/pid")


def start_ticks(stat: bytes) -> int:
    """Start time in /proc/PID/stat, in clock ticks; the comm may hold spaces and parentheses."""
    return int(stat.rpartition(b")")[2].split()[_START_FIELD])


def expected_ticks(start_ns: int) -> int:
    """What /proc/PID/stat has for this start by the kernel's boot clock."""
    # Unsigned, also for who started before a time namespace's clock began: do_task_stat().
    return (start_ns + boot_offset_ns()) % (1 << 64) // TICK_NS


class ProcView:
    """/proc, for records of processes.

    Args:
        read_tasks: gives a new pass of the task iterator.

    Attributes:
        pidns: inode of this process's own pid namespace, 0: not known.
        isolated: that is not the initial one; so snapshots hold only what is in it.
    """

    def __init__(self, read_tasks: Callable[[], Iterable[abi.Task]]) -> None:
        self._read_tasks = read_tasks
        self.pidns = own_pid_namespace()
        self.isolated = self.pidns not in (0, INITIAL_PID_NAMESPACE)
        self._shown = shown_pid_namespace()
        self._ids: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    @property
    def has_own_ids(self) -> bool:
        """Whether /proc names processes by the ids that system calls give this process."""
        return self._shown == self.pidns

    def learn(self, tasks: Iterable[abi.Task]) -> None:
        """Takes the ids of these processes, for ``directory``, from their records."""
        if self._shown == INITIAL_PID_NAMESPACE:
            return
        deeper: dict[tuple[int, int], int] | None = None
        ids = {}
        for task in tasks:
            if task.pidns == self._shown:
                ids[task.tgid, task.start_ns] = task.ns_tgid
            elif task.pidns:
                if deeper is None:
                    deeper = _ids_below()
                shown = deeper.get((task.pidns, task.ns_tgid))
                if shown is not None:
                    ids[task.tgid, task.start_ns] = shown
        with self._lock:
            self._ids = ids

    def directory(self, tgid: int, start_ns: int) -> str | None:
        """Where /proc may have a process; None: it is not in this /proc, as far as is known."""
        if self._shown == INITIAL_PID_NAMESPACE:
            return f"/proc/{tgid}"
        with self._lock:
            shown = self._ids.get((tgid, start_ns))
        return None if shown is None else f"/proc/{shown}"

    def find(self, tgid: int, start_ns: int) -> str | None:
        """As ``directory``, of a process that no snapshot may have shown yet."""
        found = self.directory(tgid, start_ns)
        if found is None and self.pidns:
            self.learn(self._read_tasks())
            found = self.directory(tgid, start_ns)
        return found

    @contextlib.contextmanager
    def open(self, tgid: int, start_ns: int) -> Iterator[str | None]:
        """As ``find``, held open: what is read through it is this process's or nobody's."""
        directory, fd = self.find(tgid, start_ns), -1
        try:
            if directory is not None:
                with contextlib.suppress(OSError):
                    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held = f"/proc/self/fd/{fd}"
            yield held if fd >= 0 and is_process(held, start_ns) else None
        finally:
            if fd >= 0:
                os.close(fd)

    def is_alive(self, directory: str) -> bool:
        """Whether the process of a directory that cannot be read is there all the same."""
        if not self.has_own_ids:  # those to send signals to are others
            return False
        try:
            os.kill(int(os.path.basename(directory)), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def own_tgid(self) -> int | None:
        """This process's id in the initial pid namespace; None where nothing tells."""
        if not self.isolated:
            return os.getpid()
        me = (self.pidns, os.getpid())
        ids = (task.tgid for task in self._read_tasks() if (task.pidns, task.ns_tgid) == me)
        return next(ids, None)


def is_init_of(init: str, directory: str) -> bool:
    """Whether a process, by its directory of /proc, is process 1 of another one's pid namespace."""
    namespace = _inode(f"{directory}/ns/pid")
    return namespace != 0 and namespace == _inode(f"{init}/ns/pid") and _ids(init)[-1:] == [1]


def is_process(directory: str, start_ns: int) -> bool:
    """Whether a directory of /proc is that of the process with this start, to 10 ms."""
    try:
        with open(f"{directory}/stat", "rb") as file:
            return start_ticks(file.read()) == expected_ticks(start_ns)
    except OSError:
        return False


def _is_kernel_thread(directory: str) -> bool:
    try:
        with open(f"{directory}/stat", "rb") as file:
            flags = int(file.read().rpartition(b")")[2].split()[_FLAGS_FIELD])
    except OSError:
        return False
    return bool(flags & _PF_KTHREAD)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _ids(directory: str) -> list[int]:
    """Ids of a process in all pid namespaces, from that of /proc inwards; [] if it is gone."""
    try:
        with open(f"{directory}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"NSpid:"))
    except (OSError, StopIteration):
        return []
    return [int(word) for word in line.split()[1:]]


def _ids_below() -> dict[tuple[int, int], int]:
    """(pid namespace, id in it) of all processes in namespaces below that of /proc."""
    found = {}
    for name in os.listdir("/proc"):
        ids = _ids(f"/proc/{name}") if name.isdecimal() else []
        if len(ids) > 1:
            found[_inode(f"/proc/{name}/ns/pid"), ids[-1]] = ids[0]
    return found
