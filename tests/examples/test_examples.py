"""Every example that is shown anywhere is run, or is named with the reason why not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests import incidents
from tests.examples import pages, transcripts
from tests.examples.pages import NOT_RUN, SAMPLES
from tests.kernel.recording import RTRACE
from tracer.cli import main, rtrace

COMMANDS = pages.all_commands()
BLOCKS = pages.read_blocks()[0]

# Words of examples that stand for others.
WORDS = {
    "CAPTURE": "x.rtrace",
    "CAPTURE...": "x.rtrace",
    "FILE": "x.rtrace",
    "TARGET": "web",
    "SHELL": "bash",
    "EVENT": "shim-exit",
    "PID": "4711",
}


def _is_complete(call: list[str]) -> bool:
    """Whether a call of rtrace is one, and no mention of a command; whatever it names must exist.

    Raises:
        click.UsageError: there is no such command or option, or a value that it does not take.
    """
    call = [WORDS.get(word, word) for word in call]
    if not call or call[0].startswith("-"):
        return bool(call)
    command = rtrace.commands[call[0]]
    if call[0] == "record" and "--" in call:
        call = call[: call.index("--")]
    try:
        command.make_context(call[0], call[1:], parent=click.Context(rtrace, info_name="rtrace"))
    except click.MissingParameter:
        return False
    except click.BadOptionUsage as error:
        if "requires an argument" not in error.message:
            raise
        return False
    except click.exceptions.Exit:
        return True  # --help
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_it_names_nothing_that_is_not_there(command: str) -> None:
    for call in pages.rtrace_calls(command):
        _is_complete(call)
    if made := re.match(r"make ([a-z-]+)", command):
        assert f"\n{made[1]}:" in (pages.CHECKOUT / "Makefile").read_text()
    for part in re.findall(r"python -m ([\w.]+)", command):
        if part != "pytest":
            path = pages.CHECKOUT / part.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def test_every_block_is_known() -> None:
    for block in BLOCKS:
        if block.language and block.page in pages.ELSEWHERE:
            assert (pages.CHECKOUT / pages.ELSEWHERE[block.page]).exists()
            continue
        assert block.language in (None, "", "python"), f"{block}: say what runs it"
        if block.language == "" and not block.is_transcript and not block.sample:
            first = block.text.split()[0]
            assert first == "make", f"{block}: neither a transcript ($ ...) nor in SAMPLES"


def test_no_exception_is_left_over() -> None:
    used = {(b.page, begin) for b in BLOCKS for p, begin in SAMPLES if b.text.startswith(begin)}
    assert used >= SAMPLES.keys()
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, command) for command in COMMANDS), pattern


# --- run --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with all that examples name, and what stands for other words of theirs."""
    folder = tmp_path_factory.mktemp("desk")
    host = incidents.recycled(name="web")
    capture = host.stream.write(folder / "x.rtrace")
    transcripts.lay_out(folder)
    for name in ("incident", "a", "b", "rtrace-20261126-013707"):
        shutil.copy(capture, folder / f"{name}.rtrace")
    for name in ("old", "new", "captures"):
        (folder / name).mkdir()
        shutil.copy(capture, folder / name)
    (folder / ".venv").symlink_to(pages.CHECKOUT / ".venv")
    (folder / "tests").symlink_to(pages.CHECKOUT / "tests")
    for home in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (folder / home).mkdir(parents=True)
    ticket = ("ticket", "incident.rtrace", "-o", ".incident.zip")
    subprocess.run([RTRACE, *ticket], cwd=folder, check=True)
    given = [".given", *(made.name for made in folder.iterdir())]
    (folder / ".given").write_text("\n".join(given))
    return folder, WORDS | {"4711": str(host.shell.tgid)}


def _to_run() -> list[str]:
    found = []
    for command in COMMANDS.keys() - pages.commands_of_transcripts():
        calls = list(pages.rtrace_calls(command))
        if pages.why_not_run(command) or not calls or not all(map(_is_complete, calls)):
            continue
        if calls[0][0] not in ("record", "snapshot") and "FILE.segments" not in command:
            found.append(command)
    return sorted(found)


@pytest.mark.parametrize("command", _to_run())
def test_it_runs(
    desk: tuple[Path, dict[str, str]],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, meant = desk
    monkeypatch.chdir(folder)
    given = set((folder / ".given").read_text().split("\n"))
    for made in folder.iterdir():  # by examples before
        if made.name not in given:
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    if "incident.zip" in command:
        shutil.copy(folder / ".incident.zip", folder / "incident.zip")
    plain = re.fullmatch(r"(sudo )?(\.venv/bin/)?rtrace [^|>;$*]*", command)
    if plain:
        words = [meant.get(word, word) for word in shlex.split(command.removeprefix("sudo "))]
        monkeypatch.setattr(sys, "argv", [RTRACE, *words[1:]])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        allowed = (0, 1) if words[1] == "doctor" else (0,)
        assert (ended.value.code or 0) in allowed, err
        assert out or err or "-o" in words
        return
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.removeprefix("sudo ")],
        env={"HOME": str(folder), "PATH": f"{Path(RTRACE).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_programs_run(desk: tuple[Path, dict[str, str]]) -> None:
    programs = [
        block
        for block in BLOCKS
        if block.language == "python" and block.page not in pages.ELSEWHERE
    ]
    assert programs
    for block in programs:
        code = block.text
        done = subprocess.run(
            [sys.executable, "-c", code, "x.rtrace"],
            cwd=desk[0],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all transcripts come from."""
    folder = tmp_path_factory.mktemp("transcripts")
    transcripts.lay_out(folder)
    return folder


@pytest.mark.parametrize("block", pages.transcripts(), ids=str)
def test_a_transcript_is_what_is_printed(block: pages.Block, shown: Path) -> None:
    transcripts.check(block, shown)
