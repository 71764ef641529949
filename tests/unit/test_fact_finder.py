"""What is remembered of containers: as long as they live and a little longer, however many come."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracer import abi, container_names, fact_finder
from tracer.container_names import Sighting
from tracer.fact_finder import FactFinder
from tracer.proc_view import TICK_NS, ProcView, start_ticks


def container_id(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[int], str]:
    """The bundle of a container named "NUMBER" in a pod."""

    def make(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        annotations = {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": str(number),
        }
        config = {"ociVersion": "1.0.0", "annotations": annotations}
        (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    return make


def start_ns(process: int | str) -> int:
    return start_ticks(Path(f"/proc/{process}/stat").read_bytes()) * TICK_NS


class Finder:
    """A FactFinder and what it wrote."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []
        self.finder = FactFinder(self.facts.append, ProcView(list))

    def see(self, number: int, bundle: str | None = None) -> None:
        """A process (here: this one) tells of a container."""
        sighting = Sighting(container_id(number), os.getpid(), start_ns("self"), bundle=bundle)
        self.finder.look_at_container(sighting)

    def see_shim(self, number: int) -> None:
        """A shim that cannot be looked at any more."""
        self.finder.look_at_container(Sighting(container_id(number), 0, 0, "moby", bundle="."))

    def see_daemon(self, start_ns: int) -> None:
        """A look at all processes, among which there is a dockerd; waits for the answers."""
        self.finder.look_at_host([abi.Task(tgid=1, start_ns=start_ns, comm=b"dockerd")])
        assert self.finder._runtime_thread is not None
        self.finder._runtime_thread.join(10.0)

    def settle(self) -> None:
        """Waits for the files to be read."""
        done = threading.Event()
        self.finder._work.put(done.set)
        assert done.wait(10.0)

    def names_in_use(self) -> set[str]:
        return {fact["name"] for fact in self.finder.facts_in_use()}


@pytest.fixture
def finder() -> Iterator[Finder]:
    made = Finder()
    yield made
    assert made.finder.finish(10.0)


def test_facts_of_what_lives_are_in_use(finder: Finder, bundle: Callable[[int], str]) -> None:
    # GIVEN two containers
    for number in (1, 2):
        finder.see(number, bundle(number))
    finder.settle()
    assert [fact["name"] for fact in finder.facts] == ["1", "2"]
    finder.finder.end_round()
    # WHEN only one of them is seen when all processes are looked at again
    finder.see(1)
    assert finder.names_in_use() == {"1", "2"}  # the other may have died just now
    finder.finder.end_round()
    # THEN it is in use, the other is not
    assert finder.names_in_use() == {"1"}
    # and is forgotten soon after.
    finder.see(1)
    finder.finder.end_round()
    assert list(finder.finder._containers) == [container_id(1)]
    # What is in use was found once.
    assert len(finder.facts) == 2
    assert finder.finder.containers_seen == 2


def test_times_are_those_of_the_finding(finder: Finder, bundle: Callable[[int], str]) -> None:
    finder.see(1, bundle(1))
    finder.settle()
    finder.finder.end_round()
    assert finder.finder.facts_in_use() == finder.facts
    assert finder.facts[0]["ts_ns"] > 0


def test_memory_is_bounded_without_rounds_too(
    finder: Finder, bundle: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_finder, "_REMEMBERED", 10)
    for number in range(50):
        finder.see(number, bundle(number))
        finder.see(0, bundle(0))
    finder.settle()
    assert len(finder.finder._containers) <= 10
    assert finder.names_in_use() >= {"0", "49"}


def test_a_container_of_which_nothing_is_known_is_asked_a_few_times(finder: Finder) -> None:
    for _ in range(20):
        finder.see(7)
    finder.settle()
    assert finder.finder._containers[container_id(7)].attempts == 3
    assert finder.facts == []
    assert finder.finder.facts_in_use() == []


def test_a_storm_of_containers_is_bounded(finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN files that take their time
    go = threading.Event()
    finder.finder._work.put(go.wait)
    # WHEN more processes tell of containers than can be looked at
    for number in range(fact_finder._WAITING + 500):
        finder.see(number)
    # THEN what waits is bounded, and it is said
    assert finder.finder._work.qsize() <= fact_finder._WAITING
    go.set()
    finder.settle()
    told = [fact["what"] for fact in finder.facts if fact["kind"] == "problem"]
    assert told == ["more containers came at once than could be looked at: some have no names"]
    # and those that are seen again are looked at.
    finder.see(fact_finder._WAITING + 400)
    assert finder.finder._work.qsize() <= 1


def told_by_daemon(number: int) -> dict[str, Any]:
    return {
        "kind": "container",
        "id": container_id(number),
        "name": "web",
        "image": "app:1",
        "runtime": "docker",
        "namespace": None,
        "source": "GET /containers/json",
    }


def test_a_shim_that_has_gone_takes_no_name_away(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a container that the daemon has named
    monkeypatch.setattr(fact_finder, "read_runtimes", lambda *_, **__: [told_by_daemon(1)])
    finder.see_daemon(5)
    # WHEN its shim, of which no file can be read, tells of it
    finder.see_shim(1)
    finder.settle()
    # THEN the next segment is told what the daemon said.
    assert [fact["name"] for fact in finder.facts] == ["web", None]
    assert finder.names_in_use() == {"web"}


def test_a_daemon_that_did_not_answer_is_asked_again(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a daemon that is just beginning
    problem = {"kind": "problem", "what": "dockerd (1) has no socket to ask"}
    answers = [[problem], [told_by_daemon(1)]]
    monkeypatch.setattr(fact_finder, "read_runtimes", lambda *_, **__: answers.pop(0))
    finder.see_daemon(5)
    assert [fact["kind"] for fact in finder.finder.facts_in_use()] == ["problem"]
    # WHEN all processes are looked at again
    finder.see_daemon(5)
    # THEN it is asked again, and what it says is taken instead; and then no more.
    assert [fact["kind"] for fact in finder.finder.facts_in_use()] == ["container"]
    finder.see_daemon(5)
    assert answers == []


def test_a_daemon_that_never_answers_is_asked_a_few_times(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def ask(tasks: list[abi.Task], *_: object, **__: object) -> list[dict[str, Any]]:
        asked.append(tasks[0].start_ns)
        return [{"kind": "problem", "what": "dockerd (1) did not answer: timed out"}]

    monkeypatch.setattr(fact_finder, "read_runtimes", ask)
    for start_ns in (5, 5, 5, 5, 5, 6):
        finder.see_daemon(start_ns)
    assert asked == [5, 5, 5, 6]


@contextlib.contextmanager
def conmon(folder: Path, bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this name, with conmon's arguments, that keeps the first container."""
    program, script = folder / "conmon", folder / "wait.py"
    if not program.exists():
        program.symlink_to(sys.executable)
        script.write_text("import sys; print(flush=True); sys.stdin.read()")
    words = ["conmon", str(script), "-c", container_id(1), "-n", "web", "-b", str(bundle)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, executable=program, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_podmans_image_is_asked_for_until_it_is_there(finder: Finder, tmp_path: Path) -> None:
    # GIVEN a bundle, and a list of containers that cannot be read just now
    bundle = tmp_path / "containers" / container_id(1) / "userdata"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1", "annotations": {}}))
    with conmon(tmp_path, bundle) as keeper:
        sighting = Sighting(
            container_id(1), keeper.pid, start_ns(keeper.pid), None, "web", "podman", str(bundle)
        )
        finder.finder.look_at_container(sighting)
        finder.settle()
        # WHEN conmon tells of it again
        entry = {"id": container_id(1), "metadata": json.dumps({"image-name": "app:1"})}
        (tmp_path / "containers" / "containers.json").write_text(json.dumps([entry]))
        for _ in range(2):
            finder.finder.look_at_container(sighting)
            finder.settle()
    # THEN its image is found, once.
    found = [(fact["name"], fact["image"]) for fact in finder.facts]
    assert found == [("web", None), ("web", "app:1")]


def test_who_executed_conmon_goes_between_two_files(
    finder: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN podman's storage, and the conmon that was executed beside the one that stays
    bundle = tmp_path / "containers" / container_id(1) / "userdata"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1", "annotations": {}}))
    entry = {"id": container_id(1), "metadata": json.dumps({"image-name": "app:1"})}
    (tmp_path / "containers" / "containers.json").write_text(json.dumps([entry]))
    read_regular, read = container_names.read_regular, list[str]()
    with conmon(tmp_path, bundle) as first, conmon(tmp_path, bundle):

        def read_then_go(root: str, path: str) -> bytes:
            content = read_regular(root, path)
            read.append(os.path.basename(path))
            if len(read) == 1:
                first.communicate()
            return content

        monkeypatch.setattr(container_names, "read_regular", read_then_go)
        sighting = Sighting(
            container_id(1), first.pid, start_ns(first.pid), None, "web", "podman", str(bundle)
        )
        # WHEN the first one ends as soon as one file was read
        finder.finder.look_at_container(sighting)
        finder.settle()
        # THEN what the other one shows is taken.
        assert read == ["config.json", "config.json", "containers.json"]
        (fact,) = finder.facts
        assert (fact["name"], fact["image"]) == ("web", "app:1")
