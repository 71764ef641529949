"""What happens on a busy docker host, as short synthetic streams that `busy_host` repeats.

Each scene begins on the same quiet host and works with the lives of containers that the tests
use, which follow recordings of real engines. What must differ from one copy to the next has a
mark in its place: the container's id (`CID`), its name (`NAME`), a source file (`SOURCE`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests import lives
from tests.lives import CID, Host
from tests.streams import Proc
from tracer.abi import Reason

NAME = "app-000000"
SOURCE = "file_000000"

_MS, _S = 1_000_000, 1_000_000_000
_PAUSE = 20 * _MS

# A compiler's argument lists are long; these are what a kernel module's are.
_FLAGS = " ".join(
    ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fno-common", "-pipe"]
    + [f"-I/src/lib/part{n}/include" for n in range(12)]
    + [f"-DCONFIG_FEATURE_{n}=1" for n in range(8)]
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Attributes:
    weight: share of all events of a capture that this scene's copies have.
    """

    name: str
    weight: float
    play: Callable[[], Host]


def _host() -> Host:
    """The same in all scenes: their processes with numbers below 1000 are one."""
    host = lives.host(managed=False, start=False)
    host.stream.step = 40_000
    return host


def quiet() -> Host:
    """What lives before anything happens."""
    return _host()


def service() -> Host:
    """A container that stays, with a health check every ten seconds."""
    host = _start("nginx -g 'daemon off;'", detached=True)
    for number in range(12):
        host.stream.wait(10 * _S)
        _health_check(host, failed=number == 7)
    return host


def short_container() -> Host:
    """docker run --rm: a few commands, some of whose children outlive their parents."""
    host = _start("/bin/sh -c /entrypoint.sh")
    shell = host.procs["init"]
    for number in range(12):
        _command(host, shell, "/bin/sed", f"sed -i s/a/b/ /etc/app/{number}.conf")
    for _ in range(3):
        _orphan(host, shell)
    lives.end(host, stop=False)
    return host


def killed_container() -> Host:
    """A container whose process 1 somebody kills: all that is in it goes with it."""
    host = _start("java -jar /app/app.jar", detached=True)
    stream, java = host.stream, host.procs["init"]
    workers = [stream.fork(java) for _ in range(6)]
    for worker in workers:
        child = stream.fork(worker)
        _thread_ends(host, worker, child)
    kill = stream.fork(host.shell)
    stream.exec(kill, "/usr/bin/docker", f"docker kill {NAME}")
    runc = stream.fork(host.procs["shim"])
    stream.exec(runc, "/usr/bin/runc", f"runc --root /run/runc kill --all {CID} 9")
    stream.signal(java, 9, runc)
    stream.die(runc)
    lives.end(host, signal=9, stop=False)
    stream.die(kill)
    return host


def build_job() -> Host:
    """A CI job: a container in which a compiler runs some hundred times, with health checks."""
    host = _start("/bin/sh -c 'make -j4'")
    stream = host.stream
    make = stream.fork(host.procs["init"])
    stream.exec(make, "/usr/bin/make", "make -j4", cgroup=f"/docker/{CID}")
    for number in range(400):
        _compile(host, make, cgroup=f"/docker/{CID}")
        for _ in range(3):
            _subshell(host, make)
        if number % 100 == 99:
            _health_check(host)
    stream.die(make)
    lives.end(host, stop=False)
    return host


def host_build() -> Host:
    """make on the host itself."""
    host = _host()
    stream = host.stream
    shell = stream.fork(host.shell)
    make = stream.fork(shell)
    stream.exec(make, "/usr/bin/make", "make -j8 all", cgroup="/user.slice/session-1.scope")
    for _ in range(300):
        _compile(host, make, cgroup="/user.slice/session-1.scope")
    stream.die(make, 2)
    stream.die(shell, 2)
    return host


def scripts() -> Host:
    """Shell scripts that fork for every pipe and substitution, and a daemon they leave behind."""
    host = _host()
    stream = host.stream
    shell = stream.fork(host.shell)
    cgroup = "/system.slice/cron.service"
    stream.exec(shell, "/bin/bash", "bash /usr/local/bin/check", cgroup=cgroup)
    for number in range(250):
        _subshell(host, shell)
        if number % 10 == 0:
            _command(host, shell, "/usr/bin/grep", f"grep -c ^{number} /proc/net/tcp")
        if number % 50 == 0:
            _timeout(host, shell)
            _orphan(host, shell)
    stream.die(shell)
    return host


SCENES = (
    Scene("service", 0.01, service),
    Scene("short_container", 0.012, short_container),
    Scene("killed_container", 0.003, killed_container),
    Scene("build_job", 0.435, build_job),
    Scene("host_build", 0.22, host_build),
    Scene("scripts", 0.32, scripts),
)


def _start(command: str, *, detached: bool = False) -> Host:
    """A container named NAME, up to its workload."""
    host = _host()
    option = "-d" if detached else "--rm"
    lives.begin(
        host, name=NAME, command=command, client=f"docker run {option} --name {NAME} registry/app"
    )
    if detached:
        host.stream.die(host.procs.pop("client"))
    return host


def _command(host: Host, parent: Proc, filename: str, line: str) -> None:
    process = host.stream.fork(parent)
    host.stream.exec(process, filename, line)
    host.stream.die(process)


def _subshell(host: Host, parent: Proc) -> None:
    """$(...): a fork, and nothing more."""
    process = host.stream.fork(parent)
    host.stream.die(process)


def _compile(host: Host, make: Proc, cgroup: str) -> None:
    """make -> sh -> gcc -> cc1, as."""
    stream = host.stream
    shell = stream.fork(make)
    stream.exec(shell, "/bin/sh", f"/bin/sh -c gcc -c {SOURCE}.c", cgroup=cgroup)
    gcc = stream.fork(shell)
    line = f"gcc {_FLAGS} -c {SOURCE}.c -o build/{SOURCE}.o"
    stream.exec(gcc, "/usr/bin/gcc", line, cgroup=cgroup)
    for tool in ("cc1", "as"):
        process = stream.fork(gcc)
        line = f"{tool} {_FLAGS} {SOURCE}.c -o /tmp/{SOURCE}.s"
        stream.exec(process, f"/usr/lib/gcc/{tool}", line, cgroup=cgroup)
        stream.die(process)
    stream.die(gcc)
    stream.die(shell)


def _health_check(host: Host, *, failed: bool = False) -> None:
    """docker exec of a shell that runs one command."""
    stream = host.stream
    process = lives.run_exec(host, host.procs["shim"], CID, "/bin/sh -c '/healthcheck.sh'")
    _command(host, process, "/usr/bin/curl", "curl -fsS http://localhost:8080/health")
    stream.die(process, int(failed))


def _orphan(host: Host, parent: Proc) -> None:
    """A daemon's double fork: whose parent exits at once."""
    stream = host.stream
    first = stream.fork(parent)
    second = stream.fork(first)
    stream.die(first)
    stream.wait(_PAUSE)
    stream.die(second)


def _timeout(host: Host, parent: Proc) -> None:
    """timeout(1) that has to end its command."""
    stream = host.stream
    timeout = stream.fork(parent)
    stream.exec(timeout, "/usr/bin/timeout", "timeout 5 sleep 60")
    sleep = stream.fork(timeout)
    stream.exec(sleep, "/usr/bin/sleep", "sleep 60")
    stream.wait(_PAUSE)
    stream.signal(sleep, 15, timeout)
    stream.die(sleep, signal=15)
    stream.die(timeout, 124)


def _thread_ends(host: Host, process: Proc, child: Proc) -> None:
    """A thread that has a child exits: another thread of the process has it then."""
    stream, tid = host.stream, process.tgid + 500
    exit_ns = stream.reparent(child, process, reason=Reason.THREAD, tid=tid)
    stream.reaper(process, process, exit_ns, reason=Reason.THREAD, tid=tid)
