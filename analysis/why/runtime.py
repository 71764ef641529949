"""Kills by a container's runtime: who asked for them, or why it cleaned up.

What runs in the runtime is recorded; what is asked of dockerd or containerd goes through sockets,
and is not. So a client is named as the one that asked only by its command line and its time:
that is inferred.
"""

from __future__ import annotations

from itertools import pairwise

from analysis.clients import names_container
from analysis.roles import RUNTIME_CALLS, SHIMS
from analysis.runs import Container, Run
from analysis.scene import Scene
from analysis.signals import Signal
from analysis.timeline import Evidence
from analysis.why import services
from analysis.why.lineage import command_of, lineage, origin_text, starter
from analysis.why.story import CONFIRMED, INFERRED, Story, name_container, signal_text

DAEMONS = ("dockerd", "containerd", "containerd-managed")
_CLIENTS = ("docker-client", "ctr", "podman")
_STOPPERS = ("stop", "kill", "restart", "rm", "delete", "rmi")
_GROUPS = ("compose", "stack", "service", "system")
# A dockerd that ends or starts stops containers at once, each with up to 10 s of grace.
_DAEMON_NS = 120_000_000_000
_CALLS = 8
_EARLIER = 3


def is_runtime(story: Story, pos: int) -> bool:
    """A call of runc or crun, a shim or its helper, a daemon or a client of a runtime."""
    scene = story.scene
    if scene.roles[pos] in (*RUNTIME_CALLS, *SHIMS, *DAEMONS, *_CLIENTS, "conmon"):
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
    client = _client_above(story, signal) or _find_client(story, container, first.ts_ns)
    if client is not None:
        _tell_client(story, client, signal, sure=client in calls)
        return True
    if _client_signalled(story, run, first):
        return True
    daemon = _daemon_at(story, run, first.ts_ns)
    if daemon is not None and (
        _daemon_ending(story, daemon, first) or _daemon_back(story, daemon, pos, first)
    ):
        return True
    if daemon is None:
        daemon = run.manager if run.manager is not None else calls[-1]
    _nobody(story, container, daemon, signal)
    return True


def explain_exec(story: Story, pos: int) -> None:
    """A process that acted in a container was brought in by `docker exec` or its like."""
    scene = story.scene
    for ancestor in lineage(scene, pos, int(scene.start_ns[pos])):
        call = ancestor.pos
        began = scene.exec_ns(call)
        if scene.roles[call] not in RUNTIME_CALLS or scene.program(call).verb != "exec":
            continue
        known = scene.membership.of(call)
        for container in story.capture.container_list:
            if container.id != known or began is None:
                continue
            client = _find_client(story, container, began, verbs=("exec",))
            if client is not None:
                words = command_of(scene, client)
                text = f"{scene.label(client)} had brought it in, as it names the container"
                story.because(f"{text} and was running then: {words}", INFERRED)
                story.blame(client, began)
                ran = scene.exec_ns(client)
                text = f"{origin_text(scene, client)} ran: {words}"
                story.add(ran, "client", text, [client], [Evidence("EXEC", ran or 0, client)])
        return


def explain_daemon(story: Story, daemon: int, signal: Signal) -> bool:
    """Why a daemon sent a signal: dockerd ends its containerd as it ends itself."""
    scene = story.scene
    told = [s for s in scene.signals.to(daemon) if _ends(s) and _near(s.ts_ns, signal.ts_ns)]
    ended = int(scene.exit_ns[daemon])
    if not told or not 0 <= ended - told[-1].ts_ns < _DAEMON_NS:
        return False
    story.because(f"{scene.label(daemon)} was ending itself then", INFERRED)
    story.follow(daemon)
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
        and _near(s.ts_ns, signal.ts_ns)
        and s.signal in (2, 3, 15, 37)
    ]
    for earlier in found[-_EARLIER:]:
        after = story.delay(earlier.ts_ns, signal.ts_ns)
        text = f"{scene.call_label(earlier.sender)} sent {signal_text(earlier.signal)} to"
        ignored = "" if earlier.delivered else " (it has no handler for it: ignored)"
        story.add_signal(earlier, f"{text} {story.name(pos)}{ignored}, {after} earlier in vain")
        first = earlier if first is signal else first
    return first


def _near(ts_ns: int, later_ns: int) -> bool:
    return 0 <= later_ns - ts_ns < _DAEMON_NS


def _client_above(story: Story, signal: Signal) -> int | None:
    """podman and the like run the runtime themselves: their command is an ancestor."""
    pos = signal.sender
    for _ in range(_CALLS):
        pos = starter(story.scene, pos)
        if pos < 0:
            return None
        if story.scene.roles[pos] in _CLIENTS:
            return pos
    return None


def _find_client(
    story: Story, container: Container, ts_ns: int, verbs: tuple[str, ...] = _STOPPERS
) -> int | None:
    """The client that was asking for something at that time; by default the container's end."""
    scene = story.scene
    unnamed: set[int] = set()
    for pos in reversed(scene.positions("docker-client", "ctr")):
        began = scene.exec_ns(pos)
        if began is None or began > ts_ns or not scene.alive_at(pos, ts_ns):
            continue
        verb = scene.program(pos).verb
        if verb in verbs and names_container(scene, pos, container):
            return pos
        if verb in _GROUPS and verbs is _STOPPERS:
            unnamed.add(pos)
    # `docker compose` runs its plugin as a process of its own.
    first = [pos for pos in unnamed if starter(scene, pos) not in unnamed]
    return first[0] if len(first) == 1 else None


def _tell_client(story: Story, client: int, signal: Signal, *, sure: bool) -> None:
    scene = story.scene
    words = command_of(scene, client) or "its arguments were not recorded"
    ran = scene.exec_ns(client)
    text = f"{origin_text(scene, client)} ran: {words}"
    certainty = CONFIRMED if sure else INFERRED
    if ran is not None:
        story.add(ran, "client", text, [client], [Evidence("EXEC", ran, client)])
    if sure:
        story.because(text)
    else:
        named = scene.program(client).verb in _STOPPERS
        why = "it names the container and was running then" if named else "it was running then"
        story.because(f"{scene.label(client)} had asked for it, as {why}: {words}", certainty)
    story.blame(client, signal.ts_ns)


def _client_signalled(story: Story, run: Run, signal: Signal) -> bool:
    """`docker run` in the foreground passes the signals that it gets on to the container."""
    scene, client = story.scene, run.client
    if client is None or not scene.alive_at(client, signal.ts_ns):
        return False
    got = [
        s
        for s in scene.signals.to(client)
        if s.signal == signal.signal and 0 <= signal.ts_ns - s.ts_ns < 2_000_000_000
    ]
    if not got:
        return False
    own = got[-1]
    by = scene.call_label(own.sender) if own.kind == "process" else "the kernel (its terminal)"
    story.add_signal(own, f"{by} sent {signal_text(own.signal)} to {scene.label(client)}")
    delay = story.delay(own.ts_ns, signal.ts_ns)
    story.because(
        f"{scene.label(client)} had got that signal {delay} before, from {by}, and `docker run` "
        "passes signals on",
        INFERRED,
    )
    story.blame(own.sender if own.kind == "process" else client, own.ts_ns)
    return True


# --- dockerd ends or comes back ----------------------------------------------------------------


def _daemon_at(story: Story, run: Run, ts_ns: int) -> int | None:
    scene = story.scene
    found = [pos for pos in scene.positions("dockerd") if scene.alive_at(pos, ts_ns)]
    if run.daemon in found:
        return run.daemon
    if run.shim is not None:
        found = [pos for pos in found if scene.pidns[pos] == scene.pidns[run.shim]]
        if len(found) > 1:
            found = [pos for pos in found if _shares_folder(scene, pos, run.shim)]
    return found[0] if len(found) == 1 else None


def _shares_folder(scene: Scene, daemon: int, shim: int) -> bool:
    """One of several dockerds has its containerd's socket in a folder that its arguments name."""
    words = scene.args(shim)
    sockets = [value for name, value in pairwise(words) if name.lstrip("-") == "address"]
    folders = [word for word in scene.args(daemon)[1:] if len(word) > 1 and word[0] == "/"]
    return any(socket.startswith(folder) for socket in sockets for folder in folders)


def _ends(signal: Signal) -> bool:
    return signal.delivered and signal.signal in (2, 3, 15)


def _daemon_ending(story: Story, daemon: int, signal: Signal) -> bool:
    """dockerd was told to end, and stops its containers before it does."""
    scene = story.scene
    told = [s for s in scene.signals.to(daemon) if _ends(s) and _near(s.ts_ns, signal.ts_ns)]
    if not told or not scene.alive_at(daemon, signal.ts_ns):
        return False
    cause = told[0]
    name, number = scene.label(daemon), signal_text(cause.signal)
    by = scene.call_label(cause.sender) if cause.kind == "process" else "the kernel"
    story.add_signal(cause, f"{by} sent {number} to {name}")
    delay = story.delay(cause.ts_ns, signal.ts_ns)
    story.because(
        f"{name} had been told to end {delay} before, by {number} from {by}, and without "
        "live-restore it stops its containers then",
        INFERRED,
    )
    if cause.kind == "process":
        story.blame(cause.sender, cause.ts_ns)
        if cause.sender >= 0 and scene.tgid[cause.sender] == 1:
            services.explain(story, daemon, cause)
    return True


def _daemon_back(story: Story, daemon: int, pos: int, signal: Signal) -> bool:
    """A dockerd that starts stops the containers that a dead one left, without live-restore."""
    scene = story.scene
    began = scene.exec_ns(daemon)
    born = scene.born_ns(pos)
    if began is None or not _near(began, signal.ts_ns) or (born is not None and born > began):
        return False
    before = [
        p for p in scene.positions("dockerd") if 0 <= scene.exit_ns[p] < began and p != daemon
    ]
    before = [p for p in before if scene.pidns[p] == scene.pidns[daemon]]
    former = max(before, key=lambda p: int(scene.exit_ns[p]), default=-1)
    if any(_restores(story, p) for p in (daemon, former)):
        return False
    story.add(
        began,
        "daemon",
        f"{scene.label(daemon)} started",
        [daemon],
        [Evidence("EXEC", began, daemon)],
    )
    story.because(
        f"{scene.label(daemon)} had started {story.delay(began, signal.ts_ns)} before the first "
        "signal, and without live-restore a dockerd that starts stops the containers it finds",
        INFERRED,
    )
    story.blame(daemon, began)
    if former >= 0:
        story.follow(former)
    else:
        story.lacks("How the dockerd before that one ended is not in the capture.")
    return True


def _restores(story: Story, daemon: int) -> bool:
    """The recorder found that a dockerd runs with live-restore."""
    if daemon < 0:
        return False
    scene = story.scene
    tgid, start_ns = int(scene.tgid[daemon]), int(scene.start_ns[daemon])
    return any(
        fact.get("kind") == "runtime"
        and fact.get("live_restore") is True
        and (fact.get("tgid"), fact.get("start_ns")) == (tgid, start_ns)
        for fact in scene.table.facts
    )


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
