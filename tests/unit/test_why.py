"""Why something ended: every cause, and beside it a near miss that must not be taken for it."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing

from analysis.model import open_capture
from analysis.render_why import render_why
from analysis.text_safety import width as columns_of
from analysis.why.answer import build_why
from tests import lives
from tests.lives import CID, OTHER_CID, Host
from tests.streams import BOOT_NS, Proc, Stream
from tracer.abi import Context, Origin, Reason, Type
from tracer.errors import CaptureError

MS = 1_000_000


@cache
def validator() -> jsonschema.Draft202012Validator:
    def read(name: str) -> Any:
        return json.loads((resources.files("analysis") / "schemas" / name).read_text())

    shared = referencing.Resource.from_contents(read("report.schema.json"))
    registry = referencing.Registry().with_resource("report.schema.json", shared)
    schema = read("why.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, registry=registry)


class Told:
    """An answer, with its texts free of process ids."""

    def __init__(self, stream: Stream, tmp_path: Path, target: str | Proc, **options: Any) -> None:
        path = stream.write(tmp_path / "x.rtrace", **options)
        capture = open_capture(path)
        asked = target if isinstance(target, str) else target.id
        self.why = build_why(capture, asked)
        validator().validate(self.why)
        assert json.loads(json.dumps(self.why, allow_nan=False)) == self.why
        self._check_evidence(capture)
        for width in (60, 80, 130):
            for line in render_why(self.why, width=width, color=False).splitlines():
                assert columns_of(line) <= width
        self.answer = plain(self.why["answer"]["text"])
        self.certainty = self.why["answer"]["certainty"]
        self.chain = [(s["kind"], plain(s["text"]), s["certainty"]) for s in self.why["chain"]]
        self.texts = [text for _, text, _ in self.chain]
        self.missing = " ".join(self.why["missing"])
        self.lineage = [p["process"]["id"] for p in self.why["lineage"]]
        self.died = {p["process"]["id"]: p["cause"] for p in self.why["died_with"]}
        self.survived = {p["process"]["id"]: p for p in self.why["survived"]}

    def _check_evidence(self, capture: Any) -> None:
        """Every reference is to a record that `rtrace dump` shows."""
        for step in self.why["chain"]:
            for e in step["evidence"]:
                tgid = int(e["id"].split(":")[0])
                rows = capture.table.tasks if e["event"] == "TASK" else None
                rows = capture.table.of(Type[e["event"]]) if rows is None else rows
                assert ((rows["ts_ns"] == e["ts_ns"]) & (rows["tgid"] == tgid)).any(), step


def plain(text: str) -> str:
    return re.sub(r" \(\d+\)", "", re.sub(r"\(\d+; ", "(", text))


def why(h: Host, tmp_path: Path, target: str | Proc = "web", **options: Any) -> Told:
    return Told(h.stream, tmp_path, target, **options)


def kill(h: Host, target: Proc, sender: Proc, number: int = 9) -> None:
    h.stream.signal(target, number, sender)
    h.stream.die(target, signal=number)


def runc_kill(h: Host, target: Proc, number: int = 9, *, delivered: bool = True) -> Proc:
    """The shim runs runc kill, as dockerd has asked it to."""
    s = h.stream
    runc = s.fork(h.procs["shim"])
    root = "--root /var/run/docker/runtime-runc/moby"
    s.exec(runc, "/usr/bin/runc", f"runc {root} kill --all {CID} {number}")
    s.wait(5 * MS)
    s.signal(target, number, runc, result=0 if delivered else 1)
    s.die(runc)
    return runc


def after(h: Host) -> None:
    """What follows the end of process 1: runc delete, the shim's end."""
    s, p = h.stream, h.procs
    s.wait(5 * MS)
    lives.call(h, p["shim"], f"/usr/bin/runc --root /run/docker/runtime-runc/moby delete {CID}")
    s.wait(3 * MS)
    s.die(p["shim"])


def client(h: Host, line: str) -> Proc:
    process = h.stream.fork(h.shell)
    h.stream.exec(process, "/usr/bin/docker", line)
    h.stream.wait(15 * MS)
    return process


# --- killed by a process -----------------------------------------------------------------------


def cron(h: Host) -> tuple[Proc, Proc]:
    """A script that cron runs (FACTS, what people could not find out, 1)."""
    s = h.stream
    daemon = s.fork(h.init)
    s.exec(daemon, "/usr/sbin/cron", "/usr/sbin/cron -f", cgroup="/system.slice/cron.service")
    child = s.fork(daemon)
    script = s.fork(child)
    s.exec(script, "/bin/sh", ["/bin/sh", "-c", "/usr/local/bin/reap-old"])
    return daemon, script


def test_a_cron_script_kills_process_1(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    _, script = cron(h)
    kill(h, p["init"], script)
    after(h)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) was killed by SIGKILL, sent by sh. "
        "sh of cron, unit cron.service ran: /bin/sh -c /usr/local/bin/reap-old."
    )
    assert told.certainty == "confirmed"
    assert told.texts == [
        "sh sent SIGKILL to nginx (process 1 of web)",
        "nginx (process 1 of web) was killed by SIGKILL",
        "nginx (process 1 of web) had been reaped; its parent was containerd-shim",
        "containerd-shim (shim of web) ran runc delete, which exited 0",
        "containerd-shim (shim of web) exited 0, 10 ms after process 1 of web",
    ]
    assert told.lineage[0] == script.id
    assert told.lineage[-1] == h.init.id
    assert {p["unit"] for p in told.why["lineage"][:3]} == {"cron.service"}
    assert told.missing == ""


def test_a_kill_by_a_process_that_lost_its_parent_names_who_started_it(tmp_path: Path) -> None:
    """GIVEN a script that went into the background THEN its starters are named, not init."""
    h = lives.host()
    p = lives.begin(h)
    daemon, script = cron(h)
    middle = script.parent
    assert middle is not None
    h.stream.die(middle)
    assert script.parent is h.init
    kill(h, p["init"], script)
    told = why(h, tmp_path)
    assert told.lineage == [script.id, middle.id, daemon.id, h.init.id]
    assert [bool(p["ended_ns"]) for p in told.why["lineage"]] == [False, True, False, False]


def test_only_the_fatal_signal_counts(tmp_path: Path) -> None:
    """GIVEN a SIGTERM that was ignored and a SIGKILL that came too late THEN neither is blamed."""
    h = lives.host()
    p = lives.begin(h)
    _, script = cron(h)
    h.stream.signal(p["init"], 15, script, result=1)
    kill(h, p["init"], h.shell)
    told = why(h, tmp_path)
    assert told.lineage[0] == h.shell.id
    assert script.id not in {id_ for s in told.why["chain"] for id_ in s["processes"]}


def test_killed_by_itself(tmp_path: Path) -> None:
    h = lives.host()
    child = h.stream.fork(h.shell)
    h.stream.exec(child, "/usr/bin/prog", "prog")
    h.stream.signal(child, 6, child, si_code=-6)
    h.stream.die(child, signal=6)
    told = why(h, tmp_path, child)
    assert told.answer == "prog was killed by SIGABRT, which it sent to itself, as abort() does."


def test_whoever_was_killed_with_it_is_named(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    first, second, third = (s.fork(h.shell) for _ in range(3))
    killer = s.fork(h.shell)
    for target in (first, second):
        s.signal(target, 9, killer)
    for target in (first, second):
        s.die(target, signal=9)
    s.wait(5_000 * MS)
    kill(h, third, killer)
    told = why(h, tmp_path, first)
    assert told.died == {second.id: "same-sender"}  # not the third: that was another time


# --- asked for by a client ---------------------------------------------------------------------


def test_docker_kill(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    command = client(h, "docker kill web")
    runc = runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    after(h)
    h.stream.die(command)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) was killed by SIGKILL, sent by runc kill. docker had "
        "asked for it, as it names the container and was running then: docker kill web [inferred]."
    )
    assert told.certainty == "inferred"
    assert [r["certainty"] for r in told.why["answer"]["reasons"]] == ["confirmed", "inferred"]
    assert told.lineage[:2] == [command.id, h.shell.id]
    assert ("call", "containerd-shim (shim of web) ran runc kill, signal 9", "confirmed") in (
        told.chain
    )
    assert runc.id in {p["process"]["id"] for p in told.why["processes"]}


@pytest.mark.parametrize("line", ["docker kill other", "docker ps", "docker logs -f web"])
def test_another_command_is_not_blamed(tmp_path: Path, line: str) -> None:
    """GIVEN a kill by runc while only commands ran that did not ask for it."""
    h = lives.host()
    p = lives.begin(h)
    command = client(h, line)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert command.id not in told.lineage
    assert "Who asked dockerd (600) to end web is not recorded" in told.missing
    assert told.lineage[0] == h.dockerd.id


def test_a_command_that_had_ended_is_not_blamed(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(client(h, "docker kill web"))
    h.stream.wait(MS)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    assert "Who asked dockerd" in why(h, tmp_path).missing


def test_docker_stop_of_two_containers_whose_process_handles_the_signal(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    command = client(h, "docker stop -t 5 db web")
    runc_kill(h, p["init"], 15)
    h.stream.wait(12 * MS)
    h.stream.die(p["init"], 0)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) exited 0, 12 ms after it had got SIGTERM, sent by "
        "runc kill [inferred]. docker had asked for it, as it names the container and was running "
        "then: docker stop -t 5 db web [inferred]."
    )
    assert told.lineage[0] == command.id


def test_docker_stop_of_a_process_without_a_handler(tmp_path: Path) -> None:
    """GIVEN process 1 that ignores SIGTERM THEN the step of ten seconds before is told."""
    h = lives.host()
    p = lives.begin(h)
    client(h, "docker stop web")
    runc_kill(h, p["init"], 15, delivered=False)
    h.stream.wait(10_000 * MS)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert (
        "runc kill sent SIGTERM to nginx (process 1 of web) (it has no handler for it: ignored), "
        "10.01 s earlier in vain" in told.texts
    )
    assert "docker stop web" in told.answer


def test_an_exit_long_after_a_signal_is_the_programs_own(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], 15, h.shell)
    h.stream.wait(60_000 * MS)
    h.stream.die(p["init"], 0)
    told = why(h, tmp_path)
    assert told.answer.startswith("web ended: nginx (process 1 of web) exited 0 by itself")


@pytest.mark.parametrize("number", [1, 10])
def test_signals_that_do_not_ask_to_end(tmp_path: Path, number: int) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], number, h.shell)
    h.stream.die(p["init"], 0)
    assert "by itself" in why(h, tmp_path).answer


def exec_in(h: Host, *, named: bool) -> tuple[Proc, Proc]:
    """docker exec web kill 1, in the container; or an exec that no client asked for."""
    command = client(h, "docker exec web kill 1" if named else "docker exec other kill 1")
    killer = lives.run_exec(h, h.procs["shim"], CID, "kill 1")
    kill(h, h.procs["init"], killer, 15)
    return command, killer


def test_a_kill_inside_by_docker_exec(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    command, _ = exec_in(h, named=True)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) was killed by SIGTERM, sent by kill (in web). "
        "kill of runc exec ran: kill 1; docker had brought it in, as it names the container and "
        "was running then: docker exec web kill 1 [inferred]."
    )
    assert told.lineage[0] == command.id


def test_a_kill_inside_by_an_exec_of_nobody_known(tmp_path: Path) -> None:
    """GIVEN a health check, which dockerd asks for by itself."""
    h = lives.host()
    lives.begin(h)
    _, killer = exec_in(h, named=False)
    told = why(h, tmp_path)
    assert told.answer.endswith("kill of runc exec ran: kill 1.")
    assert told.lineage[0] == killer.id


@pytest.mark.parametrize("clients", [1, 2])
def test_docker_compose_if_it_was_the_only_one(tmp_path: Path, clients: int) -> None:
    h = lives.host()
    p = lives.begin(h)
    command = client(h, "docker compose down")
    plugin = h.stream.fork(command)
    path = "/usr/libexec/docker/cli-plugins/docker-compose"
    h.stream.exec(plugin, path, [path, "compose", "down"])
    for _ in range(clients - 1):
        client(h, "docker compose stop")
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    if clients == 1:
        assert told.lineage[0] == command.id
        assert "as it was running then: docker compose down [inferred]" in told.answer
    else:
        assert told.lineage[0] == h.dockerd.id


def test_kubelet_is_named_as_one_that_may_have_asked(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    kubelet = h.stream.fork(h.init)
    h.stream.exec(kubelet, "/usr/bin/kubelet", "kubelet --config /x")
    p = lives.begin(h)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert f"kubelet ({kubelet.tgid}), which was, or a client" in told.missing
    assert kubelet.id not in told.lineage


def test_docker_run_passes_ctrl_c_on(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["client"], 2, h.shell, origin=Origin.PRIV, si_code=128)
    runc_kill(h, p["init"], 2)
    h.stream.die(p["init"], 130)
    told = why(h, tmp_path)
    assert "docker had got that signal 5 ms before, from the kernel (its terminal)" in told.answer
    assert told.lineage[0] == p["client"].id


def test_each_run_has_its_own_cause(tmp_path: Path) -> None:
    """GIVEN docker restart, then docker kill."""
    h = lives.host()
    p = first = lives.begin(h)
    restart = client(h, "docker restart web")
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    after(h)
    second = lives.begin(h, client=None, pidns=4026532700)
    h.stream.die(restart)
    client(h, "docker kill web")
    runc_kill(h, second["init"])
    h.stream.die(second["init"], signal=9)
    last = why(h, tmp_path)
    assert last.answer.startswith("web (run 2 of 2) ended: ")
    assert "docker kill web" in last.answer
    before = why(h, tmp_path, first["init"])
    assert "docker restart web" in before.answer
    assert (before.why["target"]["kind"], before.why["target"]["run"]) == ("process", 1)
    assert [r["init"]["id"] for r in last.why["target"]["container"]["runs"]] == [
        first["init"].id,
        second["init"].id,
    ]


# --- by its runtime ----------------------------------------------------------------------------


def recycle(h: Host) -> Proc:
    """containerd's helper cleans up behind a dead shim."""
    s = h.stream
    binary = "/usr/bin/containerd-shim-runc-v2"
    helper = s.fork(h.containerd)
    s.exec(helper, binary, f"{binary} -namespace moby -id {CID} -bundle /b delete")
    runc = s.fork(helper)
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runtime-runc/moby delete --force {CID}")
    s.wait(8 * MS)
    kill(h, h.procs["init"], runc)
    s.die(runc)
    s.die(helper)
    return runc


def test_recycled_after_its_shim_was_killed(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    _, script = cron(h)
    kill(h, p["shim"], script)
    h.stream.wait(10 * MS)
    recycle(h)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) was killed by SIGKILL, sent by runc delete. Its shim, "
        "containerd-shim, had died 18 ms before, and containerd cleaned up what was left of web by "
        "runc delete; containerd-shim (shim of web) was killed by SIGKILL, sent by sh; "
        "sh of cron, unit cron.service ran: /bin/sh -c /usr/local/bin/reap-old."
    )
    assert told.certainty == "confirmed"
    assert told.lineage[0] == script.id
    assert (
        "adoption",
        "systemd adopted nginx (process 1 of web), and was its parent for 18 ms",
        "confirmed",
    ) in told.chain
    assert [kind for kind, _, _ in told.chain][:6] == [
        "signal",
        "exit",
        "adoption",
        "call",
        "call",
        "signal",
    ]
    shim = why(h, tmp_path, p["shim"])
    assert shim.answer.startswith("containerd-shim (shim of web) was killed by SIGKILL, sent by sh")
    assert shim.survived[p["init"].id]["adopted_by"]["id"] == h.init.id


def test_recycled_when_containerd_is_back(tmp_path: Path) -> None:
    """GIVEN a shim that died while containerd was down."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, h.containerd, h.shell)
    kill(h, p["shim"], h.shell)
    h.stream.wait(2_000 * MS)
    h.containerd = h.stream.fork(h.init)
    h.stream.exec(h.containerd, "/usr/bin/containerd", "/usr/bin/containerd")
    recycle(h)
    told = why(h, tmp_path)
    assert "containerd started, 2.00 s after the shim had died" in told.texts
    assert "which had started 2.00 s after that, cleaned up what was left of web" in told.answer


def test_a_shim_that_outlives_its_container_is_no_cause(tmp_path: Path) -> None:
    """GIVEN the helper that cleans up behind every shim, also one that ended in good order."""
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["init"], h.shell)
    after(h)
    told = why(h, tmp_path)
    assert "shim, containerd-shim, had died" not in told.answer
    shim = why(h, tmp_path, p["shim"])
    assert "a shim ends when its container has ended [inferred]" in shim.answer
    assert shim.lineage[0] == h.shell.id


def test_a_kill_that_the_shim_ran_before_it_died_is_no_cleanup(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    command = client(h, "docker kill web")
    runc = h.stream.fork(p["shim"])
    h.stream.exec(runc, "/usr/bin/runc", f"runc --root /run/runtime-runc/moby kill {CID} 9")
    kill(h, p["shim"], h.shell)
    kill(h, p["init"], runc)
    told = why(h, tmp_path)
    assert "cleaned up" not in told.answer
    assert told.lineage[0] == command.id


def dockerd_again(h: Host) -> Proc:
    kill(h, h.dockerd, h.shell)
    h.stream.wait(500 * MS)
    back = h.stream.fork(h.init)
    h.stream.exec(back, "/usr/sbin/dockerd", "/usr/sbin/dockerd -H fd://")
    h.stream.wait(200 * MS)
    return back


def test_dockerd_is_back_without_live_restore(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    back = dockerd_again(h)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert "dockerd had started 205 ms before the first signal, and without live-restore" in (
        told.answer
    )
    assert told.answer.endswith(
        "dockerd was killed by SIGKILL, sent by bash; bash of systemd ran: -bash."
    )
    assert told.certainty == "inferred"
    assert ("daemon", "dockerd started", "confirmed") in told.chain
    assert back.id not in told.lineage


def test_a_dockerd_with_live_restore_is_not_blamed(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    d = h.dockerd
    h.stream.fact("runtime", name="docker", tgid=d.tgid, start_ns=d.start_ns, live_restore=True)
    p = lives.begin(h)
    dockerd_again(h)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert "live-restore" not in told.answer
    assert "Who asked dockerd" in told.missing


def test_a_container_younger_than_the_new_dockerd_is_not_its_leftover(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    dockerd_again(h)
    p = lives.begin(h)
    runc_kill(h, p["init"])
    h.stream.die(p["init"], signal=9)
    assert "live-restore" not in why(h, tmp_path).answer


def test_dockerd_is_told_to_end(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    h.stream.signal(h.dockerd, 15, h.shell)
    h.stream.wait(3 * MS)
    runc_kill(h, p["init"], 15)
    h.stream.wait(3 * MS)
    h.stream.die(p["init"], 0)
    h.stream.die(h.dockerd)
    told = why(h, tmp_path)
    assert "dockerd had been told to end 8 ms before, by SIGTERM (15) from bash" in (
        re.sub(r" \((\d{3,})\)", "", told.why["answer"]["text"])
    )
    assert told.lineage[0] == h.shell.id


def test_a_dockerd_that_ends_with_live_restore_stops_nothing(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    d = h.dockerd
    h.stream.fact("runtime", name="docker", tgid=d.tgid, start_ns=d.start_ns, live_restore=True)
    p = lives.begin(h)
    h.stream.signal(h.dockerd, 15, h.shell)
    runc_kill(h, p["init"], 9)
    h.stream.die(p["init"], signal=9)
    h.stream.die(h.dockerd)
    told = why(h, tmp_path)
    assert "told to end" not in told.answer
    assert h.shell.id not in told.lineage


def test_of_several_dockerds_the_one_with_the_containerd_of_the_shim(tmp_path: Path) -> None:
    """GIVEN a second dockerd that was restarted too, with folders of its own."""
    h = lives.host(managed=False)
    s = h.stream
    p = lives.begin(h)
    other = s.fork(h.init)
    line = "/usr/sbin/dockerd --exec-root /run/other -H unix:///run/other.sock"
    s.exec(other, "/usr/sbin/dockerd", line)
    kill(h, h.dockerd, h.shell)
    kill(h, other, other)
    own = "/usr/sbin/dockerd -H fd:// --containerd /run/containerd/containerd.sock"
    for again in (line, own):
        back = s.fork(h.init)
        s.exec(back, "/usr/sbin/dockerd", again)
    s.wait(100 * MS)
    runc_kill(h, p["init"])
    s.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert f"dockerd ({back.tgid}) had started" in told.why["answer"]["text"]


def test_the_containerd_of_a_killed_dockerd(tmp_path: Path) -> None:
    """A parent-death signal, in the same tick; the containers live on (FACTS, 7)."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    s.signal(h.dockerd, 9, h.shell)
    context = Context.EXITING | Context.PDEATH | Context.GROUP_EXIT
    exit_ns = s.now + s.step
    s.reparent(h.containerd, at=exit_ns)
    s.exit(h.dockerd, signal=9, at=exit_ns)
    s.signal(h.containerd, 9, h.dockerd, origin=Origin.NOINFO, context=context)
    s.reaper(h.dockerd, h.init, exit_ns)
    s.die(h.containerd, signal=9)
    s.snapshot("end")
    told = why(h, tmp_path, "containerd")
    assert told.answer == (
        "containerd was killed by SIGKILL, the parent-death signal that it had been given "
        "(PR_SET_PDEATHSIG): dockerd ended. dockerd was killed by SIGKILL, sent by bash; "
        "bash of systemd ran: -bash."
    )
    daemon = why(h, tmp_path, "dockerd")
    assert daemon.died == {h.containerd.id: "parent-death"}
    assert p["init"].id in daemon.survived
    assert daemon.survived[p["init"].id]["adopted_by"] is None


def test_what_an_upgrade_of_docker_18_leaves(tmp_path: Path) -> None:
    """GIVEN the shape of 18.06, where the shim is containerd's child (FACTS, 7) THEN the end of
    containerd names the shim that lived on and who has it now, and the container under it."""
    h = lives.host(old_names=True)
    p = lives.begin(h, shim="v1")
    kill(h, h.containerd, h.dockerd, 15)
    h.stream.snapshot("end")
    told = why(h, tmp_path, "docker-containerd")
    shim = told.survived[p["shim"].id]
    assert (shim["adopted_by"]["id"], shim["reason"]) == (h.init.id, "init")
    assert shim["end"]["how"] == "running"
    assert told.survived[p["init"].id]["adopted_by"] is None
    container = why(h, tmp_path)
    assert "has not ended" in container.answer
    assert "its shim is gone" not in container.answer


def test_podman_is_its_own_client(tmp_path: Path) -> None:
    """GIVEN podman kill, which runs crun itself THEN it is not inferred."""
    h = lives.host()
    s = h.stream
    conmon = s.fork(h.init)
    s.exec(conmon, "/usr/bin/conmon", ["conmon", "-c", CID, "-n", "pod", "-r", "/usr/bin/crun"])
    s.subreaper(conmon)
    create = s.fork(conmon)
    s.exec(create, "/usr/bin/crun", f"crun create --bundle /b {CID}")
    init = s.fork(create, ns_tgid=1, pidns=4026532900)
    s.die(create)
    s.exec(init, "/bin/sleep", "sleep 60", cgroup=f"/machine.slice/libpod-{CID}.scope")
    podman = s.fork(h.shell)
    s.exec(podman, "/usr/bin/podman", "podman kill pod")
    crun = s.fork(podman)
    s.exec(crun, "/usr/bin/crun", f"crun kill {CID} 9")
    kill(h, init, crun)
    told = why(h, tmp_path, CID[:8])
    assert told.answer.endswith("podman of bash ran: podman kill pod.")
    assert told.certainty == "confirmed"


# --- by the kernel -----------------------------------------------------------------------------


def oom_kill(h: Host, victim: Proc) -> None:
    s = h.stream
    s.oom(victim)
    s.signal(victim, 9, victim, origin=Origin.PRIV, si_code=128)
    s.wait(2 * MS)
    s.die(victim, signal=9)


def test_oom(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    oom_kill(h, p["init"])
    told = why(h, tmp_path)
    assert told.answer.startswith(
        "web ended: nginx (process 1 of web) was killed by the kernel's OOM killer, as memory had "
        "run out; it was in cgroup /docker/2f1c0a8b9d3e5555..."
    )
    assert "`dmesg` says which" in told.missing
    assert told.chain[0][0] == "oom"


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (
            {"constraint": "memcg", "cgroup": "/docker/web", "limit_bytes": 16 << 20},
            "as the limit of memory cgroup /docker/web (16 MiB) was hit; it was in cgroup",
        ),
        ({"constraint": "memcg", "limit_bytes": 3 << 19}, "limit of a memory cgroup (1.5 MiB) was"),
        ({"constraint": "memcg", "limit_bytes": 1 << 62}, "the limit of a memory cgroup was hit"),
        ({"constraint": "memcg", "cgroup": "/a\x1b[1m"}, "memory cgroup /a\\x1b[1m was hit"),
        ({"constraint": "none"}, "as the whole host had run out of memory"),
        ({"constraint": "cpuset"}, "as the nodes that its cpuset allows had run out of memory"),
    ],
)
def test_which_limit_was_hit(fact: dict[str, Any], words: str, tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    oom_kill(h, p["init"])
    h.stream.wait(50 * MS)
    h.stream.fact("oom", tgid=p["init"].tgid, **fact)
    told = why(h, tmp_path)
    assert words in told.answer
    assert "dmesg" not in told.missing


@pytest.mark.parametrize("fact", [{"constraint": "other"}, {"tgid": 1}, {"ts_ns": 5}])
def test_what_says_nothing_of_the_limit(fact: dict[str, Any], tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    oom_kill(h, p["init"])
    h.stream.fact("oom", **({"tgid": p["init"].tgid, "constraint": "memcg"} | fact))
    told = why(h, tmp_path)
    assert "as memory had run out" in told.answer
    assert "dmesg" in told.missing


def test_a_child_that_was_oom_killed(tmp_path: Path) -> None:
    """GIVEN a shell that reports 137 as its child was OOM-killed (FACTS, 9) THEN both are told."""
    h = lives.host()
    p = lives.begin(h)
    child = h.stream.fork(p["init"])
    h.stream.exec(child, "/usr/bin/stress", "stress --vm 1")
    oom_kill(h, child)
    h.stream.wait(MS)
    h.stream.die(p["init"], 137)
    told = why(h, tmp_path)
    assert told.answer.startswith(
        "web ended: nginx (process 1 of web) exited 137, as its child stress (in web) was killed "
        "by SIGKILL, chosen by the kernel when memory ran out (OOM) (128 + 9 is how a shell "
        "reports that) [inferred]. stress (in web) was killed by the kernel's OOM killer"
    )


def test_137_by_choice(tmp_path: Path) -> None:
    """GIVEN the same status with no such child THEN nothing is claimed."""
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(h.stream.fork(p["init"]))
    h.stream.die(p["init"], 137)
    told = why(h, tmp_path)
    assert "exited 137 by itself" in told.answer
    assert "A status of 128 + 9 is how a shell reports a child that SIGKILL killed" in told.missing


def test_an_oom_victim_that_exited_before_the_kill(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.oom(p["init"])
    h.stream.die(p["init"], 1)
    assert "OOM" not in why(h, tmp_path).answer


def pdeath(h: Host, *, lives_on: bool) -> tuple[Proc, Proc]:
    """A child with PR_SET_PDEATHSIG; the thread that started it ends (FACTS, 2)."""
    s = h.stream
    parent = s.fork(h.shell)
    s.exec(parent, "/usr/bin/agent", "agent")
    child = s.fork(parent)
    s.exec(child, "/usr/bin/job", "job")
    context = Context.EXITING | Context.PDEATH | (0 if lives_on else Context.GROUP_EXIT)
    number = {"origin": Origin.NOINFO, "context": context, "sender_tid": parent.tgid + 7}
    ts_ns = s.now + 10
    reason = Reason.THREAD if lives_on else None
    s.reparent(child, at=ts_ns, tid=parent.tgid + 7, reason=reason)
    if not lives_on:
        s.exit(parent, 1, at=ts_ns)
    s.signal(child, 15, parent, **number)
    adopter = parent if lives_on else h.shell
    s.reaper(parent, adopter, ts_ns, tid=parent.tgid + 7, reason=reason)
    s.die(child, signal=15)
    s.wait(1_000 * MS)
    if lives_on:
        s.die(parent)
    s.snapshot("end")
    return parent, child


def test_a_threads_exit_sends_the_parent_death_signal(tmp_path: Path) -> None:
    h = lives.host()
    parent, child = pdeath(h, lives_on=True)
    told = why(h, tmp_path, child)
    assert re.sub(r"thread \d+", "thread N", told.answer) == (
        "job was killed by SIGTERM, the parent-death signal that it had been given "
        "(PR_SET_PDEATHSIG): thread N of agent ended while the process lived on."
    )
    assert f"thread {parent.tgid + 7} of agent" in told.answer
    assert "Why thread" in told.missing
    assert all(kind != "exit" or "agent" not in text for kind, text, _ in told.chain)


def test_a_processes_exit_sends_the_parent_death_signal(tmp_path: Path) -> None:
    h = lives.host()
    _, child = pdeath(h, lives_on=False)
    told = why(h, tmp_path, child)
    assert told.answer == (
        "job was killed by SIGTERM, the parent-death signal that it had been given "
        "(PR_SET_PDEATHSIG): agent ended. agent exited 1 by itself: no signal that it could have "
        "ended by was recorded."
    )


def test_a_child_that_the_end_itself_kills_is_no_cause_of_it(tmp_path: Path) -> None:
    """GIVEN the EXIT of the parent's last thread after the death of the child that the first one's
    exit has killed THEN the child is not taken for the reason."""
    h = lives.host()
    s = h.stream
    parent, other = s.fork(h.shell, "agent"), s.fork(h.shell, "other")
    child = s.fork(parent, "job")
    context = Context.EXITING | Context.PDEATH | Context.GROUP_EXIT
    s.reparent(child, at=s.now + 10)
    s.signal(child, 9, parent, origin=Origin.NOINFO, context=context)
    s.die(child, signal=9)
    s.exit(parent, 137)
    told = why(h, tmp_path, parent)
    assert "exited 137 by itself" in told.answer
    assert told.died == {child.id: "parent-death"}
    # But one that it did not kill is.
    sibling = s.fork(other, "job")
    kill(h, sibling, h.shell)
    s.die(other, 137)
    assert "as its child job was killed by SIGKILL, sent by bash" in why(h, tmp_path, other).answer


def test_a_plain_signal_from_an_exiting_parent_is_none(tmp_path: Path) -> None:
    """GIVEN the parent sends SIGTERM with kill() just before it exits."""
    h = lives.host()
    s = h.stream
    parent = s.fork(h.shell)
    child = s.fork(parent)
    kill(h, child, parent, 15)
    s.die(parent)
    assert "PDEATHSIG" not in why(h, tmp_path, child).answer


def test_the_end_of_a_pid_namespace(tmp_path: Path) -> None:
    """GIVEN process 1 that is killed THEN what dies with it, and why that ended (FACTS, 2)."""
    h = lives.host()
    p = lives.begin(h)
    member = h.stream.fork(p["init"], "worker")
    kill(h, p["init"], h.shell)
    told = why(h, tmp_path, member)
    assert told.answer == (
        "worker (in web) was killed by SIGKILL, made by the kernel: nginx (process 1 of web) "
        "ended, and with it its pid namespace. nginx (process 1 of web) was killed by SIGKILL, "
        "sent by bash; bash of systemd ran: -bash."
    )
    assert told.died == {p["init"].id: "pid-namespace-end"}
    assert why(h, tmp_path).died == {member.id: "pid-namespace-end"}


def test_a_member_killed_before_its_namespace_ends(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    member = h.stream.fork(p["init"], "worker")
    kill(h, member, h.shell)
    h.stream.wait(MS)
    h.stream.die(p["init"], 0)
    told = why(h, tmp_path, member)
    assert "pid namespace" not in told.answer
    assert "worker (in web) was killed by SIGKILL, sent by bash" in told.answer


def test_cgroup_kill(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    first, second = s.fork(h.shell, "a"), s.fork(h.shell, "b")
    writer = s.fork(h.shell)
    s.exec(writer, "/usr/bin/tee", "tee /sys/fs/cgroup/x/cgroup.kill")
    for target in (first, second):
        s.signal(target, 9, writer, origin=Origin.NOINFO)
    for target in (first, second):
        s.die(target, signal=9)
    told = why(h, tmp_path, first)
    assert told.answer == (
        "a was killed by SIGKILL, made by the kernel on behalf of tee (by a write to cgroup.kill, "
        "most likely). tee of bash ran: tee /sys/fs/cgroup/x/cgroup.kill."
    )
    assert told.died == {second.id: "same-sender"}


def test_a_broken_pipe_is_no_cgroup_kill(tmp_path: Path) -> None:
    h = lives.host()
    writer = h.stream.fork(h.shell, "yes")
    h.stream.signal(writer, 13, writer, origin=Origin.NOINFO)
    h.stream.die(writer, signal=13)
    assert "a pipe or socket that nobody reads any more" in why(h, tmp_path, writer).answer


@pytest.mark.parametrize(
    ("number", "si_code", "origin", "words"),
    [
        (11, 1, Origin.INFO, "made by the kernel for a bad memory access"),
        (2, 128, Origin.PRIV, "Ctrl-C on its terminal does that"),
        (14, 128, Origin.PRIV, "its alarm timer does that"),
        (9, 128, Origin.PRIV, "made by the kernel."),
    ],
)
def test_faults_terminals_timers(
    tmp_path: Path, number: int, si_code: int, origin: Origin, words: str
) -> None:
    h = lives.host()
    process = h.stream.fork(h.shell, "prog")
    h.stream.signal(process, number, process, origin=origin, si_code=si_code)
    h.stream.die(process, signal=number)
    assert words in why(h, tmp_path, process).answer


# --- by systemd --------------------------------------------------------------------------------


def units(h: Host) -> None:
    """dockerd and containerd as services (FACTS, 8: an unattended upgrade stops dockerd)."""
    h.stream.attach(h.dockerd, "/system.slice/docker.service")
    h.stream.attach(h.containerd, "/system.slice/containerd.service")


def test_a_containerd_upgrade_stops_dockerd(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    units(h)
    s = h.stream
    upgrade = s.fork(h.init)
    s.exec(upgrade, "/usr/bin/unattended-upgrade", "/usr/bin/unattended-upgrade")
    control = s.fork(upgrade)
    s.exec(control, "/usr/bin/systemctl", "systemctl restart containerd.service")
    s.signal(h.containerd, 15, h.init)
    s.die(h.containerd)
    s.wait(4 * MS)
    s.signal(h.dockerd, 15, h.init)
    s.die(h.dockerd)
    s.die(control)
    told = why(h, tmp_path, "dockerd")
    assert told.answer == (
        "dockerd exited 0, 1 us after it had got SIGTERM, sent by systemd [inferred]. systemd had "
        "stopped containerd.service 4 ms before, and stops docker.service with it if that is bound "
        "to it (BindsTo=, Requires= or PartOf=) [inferred]; systemctl had asked systemd: "
        "systemctl restart containerd.service [inferred]."
    )
    assert told.lineage[:2] == [control.id, upgrade.id]


def test_systemctl_that_names_the_unit_is_enough(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    units(h)
    s = h.stream
    control = s.fork(h.shell)
    s.exec(control, "/usr/bin/systemctl", "systemctl stop docker")
    s.signal(h.dockerd, 15, h.init)
    s.die(h.dockerd)
    told = why(h, tmp_path, "dockerd")
    assert "stopped containerd.service" not in told.answer
    assert told.answer.endswith("systemctl had asked systemd: systemctl stop docker [inferred].")


def test_systemctl_status_stops_nothing(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    units(h)
    control = h.stream.fork(h.shell)
    h.stream.exec(control, "/usr/bin/systemctl", "systemctl status docker")
    h.stream.signal(h.dockerd, 15, h.init)
    h.stream.die(h.dockerd)
    told = why(h, tmp_path, "dockerd")
    assert control.id not in told.lineage
    assert "Who asked systemd to stop docker.service is not recorded" in told.missing


# --- by itself, or not at all ------------------------------------------------------------------


def test_exited_by_itself(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    child = h.stream.fork(p["init"], "helper")
    h.stream.wait(2_000 * MS)
    h.stream.die(p["init"], 3)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) exited 3 by itself: no signal that it could have "
        "ended by was recorded."
    )
    assert told.died == {child.id: "pid-namespace-end"}


@pytest.mark.parametrize(("status", "passed"), [(7, True), (1, False)])
def test_the_status_of_the_last_child(tmp_path: Path, status: int, passed: bool) -> None:
    h = lives.host()
    p = lives.begin(h)
    child = h.stream.fork(p["init"], "job")
    h.stream.die(child, 7)
    h.stream.wait(MS)
    h.stream.die(p["init"], status)
    told = why(h, tmp_path)
    assert ("as its child job (in web) exited 7 [inferred]" in told.answer) == passed
    step = (
        ("exit", "job (in web) exited 7")
        if passed
        else ("child", "job, a child of nginx, exited 7")
    )
    assert any(text.startswith(step[1]) for kind, text, _ in told.chain if kind == step[0])


def test_docker_run_ends_as_its_container_does(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["init"], h.shell)
    h.stream.die(p["client"], 137)
    told = why(h, tmp_path, p["client"])
    assert "`docker run` ends when its container has, and passes on its status" in told.answer
    assert told.lineage[0] == h.shell.id


def test_docker_run_with_a_status_of_its_own(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["init"], h.shell)
    h.stream.die(p["client"], 125)
    assert "exited 125 by itself" in why(h, tmp_path, p["client"]).answer


def test_survivors_of_a_process(tmp_path: Path) -> None:
    """GIVEN children that live on, that were dead, and that die at once."""
    h = lives.host()
    s = h.stream
    parent = s.fork(h.shell, "parent")
    stays, zombie = s.fork(parent, "stays"), s.fork(parent, "zombie")
    s.die(zombie, reap=False)
    s.die(parent)
    told = why(h, tmp_path, parent)
    assert list(told.survived) == [stays.id]
    assert told.survived[stays.id]["adopted_by"]["id"] == h.init.id


def test_not_ended(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.snapshot("end")
    told = why(h, tmp_path)
    assert told.answer == (
        "web: nginx (process 1 of web) has not ended: it was alive at the end of the recording. "
        "Its parent is containerd-shim (shim of web)."
    )
    assert told.why["target"]["end"]["how"] == "running"
    assert (
        "adoption",
        "containerd-shim (shim of web) adopted nginx (process 1 of web) from runc create: "
        "nearest subreaper, confirmed",
        "confirmed",
    ) in told.chain
    assert p["init"].id in {q["process"]["id"] for q in told.why["processes"]}


def test_alive_without_its_shim(tmp_path: Path) -> None:
    """GIVEN a shim that was killed while containerd was down: docker may still say Up."""
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.snapshot("end")
    told = why(h, tmp_path)
    assert "Its parent is systemd; its shim is gone" in told.answer
    assert told.lineage[0] == h.shell.id


def test_dead_but_not_noticed(tmp_path: Path) -> None:
    """GIVEN process 1 dead, its shim alive and idle (FACTS, 5 and 6)."""
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 1, reap=False)
    h.stream.wait(3_000 * MS)
    h.stream.snapshot("end")
    told = why(h, tmp_path)
    assert any("has not run `delete`" in text for text in told.texts)
    assert any(
        "had not been reaped 3.00 s later: a zombie under containerd-shim" in text
        for text in told.texts
    )


# --- what a capture cannot tell ----------------------------------------------------------------


def test_a_lost_signal(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.wait(500 * MS)
    with h.stream.drop():
        h.stream.signal(p["init"], 9, h.shell)
    h.stream.die(p["init"], signal=9)
    told = why(h, tmp_path)
    assert told.answer == (
        "web ended: nginx (process 1 of web) was killed by SIGKILL, and who sent it is not "
        "recorded."
    )
    assert told.certainty == "unknown"
    assert told.lineage == []
    assert "is not in the capture, so its sender is not known" in told.missing
    assert "1 event of CPU 0 was lost between" in told.missing


def test_losses_long_before_do_not_touch_it(tmp_path: Path) -> None:
    h = lives.host()
    with h.stream.drop():
        h.stream.fork(h.shell)
    p = lives.begin(h)
    h.stream.wait(60_000 * MS)
    kill(h, p["init"], h.shell)
    told = why(h, tmp_path)
    assert told.why["losses"] == {"events": 1, "touch": False}
    text = render_why(told.why, width=80, color=False)
    assert text.startswith("LOST while recording: 1 event, nothing that touches this")
    assert "lost" not in told.missing


def test_a_sender_outside_the_filter(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    outside = h.stream.process("mystery", h.init)
    h.stream.stub(outside)
    kill(h, p["init"], outside)
    told = why(h, tmp_path)
    assert "mystery (" in told.missing
    assert "was outside of the recording's filter" in told.missing
    assert "sent by mystery" in told.answer


def test_arguments_that_were_not_recorded(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.header["no_args"] = True
    p = lives.begin(h, args=False)
    killer = h.stream.fork(h.dockerd)
    h.stream.exec(killer, "/usr/bin/killer", detail=False)
    kill(h, p["init"], killer)
    told = why(h, tmp_path, p["init"])
    assert "recorded with --no-args" in told.missing
    assert "the sender was killer of dockerd" in told.answer


def test_a_cut_capture(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    told = why(h, tmp_path, complete=False)
    assert told.certainty == "unknown"
    assert "The capture is cut" in told.missing


def test_no_snapshot_at_the_end(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    assert "no snapshot at the end" in why(h, tmp_path).missing


def test_a_bounded_recording(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.header["segment"] = {"number": 3, "began_ns": BOOT_NS - 10**9, "events_before": 99}
    p = lives.begin(h)
    kill(h, p["init"], h.shell)
    missing = why(h, tmp_path).missing
    assert "99 events before 2023-11-14T22:13:20.000000Z were dropped" in missing


def test_a_container_known_by_its_name_alone(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.fact("container", id=CID, name="web", image=None, runtime="docker")
    told = why(h, tmp_path)
    assert told.answer == "Why web ended is not in the capture: no process of it was seen."


# --- what is asked for -------------------------------------------------------------------------


def test_ways_to_name_a_target(tmp_path: Path) -> None:
    h = lives.life()
    init = h.procs["init"]
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    for word, kind in (
        ("web", "container"),
        (CID, "container"),
        (CID[:7], "container"),
        (str(init.tgid), "process"),
        (init.id, "process"),
    ):
        target = build_why(capture, word)["target"]
        assert (target["process"]["id"], target["kind"]) == (init.id, kind)
    assert build_why(capture, "dockerd")["target"]["process"]["id"] == h.dockerd.id


def test_a_pid_that_was_used_again(tmp_path: Path) -> None:
    """FACTS, 10: a recycled pid taken for the process that had it before."""
    h = lives.host()
    s = h.stream
    first = s.fork(h.shell, "first", tgid=4242)
    s.die(first, 1)
    s.wait(1_000 * MS)
    second = s.fork(h.shell, "second", tgid=4242)
    kill(h, second, h.shell)
    with pytest.raises(
        CaptureError,
        match=rf"it fits 2: first {first.id} \(from \+0\.000 s to \+0\.000 s\), second "
        rf"{second.id} .*; give tgid:start_ns",
    ):
        why(h, tmp_path, "4242")
    assert why(h, tmp_path, first).answer.startswith("first exited 1 by itself")
    assert why(h, tmp_path, second).answer.startswith("second was killed by SIGKILL, sent by bash")


def test_unknown_targets(tmp_path: Path) -> None:
    h = lives.life()
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    with pytest.raises(CaptureError, match=r"no process or container 'wob': .*mean web \(2f1c"):
        build_why(capture, "wob")
    with pytest.raises(CaptureError, match=r"did you mean dockerd \(600\)"):
        build_why(capture, "dokerd")
    with pytest.raises(CaptureError, match=r"'\\x1b\[31m'"):
        build_why(capture, "\x1b[31m")
    for word in ("", "9" * 40, "1:2", "-1"):
        with pytest.raises(CaptureError):
            build_why(capture, word)


def test_a_pid_of_a_containers_own_namespace(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    worker = h.stream.fork(p["init"], "worker", ns_tgid=7)
    with pytest.raises(
        CaptureError,
        match=rf"that number within a pid namespace is, on the host, worker \({worker.tgid}\)",
    ):
        why(h, tmp_path, "7")


def test_ambiguous_daemons(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    dockerd_again(h)
    with pytest.raises(CaptureError, match=r"it fits 2: dockerd 600:.*, dockerd \d+:"):
        why(h, tmp_path, "dockerd")
    asks = h.stream.fork(h.shell)
    h.stream.exec(asks, "/usr/bin/containerd", "containerd --version")
    assert why(h, tmp_path, "containerd").why["target"]["process"]["id"] == h.containerd.id


def test_a_number_that_is_a_pid_and_begins_an_id(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h, cid="900" + "a" * 61, name="a")
    with pytest.raises(CaptureError, match=r"it fits 2: container a \(900a.*, bash 900:"):
        why(h, tmp_path, "900")


# --- hostile captures --------------------------------------------------------------------------


def test_causes_that_run_in_a_circle_end(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    a, b = s.fork(h.shell, "a"), s.fork(h.shell, "b")
    context = Context.EXITING | Context.PDEATH | Context.GROUP_EXIT
    s.signal(a, 9, b, origin=Origin.NOINFO, context=context)
    s.signal(b, 9, a, origin=Origin.NOINFO, context=context)
    s.die(a, signal=9)
    s.die(b, signal=9)
    told = why(h, tmp_path, a)
    assert len([t for t in told.texts if "was killed" in t]) == 2


def test_a_long_chain_is_cut_and_says_where_it_goes_on(tmp_path: Path) -> None:
    """GIVEN each process killed by the end of the one before it."""
    h = lives.host()
    s = h.stream
    line = [s.fork(h.shell, f"p{i}") for i in range(20)]
    kill(h, line[0], h.shell)
    context = Context.EXITING | Context.PDEATH | Context.GROUP_EXIT
    for above, below in pairwise(line):
        s.signal(below, 9, above, origin=Origin.NOINFO, context=context)
        s.die(below, signal=9)
    told = why(h, tmp_path, line[-1])
    assert "and so on, up to the first cause" in told.answer
    assert f"The chain goes on with p7 ({line[7].tgid}): ask for {line[7].id}." in told.missing
    assert "sent by bash" in why(h, tmp_path, line[7]).answer


def test_sentences_are_harmless(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h, name="we\x1b[2Jb")
    killer = h.stream.fork(h.shell)
    h.stream.exec(
        killer, "/bin/sh", ["sh", "-c", "\x1b]0;x\x07", "\u202e"], cgroup="/\x1b[1m.service"
    )
    h.stream.comm(killer, "\x1b[31mred")
    kill(h, p["init"], killer)
    path = h.stream.write(tmp_path / "x.rtrace")
    built = build_why(open_capture(path), CID)
    validator().validate(built)
    text = render_why(built, width=80, color=False)
    assert all(line.isprintable() for line in text.splitlines())
    assert built["answer"]["text"].isprintable()
    assert "\x1b[" in render_why(built, width=80, color=True)


def test_a_storm_of_victims_is_cut_and_counted(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    for _ in range(230):
        h.stream.fork(p["init"])
    kill(h, p["init"], h.shell)
    told = why(h, tmp_path)
    assert len(told.died) == 200
    assert "30 more processes that died are not listed" in told.missing
    assert "and 180 more: --all lists them" in render_why(told.why, width=80, color=False)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_missing_nothing_raises(tmp_path: Path, seed: int) -> None:
    """GIVEN a life from which any events are gone THEN every target has a valid answer."""
    chance = random.Random(seed)
    h = lives.host(managed=chance.random() < 0.5)
    p = lives.begin(h, shim=chance.choice(["v1", "v2"]))
    lives.begin(h, cid=OTHER_CID, name="db", pidns=4026532700)
    h.procs = p
    command = client(h, "docker stop web")
    kill(h, p["shim"], h.shell)
    recycle(h)
    oom_kill(h, h.stream.fork(h.shell))
    dockerd_again(h)
    h.stream.die(command)
    h.stream.snapshot("end")
    share = chance.choice([0.02, 0.2, 0.6])
    h.stream._items = [item for item in h.stream._items if chance.random() > share]
    path = h.stream.write(tmp_path / "x.rtrace", complete=chance.random() < 0.5)
    capture = open_capture(path)
    for target in capture.scene.ids.tolist():
        built = build_why(capture, target)
        validator().validate(built)
        render_why(built, width=60, color=True)


def test_every_key_is_documented() -> None:
    """docs/why-json.md names every key and every token of the schema."""
    text = (Path(__file__).parents[2] / "docs" / "why-json.md").read_text()
    words = set(re.findall(r"`\"?([\w-]+)\"?", text))
    assert {word for word in _words(validator().schema) if word not in words} == set()


def _words(schema: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        found |= {str(word) for word in schema.get("enum", [])}
        for value in schema.values():
            found |= _words(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= _words(value)
    return found
