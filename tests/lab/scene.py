"""What scenarios are written with: commands in a lab, its processes, and what became of them.

Processes are seen from outside, so tgids are those that the recorder uses; what is done is done
inside. Everything goes into the witness's log.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel.recording import DEADLINE_S
from tests.lab.lab import IMAGE, IMAGE_ROOT, Lab
from tests.lab.topologies import SHIM_V1, TOPOLOGIES
from tests.witness import Step, Watched, Witness, parent_of, read_stat, start_of

FOREVER = ("sleep", "100000")  # a workload that never ends by itself, and as process 1 ignores TERM
_LIVE = "RSDTtI"


@dataclass
class Container:
    """A container whose process 1 and shim are watched."""

    name: str
    init: Watched
    shim: Watched


@dataclass
class Scene:
    """A lab while a scenario is recorded.

    Attributes:
        dockerd, containerd: those that ran when it began; all that containerd forks is watched.
        killed: those that the scenario itself has signalled.
    """

    lab: Lab
    witness: Witness
    dockerd: Watched = field(init=False)
    containerd: Watched = field(init=False)
    killed: list[Watched] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dockerd = self._find_daemon("dockerd")
        self.containerd = self._find_daemon("containerd")

    # --- what is done ---------------------------------------------------------------------------

    def run(self, *words: str, check: bool = True) -> str:
        """A command inside the lab, up to its end; what it printed."""
        step = self.witness.step(" ".join(words))
        done = self.lab.run(*words, capture_output=False, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip
        step.output = done.stdout
        if check:
            assert done.returncode == 0, f"{step.what}: status {done.returncode}: {done.stdout}"
        return str(done.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command inside the lab that goes on meanwhile."""
        self.witness.step(f"{' '.join(words)} &")
        return subprocess.Popen(
            self.lab.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def docker(self, *words: str, check: bool = True) -> str:
        """A docker command."""
        return self.run("docker", *words, check=check)

    def docker_run(
        self, name: str, *command: str, options: tuple[str, ...] = (), image: str = IMAGE
    ) -> Container:
        """`docker run -d`; what is watched of it."""
        told = ("--name", name, "--network", "none", *options, image, *(command or FOREVER))
        self.docker("run", "-d", *told)
        return self.look_at(name)

    def ctr(self, *words: str, namespace: str = "default", check: bool = True) -> str:
        """A ctr command, to the containerd that this topology has."""
        where = ("-a", self.containerd_socket, "-n", namespace)
        return self.run("ctr", *where, *words, check=check)

    def kill(self, process: Watched, signal: str = "KILL") -> Step:
        """`kill` inside the lab."""
        self.killed.append(process)
        step = self.witness.step(f"kill -{signal} {process.what}")
        done = self.lab.run("/bin/kill", f"-{signal}", str(self.inner_pid(process.tgid)))
        assert done.returncode == 0, done.stderr
        return step

    def systemctl(self, *words: str) -> Step:
        """A systemctl command: it returns when systemd has done it."""
        self.run("systemctl", *words)
        return self.witness.steps[-1]

    def leave_dead(self, unit: str) -> None:
        """Keeps systemd from starting a unit again when it has failed."""
        self.override(unit, "Restart=no")

    def override(self, unit: str, setting: str) -> None:
        """A drop-in for a service."""
        path = f"/run/systemd/system/{unit}.service.d/scenario.conf"
        script = f"mkdir -p ${{1%/*}} && printf '[Service]\\n%s\\n' '{setting}' >$1"
        self.run("sh", "-c", script, "sh", path)
        self.systemctl("daemon-reload")

    # --- who is there ---------------------------------------------------------------------------

    @property
    def containerd_socket(self) -> str:
        """Of the containerd that dockerd uses."""
        own = TOPOLOGIES[self.lab.setup.topology].own_containerd
        return f"/run{'/docker' if own else ''}/containerd/containerd.sock"

    @property
    def has_containerd_service(self) -> bool:
        """Whether systemd starts containerd."""
        return not TOPOLOGIES[self.lab.setup.topology].own_containerd

    @property
    def shim_options(self) -> tuple[str, ...]:
        """For ctr, which does not know of docker's default runtime."""
        return ("--runtime", SHIM_V1) if TOPOLOGIES[self.lab.setup.topology].shim_v1 else ()

    @property
    def image_root(self) -> str:
        """A root file system for ctr."""
        return IMAGE_ROOT

    @property
    def ctr_run_options(self) -> tuple[str, ...]:
        """Where no cgroup v2 has a cpu controller, ctr must be told to ask for none."""
        asks = "--cpu-shares" in self.lab.run("ctr", "run", "--help").stdout
        return (*self.shim_options, *(("--cpu-shares", "0") if asks else ()))

    def inner_pid(self, tgid: int) -> int:
        """A process's number inside the lab."""
        return _pids(tgid)[1]

    def outer_pid(self, pid: int, depth: int = 1) -> int:
        """A process by its number inside the lab (depth 2: inside a container of it)."""
        (found,) = [t for t in self.lab.processes() if (p := _pids(t))[depth:] and p[depth] == pid]
        return found

    def with_comm(self, comm: str) -> Iterator[int]:
        """Processes of the lab that live."""
        for tgid in self.lab.processes():
            if _comm(tgid) == comm and _is_alive(tgid):
                yield tgid

    def look_at(self, name: str) -> Container:
        """A docker container that runs."""
        pid = self.docker("inspect", "-f", "{{.State.Pid}}", name)
        self.witness.observe("docker", f"State.Pid of {name}", int(pid))
        return self.look_at_pid(int(pid), name)

    def look_at_pid(self, pid: int, name: str) -> Container:
        """A container by its process 1."""
        tgid = self.outer_pid(pid)
        shim = self.witness.watch(parent_of(tgid), f"shim of {name}", with_descendants=True)
        return Container(name, self.witness.watch(tgid, f"process 1 of {name}"), shim)

    # --- what becomes of it ---------------------------------------------------------------------

    def wait_gone(self, *processes: Watched) -> None:
        """Until the witness has seen that they have ended and were reaped."""
        for process in processes:
            self.wait_for_end(process, "gone")

    def wait_for_end(self, process: Watched, state: str) -> None:
        """Until the witness has seen that it is a "zombie", or "gone"."""
        self.wait(
            lambda: process.last.state == state, f"{process.what} ({process.tgid}) as {state}"
        )

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until something is so."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come in {DEADLINE_S:.0f} s"
            time.sleep(0.02)

    def wait_for_docker(self) -> None:
        """Until dockerd answers."""
        self.wait(lambda: self.lab.run("docker", "version").returncode == 0, "docker's answer")

    def linger(self, seconds: float = 1.0) -> None:
        """Time for what must not happen."""
        time.sleep(seconds)

    def ask_docker(self) -> None:
        """What docker says of its containers."""
        shown = self.docker("ps", "-a", "--format", "{{.Names}}: {{.Status}}", check=False)
        self.witness.observe("docker", "docker ps -a", re.sub(r" (\d+|Less).*", "", shown.strip()))

    def observe_parent(self, process: Watched) -> None:
        """Whose child a process is now."""
        self.witness.observe(
            "proc", f"parent of {process.what}", parent_of(process.tgid), tgid=process.tgid
        )

    def expect(
        self,
        behaviour: str,
        since: Step,
        *,
        shim: Watched | None = None,
        container: Watched | None = None,
        ends_itself: bool = False,
        **others: str,
    ) -> None:
        """What a report must tell of a behaviour: what the witness has seen since a step, and
        what a scenario knows of others."""
        self.witness.look()
        outcomes = dict(others)
        if shim is not None:
            outcomes["shim"] = self._outcome(shim, since, by_itself=True)
        if container is not None:
            outcomes["container"] = self._outcome(container, since, by_itself=ends_itself)
        self.witness.expect(behaviour, **outcomes)

    def _outcome(self, process: Watched, since: Step, *, by_itself: bool) -> str:
        """An outcome token. Workloads do not end by themselves, shims do when all is done."""
        if process.last.state != "alive":
            return "exited" if by_itself and process not in self.killed else "killed"
        # The first look shows no change: it may be later than the step.
        changes = [look for look in process.looks[1:] if look.until_ns > since.at_ns]
        return "reparented" if changes else "unaffected"

    def _find_daemon(self, comm: str) -> Watched:
        # What it forks has its comm at first, and may be gone (start 0) when it is looked at.
        tgid = min(self.with_comm(comm), key=lambda tgid: start_of(tgid) or math.inf)
        return self.witness.watch(tgid, comm, with_descendants=comm == "containerd")


def _pids(tgid: int) -> list[int]:
    """The numbers of a process from this pid namespace inwards; none if it is gone."""
    try:
        status = Path(f"/proc/{tgid}/status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = re.search(r"^NSpid:\s+(.*)$", status, re.MULTILINE)
    return [int(pid) for pid in found[1].split()] if found else []


def _comm(tgid: int) -> str:
    try:
        return Path(f"/proc/{tgid}/comm").read_text(errors="replace").rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _is_alive(tgid: int) -> bool:
    stat = read_stat(tgid)
    return stat is not None and stat[0].decode() in _LIVE
