"""One row a process."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.identity import identify
from analysis.processes import df_processes
from analysis.table import Table, load
from tests.streams import Stream
from tracer.abi import Flag, Type


def read(stream: Stream, folder: Path) -> pd.DataFrame:
    return df_processes(load(stream.write(folder / "x.rtrace")))


def table_of(stream: Stream, folder: Path) -> Table:
    return load(stream.write(folder / "x.rtrace"))


def test_a_whole_life(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    child = s.fork(shell)
    born = s.now
    s.exec(child, "/bin/true", "true -x", cgroup="/job")
    exit_ns = s.exit(child, 3)
    reap_ns = s.reap(child)

    row = read(s, tmp_path).loc[child.id]

    assert (row["tgid"], row["start_ns"]) == (child.tgid, child.start_ns)
    assert (row["fork_ns"], row["seen_ns"]) == (born, born)
    assert (row["exit_ns"], row["reap_ns"]) == (exit_ns, reap_ns)
    assert (row["exit_code"], row["exit_status"], row["exit_signal"]) == (768, 3, 0)
    assert (row["comm"], row["filename"], row["args"]) == ("true", "/bin/true", ("true", "-x"))
    assert (row["cgroup"], row["cgroup_v1"]) == ("/job", "")
    assert (row["forker"], row["execs"]) == (shell.id, 1)
    assert not row["stub"]


def test_killed_with_a_core(tmp_path: Path) -> None:
    s = Stream()
    child = s.fork(s.process("sh"))
    s.exit(child, exit_code=11 | 0x80)
    row = read(s, tmp_path).loc[child.id]
    assert (row["exit_signal"], row["exit_status"], row["core"]) == (11, 0, True)


def test_alive_at_the_end(tmp_path: Path) -> None:
    s = Stream()
    child = s.fork(s.process("sh"))
    row = read(s, tmp_path).loc[child.id]
    for name in ("exit_ns", "exit_code", "exit_status", "exit_signal", "reap_ns", "subreaper_ns"):
        assert row[name] is pd.NA
    assert not row["core"]


def test_what_is_not_execed_is_inherited(tmp_path: Path) -> None:
    s = Stream()
    old = s.process("runc", exe="/bin/old", args=["old"], cgroup="/old")
    s.snapshot("start")
    before = s.fork(old)
    s.exec(old, "/bin/new", "new", cgroup="/new")
    after = s.fork(s.fork(s.fork(old)))
    s.exec(old, "/bin/newest", "newest")
    s.attach(before, "/moved")

    frame = read(s, tmp_path)

    assert frame.loc[before.id, ["filename", "args", "cgroup"]].tolist() == [
        "/bin/old",
        ("old",),
        "/moved",
    ]
    assert frame.loc[after.id, ["filename", "args", "cgroup"]].tolist() == [
        "/bin/new",
        ("new",),
        "/new",
    ]
    assert frame.loc[old.id, "filename"] == "/bin/newest"


def test_a_lost_detail_is_not_replaced_by_an_older_one(tmp_path: Path) -> None:
    s = Stream()
    child = s.fork(s.process("sh"))
    s.exec(child, "/bin/one")
    s.exec(child, "/bin/two", detail=False)
    assert read(s, tmp_path).loc[child.id, "filename"] is None
    s.snapshot("end")
    assert read(s, tmp_path).loc[child.id, "filename"] == "/bin/two"


def test_the_last_comm_counts(tmp_path: Path) -> None:
    s = Stream()
    alive, dead = s.fork(s.process("sh")), s.fork(s.process("sh"))
    for process in (alive, dead):
        s.exec(process, "/bin/a")
        s.comm(process, "b")
    s.exit(dead, comm="c")
    frame = read(s, tmp_path)
    assert frame.loc[[alive.id, dead.id], "comm"].tolist() == ["b", "c"]


def test_one_number_used_twice(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    first = s.fork(shell, tgid=42)
    s.exit(first, 1)
    second = s.fork(shell, tgid=42)
    frame = read(s, tmp_path)
    assert frame.loc[[first.id, second.id], "exit_status"].tolist() == [1, pd.NA]


def test_two_that_start_at_one_time(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    pair = [s.fork(shell, start_ns=5, tgid=tgid) for tgid in (51, 50)]
    for process in pair:
        s.exit(process, process.tgid)
    frame = read(s, tmp_path)
    assert frame.loc[[p.id for p in pair], "exit_status"].tolist() == [51, 50]
    assert frame.index.is_unique


def test_flags(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    shim = s.fork(init)
    at = s.subreaper(shim)
    inner = s.fork(shim, ns_tgid=1, pidns=77)
    thread = s.fork(init, flags=Flag.KTHREAD)
    frame = read(s, tmp_path)
    assert frame.loc[shim.id, "subreaper_ns"] == at
    assert frame.loc[inner.id, ["ns_init", "ns_tgid", "pidns"]].tolist() == [True, 1, 77]
    assert frame.loc[thread.id, "kthread"]
    assert frame.loc[init.id, "ns_init"]
    assert not frame.loc[shim.id, "ns_init"]


def test_known_only_by_name(tmp_path: Path) -> None:
    s = Stream()
    outside, sender = s.process("outside"), s.process("sender")
    child = s.fork(outside)
    at = s.stub(outside)
    s.signal(child, 9, sender)
    frame = read(s, tmp_path)
    assert frame["stub"].to_dict() == {child.id: False, outside.id: True, sender.id: True}
    assert frame.loc[outside.id, ["comm", "seen_ns"]].tolist() == ["outside", at - s.step]
    assert frame.loc[sender.id, "comm"] == ""


def test_the_idle_task_is_the_parent_of_init(tmp_path: Path) -> None:
    s = Stream()
    init, kthreadd = s.process("systemd", tgid=1), s.process("kthreadd", tgid=2)
    s.snapshot("start")
    s.comm(init, "systemd")
    table = table_of(s, tmp_path)
    who = identify(table)
    assert who.names(who.of("tasks", "parent")).tolist() == ["0:0", "0:0"]
    assert who.names(who.of(Type.COMM, "parent")).tolist() == ["0:0"]
    frame = df_processes(table)
    assert frame.index.tolist() == [init.id, kthreadd.id, "0:0"]
    assert frame.loc["0:0", "comm"] == "swapper/0"


@pytest.mark.parametrize("start_ns", [0, 9, 10, 9_999, 10**13, 2**53 + 1, 2**64 - 1])
def test_ids_are_exact(tmp_path: Path, start_ns: int) -> None:
    s = Stream()
    child = s.fork(s.process("sh", start_ns=2**60), tgid=4194303, start_ns=start_ns)
    assert f"4194303:{start_ns}" in read(s, tmp_path).index
    assert child.id == f"4194303:{start_ns}"


def test_cgroups_of_v1(tmp_path: Path) -> None:
    s = Stream()
    old = s.process("sh")
    entry = {"tgid": old.tgid, "start_ns": old.start_ns, "exe": None, "args": []}
    text = "12:memory:/m\n5:cpu,pids:/p\n1:name=systemd:/s\n0::/u\n"
    s.json(b"PROC", {"phase": "start", "processes": [entry | {"cgroup": text}]})
    child = s.fork(old)
    s.attach(child, "/moved", hierarchy=5)
    s.attach(child, "/other", hierarchy=12)
    frame = read(s, tmp_path)
    assert frame.loc[old.id, ["cgroup", "cgroup_v1"]].tolist() == ["/u", "/p"]
    assert frame.loc[child.id, ["cgroup", "cgroup_v1"]].tolist() == ["/u", "/moved"]


def test_an_empty_capture(tmp_path: Path) -> None:
    assert read(Stream(), tmp_path).empty


@pytest.mark.parametrize(("pidns", "gone"), [(None, True), (4026532000, False)])
def test_a_snapshot_from_within_a_pid_namespace_does_not_show_everybody(
    tmp_path: Path, pidns: int | None, gone: bool
) -> None:
    # GIVEN a process that the last snapshot does not show, after events were lost
    s = Stream()
    init = s.process("init", tgid=1)
    s.snapshot()
    child = s.fork(init, "child")
    s.lost(5)
    s.wait(10**9)
    s.comm(init, "init")
    s.task("end", init)
    s.header["pidns"] = pidns

    row = read(s, tmp_path).loc[child.id]

    # THEN it is gone, unless it may only be outside of what the snapshot shows
    assert pd.notna(row["gone_ns"]) == gone
