"""Incidents on a fake host, for tests of what is told of them."""

from __future__ import annotations

from tests import lives
from tests.lives import CID, Host
from tests.streams import Proc

MS = 1_000_000

# What a process, a container or a cgroup may call itself in order to run in a page.
PAYLOADS = (
    "<script>hit()</script>",
    "</script><script>hit()</script>",
    "<img src=x onerror=hit()>",
    '"><svg onload=hit()>',
    "'-hit()-'",
    "javascript:hit()",
    "</title><style>*{display:none}</style>",
    "<!--<script>",
    "]]><b>",
    "{{ 7 * 7 }}{% raw %}",
    "{head|bold} {a|b}",
    "&lt;script&gt;hit()&lt;/script&gt;",
    "\u2028hit()//\u202e",
    "<link rel=stylesheet href=http://evil.example/>",
    "__proto__",
    "\x1b]0;hit\x07",
)


def recycled(
    *,
    comm: str = "disk-cleanup",
    name: str = "shop",
    argument: str = "old",
    cgroup: str = "/system.slice/cleanup.service",
) -> Host:
    """A container whose shim a program of the host kills; containerd cleans up. Whole capture.

    Args:
        comm, argument, cgroup: of that program. name: of the container.
    """
    h = lives.host(managed=False)
    s = h.stream
    p = lives.begin(h, name=name, client=f"docker run --name {CID[:12]} x")
    sleeper = s.fork(p["init"], comm="sleep", ns_tgid=7, pidns=p["init"].pidns)
    s.attach(sleeper, f"/docker/{CID}")
    killer = s.fork(h.shell)
    args = ["cleanup", argument]
    s.exec(killer, "/usr/local/bin/cleanup", args, comm=comm[:15], cgroup=cgroup)
    s.wait(2 * MS)
    _kill(h, p["shim"], killer)
    s.wait(5 * MS)
    shim = "/usr/bin/containerd-shim-runc-v2"
    helper = s.fork(h.containerd)
    s.exec(helper, shim, f"{shim} -namespace moby -id {CID} -bundle /b delete")
    runc = s.fork(helper)
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runtime-runc/moby delete --force {CID}")
    s.wait(8 * MS)
    _kill(h, p["init"], runc)
    s.die(runc)
    s.die(helper)
    s.die(killer, 1)
    s.wait(50 * MS)
    s.snapshot("end")
    return h


def _kill(h: Host, target: Proc, sender: Proc) -> None:
    h.stream.signal(target, 9, sender)
    h.stream.die(target, signal=9)
