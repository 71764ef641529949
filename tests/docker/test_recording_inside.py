"""rtrace in a container: with the host's pid namespace and with one of its own, with and without
the capabilities that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tracer
from demo.privatedocker import PrivateDocker
from tests.kernel.recording import Capture, read_capture, wait_for
from tests.unit.sockets import snapshots
from tracer.abi import Type

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

# The host's programs and libraries, read-only, and all that this Python needs.
_HOST = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/passwd")
_TO_RECORD = ("--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE")


def rtrace_in_container(
    docker: PrivateDocker, out: Path, *options: str, arguments: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """`rtrace ...` in a container that sees the host's files."""
    checkout = Path(tracer.__file__).parents[1]
    packages = Path(sysconfig.get_path("purelib"))
    folders = [path for path in _HOST if os.path.exists(path)]
    mounts = [f"--volume={path}:{path}:ro" for path in (*folders, checkout, packages)]
    paths = f"--env=PYTHONPATH={checkout}:{packages}"
    code = "from tracer.cli import main; main()"
    return docker.docker(
        *("run", "--rm", "--network", "none", *options, *mounts, paths, f"--volume={out}:/out"),
        *("--env=PYTHONDONTWRITEBYTECODE=1", docker.image),
        *(os.path.realpath(sys.executable), "-c", code, *arguments),
        check=False,
    )


def problems(capture: Capture) -> list[str]:
    return [fact["what"] for fact in capture.json(b"FACT") if fact["kind"] == "problem"]


def knows(folder: Path, container: str) -> bool:
    return read_capture(folder / "x.rtrace").is_named(container)


@pytest.mark.parametrize("pid", ["host", "own"])
def test_recording(private_docker: PrivateDocker, tmp_path: Path, pid: str) -> None:
    options = [*_TO_RECORD, *(["--pid=host"] if pid == "host" else []), "--name", f"rtrace-{pid}"]
    # With the host's pid namespace it finds its own container, which is to last until then.
    go = tmp_path / "go"
    script = "until [ -e /out/go ]; do sleep 0.1; done; exec /bin/true in-a-container"
    arguments = ("record", "-o", "/out/x.rtrace", "--", "/bin/sh", "-c", script)

    with ThreadPoolExecutor() as beside:
        run = (private_docker, tmp_path, *options)
        ended = beside.submit(rtrace_in_container, *run, arguments=arguments)
        try:
            if pid == "host":
                wait_for(lambda: ended.done() or knows(tmp_path, f"rtrace-{pid}"), "its own name")
        finally:
            go.touch()
        done = ended.result()

    # What happens is recorded either way, with the ids of the initial namespace.
    assert done.returncode == 0, done.stderr
    capture = read_capture(tmp_path / "x.rtrace")
    assert capture.whole
    (detail,) = [d for d in capture.details() if d.args == (b"/bin/true", b"in-a-container")]
    forks = [f for f in capture.events(detail.tgid, Type.FORK) if f.start_ns == detail.start_ns]
    assert [fork.fork.forker_tgid for fork in forks] == [capture.header["pid"]]
    # The host is known before and after only with its pid namespace, and that is said.
    dockerd = private_docker.dockerd.pid
    isolated = [what for what in problems(capture) if "a pid namespace of its own" in what]
    containers = {f["name"] for f in capture.json(b"FACT") if f["kind"] == "container"}
    looks = snapshots(capture.of(b"SOCK"))
    assert {reason for reason, _ in looks} >= {"start", "end"}
    assert (dockerd in {s.tgid for _, sockets in looks for s in sockets}) == (pid == "host")
    if pid == "host":
        assert capture.processes("start")[dockerd]["args"][0].endswith("dockerd")
        assert not isolated
        assert "note: " not in done.stderr
        assert "rtrace-host" in containers
    else:
        assert dockerd not in capture.tasks("start")
        assert len(isolated) == 1
        assert f"note: {isolated[0]}\n" in done.stderr
        (me,) = capture.tasks("start").values()
        assert (me.tgid, me.ns_tgid) == (capture.header["pid"], 1)
        assert set(capture.processes("start")) == {me.tgid}


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (("--pid=host",), "CAP_BPF and CAP_PERFMON missing (uid 0)"),
        (("--pid=host", "--user=65534", "--cap-add=SYS_ADMIN"), "missing (uid 65534)"),
    ],
)
def test_without_capabilities(
    private_docker: PrivateDocker, tmp_path: Path, options: tuple[str, ...], missing: str
) -> None:
    arguments = ("record", "-o", "/out/x.rtrace")

    done = rtrace_in_container(private_docker, tmp_path, *options, arguments=arguments)

    assert done.returncode == 1
    assert done.stderr.startswith("rtrace: cannot load the BPF programs: ")
    assert missing in done.stderr
    assert done.stderr.count("\n") == 1


def test_doctor(private_docker: PrivateDocker, tmp_path: Path) -> None:
    told: dict[str, Any] = {}
    for pid in ("host", "own"):
        options = [*_TO_RECORD, *(["--pid=host"] if pid == "host" else [])]
        done = rtrace_in_container(private_docker, tmp_path, *options, arguments=("doctor",))
        assert (done.returncode, done.stderr) == (0, "")
        told[pid] = done.stdout

    assert "ok  namespaces: the host's\n" in told["host"]
    assert "-   namespaces: rtrace runs in a pid namespace of its own" in told["own"]
    assert "in a container: docker run --pid=host\n" in told["own"]
    assert "-   priority: stays as it is: no CAP_SYS_NICE" in told["host"]
