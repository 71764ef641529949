"""The private docker works in both topologies, and leaves nothing on the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from demo import leftovers
from demo.privatedocker import SYSTEM_CONTAINERD, PrivateDocker, PrivateDockerError, Topology
from demo.process import Process, all_processes, read_argv

pytestmark = pytest.mark.docker

topologies = pytest.mark.parametrize("topology", get_args(Topology))


def _traces(folder: Path) -> list[str]:
    """All that a private docker in this folder has on the host now, except its folder."""
    argvs = [" ".join(read_argv(process.pid)) for process in all_processes()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = [str(root / folder.name) for root in leftovers.cgroup_roots()]
    return [
        *(argv for argv in argvs if f"{folder}/" in argv),
        *(mount for mount in mounts if f" {folder}/" in mount),
        *(cgroup for cgroup in cgroups if os.path.exists(cgroup)),
    ]


def _host_state() -> set[str]:
    """What a private docker could change elsewhere. Other private dockers may run meanwhile."""
    mountinfo = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in mountinfo}
    folders = (Path("/run"), Path("/etc/docker"), Path("/opt/containerd"))
    files = {str(path) for folder in folders for path in folder.glob("**/*")}
    files |= {str(path) for path in Path("/var/lib").iterdir()}
    cgroups = {str(path) for root in leftovers.cgroup_roots() for path in root.glob("*/")}
    interfaces = set(os.listdir("/sys/class/net"))
    return {what for what in points | files | cgroups | interfaces if leftovers.PREFIX not in what}


def _new(topology: Topology) -> PrivateDocker:
    if topology == "managed" and SYSTEM_CONTAINERD.exists():
        pytest.skip(f"{SYSTEM_CONTAINERD} exists: dockerd would use that containerd")
    return PrivateDocker(topology)


@topologies
def test_runs_containers_and_leaves_nothing(topology: Topology) -> None:
    leftovers.sweep_stale()
    before = _host_state()
    with _new(topology) as docker:
        run = docker.docker("run", "--rm", "--network", "none", docker.image, "echo", "hello")
        assert run.stdout == "hello\n"
        docker.docker("run", "-d", "--network", "none", docker.image, "sleep", "1000")
        parent = Path(f"/proc/{docker.containerd.pid}/stat").read_text().rpartition(")")[2].split()
        assert int(parent[1]) == (docker.dockerd.pid if topology == "managed" else os.getpid())
        assert _traces(docker.folder)
    assert _traces(docker.folder) == []
    assert not docker.folder.exists()
    assert _host_state() ^ before == set()


@topologies
def test_daemons_can_be_killed_and_started_again(topology: Topology) -> None:
    with _new(topology) as docker:
        for daemon in (docker.dockerd, docker.containerd):
            daemon.send(signal.SIGKILL)
            assert daemon.wait_gone(5)
            docker.reap(daemon)
        docker.start_containerd()
        docker.start_dockerd()
        run = docker.docker("run", "--rm", "--network", "none", docker.image, "echo", "again")
        assert run.stdout == "again\n"
    assert _traces(docker.folder) == []


@topologies
def test_killed_shims_leave_nothing(topology: Topology) -> None:
    """containerd forgets the socket of a shim that was killed."""
    leftovers.sweep_stale()
    before = _host_state()
    with _new(topology) as docker:
        run = docker.docker("run", "-d", "--network", "none", docker.image, "sleep", "1000")
        argvs = {process: read_argv(process.pid) for process in all_processes()}
        [shim] = [process for process, argv in argvs.items() if run.stdout.strip() in argv]
        shim.send(signal.SIGKILL)
        docker.docker("wait", run.stdout.strip())
    assert _traces(docker.folder) == []
    assert _host_state() ^ before == set()


@topologies
def test_a_killed_owner_is_cleaned_up_after(topology: Topology, checkout: Path) -> None:
    _new(topology)  # or skip
    script = (
        "import os, signal, sys\n"
        "from demo.privatedocker import PrivateDocker\n"
        f"docker = PrivateDocker({topology!r})\n"
        "docker.start()\n"
        "docker.docker('run', '-d', '--network', 'none', docker.image, 'sleep', '1000')\n"
        "print(docker.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    leftovers.sweep_stale()
    before = _host_state()
    owner = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, stdout=subprocess.PIPE, text=True, check=False
    )
    folder = Path(owner.stdout.strip())
    assert _traces(folder)
    leftovers.sweep_stale()
    assert _traces(folder) == []
    assert not folder.exists()
    assert _host_state() ^ before == set()


def test_start_that_fails_says_why_and_leaves_nothing() -> None:
    docker = PrivateDocker(options=["--no-such-option"])
    with pytest.raises(PrivateDockerError, match="no-such-option"):
        docker.start()
    assert not docker.folder.exists()


def test_strangers_folders_are_left_alone() -> None:
    """Anybody can make a folder in /tmp that looks like ours and names pids to be killed."""
    trap = leftovers.PARENT / f"{leftovers.PREFIX}trap-{os.getpid()}"
    trap.mkdir(mode=0o700)
    try:
        bystander = subprocess.Popen(["sleep", "60"])
        process = Process.of(bystander.pid)
        assert process is not None
        dead = Process(1, 1)
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        leftovers.State(dead, boot_id, "/none", daemons=[process]).write(trap)
        os.chown(trap, 65534, 65534)
        leftovers.sweep_stale()
        assert process.is_alive()
        bystander.kill()
        bystander.wait()
    finally:
        for path in trap.iterdir():
            path.unlink()
        trap.rmdir()
