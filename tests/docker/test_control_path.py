"""Who talks to whom, on a real docker and a real containerd with its CRI.

Of the kubelet no package exists here: its end is a program of that name that makes one real call of
the CRI (cri.py), and small programs that hold the sockets of cri-dockerd and dockershim.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from demo.privatedocker import PrivateDocker, Topology
from tests.kernel.conftest import build as build
from tests.kernel.recording import Recorder, wait_for
from tests.unit.sockets import Sock, snapshots
from tracer.abi import SocketFlag

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

NAME = f"talks-{os.getpid()}"
CRI = Path(__file__).with_name("cri.py")


def looks(recorder: Recorder) -> list[list[Sock]]:
    recorder.capture.read()
    return [sockets for _, sockets in snapshots(recorder.capture.of(b"SOCK"))]


def is_seen(recorder: Recorder, client: int, socket: str) -> bool:
    """Whether a process was seen connected to a socket of that name."""
    return any(
        s.tgid == client and s.name == os.fsencode(socket) and SocketFlag.PEER_NAME in s.flags
        for sockets in looks(recorder)
        for s in sockets
    )


def is_described(recorder: Recorder, tgid: int) -> bool:
    """Whether /proc was read of a process: its comm alone makes nobody a daemon."""
    recorder.capture.read()
    return tgid in recorder.capture.processes("start")


def is_running(docker: PrivateDocker) -> bool:
    """Whether docker calls the container so; its client connects before there is one."""
    words = ("inspect", "-f", "{{.State.Running}}", NAME)
    return docker.docker(*words, check=False).stdout.strip() == "true"


def report_of(recorder: Recorder) -> Any:
    report = build_report(open_capture(recorder.path))
    render_text(report, width=80, color=False)
    return report


def broken(report: Any, *tgids: int) -> list[Any]:
    """Findings of a broken path that are about these processes: the host may have others."""
    kinds = ("without-containerd", "without-runtime", "socket-removed")
    return [
        finding
        for finding in report["findings"]
        if finding["kind"].endswith(kinds)
        and {int(process.split(":")[0]) for process in finding["processes"]} & set(tgids)
    ]


def container(report: Any) -> Any:
    (found,) = (c for c in report["containers"] if c["name"] == NAME)
    return found


@pytest.mark.parametrize("topology", ["managed", "external"])
def test_the_chain_of_a_container(tmp_path: Path, topology: Topology) -> None:
    """GIVEN docker run in the foreground THEN client, dockerd, containerd and shim in a row; and
    where containerd is killed, the report says so first."""
    with PrivateDocker(topology) as docker, Recorder(tmp_path) as recorder:
        recorder.wait_until_recording()
        run = ("docker", "run", "--name", NAME, "--network", "none", docker.image, "sleep", "1000")
        client = subprocess.Popen(run, env=docker.environ, stdout=subprocess.DEVNULL)
        wait_for(lambda: is_seen(recorder, client.pid, str(docker.socket)), "the client")
        wait_for(lambda: is_running(docker), "the container")
        recorder.wait_until_named(NAME)
        dockerd, containerd = docker.dockerd.pid, docker.containerd.pid
        recorder.stop()
        report = report_of(recorder)

        web = container(report)
        links = [(x["from"]["tgid"], x["to"]["tgid"], x["state"]) for x in web["control_path"]]
        shim = web["shim"]["tgid"]
        assert links == [
            (client.pid, dockerd, "connected"),
            (dockerd, containerd, "connected"),
            (containerd, shim, "connected"),
        ]
        assert not broken(report, dockerd, containerd, shim)

        if topology == "external":
            second = tmp_path / "second"
            second.mkdir()
            with Recorder(second) as running:
                wait_for(lambda: looks(running), "the first look")
                wait_for(lambda: is_described(running, containerd), "what it executes")
                running.wait_until_named(NAME)
                docker.containerd.send(signal.SIGKILL)
                docker.reap(docker.containerd)
                docker.containerd.wait_gone(20)
                running.stop()
                report = report_of(running)
            (finding,) = (f for f in report["findings"] if f["kind"] == "daemon-without-containerd")
            assert f"its containerd has gone: containerd ({containerd})" in finding["text"]
            assert "was killed by SIGKILL" in finding["text"]
            assert "cannot be reached" in finding["text"]
            assert [x["state"] for x in container(report)["control_path"]][-2:] == [
                "ended",
                "ended",
            ]
            docker.start_containerd()  # or what it left cannot be removed
        client.kill()
        client.wait()


@contextlib.contextmanager
def cri_containerd(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """containerd with its CRI, in folders of its own."""
    program = shutil.which("containerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    assert program is not None
    config = folder / "containerd.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'[grpc]\n  address = "{folder}/containerd.sock"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{folder}/opt"\n'
        '[plugins."io.containerd.grpc.v1.cri"]\n  disable_tcp_service = true\n'
    )
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
    try:
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait()


def test_kubelet_and_the_cri_of_a_real_containerd(tmp_path: Path) -> None:
    kubelet_program = tmp_path / "kubelet"
    shutil.copy(os.path.realpath(sys.executable), kubelet_program)
    environ = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with cri_containerd(tmp_path) as containerd, Recorder(tmp_path) as recorder:
        recorder.wait_until_recording()
        socket = tmp_path / "containerd.sock"
        wait_for(socket.exists, "containerd's socket")

        def ask() -> subprocess.Popen[bytes] | None:
            for api in ("v1", "v1alpha2"):
                command = [kubelet_program, CRI, socket, api]
                asked = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
                assert asked.stdout is not None
                if b"containerd" in asked.stdout.readline():
                    return asked
                asked.kill()
                asked.wait()
            time.sleep(0.2)  # the plugin may still be starting
            return None

        kubelet = wait_for(ask, "an answer by the CRI")
        assert kubelet is not None
        wait_for(lambda: is_seen(recorder, kubelet.pid, str(socket)), "kubelet's connection")
        recorder.stop()
        report = report_of(recorder)
        kubelet.kill()
        kubelet.wait()

    found = [
        (c["to"]["tgid"], c["protocol"], c["at_end"])
        for c in report["control_path"]["connections"]
        if c["from_end"]["tgid"] == kubelet.pid
    ]
    assert found == [(containerd.pid, "cri", True)]
    assert not broken(report, kubelet.pid, containerd.pid)


def test_kubelet_with_cri_dockerd_and_dockershim(
    tmp_path: Path, build: Callable[[str], Path], private_docker: PrivateDocker
) -> None:
    """Small programs of those names on real sockets; dockerd is real."""
    talkers = {}
    for name in ("kubelet", "cri-dockerd"):
        talkers[name] = shutil.copy(build("talker"), tmp_path / name)
    cri, shim = f"{tmp_path}/cri-dockerd.sock", f"{tmp_path}/dockershim.sock"
    docker = str(private_docker.socket)
    with contextlib.ExitStack() as stack:
        pids = []
        for name, roles in (
            ("cri-dockerd", (f"listen:{cri}", f"connect:{docker}")),
            ("kubelet", (f"listen:{shim}", f"connect:{shim}", f"connect:{cri}")),
        ):
            process = subprocess.Popen([talkers[name], *roles], stdout=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            pids.append(process.pid)
        with Recorder(tmp_path, command=["true"]) as recorder:
            assert recorder.stop(None).status == 0
        report = report_of(recorder)

    told = {
        (c["from_end"]["tgid"], c["to_end"]["tgid"], c["protocol"])
        for c in report["control_path"]["connections"]
        if {c["from_end"]["tgid"], c["to_end"]["tgid"]} & set(pids)
    }
    cri_dockerd, kubelet = pids
    assert told == {
        (kubelet, kubelet, "dockershim"),
        (kubelet, cri_dockerd, "cri"),
        (cri_dockerd, private_docker.dockerd.pid, "docker-api"),
    }
    assert not broken(report, *pids, private_docker.dockerd.pid)
