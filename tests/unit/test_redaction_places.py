"""Secrets in every place of a capture that has a text: none is left in any byte of its ticket.

Each place gets secrets that a command line elsewhere makes known, in all spellings, and such as
are known by their form alone; names of users and of the host; and harmless words beside them.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from analysis.redaction.rewrite import observe, rewrite
from analysis.redaction.scrubber import Scrubber
from tests.redacting import structure
from tests.secrets import all_leaks, every_byte, every_byte_of_ticket, password, token
from tests.streams import Proc, Stream
from tests.talks import Talks
from tests.unit.test_ticket import Rtrace, make
from tests.unit.test_ticket import rtrace as rtrace
from tracer.abi import COMM_LEN
from tracer.capture_reader import CaptureReader

USERS = ("mwinkler", "jschulzova", "okonkwo7")
HOST = "build7-corp"
HARMLESS = "part-17"


class World:
    """A capture in the making."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.stream.header["host"]["hostname"] = f"{HOST}.example"
        self.init = self.stream.process("systemd", tgid=1)
        self.talks = Talks(self.stream)
        self.stream.snapshot("start")
        self._numbers = itertools.count()

    def child(self, comm: str = "app") -> Proc:
        return self.stream.fork(self.init, comm)

    def run(self, *args: str, filename: str = "/usr/bin/app", **more: str) -> Proc:
        child = self.child()
        self.stream.exec(child, filename, args or ("app",), **more)
        return child

    def container(self, **values: object) -> None:
        id_ = f"{next(self._numbers):064x}"
        self.stream.fact("container", **{"id": id_, "runtime": "docker"} | values)

    def snapshot_with(self, **attributes: object) -> None:
        self.stream.proc("end", self.stream.process("own", self.init, **attributes))


# What holds a text of any length; how it gets there.
PLACES: dict[str, Callable[[World, str], object]] = {
    "an argument": lambda w, t: w.run("app", t),
    "a program's path": lambda w, t: w.run(filename=f"/srv/{t}/app"),
    "a cgroup, at exec": lambda w, t: w.run(cgroup=f"/system.slice/{t}.scope/{HARMLESS}"),
    "a cgroup of version 1": lambda w, t: w.run(cgroup_v1=f"/x/{t}"),
    "a cgroup that is moved to": lambda w, t: w.stream.attach(w.child(), f"/{HARMLESS}/{t}"),
    "arguments in a snapshot": lambda w, t: w.snapshot_with(exe="/bin/app", args=["app", t]),
    "a path in a snapshot": lambda w, t: w.snapshot_with(exe=f"/srv/{t}", args=["app"]),
    "a cgroup in a snapshot": lambda w, t: w.snapshot_with(cgroup=f"/{HARMLESS}/{t}"),
    "a name of a container": lambda w, t: w.container(name=t, image=HARMLESS),
    "an image": lambda w, t: w.container(name=HARMLESS, image=f"registry/{t}:1"),
    "a label": lambda w, t: w.container(labels={"note": f"{t} {HARMLESS}"}),
    "the name of a label": lambda w, t: w.container(labels={t: "x"}),
    "a container's source": lambda w, t: w.container(source=f"/run/{t}/config.json"),
    "a namespace": lambda w, t: w.container(namespace=t),
    "a runtime's source": lambda w, t: w.stream.fact("runtime", name="docker", source=f"/x/{t}"),
    "a runtime's version": lambda w, t: w.stream.fact("runtime", name="runc", version=f"1.0-{t}"),
    "a problem": lambda w, t: w.stream.fact("problem", what=f"{HARMLESS}: cannot open /srv/{t}: x"),
    "a trigger": lambda w, t: w.stream.trigger("kill", w.init, f"{HARMLESS} was killed by {t}"),
    "the kernel's log": lambda w, t: w.stream.fact(
        "oom", tgid=1, constraint="memcg", cgroup=f"/{HARMLESS}/{t}", usage_bytes=1, limit_bytes=1
    ),
    "an unknown fact": lambda w, t: w.stream.fact("later", data=[{"x": {"y": t}}, HARMLESS]),
}
NAMES = ("a name of a container", "an image")
IN_HEADER = {
    "rtrace's own command line": lambda h, t: h["argv"].append(t),
    "a filter": lambda h, t: h["filter"].__setitem__("path", h["filter"]["path"] + "/" + t),
    "the kernel's version": lambda h, t: h["host"].__setitem__("kernel", f"6.1-{t}"),
    "anything else": lambda h, t: h.setdefault("more", {}).__setitem__(t, [t]),
}  # fmt: skip


def spelled(secret: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Spellings, with what must not be left of them."""
    raw = secret.encode()
    yield secret, secret
    yield quote(secret, safe=""), secret
    yield raw.hex(), secret
    yield json.dumps(secret)[1:-1], secret
    for shift in range(3):
        around = token(rng, shift).encode() + raw + token(rng, 2).encode()
        yield base64.urlsafe_b64encode(around).decode(), secret


def own_forms(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Texts that are or have secrets by themselves, with no slash, as names of files are."""
    word = password(rng, signs="#^*_+-.~").replace("#", "q")
    for text in (
        "ghp" + "_" + token(rng, 36),
        "glpat" + "-" + token(rng, 20),
        "xoxb-" + token(rng, 12, "0123456789") + "-" + token(rng, 24),
        token(rng, 40),
        token(rng, 32, "0123456789abcdef") + "q" + token(rng, 20),
    ):
        yield text, text
    yield f"password={word}", word
    yield f"DB_PASSWORD={word}", word


def build(seed: int) -> tuple[Stream, list[str]]:
    """A capture with some thousand secrets, and what must not be left of them."""
    rng = random.Random(seed)
    world = World()
    needles = [HOST, *USERS]
    for user in USERS:
        world.run("cp", f"/home/{user}/a", "/tmp/a")
    for place, plant in PLACES.items():
        known = password(rng, 18, signs="_+.~") if rng.random() < 0.5 else token(rng, 22)
        world.run("app", "--password", known)
        for text, needle in (*spelled(known, rng), *own_forms(rng)):
            if place in NAMES and text.isalnum() and needle != known:
                continue  # looks random, as such names do: it is one that `default` leaves
            plant(world, text)
            needles.append(needle)
        for name in (HOST, *USERS):
            plant(world, name)
            if "name of a label" not in place:
                plant(world, f"{name}-job")
    header = world.stream.header
    header["argv"] = ["rtrace", "record"]
    header["filter"] = {"kind": "cgroup", "path": f"/{HARMLESS}", "id": 7}
    for plant_in in IN_HEADER.values():
        known = token(rng, 24)
        world.run("app", f"--api-key={known}")
        needles.append(known)
        for text in (known, quote(f"{known}+", safe=""), known.encode().hex(), USERS[0]):
            plant_in(header, text)
    needles += plant_short(world, rng)
    world.stream.snapshot("end")
    return world.stream, needles


def plant_short(world: World, rng: random.Random) -> list[str]:
    """Comms, which are cut behind 15 bytes, and names of sockets."""
    needles = []
    for number in range(30):
        known = "Z" + token(rng, 23)
        world.run("app", f"API_TOKEN={known}")
        needles.append(known)
        for text, _ in spelled(known, rng):
            needles.append(text[: COMM_LEN - 1])
            child = world.child(text[: COMM_LEN - 1])
            world.stream.comm(child, f"app-{text}"[: COMM_LEN - 1])
            needles.append(text[: COMM_LEN - 5])
            if number % 3 == 0:
                world.talks.listen(child, f"/run/{text}.sock")
                world.talks.listen(child, f"\0{HARMLESS}/{text}")
        for text, needle in own_forms(rng):
            if number % 3 == 0:
                world.talks.listen(world.init, f"/run/{text[:60]}.sock")
                needles.append(needle)
    for name in (HOST, *USERS):
        world.talks.listen(world.child(name[: COMM_LEN - 1]), f"/run/{name}/app.sock")
    world.talks.look("start")
    return needles


def harmless_words(path: Path) -> int:
    """How many there are, in chunks that are opened."""
    with CaptureReader(path) as reader:
        return sum(content.count(HARMLESS.encode()) for _, content in reader.chunks())


@pytest.mark.parametrize("mode", ["default", "strict"])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_place_of_a_capture_leaks(tmp_path: Path, mode: str, seed: int) -> None:
    stream, needles = build(seed)
    path = stream.write(tmp_path / "x.rtrace")
    assert len(needles) > 800
    before = every_byte(str(path))
    assert len(all_leaks(before, needles)) > 0.95 * len(set(needles))
    scrubber = Scrubber(strict=mode == "strict")
    target = tmp_path / "y.rtrace"
    with CaptureReader(path) as reader, open(target, "wb") as file:
        observe(reader, scrubber)
        rewrite(reader, file, scrubber=scrubber)
    after = every_byte(str(target))
    assert all_leaks(after, needles) == []
    assert structure(target) == structure(path)
    if mode == "default":
        assert harmless_words(target) == harmless_words(path) > 300


@pytest.mark.parametrize("mode", ["default", "strict"])
def test_no_part_of_a_ticket_leaks(rtrace: Rtrace, tmp_path: Path, mode: str) -> None:
    """THEN neither summary, picture, page nor capture has one, compressed parts opened."""
    stream, needles = build(3)
    path, _ = make(rtrace, tmp_path, stream.write(tmp_path / "x.rtrace"), "--redact", mode)
    content = every_byte_of_ticket(path, tmp_path)
    assert all_leaks(content, needles) == []
    assert mode == "strict" or HARMLESS.encode() in content
