"""Ends of containers that dockerd brought about of its own accord: as it ended, or came back."""

from __future__ import annotations

from analysis.runs import Run
from analysis.scene import Scene
from analysis.signals import Signal
from analysis.steps import Evidence
from analysis.why import services
from analysis.why.story import INFERRED, Story, is_near, signal_text
from tracer.runtime_args import option

DAEMONS = ("dockerd", "containerd", "containerd-managed")
# A dockerd that is told to end has so long at most.
_ENDING_NS = 120_000_000_000


def daemon_at(story: Story, run: Run, ts_ns: int) -> int | None:
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
    socket = option(scene.args(shim), "address") or ""
    folders = [word for word in scene.args(daemon)[1:] if len(word) > 1 and word[0] == "/"]
    return any(socket.startswith(folder) for folder in folders)


def tell_ending(story: Story, daemon: int, signal: Signal) -> bool:
    """dockerd was told to end, and stops its containers before it does."""
    scene = story.scene
    told = [s for s in scene.signals.to(daemon) if _ends(s) and is_near(s.ts_ns, signal.ts_ns)]
    if not told or not scene.alive_at(daemon, signal.ts_ns) or _restores(story, daemon):
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


def tell_return(story: Story, daemon: int, pos: int, signal: Signal) -> bool:
    """A dockerd that starts stops the containers that a dead one left, without live-restore."""
    scene = story.scene
    began = scene.exec_ns(daemon)
    born = scene.born_ns(pos)
    if began is None or not is_near(began, signal.ts_ns) or (born is not None and born > began):
        return False
    before = [
        p for p in scene.positions("dockerd") if 0 <= scene.exit_ns[p] < began and p != daemon
    ]
    before = [p for p in before if scene.pidns[p] == scene.pidns[daemon]]
    # Where there are several dockerds: the one that was started in the same way.
    if len(before) > 1:
        before = [p for p in before if scene.args(p) == scene.args(daemon)]
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


def explain_daemon(story: Story, daemon: int, signal: Signal) -> bool:
    """Why a daemon sent a signal: dockerd ends its containerd as it ends itself."""
    scene = story.scene
    told = [s for s in scene.signals.to(daemon) if _ends(s) and is_near(s.ts_ns, signal.ts_ns)]
    ended = int(scene.exit_ns[daemon])
    if not told or not 0 <= ended - told[-1].ts_ns < _ENDING_NS:
        return False
    story.because(f"{scene.label(daemon)} was ending itself then", INFERRED)
    story.follow(daemon)
    return True


def _ends(signal: Signal) -> bool:
    return signal.delivered and signal.signal in (2, 3, 15)
