"""Ends by a signal: which process sent it, or why the kernel made it."""

from __future__ import annotations

from analysis.memory import short
from analysis.scene import End
from analysis.signals import Signal
from analysis.steps import Evidence
from analysis.why import daemons, requests, runtime, services
from analysis.why.lineage import command_of, origin_text
from analysis.why.story import CONFIRMED, INFERRED, UNKNOWN, Story, signal_text

_TERMINAL = {1: "a hang-up of", 2: "Ctrl-C on", 3: "Ctrl-\\ on"}
_FAULTS = {4: "an illegal instruction", 5: "a trap", 7: "a bus error", 8: "an arithmetic fault"}
_FAULTS |= {11: "a bad memory access", 31: "a system call that seccomp forbids"}
_TIMERS = {14: "its alarm timer", 24: "its limit of CPU time", 26: "its virtual timer"}


def explain(story: Story, pos: int, end: End) -> None:
    """Tell the end of a process that was killed, and go on with who or what killed it."""
    story.add_end(pos)
    assert end.signal is not None
    if end.oom:
        _oom(story, pos, end)
    elif end.by is None:
        _unknown(story, pos, end)
    else:
        explain_signal(story, pos, end.by, f"{story.name(pos)} was killed by")


def explain_signal(
    story: Story, pos: int, signal: Signal, clause: str, certainty: str = CONFIRMED
) -> None:
    """Where a signal came from, and go on from there.

    Args:
        clause: the answer's clause up to the signal's name.
        certainty: that the signal is what ended the process.
    """
    clause = f"{clause} {signal_text(signal.signal)}"
    if signal.kind == "process":
        _sent(story, pos, signal, clause, certainty)
    elif signal.kind == "parent-death":
        _parent_death(story, pos, signal, clause, certainty)
    elif signal.kind == "pid-namespace-end":
        _namespace_end(story, pos, signal, clause, certainty)
    elif signal.kind == "kernel-call":
        _kernel_call(story, pos, signal, clause, certainty)
    else:
        _kernel(story, pos, signal, clause, certainty)


def _sent(story: Story, pos: int, signal: Signal, clause: str, certainty: str) -> None:
    scene, sender = story.scene, signal.sender
    if sender == pos:
        text = f"{scene.label(pos)} sent {signal_text(signal.signal)} to itself"
        story.add_signal(signal, text)
        how = ", as abort() does" if signal.signal == 6 else ""
        story.because(f"{clause}, which it sent to itself{how}", certainty)
        story.blame(pos, signal.ts_ns)
        return
    if sender < 0:
        story.because(f"{clause}, sent by a process that was not recorded", certainty)
        story.add_signal(signal, f"{signal_text(signal.signal)} to {story.name(pos)}")
        story.lacks("The signal's record names no sender that this host's pid namespaces know.")
        return
    text = f"{story.name(sender)} sent {signal_text(signal.signal)} to"
    story.add_signal(signal, f"{text} {story.name(pos)}")
    story.because(f"{clause}, sent by {story.name(sender)}", certainty)
    story.blame(sender, signal.ts_ns)
    if runtime.is_runtime(story, sender) and runtime.explain(story, pos, signal):
        return
    if scene.roles[sender] in daemons.DAEMONS and daemons.explain_daemon(story, sender, signal):
        return
    if scene.tgid[sender] == 1 and services.explain(story, pos, signal):
        return
    _describe(story, sender)


def _describe(story: Story, pos: int) -> None:
    """The last clauses: what the culprit ran, where it came from, and who brought it in."""
    words = command_of(story.scene, pos)
    text = origin_text(story.scene, pos)
    if words:
        story.because(f"{text} ran: {words}")
    else:
        story.because(f"the sender was {text}")
    requests.explain_exec(story, pos)


def _unknown(story: Story, pos: int, end: End) -> None:
    assert end.signal is not None
    story.because(
        f"{story.name(pos)} was killed by {signal_text(end.signal)}, "
        "and who sent it is not recorded",
        UNKNOWN,
    )
    when = "" if end.ts_ns is not None else " (only its reaping was recorded)"
    story.lacks(
        f"The {signal_text(end.signal)} that ended {story.scene.label(pos)}{when} is not in the "
        "capture, so its sender is not known."
    )


# --- made by the kernel ------------------------------------------------------------------------


def _oom(story: Story, pos: int, end: End) -> None:
    scene = story.scene
    ts_ns = scene.oom_ns[pos]
    group = scene.processes["cgroup"].iat[pos] or scene.processes["cgroup_v1"].iat[pos]
    known = end.memory
    where = f"; it was in cgroup {short(str(group))}" if group and group != "/" else ""
    if known is not None and known.cgroup in (group, scene.processes["cgroup_v1"].iat[pos]):
        where = ""
    why = "memory ran out" if known is None else known.text()
    text = f"{why}, and the kernel chose {story.name(pos)} as the victim (OOM){where}"
    story.add(ts_ns, "oom", text, [pos], [Evidence("OOM", ts_ns, pos)], rank=0)
    clause = f"{story.name(pos)} was killed by the kernel's OOM killer"
    story.because(f"{clause}, as {'memory had run out' if known is None else why}{where}")
    if known is None:
        story.lacks(
            "Whether the limit of its memory cgroup was hit or the whole host ran out of memory is "
            "not recorded: `dmesg` says which, and with what limit."
        )
    if end.by is not None and end.by.sender not in (pos, -1):
        story.blame(end.by.sender, ts_ns)
        asked = f"{scene.label(end.by.sender)} was asking for memory when it ran out"
        evidence = [Evidence("SIGNAL", end.by.ts_ns, pos)]
        story.add(end.by.ts_ns, "oom", asked, [end.by.sender], evidence, INFERRED, rank=1)


def _parent_death(story: Story, pos: int, signal: Signal, clause: str, certainty: str) -> None:
    """prctl(PR_SET_PDEATHSIG) fires when the parent THREAD exits, also if the process lives on."""
    parent = signal.sender
    if signal.sender_ends:
        text = f"{story.name(parent)} ended"
    else:
        text = (
            f"thread {signal.sender_tid} of {story.name(parent)} ended while the process lived on"
        )
        story.lacks(
            f"Why thread {signal.sender_tid} ended is not recorded (threads' ends are not). A "
            "runtime with a pool of threads, Go's for one, ends them when it likes."
        )
    number = signal_text(signal.signal)
    asked = "the parent-death signal that it had been given (PR_SET_PDEATHSIG)"
    story.add_signal(signal, f"{text}: the kernel sent {number}, {asked}, to {story.name(pos)}")
    story.because(f"{clause}, {asked}: {text}", certainty)
    story.blame(parent, signal.ts_ns)
    if signal.sender_ends:
        story.follow(parent)


def _namespace_end(story: Story, pos: int, signal: Signal, clause: str, certainty: str) -> None:
    init = signal.sender
    text = f"{story.name(init)} ended, and with it its pid namespace"
    if init not in story.inits:
        text = f"{story.name(init)}, process 1 of its pid namespace, ended"
    number = signal_text(signal.signal)
    story.add_signal(signal, f"{text}: the kernel sent {number} to {story.name(pos)}")
    story.because(f"{clause}, made by the kernel: {text}", certainty)
    story.blame(init, signal.ts_ns)
    story.follow(init)


def _kernel_call(story: Story, pos: int, signal: Signal, clause: str, certainty: str) -> None:
    number = signal_text(signal.signal)
    if signal.sender == pos:
        why = "a call of its own"
        if signal.signal == 13:
            why = "its write to a pipe or socket that nobody reads any more"
        story.add_signal(signal, f"the kernel sent {number} to {story.name(pos)} for {why}")
        story.because(f"{clause}, made by the kernel for {why}", certainty)
        story.blame(pos, signal.ts_ns)
        return
    who = story.name(signal.sender)
    text = f"the kernel sent {number} to {story.name(pos)} on behalf of {who}"
    if signal.signal == 9:
        text += ": a write to cgroup.kill does that"
    story.add_signal(signal, text)
    how = " (by a write to cgroup.kill, most likely)" if signal.signal == 9 else ""
    story.because(f"{clause}, made by the kernel on behalf of {who}{how}", certainty)
    story.blame(signal.sender, signal.ts_ns)
    if signal.sender < 0:
        return
    if runtime.is_runtime(story, signal.sender) and runtime.explain(story, pos, signal):
        return
    if story.scene.tgid[signal.sender] == 1 and services.explain(story, pos, signal):
        return
    _describe(story, signal.sender)


def _kernel(story: Story, pos: int, signal: Signal, clause: str, certainty: str) -> None:
    """A fault, a terminal, a timer: the kind of signal tells which it can have been."""
    number, name = signal_text(signal.signal), story.name(pos)
    fault = _FAULTS.get(signal.signal)
    if fault is not None:
        story.add_signal(signal, f"{name} got {number} for {fault}")
        story.because(f"{clause}, made by the kernel for {fault}", certainty)
        story.blame(pos, signal.ts_ns)
        return
    source = None
    if signal.signal in _TERMINAL:
        source = f"{_TERMINAL[signal.signal]} its terminal does that"
    elif signal.signal in _TIMERS:
        source = f"{_TIMERS[signal.signal]} does that"
    text = f"the kernel sent {number} to {name}"
    story.add_signal(signal, f"{text}: {source}" if source else text)
    story.because(f"{clause}, made by the kernel" + (f": {source}" if source else ""), certainty)
    if source is None:
        story.lacks(f"Why the kernel sent {number} is not recorded; `dmesg` may say.")
    context = signal.sender
    if context not in (pos, -1):
        story.blame(context, signal.ts_ns)
