"""A docker of one's own, for the demo and the tests: started from nothing, gone without a trace.

    with PrivateDocker() as docker:
        docker.docker("run", "--rm", "--network", "none", docker.image, "true")

It has its own data root, exec root, socket and cgroup, no bridge and no firewall rules, needs no
registry and no systemd, and does not touch the host's docker. See `demo.leftovers` for how it is
removed, also after a kill -9 of the process that used it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from demo import leftovers
from demo.busybox import find_busybox, image_tar
from demo.process import Process

Topology = Literal["managed", "external"]

IMAGE = "rtrace-busybox:latest"

# root's PATH under sudo may lack them, and the daemons look for runc and containerd in it.
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

# A dockerd that is not told which containerd to use takes this one where it exists.
SYSTEM_CONTAINERD = Path("/run/containerd/containerd.sock")

# The caller's wishes for another daemon must not reach this one.
_FOREIGN = ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "NOTIFY_SOCKET")

_COMPLAINT = re.compile("level=(fatal|error)|^failed|^unable|unknown flag")

_CONTAINERD_CONFIG = """\
version = 2
root = "{folder}/data/containerd"
state = "{folder}/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
  address = "{folder}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/data/opt"
"""


class PrivateDockerError(Exception):
    """The private docker cannot start. ``str()`` says why, in one line."""


def find_missing() -> list[str]:
    """What keeps a private docker from starting here, in words; empty when nothing does."""
    missing = [] if os.geteuid() == 0 else ["root"]
    for name in ("dockerd", "containerd", "runc"):
        if shutil.which(name, path=_PATH) is None:
            missing.append(f"{name} (package docker.io)")
    if shutil.which("docker", path=_PATH) is None:
        missing.append("docker (package docker-cli, or docker.io on Debian 12)")
    if find_busybox() is None:
        missing.append("busybox (package busybox-static)")
    if not leftovers.cgroup_roots():
        missing.append("mounted cgroups (package cgroupfs-mount)")
    return missing


class PrivateDocker:
    """A private dockerd, as a context manager.

    Args:
        topology: "managed": dockerd starts its containerd (docker's old shape), which it only
            does where no containerd serves the host; "external": containerd is a process of its
            own, started first and not dockerd's child (as with systemd's containerd.service);
            None: managed where that is possible.
        options: more options for dockerd, such as "--live-restore".

    Attributes:
        folder: everything is in here: logs, roots, sockets.
        socket: dockerd's socket.
        image: a busybox image, imported at start.
        environ: the environment in which `docker` talks to this daemon.
        cgroup_parent: the cgroup above its containers' cgroups, in every hierarchy.
    """

    image = IMAGE

    folder: Path
    socket: Path
    cgroup_parent: str
    environ: dict[str, str]

    def __init__(self, topology: Topology | None = None, options: Sequence[str] = ()) -> None:
        self.topology: Topology = topology or (
            "external" if SYSTEM_CONTAINERD.exists() else "managed"
        )
        self._options = tuple(options)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._dockerd: Process | None = None
        self._containerd: Process | None = None
        self._state: leftovers.State | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def dockerd(self) -> Process:
        """The daemon that was started last."""
        assert self._dockerd is not None, "not started"
        return self._dockerd

    @property
    def containerd(self) -> Process:
        """Its containerd, whoever started it."""
        assert self._containerd is not None, "not started"
        return self._containerd

    def start(self) -> None:
        """Start it, wait until it answers, import the image. Nothing is left if that fails.

        Raises:
            PrivateDockerError: something is missing, or a daemon did not come up.
        """
        if missing := find_missing():
            raise PrivateDockerError(f"cannot start a private docker: missing {', '.join(missing)}")
        if self.topology == "managed" and SYSTEM_CONTAINERD.exists():
            raise PrivateDockerError(
                f"cannot start a private docker with a containerd of its own: {SYSTEM_CONTAINERD} "
                'exists, and dockerd would use that one; use the topology "external"'
            )
        leftovers.sweep_stale()
        self.folder = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX, dir=leftovers.PARENT))
        self.socket = self.folder / "docker.sock"
        self.cgroup_parent = f"/{self.folder.name}"
        self.environ = _clean(os.environ) | {
            "PATH": _PATH,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.folder / "client"),
        }
        self._state = leftovers.State.now(self.cgroup_parent)
        self._state.write(self.folder)
        try:
            (self.folder / "daemon.json").write_text("{}")
            (self.folder / "containerd.toml").write_text(
                _CONTAINERD_CONFIG.format(folder=self.folder)
            )
            self.start_containerd()
            self.start_dockerd()
            busybox = find_busybox()
            assert busybox is not None  # find_missing() looked
            self._import(image_tar(busybox))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and remove every trace of it from the host. May be called twice."""
        if self._state is None:
            return
        try:
            containers = self.docker("ps", "-aq", check=False, timeout=20).stdout.split()
            if containers:
                self.docker("rm", "--force", *containers, check=False, timeout=60)
        except (subprocess.TimeoutExpired, OSError):
            pass  # it hangs or is dead, as some tests want it: what it left is removed below
        for daemon in (self._dockerd, self._containerd):
            if daemon is not None:
                self.end(daemon)
        leftovers.remove(self.folder, self._state)
        self._state = None
        for child in self._children.values():
            child.wait()
        self._children.clear()

    def docker(
        self, *args: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker client against this daemon, and give back what it printed.

        Raises:
            subprocess.CalledProcessError: it failed, and check is set.
            subprocess.TimeoutExpired: it was ended after `timeout` seconds.
        """
        return subprocess.run(
            ["docker", *args],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout,
        )

    def start_containerd(self) -> None:
        """Start containerd as a process of its own; with the "managed" topology, do nothing."""
        if self.topology == "managed":
            return
        self._containerd = self._spawn(
            "containerd", "--config", f"{self.folder}/containerd.toml", "--log-level", "info"
        )
        self._wait("containerd", lambda: (self.folder / "containerd.sock").exists())

    def start_dockerd(self) -> None:
        """Start dockerd (again), and wait until it answers."""
        folder = self.folder
        outside = ("--containerd", f"{folder}/containerd.sock")
        arguments = (
            *("--config-file", f"{folder}/daemon.json"),
            *("--data-root", f"{folder}/data/docker"),
            *("--exec-root", f"{folder}/exec/docker"),
            *("--host", f"unix://{self.socket}"),
            *("--pidfile", f"{folder}/docker.pid"),
            *("--cgroup-parent", self.cgroup_parent),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),  # the other one needs systemd
            *("--storage-driver", self._storage_driver()),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"),
            *("--shutdown-timeout", "5"),
            *(outside if self.topology == "external" else ()),
            *self._options,
        )
        self._forget_dead()
        self._dockerd = self._spawn("dockerd", *arguments)
        self._wait("dockerd", self._answers)
        if self.topology == "managed":
            self._containerd = Process.of(int(self._containerd_pidfile.read_text()))
            self._remember(self._containerd)

    def end(self, daemon: Process) -> None:
        """End a daemon in good order, with SIGTERM, and wait until it is gone."""
        daemon.end()
        self.reap(daemon)

    def reap(self, daemon: Process) -> None:
        """Collect a daemon that a test has killed, so that it does not stay a zombie."""
        if child := self._children.pop(daemon.pid, None):
            child.wait()

    @property
    def _containerd_pidfile(self) -> Path:
        return self.folder / "exec/docker/containerd/containerd.pid"

    def _forget_dead(self) -> None:
        """Remove the pidfiles of killed daemons: dockerd would take a zombie for a running one."""
        for daemon, pidfile in (
            (self._dockerd, self.folder / "docker.pid"),
            (self._containerd, self._containerd_pidfile),
        ):
            if daemon is None or not daemon.is_alive():
                pidfile.unlink(missing_ok=True)

    def _spawn(self, program: str, *arguments: str) -> Process:
        """Start a daemon out of reach of the terminal's Ctrl-C: `stop` ends it, in order."""
        with (self.folder / f"{program}.log").open("ab") as log:
            child = subprocess.Popen(
                [program, *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[child.pid] = child
        process = Process.of(child.pid)
        self._remember(process)
        return process or Process(child.pid, 0)  # dead already: `_wait` says so

    def _remember(self, daemon: Process | None) -> None:
        if daemon is not None and self._state is not None:
            self._state.daemons.append(daemon)
            self._state.write(self.folder)

    def _wait(self, name: str, is_ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for a daemon to be ready; its log's last complaint tells why it is not."""
        daemon = self.dockerd if name == "dockerd" else self.containerd
        end = time.monotonic() + seconds
        while not is_ready():
            if not daemon.is_alive() or time.monotonic() > end:
                log = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
                bad = [line for line in log if _COMPLAINT.search(line)]
                said = (bad or log or ["nothing"])[-1]
                state = "does not answer" if daemon.is_alive() else "exited"
                raise PrivateDockerError(f"cannot start a private docker: {name} {state}: {said}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            return self.docker("version", check=False, timeout=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _import(self, tar: bytes) -> None:
        command = ["docker", "import", "-", self.image]
        done = subprocess.run(command, env=self.environ, input=tar, capture_output=True)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise PrivateDockerError(f"cannot import an image into the private docker: {said}")

    def _storage_driver(self) -> str:
        """overlay2 where this file system can carry it, else vfs, which always works."""
        with tempfile.TemporaryDirectory(prefix="probe-", dir=self.folder) as probe:
            return "overlay2" if leftovers.can_mount_overlay(Path(probe)) else "vfs"


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in _FOREIGN}
