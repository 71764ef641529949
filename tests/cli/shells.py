"""Real shells, asked what they offer at the end of a line."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.kernel.recording import RTRACE, wait_for

ENVIRONMENT = {
    "PATH": f"{Path(RTRACE).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
    "LC_ALL": "C.UTF-8",
}

# Ctrl-X i puts everything that is offered into the line, Ctrl-X d writes the line into a file.
_BASH = r"""
bind '"\C-xi": insert-completions'
dump() { printf %s "$READLINE_LINE" >line.new; mv line.new line; READLINE_LINE= READLINE_POINT=0; }
bind -x '"\C-xd": dump'
"""
_ZSH = r"""
zle -C all-matches complete-word _generic
bindkey '^Xi' all-matches
zstyle ':completion:all-matches:*' insert true
zstyle ':completion:all-matches::::' completer _all_matches _complete
dump() { print -rn -- "$BUFFER" >line.new; mv line.new line; BUFFER=; }
zle -N dump
bindkey '^Xd' dump
"""
_SHELLS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], _BASH),
    "zsh": (["zsh", "-f", "-i"], _ZSH),
}


class Shell:
    """bash or zsh on a terminal, in a folder."""

    def __init__(self, name: str, folder: Path, setup: str, environ: Mapping[str, str]) -> None:
        command, widgets = _SHELLS[name]
        self._line = folder / "line"
        self._keys, screen = pty.openpty()
        self._shell = subprocess.Popen(
            command,
            cwd=folder,
            env={**ENVIRONMENT, "HOME": str(folder), "INPUTRC": "/dev/null", **environ},
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
        )
        os.close(screen)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        (folder / "setup").write_text(f"{setup}\n{widgets}\n: >ready\n")
        self._type(". ./setup\n")
        wait_for((folder / "ready").exists, f"{name}'s prompt")

    def offers(self, line: str) -> list[str]:
        """What is offered for the last word of a line: all of it is put there."""
        answer, before = self._ask(line, "\x18i"), line.rpartition(" ")[0]
        assert answer.startswith(before)
        offered = shlex.split(answer[len(before) :])
        return [] if offered == shlex.split(line[len(before) :]) else offered

    def completes(self, line: str) -> str:
        """The line after Tab."""
        return self._ask(line, "\t")

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._keys)

    def _ask(self, line: str, keys: str) -> str:
        self._type(f"{line}{keys}\x18d")
        wait_for(self._line.exists, f"an answer to {line!r}; the screen shows {self.shown!r}")
        answer = self._line.read_text()
        self._line.unlink()
        return answer

    def _type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self._keys, 4096):
                self.shown += part


@contextlib.contextmanager
def shell(
    name: str, folder: Path, setup: str, environ: Mapping[str, str] | None = None
) -> Iterator[Shell]:
    """A shell that has read a setup."""
    opened = Shell(name, folder, setup, environ or {})
    try:
        yield opened
    finally:
        opened.close()


def fish_offers(
    line: str, folder: Path, setup: str, environ: Mapping[str, str] | None = None
) -> list[str]:
    """What fish offers for the last word of a line. It says so without a terminal."""
    done = subprocess.run(
        ["fish", "-c", f'{setup}; complete -C"$LINE"'],
        cwd=folder,
        env={**ENVIRONMENT, "HOME": str(folder), "LINE": line, **(environ or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]
