"""One event or detail as one line of words, for `dump` and `record --live`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from tracer import abi
from tracer.text import printable

_RESULTS = {0: "delivered", 1: "ignored", 2: "already pending", 3: "lost", 4: "delivered, no info"}


def process_text(tgid: int, start_ns: int) -> str:
    """ "tgid:start_ns", the id that reports use too."""
    return f"{tgid}:{start_ns}"


def signal_name(number: int) -> str:
    """ "SIGKILL", or "signal 64" for those without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_text(code: int) -> str:
    """What wait() reports, decoded: "exited 1", "killed by SIGKILL"."""
    if code & 0x7F:
        core = ", core dumped" if code & 0x80 else ""
        return f"killed by {signal_name(code & 0x7F)}{core}"
    return f"exited {code >> 8 & 0xFF}"


Who = Callable[[int, int], str]
"""How a process is called, by its tgid and start."""


def event_text(event: abi.Event, who: Who = process_text) -> str:
    """The event without its time: kind, subject and what happened."""
    try:
        kind = abi.Type(event.type)
    except ValueError:
        return f"unknown event {event.type}"
    subject = who(event.tgid, event.start_ns)
    return f"{kind.name.lower():9} {subject} {_FORMATTERS[kind](event, who)}".rstrip()


def _comm(raw: bytes) -> str:
    return printable(raw) or "-"


def _parent(payload: Any, who: Who) -> str:
    return f"parent={who(payload.parent_tgid, payload.parent_start_ns)}"


def _namespace(payload: Any) -> str:
    return f" ns_tgid={payload.ns_tgid} pidns={payload.pidns}" if payload.pidns else ""


def _fork(event: abi.Event, who: Who) -> str:
    fork = event.fork
    forker = ""
    if (fork.forker_tgid, fork.forker_start_ns) != (fork.parent_tgid, fork.parent_start_ns):
        forker = f" forker={who(fork.forker_tgid, fork.forker_start_ns)}"
    return f"{_comm(fork.comm)} {_parent(fork, who)}{forker}{_namespace(fork)}"


def _exec(event: abi.Event, who: Who) -> str:
    thread = f" by thread {event.exec.old_tid}" if event.exec.old_tid != event.tgid else ""
    return f"{_comm(event.exec.comm)} {_parent(event.exec, who)}{thread}{_namespace(event.exec)}"


def _exit(event: abi.Event, who: Who) -> str:
    return f"{_comm(event.exit.comm)} {exit_text(event.exit.exit_code)} {_parent(event.exit, who)}"


def _reparent(event: abi.Event, who: Who) -> str:
    reparent = event.reparent
    reaper = who(reparent.reaper_tgid, reparent.reaper_start_ns)
    zombie = " zombie" if event.flags & abi.Flag.ZOMBIE else ""
    more = " (more children)" if event.flags & abi.Flag.MORE else ""
    return (
        f"{_parent(reparent, who)} thread={reparent.parent_tid} predicted={reaper} "
        f"reason={_name(abi.Reason, reparent.reason)}{zombie}{more}"
    )


def _reaper(event: abi.Event, who: Who) -> str:
    reaper = event.reaper
    return (
        f"thread={event.tid} gave {reaper.children} children to "
        f"{who(reaper.reaper_tgid, reaper.reaper_start_ns)} "
        f"reason={_name(abi.Reason, reaper.reason)} seen-at={_name(abi.Hook, reaper.hook)}"
    )


def _signal(event: abi.Event, who: Who) -> str:
    sent = event.signal
    scope = "process" if sent.group else f"thread {event.tid}"
    context = "|".join(flag.name.lower() for flag in abi.Context(sent.context & 31) if flag.name)
    return (
        f"{signal_name(sent.signal)} to {scope}, {_RESULTS.get(sent.result, sent.result)}, "
        f"in the context of {_comm(sent.comm)} "
        f"{who(sent.sender_tgid, sent.sender_start_ns)} si_code={sent.si_code} "
        f"origin={_name(abi.Origin, sent.origin)}" + (f" context={context}" if context else "")
    )


def _named(event: abi.Event, who: Who) -> str:
    return f"{_comm(event.comm.comm)} {_parent(event.comm, who)}{_namespace(event.comm)}"


def _oom(event: abi.Event, _who: Who) -> str:
    return f"{_comm(event.oom.comm)} chosen by the OOM killer"


def _reap(event: abi.Event, _who: Who) -> str:
    return exit_text(event.reap.exit_code)


def _name(kind: type[abi.Reason] | type[abi.Hook] | type[abi.Origin], value: int) -> str:
    try:
        return kind(value).name.lower()
    except ValueError:
        return str(value)


_FORMATTERS = {
    abi.Type.FORK: _fork,
    abi.Type.EXEC: _exec,
    abi.Type.EXIT: _exit,
    abi.Type.REPARENT: _reparent,
    abi.Type.REAPER: _reaper,
    abi.Type.SIGNAL: _signal,
    abi.Type.OOM: _oom,
    abi.Type.SUBREAPER: _named,
    abi.Type.COMM: _named,
    abi.Type.REAP: _reap,
    abi.Type.STUB: _named,
}


def detail_text(detail: abi.Detail, who: Who = process_text) -> str:
    """The detail without its time."""
    subject = who(detail.tgid, detail.start_ns)
    if detail.type == abi.DetailType.ATTACH:
        return f"{'attach':9} {subject} hierarchy={detail.hierarchy} {printable(detail.cgroup)}"
    arguments = " ".join(printable(argument) or "''" for argument in detail.args)
    cut = f" ... ({detail.args_total} bytes)" if detail.args_cut else ""
    cgroup = printable(detail.cgroup) + (
        f" v1={printable(detail.cgroup_v1)}" if detail.cgroup_v1 else ""
    )
    return f"{'args':9} {subject} {printable(detail.filename)}: {arguments}{cut} cgroup={cgroup}"
