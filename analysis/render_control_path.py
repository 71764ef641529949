"""Who talks to whom, in the text report: a container's chain, and what daemons are connected to."""

from __future__ import annotations

from typing import Any

from analysis.text_layout import count, seconds
from analysis.text_page import BOLD, DIM, GREEN, INDENT, RED, YELLOW, Page
from tracer.text import printable

Json = dict[str, Any]

LISTED = 40
_CODES: dict[str, tuple[str, ...]] = {
    "good": (GREEN,),
    "bad": (BOLD, RED),
    "unsure": (YELLOW,),
    "": (DIM,),
}
PROTOCOL_NAMES = {
    "docker-api": "docker API",
    "containerd-grpc": "containerd gRPC",
    "containerd-ttrpc": "shim's events (ttrpc)",
    "shim-ttrpc": "shim ttrpc",
    "cri": "CRI",
    "dockershim": "dockershim",
    "buildkit": "buildkit",
    "other": "other",
}


def link_text(link: Json, boot_ns: int) -> tuple[str, str]:
    """A link in words, and how it is: "good", "bad", "unsure" or "" (only told)."""
    last = None if link["last_ns"] is None else f"{seconds(link['last_ns'] - boot_ns, sign=True)} s"
    seen = f"last seen connected at {last}" if last else "not seen connected"
    ended = [
        end_name(ref, None) for ref in (link["from"], link["to"]) if ref["id"] in link["ended"]
    ]
    by_client = link["protocol"] in ("docker-api", "cri") and link["from"]["id"] in link["ended"]
    state, mood = seen, ""
    if link["state"] == "connected":
        state, mood = "connected", "good"
    elif link["state"] == "not-connected":
        state, mood = f"NOT CONNECTED{f', last seen so at {last}' if last else ''}", "bad"
    elif link["state"] == "unknown":
        state = f"{seen}; how it was at the end is not known"
    elif ended and not by_client:
        state, mood = f"{' and '.join(ended)} HAS ENDED; {seen}", "unsure"
    socket = f" [{printable(short_socket(link['socket']))}]" if link["socket"] else ""
    who = f"{end_name(link['from'], None)} -> {end_name(link['to'], None)}"
    return f"{who}: {state}{socket}", mood


def is_broken(link: Json) -> bool:
    """What runs cannot be reached by it."""
    return bool(link["state"] == "not-connected" or (link["state"] == "ended" and link["last_ns"]))


def render_links(page: Page, links: list[Json]) -> None:
    """A container's chain, one line a link."""
    for number, link in enumerate(links):
        text, mood = link_text(link, page.boot_ns)
        page.field("control" if not number else "", text, *_CODES[mood])


def render_broken_links(page: Page, container: Json) -> None:
    """Of a container that runs and to which nothing happened: what it cannot be reached by."""
    if container["end"]["how"] != "running":
        return
    for link in filter(is_broken, container["control_path"]):
        text, mood = link_text(link, page.boot_ns)
        page.put(text, *_CODES[mood], first=INDENT * 2)


def render_control_path(page: Page, report: Json) -> None:
    """What connects daemons, clients and shims; shims of one daemon in one line."""
    path = report["control_path"]
    if not path["known"]:
        page.title("WHO TALKS TO WHOM: not known")
        page.put(f"{path['why']}", first=INDENT)
        return
    rows = [c for c in path["connections"] if c["protocol"] != "other"]
    looks = path["looks"]
    page.title(f"WHO TALKS TO WHOM (looked at {count(len(looks), 'time')})")
    if not looks[-1]["complete"]:
        page.put("there were more sockets than were kept", YELLOW, first=INDENT)
    shown = _grouped(rows)
    for text, at_end in shown[:LISTED]:
        page.put(text, *(() if at_end else (DIM,)), first=INDENT, rest=INDENT * 2)
    if len(shown) > LISTED:
        page.put(f"{len(shown) - LISTED} more: see --format json", first=INDENT)
    if not shown:
        page.put("no client, daemon or shim was connected to another", first=INDENT)
    for listener in path["listeners"]:
        who = f"{end_name(listener['process'], listener['end'])} listens at"
        socket = printable(short_socket(listener["socket"]))
        if listener["removed"]:
            page.put(f"{who} {socket}, which has been removed", RED, first=INDENT)
        if listener["waiting"]:
            waits = count(listener["waiting"], "connection")
            page.put(f"{who} {socket}: {waits} not accepted", YELLOW, first=INDENT)


def _grouped(rows: list[Json]) -> list[tuple[str, bool]]:
    """Lines, and whether they were true at the end: those first."""
    groups: dict[tuple[str, bool, str], list[Json]] = {}
    for row in rows:
        many = row["protocol"] in ("shim-ttrpc", "containerd-ttrpc")
        one = row["from" if row["protocol"] == "shim-ttrpc" else "to"]
        key = (str(row["protocol"]), bool(row["at_end"]), str(one and one["id"]))
        groups.setdefault(key if many else (*key[:2], str(id(row))), []).append(row)
    lines = []
    for (protocol, at_end, _), found in groups.items():
        first = found[0]
        left, right = (
            end_name(first["from"], first["from_end"]),
            end_name(first["to"], first["to_end"]),
        )
        if len(found) > 1 and protocol == "shim-ttrpc":
            right = f"{right} and {count(len(found) - 1, 'more shim')}"
        elif len(found) > 1:
            left = f"{left} and {len(found) - 1} more"
        by = f" by {printable(short_socket(first['socket']))}" if len(found) == 1 else ""
        late = "" if at_end else ", not at the end"
        waits = "" if all(row["accepted"] for row in found) else ", not accepted"
        lines.append((f"{left} -> {right}: {PROTOCOL_NAMES[protocol]}{by}{waits}{late}", at_end))
    return sorted(lines, key=lambda line: not line[1])


def end_name(ref: Json | None, end: Json | None) -> str:
    """Process at an end of a connection: "comm (tgid)", harmless to print."""
    if ref is not None:
        return f"{printable(ref['name']) or '?'} ({ref['tgid']})"
    if end is None or not end["tgid"]:
        return "a process not known"
    return f"{printable(end['comm'] or '') or '?'} ({end['tgid']})"


def short_socket(socket: str) -> str:
    """A name without most of the digest that names a shim's socket."""
    head, slash, last = socket.rpartition("/")
    return f"{head}{slash}{last[:12]}..." if len(last) >= 64 else socket
