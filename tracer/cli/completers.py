"""What the shell offers where click cannot know: captures, what is in them, processes, cgroups.

Called while somebody waits behind the Tab key: all work is bounded, and errors offer nothing. What
is offered becomes part of a command line, and captures come from strangers: only names that mean
nothing to a shell.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tracer.errors import RtraceError
from tracer.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem[str]]

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LONGEST_S = 0.5
_LARGEST_BYTES = 32 << 20  # of a capture: read in less than that
_MOST = 200
_ID_SHOWN = 12  # as docker shows ids
_DAEMONS = ("dockerd", "containerd")
_CGROUPS = "/sys/fs/cgroup/"


def complete_capture(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Captures, tickets and folders: the shell's own script looks for them."""
    return [_item(text, type="capture")]


def complete_file(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Any file."""
    return [_item(text, type="file")]


def complete_folder(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Any folder."""
    return [_item(text, type="dir")]


def complete_cgroup(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Folders of cgroups."""
    if not text and os.path.isdir(_CGROUPS):
        return [_item(_CGROUPS, type="begin")]
    return [_item(text, type="dir")]


def complete_trigger(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Events of `record --trigger`."""
    from tracer.triggers import Trigger

    return [_item(event) for event in Trigger if event.startswith(text)]


def complete_command(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """What stands before a command to record; behind it the shell's scripts go on by themselves."""
    return [] if text else [_item("--", help="A command to record follows.")]


def complete_pidns(_context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Those processes that are process 1 of a pid namespace below this one."""
    return [_item(pid, help=comm) for pid, comm in _namespace_inits() if pid.startswith(text)]


def complete_container(context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Containers of the capture that stands before on the command line."""
    names, _ = _people_of(context)
    named = [
        _item(name, help=", ".join(sorted(id_[:_ID_SHOWN] for id_ in ids)))
        for name, ids in sorted(names.items())
        if name.startswith(text)
    ]
    # An id is what one begins to type, or all that there is.
    ids = {id_: name for name, ids in names.items() for id_ in ids}
    return named or [
        _item(id_[:_ID_SHOWN], help=name)
        for id_, name in sorted(ids.items())
        if id_.startswith(text)
    ]


def complete_label(context: click.Context, _parameter: click.Parameter, text: str) -> Items:
    """Labels that captures on the command line were given, as LABEL=PATH."""
    labels = [word.partition("=") for word in context.find_root().obj if not word.startswith("-")]
    harmless = {label for label, equals, _ in labels if equals and _HARMLESS.fullmatch(label)}
    return [_item(label) for label in sorted(harmless) if label.startswith(text)]


def complete_target(context: click.Context, parameter: click.Parameter, text: str) -> Items:
    """What `rtrace why` can be asked about: containers, and daemons that the capture has."""
    found = complete_container(context, parameter, text)
    _, daemons = _people_of(context)
    return found + [_item(name) for name in sorted(daemons) if name.startswith(text)]


def _item(value: str, type: str = "plain", help: str | None = None) -> CompletionItem[str]:
    from click.shell_completion import CompletionItem  # costs --help a tenth of its time

    return CompletionItem(value, type, help)


def _namespace_inits() -> Iterator[tuple[str, str]]:
    """Pid and comm of processes that have id 1 in a namespace of their own; see proc(5), NSpid."""
    deadline = time.monotonic() + _LONGEST_S
    try:
        pids = sorted(filter(str.isdigit, os.listdir("/proc")), key=int)
    except OSError:
        return
    for pid in pids:
        if time.monotonic() > deadline:
            return
        try:
            with open(f"/proc/{pid}/status", errors="replace") as file:
                status = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue  # it has ended
        ids = status.get("NSpid", "").split()
        if len(ids) > 1 and ids[-1] == "1":
            yield pid, printable(status["Name"].strip())


def _people_of(context: click.Context) -> tuple[dict[str, set[str]], set[str]]:
    """Ids of containers by name (or by id where there is no name), and the daemons that lived.

    As far as facts and snapshots of the capture on the command line tell it within the bounds.
    """
    from tracer import abi
    from tracer.capture_format import FACT, TASK_PHASE, TASKS, load_json
    from tracer.capture_reader import CaptureReader
    from tracer.cli.completing import find_capture

    names: dict[str, str] = {}
    daemons: set[str] = set()
    deadline = time.monotonic() + _LONGEST_S
    try:
        path = find_capture(context)
        if path is None or _size_of(path) > _LARGEST_BYTES:
            return {}, set()
        with CaptureReader(path, unpacked=_LARGEST_BYTES) as reader:
            for kind, content in reader.chunks():
                if time.monotonic() > deadline or len(names) > _MOST:
                    break
                if kind == FACT:
                    _take_container(load_json(kind, content), names)
                elif kind == TASKS:
                    for offset in range(TASK_PHASE.size, len(content), abi.TASK_SIZE):
                        comm = abi.Task.from_buffer_copy(content, offset).comm.decode("latin-1")
                        daemons.update({comm}.intersection(_DAEMONS))
    except (OSError, RtraceError):
        return {}, set()
    by_name: dict[str, set[str]] = {}
    for id_, name in names.items():
        by_name.setdefault(name or id_[:_ID_SHOWN], set()).add(id_)
    return by_name, daemons


def _take_container(fact: dict[str, object], names: dict[str, str]) -> None:
    id_, name = fact.get("id"), fact.get("name")
    if fact["kind"] != "container" or not isinstance(id_, str) or not _HARMLESS.fullmatch(id_):
        return
    harmless = isinstance(name, str) and _HARMLESS.fullmatch(name)
    names[id_] = names.get(id_) or (str(name) if harmless else "")


def _size_of(path: str) -> int:
    """Bytes of a file, or of all segments in a directory."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    with os.scandir(path) as entries:
        return sum(entry.stat().st_size for entry in entries)
