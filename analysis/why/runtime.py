"""Kills by a container's runtime: who asked for them, or why it cleaned up."""

from __future__ import annotations

from itertools import pairwise

from analysis.roles import RUNTIME_CALLS, SHIMS
from analysis.runs import Container, Run
from analysis.signals import Signal
from analysis.steps import Evidence
from analysis.why import daemons, requests
from analysis.why.lineage import starter
from analysis.why.story import CONFIRMED, INFERRED, Story, is_near, name_container, signal_text

_CALLS = 8
_EARLIER = 3


def is_runtime(story: Story, pos: int) -> bool:
    """A call of runc or crun, a shim or its helper, a daemon or a client of a runtime."""
    scene = story.scene
    if scene.roles[pos] in (*RUNTIME_CALLS, *SHIMS, *daemons.DAEMONS, *requests.CLIENTS, "conmon"):
        return True
    return scene.program(pos).namespace is not None and scene.program(pos).verb == "delete"


def explain(story: Story, pos: int, signal: Signal) -> bool:
    """Why a runtime's process sent a signal to a process of a container.

    Returns:
        False: it is not known to be one of a container, nothing was told.
    """
    found = _run_of(story, pos)
    if found is None:
        return False
    container, run = found
    calls = _tell_calls(story, signal)
    if _recycled(story, container, run, signal, calls):
        return True
    first = _tell_earlier(story, pos, signal)
    client = requests.client_above(story, signal)
    if client is None:
        client = requests.find_client(story, container, first.ts_ns)
    if client is not None:
        requests.tell_client(story, client, signal, sure=client in calls)
        return True
    if requests.tell_passed_on(story, run, first):
        return True
    daemon = daemons.daemon_at(story, run, first.ts_ns)
    if daemon is not None and (
        daemons.tell_ending(story, daemon, first) or daemons.tell_return(story, daemon, pos, first)
    ):
        return True
    if daemon is None:
        daemon = run.manager if run.manager is not None else calls[-1]
    _nobody(story, container, daemon, signal)
    return True


def _run_of(story: Story, pos: int) -> tuple[Container, Run] | None:
    """Container and run that a process is in: as its process 1, or as any other."""
    if pos in story.inits:
        return story.inits[pos]
    scene = story.scene
    known = scene.membership.of(pos)
    for container in story.capture.container_list:
        if container.id != known:
            continue
        born = max(int(scene.fork_ns[pos]), 0)
        runs = [run for run in container.runs if (run.anchor_ns or 0) <= born]
        return (container, runs[-1]) if runs else None
    return None


def _tell_calls(story: Story, signal: Signal) -> list[int]:
    """The sender and who ran it, up to the daemon or client; each call is a step."""
    scene, calls = story.scene, [signal.sender]
    while len(calls) < _CALLS and scene.roles[calls[-1]] in (*RUNTIME_CALLS, *SHIMS, "other"):
        above = starter(scene, calls[-1])
        if above < 0 or above in calls or not is_runtime(story, above):
            break
        calls.append(above)
    for call, above in pairwise(calls):
        ran = scene.exec_ns(call)
        if ran is not None and scene.roles[call] not in SHIMS:
            text = f"{story.name(above)} ran {scene.call_label(call)}"
            argument = scene.program(call).argument
            text += f", signal {argument}" if argument and argument.isalnum() else ""
            story.add(ran, "call", text, [call, above], [Evidence("EXEC", ran, call)])
    return calls


# --- its shim had died -------------------------------------------------------------------------


def _recycled(
    story: Story, container: Container, run: Run, signal: Signal, calls: list[int]
) -> bool:
    """The container was killed because its shim was dead already."""
    scene, shim, init = story.scene, run.shim, run.init
    if shim is None or init is None or scene.roles[shim] not in SHIMS or shim in calls:
        return False  # what the shim itself has run does not clean up behind it
    died = int(scene.exit_ns[shim])
    if not 0 <= died <= signal.ts_ns:
        return False
    delay = story.delay(died, signal.ts_ns)
    for adoption in scene.adoptions_of(init):
        if adoption.old == shim and adoption.reason != "thread":
            parent = scene.label(adoption.new)
            text = f"{parent} adopted {story.name(init)}, and was its parent for {delay}"
            story.add_adoption(adoption, text)
    manager = calls[-1]
    back = scene.exec_ns(manager) if scene.roles[manager].startswith("containerd") else None
    by = scene.label(manager)
    if back is not None and died < back:
        later = story.delay(died, back)
        text = f"{by} started, {later} after the shim had died"
        story.add(back, "daemon", text, [manager], [Evidence("EXEC", back, manager)])
        by = f"{by}, which had started {later} after that,"
    # The helper `delete` and `runc delete` have no other use than to clean up behind a shim.
    sure = any(scene.program(call).verb == "delete" for call in calls)
    helper = scene.call_label(signal.sender)
    story.because(
        f"its shim, {scene.label(shim)}, had died {delay} before, and {by} cleaned up what was "
        f"left of {name_container(container)} by {helper}",
        CONFIRMED if sure else INFERRED,
    )
    story.follow(shim)
    return True


# --- somebody asked for it ---------------------------------------------------------------------


def _tell_earlier(story: Story, pos: int, signal: Signal) -> Signal:
    """Signals of the same request that had no effect (docker stop sends SIGTERM first).

    Returns:
        the first of them, or the fatal one.
    """
    scene, first = story.scene, signal
    found = [
        s
        for s in scene.signals.to(pos)
        if s.kind == "process"
        and s.sender >= 0
        and scene.roles[s.sender] in RUNTIME_CALLS
        and scene.program(s.sender).verb in ("kill", None)
        and s.ts_ns < signal.ts_ns
        and is_near(s.ts_ns, signal.ts_ns)
        and s.signal in (2, 3, 15, 37)
    ]
    for earlier in found[-_EARLIER:]:
        after = story.delay(earlier.ts_ns, signal.ts_ns)
        text = f"{scene.call_label(earlier.sender)} sent {signal_text(earlier.signal)} to"
        ignored = "" if earlier.delivered else " (it has no handler for it: ignored)"
        story.add_signal(earlier, f"{text} {story.name(pos)}{ignored}, {after} earlier in vain")
        first = earlier if first is signal else first
    return first


def _nobody(story: Story, container: Container, daemon: int, signal: Signal) -> None:
    scene = story.scene
    story.blame(daemon, signal.ts_ns)
    clients = "a client other than docker and ctr, one that had ended, or its own rule"
    kubelets = [pos for pos in scene.positions("kubelet") if scene.alive_at(pos, signal.ts_ns)]
    if kubelets:
        clients = f"{scene.label(kubelets[0])}, which was, or {clients}"
    story.lacks(
        f"Who asked {scene.label(daemon)} to end {name_container(container)} is not recorded: "
        f"requests go through a socket, and no command that asks for it was running ({clients})."
    )
