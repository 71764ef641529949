"""Without root: what each capability is needed for, and what a capture lacks without it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.hosts import NOBODY, Nobody, in_mount_namespace, run
from tests.kernel.recording import (
    RTRACE,
    Capture,
    Recorder,
    assert_failed,
    read_capture,
    run_rtrace,
    wait_for,
)
from tests.unit.sockets import snapshots
from tracer.abi import Type
from tracer.capabilities import Capability, capabilities
from tracer.control import socket_path
from tracer.least_rights import give_up_rights

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


NAME, SHIM_ID = "rtrace-test-app", "0123456789abcdef" * 4
RECORDING = ("bpf", "perfmon")


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    """A user who may do nothing but what a test grants."""
    user = Nobody()
    try:
        yield user
    finally:
        user.remove()


def record(nobody: Nobody, *capabilities: str) -> Capture:
    """A recording of `true`, by a user with these capabilities."""
    path = nobody.home / "x.rtrace"
    command = ("record", "--force", "-o", path, "--", "true", "by-nobody")
    ended = nobody.rtrace(*command, capabilities=capabilities)
    assert (ended.status, ended.stdout) == (0, ""), ended.stderr
    capture = read_capture(path)
    assert capture.whole
    # The events are the same for everybody: those of root's processes too.
    (detail,) = [d for d in capture.details() if d.args == (b"true", b"by-nobody")]
    exits = capture.events(detail.tgid, Type.EXIT)
    assert [e.exit.exit_code for e in exits if e.start_ns == detail.start_ns] == [0]
    assert capture.tasks("start")[1].flags == 2
    return capture


def problems(capture: Capture) -> list[str]:
    return [fact["what"] for fact in capture.json(b"FACT") if fact["kind"] == "problem"]


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        ((), "CAP_BPF and CAP_PERFMON missing"),
        (("bpf",), "CAP_PERFMON missing"),
        (("perfmon",), "CAP_BPF missing"),
        (("sys_ptrace", "dac_override", "net_admin"), "CAP_BPF and CAP_PERFMON missing"),
    ],
)
def test_capabilities_that_do_not_suffice(
    nobody: Nobody, capabilities: tuple[str, ...], missing: str
) -> None:
    ended = nobody.rtrace("record", "-o", "y.rtrace", capabilities=capabilities)

    assert_failed(
        ended,
        f"cannot load the BPF programs: {missing} (uid 65534); run it as root (sudo), or with "
        "CAP_BPF and CAP_PERFMON",
    )
    assert not (nobody.home / "y.rtrace").exists()
    doctor = nobody.rtrace("doctor", capabilities=capabilities)
    assert (doctor.status, doctor.stderr) == (1, "")
    lacking = f"no {missing.removesuffix(' missing').replace(' and ', ' and no ')}"
    assert f"NO  privileges: {lacking} (uid 65534)\n    run it as root (sudo), or" in doctor.stdout


def test_a_command_of_somebody_who_may_not_record(nobody: Nobody) -> None:
    ended = nobody.rtrace("record", "-o", "y.rtrace", "--", "true")

    assert_failed(ended, "missing", status=125)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of root's, and older than the recording."""
    process = subprocess.Popen(["sleep", "71"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("capabilities", [RECORDING, ("sys_admin",)])
def test_what_it_takes_to_record(
    nobody: Nobody, bystander: subprocess.Popen[bytes], capabilities: tuple[str, ...]
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{NAME}")
        listener.listen()
        capture = record(nobody, *capabilities)

    # Sockets of root's processes are seen all the same.
    for _, sockets in snapshots(capture.of(b"SOCK")):
        assert os.getpid() in {s.tgid for s in sockets if s.name == NAME.encode()}
    # What /proc shows to everybody is there; programs are not, which capture and report say.
    for phase in ("start", "end"):
        process = capture.processes(phase)[bystander.pid]
        assert process["args"] == ["sleep", "71"]
        assert process["cgroup"] == Path("/proc/self/cgroup").read_text()
        assert process["exe"] is None
    (problem,) = [what for what in problems(capture) if "programs (exe)" in what]
    assert problem.endswith("processes may not be read: no CAP_SYS_PTRACE")
    report = run_rtrace("report", capture.path)
    assert "while recording: the programs (exe) of " in report.stdout
    doctor = nobody.rtrace("doctor", capabilities=capabilities)
    assert (doctor.status, doctor.stderr) == (0, "")
    assert "-   /proc: may not be read in full: no CAP_SYS_PTRACE\n" in doctor.stdout
    assert "-   container files: may not be read: no CAP_DAC_READ_SEARCH\n" in doctor.stdout
    assert "-   priority: stays as it is: no CAP_SYS_NICE\n" in doctor.stdout


def test_with_ptrace_programs_are_known(nobody: Nobody, bystander: subprocess.Popen[bytes]) -> None:
    capture = record(nobody, *RECORDING, "sys_ptrace")

    assert capture.processes("start")[bystander.pid]["exe"].endswith("/sleep")
    assert not [what for what in problems(capture) if "programs (exe)" in what]


@pytest.fixture
def shim(build: Build, tmp_path: Path) -> Iterator[int]:
    """A process that is called like a shim, with its bundle in a directory of root's."""
    bundle = tmp_path / "bundle"
    bundle.mkdir(mode=0o700)
    key = "io.kubernetes.cri."
    annotations = {f"{key}container-type": "container", f"{key}container-name": NAME}
    config = {"ociVersion": "1.0.2", "annotations": annotations}
    (bundle / "config.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", SHIM_ID],
        executable=build("crowd"),
        cwd=bundle,
        stdout=subprocess.DEVNULL,
    )
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ((), ": no CAP_SYS_PTRACE, no CAP_DAC_READ_SEARCH"),
        (("sys_ptrace",), ": no CAP_DAC_READ_SEARCH"),
        (("dac_read_search",), ": no CAP_SYS_PTRACE"),
        (("sys_ptrace", "dac_read_search"), None),
    ],
)
def test_what_it_takes_to_name_containers(
    nobody: Nobody, shim: int, more: tuple[str, ...], missing: str | None
) -> None:
    capture = record(nobody, *RECORDING, *more)

    found = [f for f in capture.json(b"FACT") if f["kind"] == "container" and f["id"] == SHIM_ID]
    told = [what for what in problems(capture) if what.startswith("files of container runtimes")]
    if missing is None:
        assert [fact["name"] for fact in found] == [NAME]
        assert not told
    else:
        # Its id and its namespace are known from the shim's arguments.
        assert {(fact["name"], fact["namespace"]) for fact in found} == {(None, "k8s.io")}
        (problem,) = told
        assert "may not be read (such as " in problem
        assert problem.endswith(missing)


def test_the_recorder_runs_before_others_where_it_may(nobody: Nobody) -> None:
    # COMMAND has the priority that rtrace was started with.
    script = "sleep 0.5; cut -d' ' -f19 /proc/$PPID/stat >nice; cut -d' ' -f19 /proc/$$/stat >>nice"
    for granted, nice in ((RECORDING, 0), ((*RECORDING, "sys_nice"), -10)):
        ended = nobody.rtrace(
            "record", "--force", "-o", "x.rtrace", "--", "sh", "-c", script,
            capabilities=granted,
        )  # fmt: skip
        assert ended.status == 0
        told = (nobody.home / "nice").read_text().split()
        assert told == [str(nice), "0"]


RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")


def rights(pid: int) -> dict[str, dict[str, str]]:
    """What each thread of a process may do, by its id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines)
        found[task.name] = {name: fields[name] for name in RIGHTS}
    return found


def mask(*capabilities: Capability) -> str:
    return f"{sum(1 << capability for capability in capabilities):016x}"


KEPT = (Capability.DAC_READ_SEARCH, Capability.SYS_PTRACE)


@pytest.fixture
def others() -> Iterator[int]:
    """A process of another user."""
    process = subprocess.Popen(["sleep", "73"], user=NOBODY, group=NOBODY)
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize("engine", ["core", "bcc"])
@pytest.mark.parametrize("options", [(), ("--max-size", "2MiB", "--trigger", "oom", "--live")])
def test_what_every_thread_keeps(
    tmp_path: Path, others: int, engine: str, options: tuple[str, ...]
) -> None:
    with Recorder(tmp_path, "--engine", engine, *options) as recording:
        control = Path(socket_path(recording.pid))
        wait_for(control.exists, "the recorder's socket")
        subprocess.run(["true"], check=True)  # for --live
        threads = wait_for(lambda: at_least(rights(recording.pid), 6 + bool(options)), "threads")
        kept = mask(*KEPT)
        for thread in threads.values():
            assert thread == dict(
                zip(RIGHTS, ("0" * 16, kept, kept, kept, "0" * 16, "1"), strict=True)
            )
        # It can still save, which takes a snapshot and a new file,
        saved = run_rtrace("snapshot", "--pid", str(recording.pid), "-o", tmp_path / "y")
        assert saved.status == 0, saved.stderr
        assert recording.stop().status == 0
    for path in (recording.path, tmp_path / "y"):
        capture = read_capture(path)
        assert capture.whole
        # and read what belongs to others.
        for phase in ("start", "end"):
            assert capture.tasks(phase)
            assert capture.processes(phase)[others]["exe"].endswith("/sleep")
        assert snapshots(capture.of(b"SOCK"))
        assert not [what for what in problems(capture) if "may not be read" in what]


def at_least(threads: dict[str, dict[str, str]], count: int) -> dict[str, dict[str, str]]:
    return threads if len(threads) >= count else {}


def test_command_has_the_rights_of_its_caller(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"grep -E 'Cap|NoNew' /proc/self/status >{ready}.new; mv {ready}.new {ready}; sleep 68"
    with Recorder(tmp_path, command=["sh", "-c", script]) as recording:
        wait_for(ready.exists, "COMMAND")
        told = dict(line.split(":\t") for line in ready.read_text().splitlines())
        ours = Path("/proc/self/status").read_text()
        assert all(f"{name}:\t{value}\n" in ours for name, value in told.items())
        # THEN no thread has more than the others, and the one that ran it has nothing
        kept = mask(*KEPT, Capability.KILL)
        assert {t["CapPrm"] for t in rights(recording.pid).values()} == {kept, mask()}
        recording.stop(signal.SIGTERM)


def test_command_that_becomes_another_user_gets_the_signal(tmp_path: Path) -> None:
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sleep", "69"]
    with Recorder(tmp_path, command=command) as recording:

        def slept() -> bool:
            recording.capture.read()
            return any(d.args == (b"sleep", b"69") for d in recording.capture.details())

        wait_for(slept, "COMMAND")
        ended = recording.stop(signal.SIGTERM)
    assert ended.status == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("owner", "sudo", "more"),
    [
        (0, None, ()),
        (NOBODY, None, (Capability.DAC_OVERRIDE,)),
        (12345, 12345, ()),
        (NOBODY, 12345, (Capability.DAC_OVERRIDE, Capability.CHOWN)),
        (0, 12345, (Capability.DAC_OVERRIDE, Capability.CHOWN)),
    ],
)
def test_what_it_takes_to_write_in_a_directory(
    tmp_path: Path, owner: int, sudo: int | None, more: tuple[Capability, ...]
) -> None:
    """GIVEN a directory, and maybe sudo, WHEN a save and segments are made there by a recorder
    that keeps no more than it takes, THEN they are there, and belong to whoever ran sudo."""
    shared = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
    shared.chmod(0o755)
    folder = shared / "d"
    folder.mkdir(mode=0o755)
    os.chown(folder, owner, owner)
    environment = os.environ | ({} if sudo is None else {"SUDO_UID": f"{sudo}", "SUDO_GID": "7"})
    try:
        path = folder / "x.rtrace"
        with Recorder(tmp_path, "--max-size", "2MiB", path=path, env=environment) as recording:
            wait_for(Path(socket_path(recording.pid)).exists, "the recorder's socket")
            threads = rights(recording.pid).values()
            assert {t["CapEff"] for t in threads} == {mask(*KEPT, *more)}
            saved = run_rtrace("snapshot", "--pid", str(recording.pid))
            assert saved.status == 0, saved.stderr
            assert recording.stop().status == 0
        made = list(folder.iterdir())
        assert len(made) == 2
        for file in made:
            assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (sudo or 0, 0o600)
    finally:
        shutil.rmtree(shared)


def test_where_the_kernel_asks_for_rights_later_too() -> None:
    """Before Linux 5.19 bpf() takes CAP_BPF at each call."""

    class OldKernel:
        def open_snapshot(self) -> int:
            if Capability.BPF not in capabilities():
                raise PermissionError(1, "Operation not permitted")
            return os.open("/dev/null", os.O_RDONLY)

    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            give_up_rights(OldKernel(), "/tmp/x", print, with_command=False)  # type: ignore[arg-type]
            os._exit(0 if capabilities() == {*KEPT, Capability.BPF} else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_desk_without_root(nobody: Nobody, tmp_path: Path) -> None:
    # GIVEN a capture
    with Recorder(tmp_path, command=["true"]) as recording:
        recording.stop(None)
    shared = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
    try:
        shared.chmod(0o755)
        shutil.copy(recording.path, shared / "x.rtrace")
        (shared / "x.rtrace").chmod(0o644)
        # THEN anybody can report it, or dump it
        report = nobody.rtrace("report", shared / "x.rtrace")
        assert (report.status, report.stderr) == (0, "")
        assert report.stdout == run_rtrace("report", shared / "x.rtrace").stdout
        assert nobody.rtrace("dump", shared / "x.rtrace").status == 0
        # but not if it is somebody else's.
        (shared / "x.rtrace").chmod(0o600)
        assert_failed(nobody.rtrace("report", shared / "x.rtrace"), "permission denied; read it as")
    finally:
        shutil.rmtree(shared)


def test_root_of_a_user_namespace(tmp_path: Path) -> None:
    # GIVEN all capabilities there are, but in a user namespace, as in a rootless container
    unshared = ["unshare", "--user", "--map-root-user", RTRACE]

    ended = run([*unshared, "record", "-o", tmp_path / "x"])
    doctor = run([*unshared, "doctor"])

    assert_failed(
        ended, "this is a user namespace, whose capabilities do not count for BPF; run it"
    )
    assert not (tmp_path / "x").exists()
    assert doctor.status == 1
    assert "NO  privileges: those of a user namespace do not count for BPF\n" in doctor.stdout


@pytest.mark.parametrize("kind", ["invisible", "noaccess", "ptraceable"])
def test_hidden_processes(nobody: Nobody, bystander: subprocess.Popen[bytes], kind: str) -> None:
    # GIVEN a /proc that hides other users' processes
    prepare = f"mount -t proc -o hidepid={kind} proc /proc"
    path = nobody.home / "x.rtrace"
    command = ("record", "--force", "-o", path, "--", "true")
    ended = nobody.rtrace(*command, capabilities=RECORDING, prepare=prepare)
    doctor = nobody.rtrace("doctor", capabilities=RECORDING, prepare=prepare)

    # THEN the kernel's snapshot has them, and what /proc does not show is said
    assert ended.status == 0
    capture = read_capture(path)
    assert capture.tasks("start")[bystander.pid].comm == b"sleep"
    assert bystander.pid not in capture.processes("start")
    (problem,) = [what for what in problems(capture) if what.startswith("/proc does not show")]
    assert f"(it is mounted with hidepid={kind}: no CAP_SYS_PTRACE)" in problem
    assert doctor.status == 0
    assert (
        f"-   /proc: does not show all processes: it is mounted with hidepid={kind}"
        in doctor.stdout
    )
    # and root sees all.
    mounted = in_mount_namespace(f'{prepare}; "$@"', RTRACE, *command)
    assert run(mounted).status == 0
    assert bystander.pid in read_capture(path).processes("start")
    assert not [what for what in problems(read_capture(path)) if "/proc" in what]


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o666, "did not answer: {socket} gave no valid answer"),  # it was asked
        (0o600, "was not asked: permission denied for {socket}"),
    ],
)
def test_a_daemon_whose_socket_is_for_a_group(
    nobody: Nobody, build: Build, tmp_path: Path, mode: int, told: str
) -> None:
    # GIVEN a daemon of root's, of which no more is open than its socket
    program, socket = tmp_path / "dockerd", nobody.home / "docker.sock"
    shutil.copy(build("daemon"), program)
    daemon = subprocess.Popen(
        [program, "-H", f"unix://{socket}"], stdout=subprocess.PIPE, env={"DAEMON": "garbage"}
    )
    assert daemon.stdout is not None
    try:
        daemon.stdout.readline()
        socket.chmod(mode)
        capture = record(nobody, *RECORDING)
    finally:
        daemon.kill()
        daemon.communicate()
        socket.unlink()

    (problem,) = [what for what in problems(capture) if f"dockerd ({daemon.pid})" in what]
    assert problem.startswith(f"dockerd ({daemon.pid}) {told.format(socket=socket)}")


def test_a_daemon_whose_socket_is_its_users(build: Build, tmp_path: Path) -> None:
    # GIVEN a daemon as rootless ones are: root is let in by CAP_DAC_OVERRIDE alone
    program, socket = tmp_path / "dockerd", tmp_path / "docker.sock"
    shutil.copy(build("daemon"), program)
    daemon = subprocess.Popen(
        [program, "-H", f"unix://{socket}"], stdout=subprocess.PIPE, env={"DAEMON": "garbage"}
    )
    assert daemon.stdout is not None
    try:
        daemon.stdout.readline()
        os.chown(socket, NOBODY, NOBODY)
        socket.chmod(0o600)
        with Recorder(tmp_path) as recording:

            def told() -> list[str]:
                recording.capture.read()
                return [what for what in problems(recording.capture) if f"({daemon.pid})" in what]

            (problem,) = wait_for(told, "the problem")
            assert recording.stop().status == 0
    finally:
        daemon.kill()
        daemon.communicate()
    assert problem == f"dockerd ({daemon.pid}) was not asked: permission denied for {socket}"
