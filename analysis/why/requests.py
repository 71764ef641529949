"""Which client asked for something: by its command line and its time.

What is asked of dockerd or containerd goes through sockets, which are not recorded: so that a
client was the one is inferred, unless it runs the runtime itself, as podman does.
"""

from __future__ import annotations

from analysis.clients import names_container
from analysis.roles import RUNTIME_CALLS
from analysis.runs import Container, Run
from analysis.signals import Signal
from analysis.steps import Evidence
from analysis.why.lineage import command_of, lineage, origin_text, starter
from analysis.why.story import INFERRED, Story, signal_text

CLIENTS = ("docker-client", "ctr", "podman")
_STOPPERS = ("stop", "kill", "restart", "rm", "delete", "rmi")
_GROUPS = ("compose", "stack", "service", "system")
_GENERATIONS = 8
# From the signal that `docker run` gets to the one that the container gets.
_PASSED_ON_NS = 2_000_000_000


def client_above(story: Story, signal: Signal) -> int | None:
    """podman and the like run the runtime themselves: their command is an ancestor."""
    pos = signal.sender
    for _ in range(_GENERATIONS):
        pos = starter(story.scene, pos)
        if pos < 0:
            return None
        if story.scene.roles[pos] in CLIENTS:
            return pos
    return None


def find_client(
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


def tell_client(story: Story, client: int, signal: Signal, *, sure: bool) -> None:
    scene = story.scene
    words = command_of(scene, client) or "its arguments were not recorded"
    ran = scene.exec_ns(client)
    text = f"{origin_text(scene, client)} ran: {words}"
    if ran is not None:
        story.add(ran, "client", text, [client], [Evidence("EXEC", ran, client)])
    if sure:
        story.because(text)
    else:
        named = scene.program(client).verb in _STOPPERS
        why = "it names the container and was running then" if named else "it was running then"
        story.because(f"{scene.label(client)} had asked for it, as {why}: {words}", INFERRED)
    story.blame(client, signal.ts_ns)


def tell_passed_on(story: Story, run: Run, signal: Signal) -> bool:
    """`docker run` in the foreground passes the signals that it gets on to the container."""
    scene, client = story.scene, run.client
    if client is None or not scene.alive_at(client, signal.ts_ns):
        return False
    got = [
        s
        for s in scene.signals.to(client)
        if s.signal == signal.signal and 0 <= signal.ts_ns - s.ts_ns < _PASSED_ON_NS
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
            client = find_client(story, container, began, verbs=("exec",))
            if client is not None:
                words = command_of(scene, client)
                text = f"{scene.label(client)} had brought it in, as it names the container"
                story.because(f"{text} and was running then: {words}", INFERRED)
                story.blame(client, began)
                ran = scene.exec_ns(client)
                text = f"{origin_text(scene, client)} ran: {words}"
                story.add(ran, "client", text, [client], [Evidence("EXEC", ran or 0, client)])
        return
