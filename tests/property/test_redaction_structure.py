"""Whatever a capture says, the analysis finds the same structure in the redacted one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.redacting import redact, structure
from tests.streams import Stream

IDS = ["%064x" % (0xABC123 * (n + 3) ** 40 % (1 << 256)) for n in range(3)]
# Names that are words of runtimes, users, hosts, secrets and each other's beginnings.
NAMES = ["web", "web-1", "db", "a", "alice", "build7", "exec", "docker", "hunter2hunter2", "x" * 20]
SECRETS = ["hunter2hunter2", "web", "alice", "containerd", "-dash-first", "abcdef12", "s3cr3t p w"]
HOMES = ["/home/alice", "/root", "/home/build7/docker", "/srv"]
PROGRAMS = [
    "/usr/bin/dockerd", "/usr/bin/containerd", "/usr/bin/containerd-shim-runc-v2", "/usr/bin/runc",
    "/usr/bin/docker", "/usr/bin/ctr", "/usr/bin/conmon", "/bin/sh", "/usr/bin/systemctl",
    "/home/alice/bin/dockerd", "/root/tools/web", "/proc/self/exe", "/bin/docker-containerd-shim",
    "/home/alice/run.sh", "/usr/bin/crun", "/usr/bin/sudo",
]  # fmt: skip

name, secret = st.sampled_from(NAMES), st.sampled_from(SECRETS)
id_ = st.sampled_from(IDS)
home = st.sampled_from(HOMES)
word = st.one_of(
    name, secret, id_, home,
    st.sampled_from(
        ["run", "exec", "create", "delete", "kill", "start", "stop", "init", "-d", "--name", "-e",
         "-n", "--namespace", "moby", "--", "9", "--password", "-p", "--token", "login", "--bundle",
         "--root", "-id", "-address", "-c", "-u", "alice@build7", "docker.service"]
    ),
    st.builds("--password={}".format, secret),
    st.builds("TOKEN={}".format, secret),
    st.builds("--name={}".format, name),
    st.builds("{}/x/{}".format, home, name),
    st.builds("unix://{}/containerd.sock".format, home),
    st.builds("/run/docker/runtime-runc/{}".format, name),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)  # fmt: skip
command = st.one_of(
    st.lists(word, max_size=6),
    st.builds(lambda i: ["-namespace", "moby", "-id", i, "-address", "/run/c.sock"], id_),
    st.builds(lambda n, i: ["-namespace", n, "-id", i], name, st.one_of(id_, name)),
    st.builds(
        lambda i: ["--root", "/run/docker/runtime-runc/moby", "create", "--bundle", "/b", i], id_
    ),
    st.builds(lambda i: ["delete", "--force", i], st.one_of(id_, name)),
    st.builds(lambda n, s: ["run", "-d", "-e", f"PASSWORD={s}", "--name", n, "img"], name, secret),
    st.builds(lambda n: ["stop", n], name),
    st.builds(lambda i, n: ["-c", i, "-n", n, "-b", "/home/alice/libpod/x"], id_, name),
)  # fmt: skip
cgroup = st.one_of(
    st.just("/"),
    st.builds("/docker/{}".format, id_),
    st.builds("/system.slice/docker-{}.scope".format, id_),
    st.builds("/{}/{}".format, name, name),
    st.builds("/user.slice/user-1007.slice/{}.service".format, name),
)
step = st.tuples(
    st.sampled_from(["fork", "exec", "exec", "exec", "die", "kill", "attach", "comm"]),
    st.integers(0, 30), st.integers(0, 30), st.sampled_from(PROGRAMS), command, cgroup, name,
)  # fmt: skip


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(step, min_size=5, max_size=40),
    st.lists(st.tuples(id_, name, name), max_size=3),
    name,
    st.sampled_from(["default", "strict"]),
)
def test_same_structure(steps: list[tuple], facts: list[tuple], host: str, mode: str) -> None:
    stream = Stream()
    stream.header["host"]["hostname"] = host
    init = stream.process("systemd", tgid=1)
    people = [init, stream.process("dockerd", init, exe="/usr/bin/dockerd", args=["dockerd"])]
    stream.snapshot("start")
    for kind, first, second, program, args, group, text in steps:
        alive = [p for p in people if p.alive]
        one, other = alive[first % len(alive)], alive[second % len(alive)]
        if kind == "fork":
            people.append(stream.fork(one))
        elif kind == "exec" and one is not init:
            stream.exec(one, program, [program, *args], cgroup=group)
        elif kind == "die" and one is not init:
            stream.die(one)
        elif kind == "kill" and one is not init:
            stream.signal(one, 9, other)
            stream.die(one, signal=9)
        elif kind == "attach":
            stream.attach(one, group)
        elif kind == "comm":
            stream.comm(one, text)
    for number, (container, label, image) in enumerate(facts):
        stream.fact("container", id=container, name=f"{label}{number}", image=image)
    stream.snapshot("end")
    with tempfile.TemporaryDirectory() as folder:
        path = stream.write(Path(folder) / "x.rtrace")
        target, _ = redact(path, mode=mode)
        assert structure(target) == structure(path)
