"""Lives of containers as synthetic captures: what real engines do, step by step.

The steps and their order are those of recordings of docker 20.10 to 26 (see docs/); names differ
by engine. Every function works on a `Host` and leaves its processes in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.streams import Proc, Stream

CID = "2f1c0a8b9d3e" + "5" * 52
OTHER_CID = "7b3d11aa02fe" + "6" * 52


@dataclass
class Host:
    """A host with a docker daemon that is older than the recording."""

    stream: Stream
    init: Proc
    dockerd: Proc
    containerd: Proc
    shell: Proc
    old_names: bool = False
    procs: dict[str, Proc] = field(default_factory=dict)

    def binary(self, name: str) -> str:
        return f"/usr/bin/docker-{name}" if self.old_names else f"/usr/bin/{name}"


def host(*, managed: bool = True, old_names: bool = False, start: bool = True) -> Host:
    """systemd, dockerd, its containerd (or one that is a service), a shell."""
    s = Stream()
    prefix = "docker-" if old_names else ""
    init = s.process("systemd", tgid=1, exe="/usr/lib/systemd/systemd", args=["/sbin/init"])
    dockerd = s.process(
        "dockerd",
        init,
        tgid=600,
        exe="/usr/sbin/dockerd",
        args=["/usr/sbin/dockerd", "-H", "fd://"],
    )
    args = [f"/usr/bin/{prefix}containerd"]
    if managed:
        args += ["--config", "/var/run/docker/containerd/containerd.toml", "--log-level", "info"]
    containerd = s.process(
        f"{prefix}containerd"[:15],
        dockerd if managed else init,
        tgid=612,
        exe=f"/usr/bin/{prefix}containerd",
        args=args,
    )
    shell = s.process("bash", init, tgid=900, exe="/usr/bin/bash", args=["-bash"])
    if start:
        s.snapshot("start")
    return Host(s, init, dockerd, containerd, shell, old_names)


def begin(
    h: Host,
    *,
    cid: str = CID,
    name: str | None = "web",
    command: str = "/usr/sbin/nginx -g 'daemon off;'",
    shim: str = "v2",
    client: str | None = "docker run --rm --name web nginx",
    fact: bool = True,
    pidns: int = 4026532500,
    args: bool = True,
) -> dict[str, Proc]:
    """docker run, up to the running workload."""
    s, p = h.stream, {}

    def run(process: Proc, filename: str, line: str, **fields: object) -> int:
        return s.exec(process, filename, line if args else [], **fields)  # type: ignore[arg-type]

    if client is not None:
        p["client"] = s.fork(h.shell)
        run(p["client"], "/usr/bin/docker", client)
        s.wait(20_000_000)
    address = "-address /run/containerd/containerd.sock"
    if shim == "v2":
        binary = "/usr/bin/containerd-shim-runc-v2"
        line = f"{binary} -namespace moby -id {cid} {address}"
        p["starter"] = s.fork(h.containerd)
        run(p["starter"], binary, f"{line} -publish-binary /usr/bin/containerd start")
        s.wait(3_000_000)
        p["shim"] = s.fork(p["starter"])
        run(p["shim"], binary, line)
        s.wait(2_000_000)
        s.die(p["starter"])
    else:
        binary = h.binary("containerd-shim")
        work = "/var/lib/containerd/io.containerd.runtime.v1.linux/moby"
        p["shim"] = s.fork(h.containerd)
        run(p["shim"], binary, f"{binary} -namespace moby -workdir {work}/{cid} {address}")
    s.subreaper(p["shim"])
    s.wait(4_000_000)
    root = "--root /var/run/docker/runtime-runc/moby --log /run/x/log.json --log-format json"
    bundle = f"/run/containerd/io.containerd.runtime.v2.task/moby/{cid}"
    p["create"] = s.fork(p["shim"])
    runc = h.binary("runc")
    line = f"runc {root} create --bundle {bundle} --pid-file {bundle}/init.pid {cid}"
    run(p["create"], runc, line)
    s.wait(5_000_000)
    p["init"] = stages(h, p["create"], cid, pidns=pidns, args=args)
    if fact:
        s.fact("container", id=cid, name=name, image="nginx", runtime="docker", namespace="moby")
    s.wait(6_000_000)
    s.die(p["create"])
    call(h, p["shim"], f"{runc} {root} start {cid}", args=args)
    filename = command.split()[0]
    run(p["init"], filename, command)
    s.wait(1_000_000)
    h.procs = p
    return p


def stages(
    h: Host,
    create: Proc,
    cid: str,
    *,
    pidns: int = 4026532500,
    args: bool = True,
    cgroup: str = "",
) -> Proc:
    """runc init: its three stages, the last of which is process 1 (or the exec'd process)."""
    s = h.stream
    cgroup = cgroup or f"/docker/{cid}"
    parent = s.fork(create)
    s.exec(parent, "/proc/self/exe", ["runc", "init"] if args else [], comm="exe")
    s.comm(parent, "runc:[0:PARENT]")
    s.attach(parent, cgroup)
    child = s.fork(parent, parent=create, comm="runc:[1:CHILD]")
    inside = {"ns_tgid": 1, "pidns": pidns}
    if pidns == 0:
        inside = {}
    elif any(p.pidns == pidns and p.ns_tgid == 1 and p.alive for p in s.processes):
        inside["ns_tgid"] = s._next_tgid - 900
    init = s.fork(child, parent=create, comm="runc:[2:INIT]", **inside)
    s.die(child)
    s.die(parent)
    return init


def call(h: Host, forker: Proc, line: str, status: int = 0, *, args: bool = True) -> Proc:
    """A short call of runc: begins and ends."""
    s = h.stream
    process = s.fork(forker)
    s.exec(process, line.split()[0], line if args else [])
    s.wait(2_000_000)
    s.die(process, status)
    return process


def run_exec(h: Host, shim: Proc, cid: str, command: str, pidns: int = 4026532500) -> Proc:
    """docker exec: the process that is in the container then."""
    s = h.stream
    runc = s.fork(shim)
    bundle = "/run/x"
    s.exec(
        runc,
        h.binary("runc"),
        f"runc --root /run/runtime-runc/moby exec --process {bundle}/p "
        f"--detach --pid-file {bundle}/1.pid {cid}",
    )
    process = stages(h, runc, cid, pidns=pidns)
    s.exec(process, command.split()[0], command)
    s.die(runc)
    return process


def end(h: Host, cid: str = CID, status: int = 0, signal: int = 0, stop: bool = True) -> None:
    """The container's process 1 ends by itself or by a signal; then its shim, then the client."""
    s, p = h.stream, h.procs
    s.wait(50_000_000)
    s.die(p["init"], status, signal=signal)
    s.wait(5_000_000)
    call(h, p["shim"], f"{h.binary('runc')} --root /var/run/docker/runtime-runc/moby delete {cid}")
    s.wait(3_000_000)
    s.die(p["shim"])
    if "client" in p:
        s.wait(2_000_000)
        s.die(p["client"], status)
    if stop:
        s.snapshot("end")


def life(**options: object) -> Host:
    """docker run of a container that exits by itself, recorded from start to end."""
    kinds = {k: options.pop(k) for k in ("managed", "old_names") if k in options}
    h = host(**kinds)  # type: ignore[arg-type]
    begin(h, **options)  # type: ignore[arg-type]
    end(h)
    return h
