"""Completion of command lines, in the real shells."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

import tracer.cli
import tracer.cli.completing  # registers what rtrace answers
from tests import incidents
from tests.cli.shells import fish_offers, shell
from tests.incidents import PAYLOADS
from tests.kernel.recording import run_rtrace
from tests.streams import Stream
from tracer.cli import completers, rtrace
from tracer.triggers import Trigger

_SCRIPTS = Path(tracer.cli.__file__).parent / "shells"
SETUPS = {
    "bash": f". /usr/share/bash-completion/bash_completion; . {_SCRIPTS}/rtrace.bash",
    "zsh": f"autoload -Uz compinit; compinit -u -D; . {_SCRIPTS}/_rtrace",
    "fish": f"source {_SCRIPTS}/rtrace.fish",
}

Offers = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captures, and things that are none."""
    made = tmp_path_factory.mktemp("captures")
    incidents.recycled(name="shop").stream.write(made / "shop.rtrace")
    incidents.recycled(name="shop-two").stream.write(made / "two words.rtrace")
    (made / "shop.zip").touch()
    (made / "shopping.txt").touch()
    (made / "shops").mkdir()
    return made


@pytest.fixture(scope="module", params=sorted(SETUPS))
def offers(request: pytest.FixtureRequest, folder: Path) -> Iterator[Offers]:
    """What one of the shells offers in that folder."""
    if request.param == "fish":
        yield lambda line: fish_offers(line, folder, SETUPS["fish"])
        return
    with shell(request.param, folder, SETUPS[request.param]) as opened:
        yield opened.offers


def test_commands_and_options(offers: Offers) -> None:
    assert sorted(offers("rtrace ")) == sorted(rtrace.commands)
    assert sorted(offers("rtrace rec")) == ["record"]
    options = {
        name
        for parameter in rtrace.commands["record"].params
        for name in parameter.opts
        if name.startswith("--") and not getattr(parameter, "hidden", False)
    }
    assert set(offers("rtrace record --")) == options | {"--help"}
    assert offers("rtrace report --format ") == ["text", "json", "html", "markdown", "csv"]
    assert offers("rtrace report --format=j") == ["--format=json"]


def test_tables_are_those_of_the_command(offers: Offers) -> None:
    for command in ("report", "why", "compare"):
        [choice] = [p.type for p in rtrace.commands[command].params if p.name == "table"]
        assert offers(f"rtrace {command} --table ") == list(choice.choices)  # type: ignore[attr-defined]


def test_files(offers: Offers) -> None:
    for command in ("report", "compare", "why", "ticket", "dump"):
        found = {name.rstrip("/") for name in offers(f"rtrace {command} shop")}
        assert found == {"shop.rtrace", "shop.zip", "shops"}, command
    assert offers("rtrace report two") == ["two words.rtrace"]
    assert offers("rtrace compare old=two") == ["old=two words.rtrace"]
    assert "shopping.txt" in offers("rtrace report shop.rtrace -o shopp")
    assert [name.rstrip("/") for name in offers("rtrace install-service --dir sho")] == ["shops"]


def test_containers_and_daemons_of_the_capture(offers: Offers) -> None:
    assert offers("rtrace why shop.rtrace sh") == ["shop"]
    assert offers("rtrace why 'two words.rtrace' ") == ["shop-two", "containerd", "dockerd"]
    assert offers("rtrace report shop.rtrace --container ") == ["shop"]
    assert offers("rtrace ticket shop.rtrace --container=s") == ["--container=shop"]
    assert offers("rtrace report --format=json shop.rtrace --container ") == ["shop"]
    assert offers("rtrace report --container ") == []


def test_labels_of_what_is_compared(offers: Offers) -> None:
    assert offers("rtrace compare old=shop.rtrace new=shops --baseline ") == ["new", "old"]
    assert offers("rtrace compare old=shop.rtrace shops --baseline=o") == ["--baseline=old"]


def test_processes_cgroups_and_events(offers: Offers) -> None:
    assert set(offers("rtrace record --trigger ")) == set(Trigger)
    assert offers("rtrace record --cgroup ") == ["/sys/fs/cgroup/"]
    below = {f"/sys/fs/cgroup/{path.name}" for path in Path("/sys/fs/cgroup").glob("*/")}
    assert {path.rstrip("/") for path in offers("rtrace record --cgroup /sys/fs/cgroup/")} >= below


def test_a_command_to_record_is_completed_as_itself(offers: Offers) -> None:
    assert offers("rtrace record -- rtrace rep") == ["report"]
    assert "/usr/bin/env" in [path.rstrip("/") for path in offers("rtrace record -- /usr/bin/en")]


def test_pids_of_namespaces(folder: Path) -> None:
    inner = subprocess.Popen(
        ["unshare", "--pid", "--user", "--map-root-user", "--fork", "--kill-child", "sleep", "600"]
    )
    try:
        children = Path(f"/proc/{inner.pid}/task/{inner.pid}/children")
        while not (pids := children.read_text().split()):
            pass
        assert pids[0] in fish_offers("rtrace record --pidns ", folder, SETUPS["fish"])
        assert str(os.getpid()) not in fish_offers("rtrace record --pidns ", folder, SETUPS["fish"])
    finally:
        inner.kill()
        inner.wait()


def test_one_that_fits_is_finished_with_a_space_and_a_beginning_is_not(folder: Path) -> None:
    for name in ("bash", "zsh"):
        with shell(name, folder, SETUPS[name]) as opened:
            assert opened.completes("rtrace sna") == "rtrace snapshot "
            begun = opened.completes("rtrace record --cgroup ")
            assert begun == "rtrace record --cgroup /sys/fs/cgroup/"
            assert opened.completes("rtrace report two") == "rtrace report two\\ words.rtrace "


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What rtrace answers bash that wants the word behind these; in this process."""
    monkeypatch.chdir(tmp_path)

    def answer(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        bash = get_completion_class("bash")(rtrace, {}, "rtrace", "_RTRACE_COMPLETE")
        return bash.complete().splitlines()

    return answer


def test_the_command_prints_the_scripts() -> None:
    for name, script in (("bash", "rtrace.bash"), ("zsh", "_rtrace"), ("fish", "rtrace.fish")):
        ended = run_rtrace("completion", name)
        assert (ended.status, ended.stdout) == (0, (_SCRIPTS / script).read_text())


@pytest.mark.parametrize(
    "name", [*PAYLOADS, "$(hit)", "`hit`", "a;hit", "-rf", "a b", "a\nplain,b"]
)
def test_what_a_shell_would_run_is_not_offered(tmp_path: Path, ask: Offers, name: str) -> None:
    incidents.recycled(name=name).stream.write(tmp_path / "x.rtrace")
    [offered] = ask("rtrace report x.rtrace --container")
    assert offered.removeprefix("plain,").isalnum()  # its id, which is harmless


def test_nothing_is_read_of_a_huge_capture(tmp_path: Path, ask: Offers) -> None:
    path = incidents.recycled().stream.write(tmp_path / "x.rtrace")
    assert "plain,shop" in ask("rtrace why x.rtrace")
    os.truncate(path, 40 << 20)
    assert ask("rtrace why x.rtrace") == []


def test_no_huge_capture_is_unpacked(
    tmp_path: Path, ask: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is its size that counts, not how long it would take.
    monkeypatch.setattr(completers, "_LONGEST_S", 60.0)
    path = incidents.recycled().stream.write(tmp_path / "x.rtrace")
    before = path.read_bytes()
    # What does not get smaller lets an archive have twenty times as much that does.
    noise = os.urandom(2 << 20)
    for zeros, offered in ((1 << 20, True), (38 << 20, False)):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.rtrace", before + noise + bytes(zeros))
        assert run_rtrace("report", tmp_path / "x.zip").status == 0
        assert ("plain,shop" in ask("rtrace why x.zip")) == offered


def test_what_is_no_capture_offers_nothing(tmp_path: Path, ask: Offers) -> None:
    (tmp_path / "empty.rtrace").touch()
    (tmp_path / "text.rtrace").write_text("hello\n" * 1000)
    whole = Stream().write(tmp_path / "cut.rtrace").read_bytes()
    (tmp_path / "cut.rtrace").write_bytes(whole[:-1])
    (tmp_path / "folder").mkdir()
    for name in ("empty.rtrace", "text.rtrace", "cut.rtrace", "folder", "nowhere.rtrace"):
        assert ask(f"rtrace why {name}") == []


@pytest.mark.parametrize("words", ["rtrace", "rtrace report x.rtrace --format", "rtrace why"])
def test_the_desk_is_not_loaded_for_it(tmp_path: Path, words: str) -> None:
    code = (
        "import contextlib, io, sys, tracer.cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    tracer.cli.main()\n"
        "print({name.partition('.')[0] for name in sys.modules})"
    )
    environ = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ, "_RTRACE_COMPLETE": "zsh_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "click" in done.stdout
    for heavy in ("pandas", "numpy", "analysis", "zstandard"):
        assert f"'{heavy}'" not in done.stdout
