"""A capture is hostile input: the work on it grows with its size, not with the square of it.

What is counted are the lines of analysis/ that run, not seconds: the same on any machine. Between
size n and 2n, and between 2n and 4n, twice as many are added if the work is linear: 2.00 times was
measured. A look at each container for each client made it 2.10.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import analysis
from analysis.markdown_fit import Part, fit
from analysis.model import open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from analysis.text_layout import wrap
from tests import lives
from tests.streams import Stream

_HERE = str(Path(analysis.__file__).parent)
_PIDNS = 4026532500


def containers(size: int) -> Stream:
    """Containers, one after the other, each with a client that names it."""
    host = lives.host()
    for number in range(size):
        cid, name = f"{number:064x}", f"web-{number}"
        client = f"docker run --rm --name {name} nginx"
        lives.begin(host, cid=cid, name=name, client=client, pidns=_PIDNS + number)
        lives.end(host, cid, stop=False)
    host.stream.snapshot("end")
    return host.stream


def checked_container(size: int) -> Stream:
    """One container with many health checks."""
    host = lives.host()
    parts = lives.begin(host)
    for _ in range(size):
        process = lives.run_exec(host, parts["shim"], lives.CID, "/bin/true")
        host.stream.die(process)
    host.stream.snapshot("end")
    return host.stream


def crowd(size: int) -> Stream:
    """Processes in one container, killed with it."""
    host = lives.host()
    init = lives.begin(host)["init"]
    for _ in range(size):
        host.stream.fork(init)
    host.stream.signal(init, 9, host.shell)
    lives.end(host, signal=9)
    return host.stream


def orphans(size: int) -> Stream:
    """A parent of many dies, and so does each next reaper."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    shim = stream.process("shim", init, subreaper=True)
    parent = stream.fork(shim)
    for _ in range(size):
        stream.fork(stream.fork(parent))
    for child in list(parent.children):
        stream.die(child)
    stream.die(parent)
    stream.die(shim)
    stream.snapshot("end")
    return stream


def signals(size: int) -> Stream:
    """Many signals to one process, each by another."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    target = stream.fork(init)
    for _ in range(size):
        sender = stream.fork(init)
        stream.signal(target, 15, sender)
        stream.die(sender)
    stream.die(target, signal=15)
    stream.snapshot("end")
    return stream


def recycled(size: int) -> Stream:
    """All processes have the same number."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for _ in range(size):
        process = stream.fork(init, tgid=777)
        stream.exec(process, "/bin/true")
        stream.die(process)
    stream.snapshot("end")
    return stream


def giant_texts(size: int) -> Stream:
    """Names as long as a record allows, all of them different."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    for number in range(size):
        process = stream.fork(init)
        group = f"/{'x' * 200}/" * 4 + f"{number:064x}"
        stream.exec(process, f"/{'y' * 400}/{number}", ["z" * 3000, str(number)], cgroup=group)
        stream.die(process)
    return stream


def one_name(size: int) -> Stream:
    """Containers that had the same name, one after the other, each with a client that names it."""
    host = lives.host()
    for number in range(size):
        lives.begin(host, cid=f"{number:064x}", pidns=_PIDNS + number)
        lives.end(host, f"{number:064x}", stop=False)
    return host.stream


def nameless(size: int) -> Stream:
    """Commands that name no container, all at the same time as that many containers begin."""
    host = lives.host()
    clients = [host.stream.fork(host.shell) for _ in range(size)]
    for client in clients:
        host.stream.exec(client, "/usr/bin/docker", "docker run nginx")
    for number in range(size):
        cid, name = f"{number:064x}", f"n{number}"
        lives.begin(host, cid=cid, name=name, client=None, pidns=_PIDNS + number)
    for client in clients:
        host.stream.die(client)
    return host.stream


def daemons(size: int) -> Stream:
    """Daemons that follow each other."""
    host = lives.host()
    for _ in range(size):
        daemon = host.stream.fork(host.init)
        host.stream.exec(daemon, "/usr/bin/dockerd", "dockerd")
        host.stream.die(daemon)
    return host.stream


def heads(size: int) -> Stream:
    """Processes 1 of one container that live at the same time, each with one more process."""
    host = lives.host()
    shim = lives.begin(host)["shim"]
    cgroup = f"/docker/{lives.CID}"
    made = []
    for number in range(size):
        head = host.stream.fork(shim, ns_tgid=1, pidns=_PIDNS + 1 + number)
        host.stream.exec(head, "/bin/app", cgroup=cgroup)
        host.stream.exec(host.stream.fork(head), "/bin/worker", cgroup=cgroup)
        made.append(head)
    for head in made:
        host.stream.exit(head, signal=9)
    return host.stream


def shims(size: int) -> Stream:
    """Shims of one container that live at the same time, and processes 1 whose shim none was."""
    host = lives.host()
    binary = "/usr/bin/containerd-shim-runc-v2"
    line = f"{binary} -namespace moby -id {lives.CID} -address /x"
    for number in range(size):
        host.stream.exec(host.stream.fork(host.containerd), binary, line)
        head = host.stream.fork(host.init, ns_tgid=1, pidns=_PIDNS + number)
        host.stream.exec(head, "/bin/app", cgroup=f"/docker/{lives.CID}")
    return host.stream


def calls(size: int) -> Stream:
    """Calls of runc for one container, made and not made by the same shim."""
    host = lives.host()
    shim = lives.begin(host)["shim"]
    for number in range(size):
        verb = ("create", "start", "kill", "state")[number % 4]
        lives.call(host, shim, f"/usr/bin/runc --root /r {verb} {lives.CID}")
    return host.stream


def killed_chain(size: int) -> Stream:
    """Each is the parent of the next, and is killed by it."""
    stream = Stream()
    chain = [stream.process("systemd", tgid=1)]
    for _ in range(size):
        chain.append(stream.fork(chain[-1]))
    for target, sender in itertools.pairwise(chain[1:]):
        stream.signal(target, 9, sender)
        stream.exit(target, signal=9)
    stream.snapshot("end")
    return stream


def victims(size: int) -> Stream:
    """OOM kills of processes that have the same number, one after the other."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    for _ in range(size):
        process = stream.fork(init, tgid=777)
        stream.oom(process)
        stream.fact("oom", tgid=777, constraint="memcg", cgroup="/x", limit_bytes=1)
        stream.die(process, signal=9)
    return stream


def looks(size: int) -> Stream:
    """Snapshots of one phase, and what /proc said in another."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    for _ in range(size):
        stream.task("end", init)
    for _ in range(size):
        stream.proc("start", init)
    return stream


MAKERS = (
    containers,
    one_name,
    nameless,
    daemons,
    checked_container,
    crowd,
    orphans,
    signals,
    recycled,
    giant_texts,
    heads,
    shims,
    calls,
    killed_chain,
    victims,
    looks,
)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_work_grows_with_the_size(make: Callable[[int], Stream], tmp_path: Path) -> None:
    paths = [make(size).write(tmp_path / f"{size}.rtrace") for size in (16, 32, 64)]
    few, more, many = (_count_lines(partial(_report, path)) for path in paths)
    assert many - more <= 2.05 * (more - few)


def test_one_long_word_is_looked_at_once() -> None:
    few, more, many = (
        _count_lines(partial(wrap, "\u4e2d" * size, 60)) for size in (1000, 2000, 4000)
    )
    assert many - more <= 2.05 * (more - few)


def test_parts_that_do_not_fit_are_looked_at_once() -> None:
    parts = [Part(["x" * 100], optional=True)]
    few, more, many = (_count_lines(partial(fit, parts * size)) for size in (2000, 4000, 8000))
    assert many - more <= 2.05 * (more - few)


def _report(path: Path) -> None:
    report = build_report(open_capture(path), every_process=False)
    render_text(report, width=100, color=False)


def _count_lines(work: Callable[[], Any]) -> int:
    """Lines of analysis/ that something runs."""
    count = 0

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return on_line

    def on_call(frame: FrameType, *_: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(_HERE) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
