"""What the README, docs and the commands' help show: commands, Python, and what programs print.

- An indented block holds commands of a shell, a line each; a fenced one of the language `python` a
  program. A fence without a language that begins with `$ ` is a transcript: commands, and what they
  print (a line `...` stands for lines that are left out). Any other is a sample, and `SAMPLES` says
  what holds it to the truth.
- `rtrace ...` within a line of text is a command as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from tracer.cli import rtrace
from tracer.cli.documented import Command

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in CHECKOUT.glob("docs/*.md")))

# Blocks that are neither commands nor programs, by page and beginning, and what checks them.
_FORMAT = "tests/unit/test_capture_doc.py reads captures by it"
SAMPLES = {
    ("README.md", "vm, kernel "): "tests/docker/test_examples.py runs make demo",
    ("docs/benchmarks.md", "bench        1"): "the keys are those of bench/suite.py",
    ("docs/benchmarks.md", "bench_peers  1"): "the keys are those of bench/peers",
    ("docs/tutorial.md", "saved host-"): "tests/docker/test_examples.py plays it",
    ("docs/control-path.md", "client -> docker.sock"): "a drawing",
    ("docs/control-path.md", "FINDINGS: "): "of an engine that no committed capture holds",
    ("docs/control-path.md", "CONTAINERS TO "): "of an engine that no committed capture holds",
    ("docs/capture-format.md", "prefix   16 bytes"): _FORMAT,
    ("docs/capture-format.md", "schema       integer"): _FORMAT,
    ("docs/capture-format.md", "phase        "): _FORMAT,
    ("docs/capture-format.md", "container    id"): _FORMAT,
    ("docs/capture-format.md", "ts_ns        integer"): _FORMAT,
    ("docs/capture-format.md", "ts_ns          integer"): _FORMAT,
}

# Pages whose blocks with a language have a test of their own.
ELSEWHERE = {"docs/export.md": "tests/unit/test_export_page.py"}

_LAB = "needs labs; tests/lab plays and records them"
# Commands that are only parsed, and why. A pattern that fits none of the pages' is a mistake.
NOT_RUN = {
    r"make \S+( ARGS=.*| PREFIX=.*)?": "builds or measures; tests/packaging runs make install",
    r"(apt-get|dnf) install .*": "changes the host",
    r"setpriv .*": "needs a user rtrace; tests/kernel/test_rights.py does the same with others",
    r".* \| gh issue create .*": "needs an account",
    r"\.venv/bin/python -m bench\.busy_host .*": "takes minutes and a gigabyte",
    r"\.venv/bin/python -m pytest .*": "a test of make test itself",
    r"lab .*|lab\(\) .*|for name in .*|done": _LAB,
    r"\.venv/bin/rtrace (record|why|compare) .*(\$name|old\.rtrace).*": _LAB,
    r"(sudo )?rtrace install-service(?! --print).*": "needs a systemd; tests/service has one",
    r"\.venv/bin/rtrace compare tests/golden/captures": "all of them: tests/golden reads them, too",
}


@dataclass(frozen=True)
class Block:
    """One of a page."""

    page: str
    line: int
    language: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_transcript(self) -> bool:
        return self.language == "" and self.text.startswith("$ ")

    @property
    def sample(self) -> str | None:
        """What checks it, if it is a sample."""
        for (page, beginning), why in SAMPLES.items():
            if page == self.page and self.text.startswith(beginning):
                return why
        return None

    @property
    def commands(self) -> list[str]:
        """Of a block that holds nothing else."""
        if self.language not in (None, "") or self.is_transcript or self.sample:
            return []
        joined = self.text.replace("\\\n", " ")
        lines = [
            re.sub(r"\s+#\s.*|\s{3,}[a-z(].*", "", line).strip() for line in joined.split("\n")
        ]
        return [re.sub(r"\s+", " ", line) for line in lines if line]


@cache
def read_blocks() -> tuple[tuple[Block, ...], tuple[tuple[str, str], ...]]:
    """All blocks, and all commands within lines, each with where it is."""
    blocks, inline = [], []
    for page in PAGES:
        tokens = MarkdownIt("commonmark").enable("table").parse((CHECKOUT / page).read_text())
        for token in tokens:
            where = (token.map or [0])[0] + 1
            if token.type == "fence":
                blocks.append(Block(page, where, token.info, token.content))
            elif token.type == "code_block":
                blocks.append(Block(page, where, None, token.content))
            for child in token.children or ():
                if child.type == "code_inline" and re.match(r"(sudo )?rtrace ", child.content):
                    inline.append((f"{page}:{where}", child.content))
    return tuple(blocks), tuple(inline)


def transcripts() -> list[Block]:
    """Commands with what they print."""
    return [block for block in read_blocks()[0] if block.is_transcript]


def all_commands() -> dict[str, str]:
    """Every command that is shown anywhere, and one place where it is."""
    blocks, inline = read_blocks()
    found = {command: str(block) for block in blocks for command in block.commands}
    found |= dict.fromkeys(commands_of_transcripts(), "a transcript")
    found |= {command: where for where, command in inline}
    for name, command in rtrace.commands.items():
        if isinstance(command, Command):
            found |= {line: f"rtrace {name} --help" for line, _ in command.examples}
    return found | {line: "rtrace --help" for line, _ in rtrace.examples}  # type: ignore[attr-defined]


def commands_of_transcripts() -> set[str]:
    """Commands that are run with what they print."""
    lines = [line for block in transcripts() for line in block.text.split("\n")]
    return {line[2:] for line in lines if line.startswith("$ ")}


def why_not_run(command: str) -> str | None:
    """The reason of `NOT_RUN`."""
    return next((why for fits, why in NOT_RUN.items() if re.fullmatch(fits, command)), None)


def rtrace_calls(command: str) -> Iterator[list[str]]:
    """Arguments of each rtrace in a command."""
    inner = re.search(r"\$\((rtrace .*?)\)", command)
    words = shlex.split(inner[1] if inner else re.sub(r"\$\(.*?\)", "4711", command))
    for at, word in enumerate(words):
        if word.rpartition("/")[2] == "rtrace" and (at == 0 or words[at - 1] != ">"):
            end = next((i for i in range(at, len(words)) if words[i] in ("|", ">", ";")), None)
            yield words[at + 1 : end]
