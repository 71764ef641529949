"""What `make bench-peers` reads out of the tools' outputs: lines as these tools print them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.build import STORM_NAME as STORM
from bench.peers.perf import parse_line
from bench.peers.records import EXEC, EXIT, FORK, Output, Record
from bench.peers.strace import read_trace
from bench.peers.text_tools import Bpftrace, Forkstat, LibbpfTools
from bench.peers.tool import Command

FORKSTAT = f"""\
Time     Event     PID Info   Duration Process
18:44:03 fork        0 parent          [swapper]
18:44:03 fork     9001 child           <unknown>
18:44:03 exec     9001                 <unknown>
18:44:04 exec     9136                 /tmp/x/{STORM} exec 100 2
18:44:07 fork     9138 parent          /tmp/x/{STORM} exec 100 2
18:44:07 fork     9172 child           <unknown>
18:44:07 exec     9172                 {STORM}
18:44:07 exit     9172      0   0.001s <unknown>
18:44:07 exit     9999    256  unknown bash
"""

STRACE = """\
9602  execve("/tmp/x/storm", ["storm", "vfork", "20", "1"], 0x7f /* 3 vars */) = 0
9602  clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x1d) = 9603
9602  wait4(-1,  <unfinished ...>
9603  vfork( <unfinished ...>
9604  execve("/tmp/x/storm", ["storm"], 0x4c /* 0 vars */ <unfinished ...>
9603  <... vfork resumed>)              = 9604
9604  <... execve resumed>)             = 0
9604  exit_group(0 <unfinished ...>
9604  <... exit_group resumed>)         = ?
9604  +++ exited with 0 +++
9603  --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9604, si_status=0} ---
"""


def kinds(records: Sequence[Record], name: str = STORM) -> list[tuple[str, int]]:
    return [(record.kind, record.pid) for record in records if record.name == name]


def command(path: Path, text: str, errors: str = "") -> Command:
    made = Command(["tool"], path.with_suffix(".out"))
    made.output.write_text(text)
    made.errors.write_text(errors)
    return made


def test_forkstat(tmp_path: Path) -> None:
    (records,) = Forkstat().read([command(tmp_path / "f", FORKSTAT)], 0).streams

    assert [record.pid for record in records if record.name == "<unknown>"] == [9001]
    assert kinds(records) == [(EXEC, 9136), (FORK, 9172), (EXEC, 9172), (EXIT, 9172)]
    fork = next(record for record in records if record.name == STORM and record.kind == FORK)
    assert fork.size == sum(len(line) + 1 for line in FORKSTAT.splitlines()[5:7])


def test_strace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(STRACE)

    records = read_trace(path)

    assert kinds(records) == [(EXEC, 9602), (FORK, 9603), (FORK, 9604), (EXEC, 9604), (EXIT, 9604)]
    assert sum(record.size for record in records) == pytest.approx(len(STRACE))


def test_libbpf_tools(tmp_path: Path) -> None:
    execsnoop = f"PCOMM PID PPID RET ARGS\n{STORM}     9139   9138     0 storm \n"
    exitsnoop = f"PCOMM PID PPID TID AGE(s) EXIT_CODE\n{STORM} 9139 9138 9139 0.00 0\n"
    commands = [
        command(tmp_path / "exec", execsnoop, "Lost 3 events on CPU #0!\nLost 4 events on CPU #1!"),
        command(tmp_path / "exit", exitsnoop),
    ]

    output = LibbpfTools().read(commands, 0)

    assert [kinds(stream) for stream in output.streams] == [[(EXEC, 9139)], [(EXIT, 9139)]]
    assert output.reported_lost == 7


def test_bpftrace(tmp_path: Path) -> None:
    text = (
        f"Attaching 3 probes...\nfork 7 6 {STORM}\nexec 8 7 bash\nLost 5 events\nexit 7 6 {STORM}\n"
    )

    output = Bpftrace().read([command(tmp_path / "b", text)], 0)

    assert kinds(output.streams[0]) == [(FORK, 7), (EXIT, 7)]
    assert output.reported_lost == 5


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (
            f"sched:sched_process_fork: comm={STORM} pid=1 child_comm=x y child_pid=2",
            Record(FORK, 2, STORM, 0),
        ),
        (
            f"sched:sched_process_exec: filename=/tmp/x/{STORM} pid=2 old_pid=2",
            Record(EXEC, 2, STORM, 0),
        ),
        (
            f"sched:sched_process_exit: comm={STORM} pid=2 prio=120 group_dead=true",
            Record(EXIT, 2, STORM, 0),
        ),
        ("sched:sched_process_exit: comm=a b pid=3 prio=120", Record(EXIT, 3, "a b", 0)),
        ("sched:sched_switch: prev_comm=a prev_pid=1", None),
    ],
)
def test_perf_script(line: str, record: Record | None) -> None:
    assert parse_line(line.encode()) == record


def test_what_is_missing_is_counted_by_kind() -> None:
    stream = [
        Record(EXIT, 5, "rtrace-mark", 30),
        Record(FORK, 7, STORM, 10),
        Record(EXIT, 7, STORM, 20),
        Record(EXIT, 8, STORM, 20),
        Record(EXIT, 5, "other", 20),
    ]
    output = Output([stream], None)

    assert output.missing({FORK: 2, EXIT: 2}) == 1
    assert output.missing({EXIT: 1}) == 0
    assert output.storm_bytes() == 50
    assert output.first_seen({5, 8}) == [5]
    assert output.has_seen(5)
    assert not output.has_seen(8)  # in the storm, pids come again
