"""Words that the analysis goes by: no secret, user or host that is spelled like one is replaced
elsewhere than where it was found to be one, so that roles and containers stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def word_set(text: str) -> frozenset[str]:
    """The words of a list, written as text."""
    return frozenset(text.split())


def any_of(words: Iterable[str]) -> str:
    """A regular expression that finds where any of some words begins, branching by letter: of
    hundreds of words each character of a text is compared with a few. Of words one of which
    begins the other it finds the shorter."""
    root: dict[str, Any] = {}
    for word in words:
        branch = root
        for letter in word:
            branch = branch.setdefault(letter, {})
        branch[""] = None
    return _branches(root)


def _branches(branch: dict[str, Any]) -> str:
    if "" in branch:
        return ""
    parts = [re.escape(letter) + _branches(below) for letter, below in sorted(branch.items())]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


PROGRAMS = word_set(
    "dockerd containerd docker-containerd containerd-shim docker-containerd-shim "
    "containerd-shim-runc-v1 containerd-shim-runc-v2 runc docker-runc crun docker docker-compose "
    "ctr docker-containerd-ctr conmon podman kubelet cri-dockerd docker-proxy docker-init tini "
    "systemd systemctl init sh bash dash busybox sudo exe libnetwork-setkey buildkitd "
    "containerd-shim docker-containe containerd.toml libcontainerd "
    # Of everybody, also where somebody has them below a home folder.
    "python python2 python3 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 pip "
    "pip3 uv node npm npx yarn pnpm deno bun java javac mvn gradle ruby perl php go gofmt cargo "
    "rustc make cmake ninja gcc g++ cc clang ld git zsh fish kubectl helm terraform ansible rtrace "
    "pytest"
)

VERBS = word_set(
    "run create start stop restart kill rm exec pause unpause attach wait update rename logs init "
    "delete state list ps events spec checkpoint restore features config publish oci-hook daemon "
    "container containers task tasks t c info compose stack service system rmi build pull push "
    "login logout up down reload daemon-reload reboot poweroff try-restart reload-or-restart dump "
    "default help version inspect images image volume network plugin"
)

NAMES = word_set(
    "moby plugins.moby k8s.io default docker cri-containerd crio libpod nerdctl libpod-payload "
    "libpod-conmon crio-conmon machine kubepods system.slice user.slice init.scope machine.slice "
    "docker.service containerd.service docker.socket scope slice service socket pids memory "
    "cpu cpuacct devices freezer run var lib usr bin sbin etc proc sys dev tmp opt root home "
    "localhost none unknown runtime-runc io containerd.io unix tcp http https fd json cgroup "
    "unified v1 v2 tasks pid namespace id address bundle workdir socket"
)

PROTECTED = PROGRAMS | VERBS | NAMES
