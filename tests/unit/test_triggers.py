"""Which events make a recording save itself, and which come close."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests import lives
from tests.lives import CID, Host
from tests.streams import Proc, Stream
from tests.watching import show
from tracer.abi import Context, DetailType, Flag, Origin
from tracer.errors import UsageError
from tracer.triggers import Hit, Trigger, TriggerWatch, parse_trigger

ALL = tuple(Trigger)
# As dockerd and containerd do, and v2 shims from their very beginning.
V2 = "/usr/bin/containerd-shim-runc-v2"


def hits_of(stream: Stream, *triggers: Trigger, at_once: int = 1 << 30) -> list[Hit]:
    return show(TriggerWatch(triggers or ALL), stream.chunks(), at_once=at_once)


def said(stream: Stream, *triggers: Trigger) -> list[tuple[str, str]]:
    return [(hit.trigger, hit.what) for hit in hits_of(stream, *triggers)]


def names(stream: Stream, *triggers: Trigger) -> list[str]:
    return [hit.trigger for hit in hits_of(stream, *triggers)]


@pytest.mark.parametrize("trigger", ALL)
def test_words(trigger: Trigger) -> None:
    assert parse_trigger(str(trigger)) is trigger


def test_other_words_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        parse_trigger("shim")
    assert all(trigger in str(refused.value) for trigger in ALL)


# --- a container's life ------------------------------------------------------------------------


@pytest.mark.parametrize("pidns", [4026532500, 0], ids=["own", "host"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ({}, "containerd-shim-runc-v2"),
        ({"managed": False}, "containerd-shim-runc-v2"),
        ({"shim": "v1"}, "containerd-shim"),
        ({"shim": "v1", "old_names": True}, "docker-containerd-shim"),
    ],
    ids=["managed", "external", "v1", "old"],
)
@pytest.mark.parametrize("at_once", [1, 1 << 30])
def test_a_container_ends_once_and_so_does_its_shim(
    kind: dict[str, object], name: str, pidns: int, at_once: int
) -> None:
    h = lives.life(pidns=pidns, **kind)
    init, shim = h.procs["init"], h.procs["shim"]

    first, second = hits_of(h.stream, at_once=at_once)

    assert first.what == f"process 1 of a container, nginx ({init.tgid}), exited 0"
    assert (first.trigger, first.tgid, first.start_ns) == (
        "container-exit",
        init.tgid,
        init.start_ns,
    )
    assert (second.trigger, second.what) == ("shim-exit", f"{name} ({shim.tgid}) exited 0")
    assert first.at_ns < second.at_ns


def test_what_is_not_waited_for_is_not_told() -> None:
    assert names(lives.life().stream, Trigger.SHIM_EXIT) == ["shim-exit"]
    assert names(lives.life().stream, Trigger.OOM, Trigger.DOCKERD_EXIT) == []


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ({"status": 3}, "exited 3"),
        ({"status": 255}, "exited 255"),
        ({"signal": 9}, "was killed by SIGKILL"),
        ({"signal": 11 | 0x80}, "was killed by SIGSEGV, core dumped"),
        ({}, None),
    ],
)
def test_a_container_that_fails(end: dict[str, int], how: str | None) -> None:
    h = lives.host()
    lives.begin(h)
    lives.end(h, **end)

    found = said(h.stream, Trigger.CONTAINER_FAILED)

    who = f"process 1 of a container, nginx ({h.procs['init'].tgid}),"
    assert found == ([] if how is None else [("container-exit!=0", f"{who} {how}")])


def test_one_end_is_told_once() -> None:
    h = lives.host()
    lives.begin(h)
    lives.end(h, status=3)
    both = (Trigger.CONTAINER_EXIT, Trigger.CONTAINER_FAILED)
    assert names(h.stream, *both) == ["container-exit!=0"]
    assert names(lives.life().stream, *both) == ["container-exit"]


def test_the_second_exit_event_of_a_process_counts_for_nothing() -> None:
    """Two threads that end at one instant may both be taken for the last (bpf/lifecycle.h)."""
    h = lives.host()
    p = lives.begin(h)
    h.stream.exit(p["init"])
    h.stream.exit(p["init"], flags=Flag.NS_INIT | Flag.SUBREAPER_CHILD)
    assert names(h.stream) == ["container-exit"]


@pytest.mark.parametrize("pidns", [4026532500, 0], ids=["own", "host"])
def test_docker_exec_is_no_containers_end(pidns: int) -> None:
    h = lives.host()
    p = lives.begin(h, pidns=pidns)
    process = lives.run_exec(h, p["shim"], CID, "/bin/true", pidns=pidns)
    assert process.parent is p["shim"]
    h.stream.die(process, 1)
    assert names(h.stream) == []


def test_docker_exec_while_another_container_is_being_made() -> None:
    """GIVEN a runc create and a runc exec that start 65,536 ns apart, whose children look alike to
    the filter THEN only the created one is process 1 of a container."""
    h = lives.host()
    p = lives.begin(h, pidns=0)
    s = h.stream
    create = s.fork(p["shim"])
    s.exec(create, "/usr/bin/runc", f"runc create --bundle /b {lives.OTHER_CID}")
    execing = s.fork(p["shim"], start_ns=create.start_ns + 0x10000)
    s.exec(execing, "/usr/bin/runc", f"runc exec --process /p --detach {CID}")
    made, execed = s.fork(create), s.fork(execing)
    for process in (made, execed):
        s.exec(process, "/bin/web")
    for process in (create, execing, execed, made):
        s.die(process, 1)
    assert [hit.tgid for hit in hits_of(s)] == [made.tgid]


def test_what_the_shim_adopts_from_a_container_is_not_its_process_1() -> None:
    h = lives.host()
    p = lives.begin(h, pidns=0)
    middle = h.stream.fork(p["init"])
    orphan = h.stream.fork(middle)
    h.stream.die(middle)
    assert orphan.parent is p["shim"]
    h.stream.die(orphan, 1)
    assert names(h.stream) == []


def test_a_program_that_cannot_be_started() -> None:
    """GIVEN a container whose program does not exist: runc init ends in its place, as runc's child
    or, from `runc start` on, as the shim's THEN no container has ended."""
    for adopted in (False, True):
        h = lives.host()
        s = h.stream
        p = lives.begin(h)
        create = s.fork(p["shim"])
        s.exec(create, "/usr/bin/runc", f"runc create --bundle /b {lives.OTHER_CID}")
        init = lives.stages(h, create, lives.OTHER_CID, pidns=4026537777)
        if adopted:
            s.die(create)
        s.die(init, 1)
        assert names(s) == []


def test_a_namespace_that_is_no_container() -> None:
    h = lives.host()
    s = h.stream
    lives.begin(h)
    unshare = s.fork(h.shell)
    s.exec(unshare, "/usr/bin/unshare", "unshare -pf sh")
    shell = s.fork(unshare, ns_tgid=1, pidns=4026537777)
    s.exec(shell, "/bin/sh")
    s.die(shell, 1)
    s.die(unshare, 1)
    assert names(s) == []


def test_docker_in_docker() -> None:
    """GIVEN a container whose process 1 is a dockerd, with a container of its own."""
    h = lives.host()
    outer = lives.begin(h, command="/usr/local/bin/dockerd --host=unix:///var/run/docker.sock")
    s = h.stream
    containerd = s.fork(outer["init"])
    s.exec(containerd, "/usr/local/bin/containerd", "containerd --config /x/containerd.toml")
    inner_shim = s.fork(containerd)
    s.exec(inner_shim, V2, f"{V2} -namespace moby -id {lives.OTHER_CID} -address /a")
    s.subreaper(inner_shim)
    create = s.fork(inner_shim)
    s.exec(create, "/usr/local/bin/runc", f"runc create --bundle /b {lives.OTHER_CID}")
    inner = lives.stages(h, create, lives.OTHER_CID, pidns=4026537777)
    s.die(create)
    s.exec(inner, "/bin/web")

    s.die(inner, 1)
    s.die(inner_shim)
    s.die(outer["init"], signal=9)

    found = said(s)
    tgid = outer["init"].tgid
    assert found[0] == (
        "container-exit!=0",
        f"process 1 of a container, web ({inner.tgid}), exited 1",
    )
    assert found[1] == ("shim-exit", f"containerd-shim-runc-v2 ({inner_shim.tgid}) exited 0")
    assert found[2] == ("dockerd-exit", f"dockerd ({tgid}) was killed by SIGKILL")
    assert found[3][1] == f"process 1 of a container, dockerd ({tgid}), was killed by SIGKILL"
    # The end of its pid namespace takes the inner containerd with it.
    assert [name for name, _ in found[4:]] == ["runtime-kill", "containerd-exit"]
    assert "at the end of the pid namespace of dockerd" in found[4][1]


def podman_run(h: Host) -> dict[str, Proc]:
    s, p = h.stream, {}
    p["podman"] = s.fork(h.shell)
    s.exec(p["podman"], "/usr/bin/podman", "podman run -d --name pod nginx")
    first = s.fork(p["podman"])
    s.exec(
        first,
        "/usr/bin/conmon",
        f"/usr/bin/conmon --api-version 1 -c {CID} -r /usr/bin/crun -n pod",
    )
    p["conmon"] = s.fork(first)
    s.die(first)
    s.subreaper(p["conmon"])
    crun = s.fork(p["conmon"])
    s.exec(crun, "/usr/bin/crun", f"/usr/bin/crun create --bundle /b --pid-file /p {CID}")
    p["init"] = s.fork(crun, ns_tgid=1, pidns=4026532500)
    s.die(crun)
    s.exec(p["init"], "/usr/sbin/nginx")
    s.die(p["podman"])
    return p


def test_podman() -> None:
    h = lives.host()
    s, p = h.stream, podman_run(h)
    # podman exec: a conmon and a crun of its own
    first = s.fork(h.shell)
    s.exec(
        first,
        "/usr/bin/conmon",
        f"/usr/bin/conmon -c {CID} --exec-attach -e --exec-process-spec /x",
    )
    conmon = s.fork(first)
    s.die(first)
    s.subreaper(conmon)
    crun = s.fork(conmon)
    s.exec(crun, "/usr/bin/crun", f"/usr/bin/crun exec --process /x --detach {CID}")
    process = s.fork(crun, ns_tgid=9, pidns=4026532500)
    s.die(crun)
    s.exec(process, "/bin/false")
    s.die(process, 1)
    s.die(conmon)
    assert names(s) == []

    s.signal(p["conmon"], 9, h.shell)
    s.die(p["conmon"], signal=9)
    s.die(p["init"], 2)

    shell, conmon = h.shell.tgid, p["conmon"].tgid
    assert said(s) == [
        ("runtime-kill", f"bash ({shell}) sent SIGKILL to conmon ({conmon})"),
        (
            "container-exit!=0",
            f"process 1 of a container, nginx ({p['init'].tgid}), exited 2",
        ),
    ]


# --- older than the recording ------------------------------------------------------------------


def older_container(host: Host, pidns: int) -> tuple[Proc, Proc, Proc]:
    """A shim, process 1 and an exec'd process that only a snapshot shows."""
    s = host.stream
    line = f"{V2} -namespace moby -id {CID} -address /run/containerd/containerd.sock"
    shim = s.process("containerd-shim", host.init, exe=V2, args=line.split(), subreaper=True)
    inside = {"pidns": pidns, "cgroup": f"/system.slice/docker-{CID}.scope"}
    init = s.process("web", shim, exe="/web", args=["/web"], ns_tgid=1 if pidns else 0, **inside)
    execed = s.process("sh", shim, exe="/bin/sh", args=["sh"], ns_tgid=7 if pidns else 0, **inside)
    s.snapshot("start")
    return shim, init, execed


@pytest.mark.parametrize("pidns", [4026532500, 0], ids=["own", "host"])
def test_a_container_that_is_older_than_the_recording(pidns: int) -> None:
    h = lives.host(start=False)
    shim, init, execed = older_container(h, pidns)
    h.stream.die(execed, 1)
    h.stream.die(init, 1)
    h.stream.die(shim)

    assert said(h.stream) == [
        ("container-exit!=0", f"process 1 of a container, web ({init.tgid}), exited 1"),
        ("shim-exit", f"containerd-shim-runc-v2 ({shim.tgid}) exited 0"),
    ]


@pytest.mark.parametrize("snapshots", [1, 2])
@pytest.mark.parametrize("pidns", [4026532500, 0], ids=["own", "host"])
def test_a_container_without_its_shim_ends_too(pidns: int, snapshots: int) -> None:
    h = lives.host(start=False)
    shim, init, _ = older_container(h, pidns)
    for _ in range(1, snapshots):
        h.stream.snapshot("start")  # as at the beginning of a later segment
    h.stream.die(shim, signal=9)
    assert init.parent is h.init
    h.stream.die(init, signal=9)
    assert names(h.stream) == ["shim-exit", "container-exit!=0"]


def test_a_container_without_a_hex_id_is_known_by_its_namespace_and_shim() -> None:
    h = lives.host(start=False)
    s = h.stream
    shim = s.process(
        "containerd-shim",
        h.init,
        exe=V2,
        args=[V2, "-namespace", "x", "-id", "web"],
        subreaper=True,
    )
    init = s.process("web", shim, exe="/web", args=["/web"], ns_tgid=1, pidns=7, cgroup="/x/web")
    s.snapshot("start")
    s.die(init)
    assert names(s) == ["container-exit"]


def test_a_snapshot_that_comes_late_does_no_harm() -> None:
    """GIVEN a snapshot of a process that has already ended and whose tgid is another's."""
    h = lives.host(start=False)
    shim, _, _ = older_container(h, 0)
    watch = TriggerWatch(ALL)
    chunks = list(h.stream.chunks())
    h.stream.die(shim)
    other = h.stream.fork(h.shell, tgid=shim.tgid)
    h.stream.exec(other, "/bin/true")
    h.stream.die(other, 1)
    events = list(h.stream.chunks())[len(chunks) :]

    assert [hit.trigger for hit in show(watch, chunks)] == []
    assert [hit.trigger for hit in show(watch, events)] == ["shim-exit"]
    assert [hit.trigger for hit in show(watch, chunks)] == []
    assert [hit.trigger for hit in show(watch, events[-1:])] == []


# --- daemons and helpers -----------------------------------------------------------------------


def run_program(
    h: Host, filename: str, line: str, lived_ns: int, parent: Proc | None = None
) -> None:
    process = h.stream.fork(parent or h.shell)
    h.stream.exec(process, filename, line)
    if "containerd-shim" in filename and "kata" not in filename:
        h.stream.subreaper(process)
    h.stream.wait(lived_ns)
    h.stream.die(process, 1)


@pytest.mark.parametrize(
    ("line", "trigger"),
    [
        ("/usr/bin/dockerd -H fd://", "dockerd-exit"),
        ("/usr/bin/dockerd", "dockerd-exit"),
        ("/usr/bin/dockerd --version", None),
        ("/usr/bin/dockerd -v", None),
        ("/usr/bin/dockerd --validate --config-file /x", None),
        ("/usr/bin/docker -d", "dockerd-exit"),
        ("/usr/bin/docker daemon", "dockerd-exit"),
        ("/usr/bin/docker ps", None),
        ("/usr/bin/containerd", "containerd-exit"),
        ("/usr/bin/containerd --config /etc/c.toml -l debug", "containerd-exit"),
        (
            "/usr/bin/docker-containerd -l unix:///x --shim docker-containerd-shim",
            "containerd-exit",
        ),
        ("/usr/bin/containerd --version", None),
        ("/usr/bin/containerd config default", None),
        ("/usr/bin/containerd --address /a publish --topic /t --namespace moby", None),
        (f"{V2} -namespace moby -id {CID} -address /a", "shim-exit"),
        (f"{V2} -namespace moby -id {CID} -address /a start", None),
        (f"{V2} -namespace moby -id {CID} -address /a -bundle /b delete", None),
        (f"{V2} -v", None),
        (f"{V2} -info", None),
        ("/usr/bin/containerd-shim-kata-v2 -namespace k8s.io -id x -address /a", "shim-exit"),
        ("/usr/bin/dockerd-rootless.sh", None),
    ],
)
def test_which_program_it_is(line: str, trigger: str | None) -> None:
    h = lives.host()
    run_program(h, line.split()[0], line, 10_000_000)
    assert names(h.stream) == ([] if trigger is None else [trigger])


@pytest.mark.parametrize(
    ("filename", "lived_ns", "trigger"),
    [
        ("/usr/bin/dockerd", 10_000_000, None),
        ("/usr/bin/dockerd", 6_000_000_000, "dockerd-exit"),
        ("/usr/bin/containerd", 10_000_000, None),
        ("/usr/bin/containerd", 6_000_000_000, "containerd-exit"),
        ("/usr/bin/containerd-shim", 10_000_000, "shim-exit"),
        (V2, 10_000_000, None),
    ],
)
def test_without_arguments(filename: str, lived_ns: int, trigger: str | None) -> None:
    """GIVEN --no-args THEN a daemon is told by how long it lived, a helper of the v2 shim by its
    parent: containerd runs it, and a shim is never containerd's child."""
    h = lives.host()
    s = h.stream
    process = s.fork(h.containerd)
    ts_ns = s.exec(process, filename, detail=False)
    s.detail(DetailType.EXEC, process, ts_ns, filename=filename, args_total=99)
    if "shim" in filename:
        s.subreaper(process)
    h.stream.wait(lived_ns)
    h.stream.die(process)
    assert names(h.stream) == ([] if trigger is None else [trigger])


def test_a_shim_without_arguments() -> None:
    h = lives.life(args=False)
    assert names(h.stream) == ["container-exit", "shim-exit"]


@pytest.mark.parametrize("comm", ["dockerd", "containerd", "containerd-shim"])
def test_a_comm_alone_is_nothing(comm: str) -> None:
    h = lives.host()
    process = h.stream.fork(h.shell)
    h.stream.exec(process, "/usr/bin/sleep", [comm, "60"], comm=comm)
    h.stream.signal(process, 9, h.shell)
    h.stream.die(process, signal=9)
    assert names(h.stream) == []


def test_dockerd_under_another_name_is_a_task_of_its() -> None:
    h = lives.host(start=False)
    untar = h.stream.process(
        "dockerd", h.dockerd, exe="/usr/bin/dockerd", args=["docker-untar", "/x"], tgid=700
    )
    h.stream.snapshot("start")
    h.stream.die(untar)
    again = h.stream.fork(h.dockerd)
    h.stream.exec(again, "/proc/self/exe", "docker-applyLayer /x")
    h.stream.die(again)
    assert names(h.stream) == []


def test_daemons_that_are_older_than_the_recording() -> None:
    h = lives.host()
    h.stream.die(h.containerd, 2)
    h.stream.die(h.dockerd, signal=9)
    assert said(h.stream) == [
        ("containerd-exit", "containerd (612) exited 2"),
        ("dockerd-exit", "dockerd (600) was killed by SIGKILL"),
    ]


def test_a_tgid_is_somebody_elses_afterwards() -> None:
    h = lives.host()
    h.stream.die(h.dockerd)
    other = h.stream.fork(h.shell, tgid=h.dockerd.tgid)
    h.stream.exec(other, "/bin/true")
    h.stream.signal(other, 9, h.shell)
    h.stream.die(other, signal=9)
    assert names(h.stream) == ["dockerd-exit"]


# --- signals and the OOM killer ----------------------------------------------------------------

Pick = Callable[[Host, dict[str, Proc]], Proc]
TARGETS: dict[str, Pick] = {
    "dockerd": lambda h, p: h.dockerd,
    "containerd": lambda h, p: h.containerd,
    "containerd-shim-runc-v2": lambda h, p: p["shim"],
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 15])
def test_somebody_kills_a_runtime(target: str, number: int) -> None:
    h = lives.host()
    p = lives.begin(h)
    victim = TARGETS[target](h, p)
    at_ns = h.stream.signal(victim, number, h.init)

    (hit,) = hits_of(h.stream)

    name = signal.Signals(number).name
    assert hit.what == f"systemd (1) sent {name} to {target} ({victim.tgid})"
    assert (hit.trigger, hit.at_ns) == ("runtime-kill", at_ns)
    assert (hit.tgid, hit.start_ns) == (victim.tgid, victim.start_ns)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"origin": Origin.PRIV, "si_code": 128}, "the kernel sent SIGKILL"),
        ({"origin": Origin.NOINFO}, "bash (900), by a call of the kernel, sent SIGKILL"),
        ({"si_code": 1}, "the kernel sent SIGKILL"),
        (
            {"origin": Origin.NOINFO, "context": Context.PDEATH | Context.EXITING},
            "the kernel, at the death of its parent bash (900), sent SIGKILL",
        ),
    ],
)
def test_the_kernel_kills_a_runtime(fields: dict[str, int], words: str) -> None:
    h = lives.host()
    h.stream.signal(h.dockerd, 9, h.shell, **fields)
    assert said(h.stream) == [("runtime-kill", f"{words} to dockerd (600)")]


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (signal.SIGUSR1, {}),
        (signal.SIGCONT, {}),
        (signal.SIGPIPE, {}),
        (signal.SIGALRM, {}),
        (signal.SIGTERM, {"result": 1}),  # ignored
        (signal.SIGTERM, {"result": 2}),  # already pending
        (signal.SIGTERM, {"result": 3}),
    ],
)
def test_signals_that_do_not_kill(number: int, fields: dict[str, int]) -> None:
    h = lives.host()
    h.stream.signal(h.dockerd, number, h.shell, **fields)
    assert names(h.stream) == []


def test_runtimes_clean_up_among_themselves() -> None:
    h = lives.host()
    s = h.stream
    p = lives.begin(h)
    s.signal(p["shim"], 9, h.containerd)
    s.signal(h.containerd, 15, h.dockerd)
    s.signal(h.dockerd, 6, h.dockerd)
    helper = s.fork(h.containerd)
    s.exec(helper, V2, f"{V2} -namespace moby -id {CID} -address /a delete")
    s.signal(p["shim"], 9, helper)
    # dockerd's death takes its containerd with it; dockerd has ended when that is recorded.
    s.die(h.dockerd)
    dying = Context.PDEATH | Context.EXITING
    s.signal(h.containerd, 9, h.dockerd, origin=Origin.NOINFO, context=dying)
    assert names(s, Trigger.RUNTIME_KILL) == []


def test_a_signal_to_others_is_nothing() -> None:
    h = lives.host()
    p = lives.begin(h)
    for target in (p["init"], p["client"], h.shell):
        h.stream.signal(target, 9, h.init)
    assert names(h.stream) == []


def test_the_oom_killer() -> None:
    h = lives.host()
    at_ns = h.stream.oom(h.shell)
    (hit,) = hits_of(h.stream, Trigger.OOM)
    assert hit == Hit("oom", at_ns, 900, h.shell.start_ns, "the OOM killer chose bash (900)")
    assert names(h.stream, Trigger.SHIM_EXIT) == []


def test_names_reach_no_terminal_as_they_are() -> None:
    h = lives.host()
    h.stream.oom(h.shell, comm=b"\x1b[31m\xff")
    h.shell.comm = "\x1b[2J"
    h.stream.signal(h.dockerd, 9, h.shell)
    assert all(what.isprintable() for _, what in said(h.stream))


# --- many --------------------------------------------------------------------------------------


def test_memory_is_bounded_by_what_lives() -> None:
    h = lives.host()
    for _ in range(30):
        lives.begin(h)
        h.stream.die(lives.run_exec(h, h.procs["shim"], CID, "/bin/true"))
        lives.end(h, stop=False)
    watch = TriggerWatch(ALL)
    hits = show(watch, h.stream.chunks(), at_once=500)
    assert [hit.trigger for hit in hits] == ["container-exit", "shim-exit"] * 30
    assert len(watch.processes) == 2, "dockerd and containerd"


def test_among_hundreds_of_runtime_processes_none_is_missed() -> None:
    """More of them take more bytes of start_ns to tell apart."""
    for count in (1, 5, 40, 300):
        s = Stream()
        init = s.process("systemd", tgid=1)
        daemons = [
            s.process(
                "dockerd", init, exe="/usr/bin/dockerd", args=["dockerd"], start_ns=10**9 + i * 7919
            )
            for i in range(count)
        ]
        others = [s.process("x", init, exe="/x", start_ns=10**9 + i * 104729) for i in range(500)]
        s.snapshot("start")
        for process in [*others, *daemons]:
            s.die(process)
        assert [hit.tgid for hit in hits_of(s)] == [process.tgid for process in daemons]
