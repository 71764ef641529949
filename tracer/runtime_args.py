"""What the command lines of container runtimes say: which program, which verb, which container.

Pure functions on one command line. The executable decides what a program is; arguments
only refine it (``start`` of a v2 shim, the verb of runc), because argv[0] and comm are whatever
the starter wrote there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HEX_ID = re.compile(r"[0-9a-f]{64}")

# Executables, also under docker's names of 1.11 to 18.06.
_FAMILIES = {
    "dockerd": "dockerd",
    "containerd": "containerd",
    "docker-containerd": "containerd",
    "containerd-shim": "shim-v1",
    "docker-containerd-shim": "shim-v1",
    "runc": "runc",
    "docker-runc": "runc",
    "crun": "crun",
    "docker": "docker-client",
    "docker-compose": "docker-client",
    "ctr": "ctr",
    "docker-containerd-ctr": "ctr",
    "conmon": "conmon",
    "podman": "podman",
    "kubelet": "kubelet",
    "cri-dockerd": "cri-dockerd",
}
_SELF = re.compile(r"/proc/(self|thread-self|\d+)/(exe|fd/\d+)|/dev/fd/\d+|/?memfd:.*")

_SHIM_VALUES = _words(
    "namespace id address bundle socket workdir publish-binary containerd-binary runtime-root criu "
    "debug-socket"
)
_RUNC_VALUES = _words("--root --log --log-format --criu --rootless --cgroup-manager")
_RUNC_VERB_VALUES = _words(
    "--bundle -b --config -f --console-socket --pid-file --preserve-fds --process -p --cwd --env "
    "-e --user -u --additional-gids -g --cap -c --cgroup --apparmor --process-label --image-path "
    "--work-path --parent-path --resources -r --format --interval --regex --signal "
    "--manage-cgroups-mode --empty-ns --lsm-profile --lsm-mount-context"
)
_DOCKER_VALUES = _words(
    "--config -c --context -H --host -l --log-level --tlscacert --tlscert --tlskey"
)
# Of the docker verbs that take containers only: run and create are read for --name alone.
_DOCKER_VERB_VALUES = _words(
    "--detach-keys -e --env --env-file -u --user -w --workdir -t --time --timeout -s --signal "
    "-f --format -n --tail --since --until --checkpoint --checkpoint-dir"
)
_DOCKER_NO_VALUE = {
    "exec": frozenset(("-t",)),
    "rm": frozenset(("-f",)),
    "logs": frozenset(("-f", "-t")),
}
_PODMAN_VALUES = _words(
    "--cgroup-manager --config --conmon --connection -c --events-backend --hooks-dir --identity "
    "--imagestore --log-level --module --namespace --network-cmd-path --network-config-dir "
    "--registries-conf --root --runroot --runtime --runtime-flag --ssh --storage-driver "
    "--storage-opt --tmpdir --url --volumepath"
)
_DOCKER_MAKES = ("run", "create")
_DOCKER_TAKES = _words(
    "start stop restart kill rm exec pause unpause attach wait update rename logs cleanup"
)
_CTR_VALUES = _words("-a --address -n --namespace --timeout --connect-timeout")
# What makes a daemon's program do something short, and end: `containerd config dump`; `containerd
# publish`, which shims run for each event.
_DAEMON_ASKS = _words("-v --version -version -h --help -help --validate")
_CONTAINERD_VERBS = _words("config publish oci-hook help h")


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs, by its executable and its command line alone.

    Attributes:
        role: a role token of the report; "other" if it is no known program.
        verb: of runc, crun, docker, ctr, podman ("create"), of a shim ("start", "delete"); None
            if not known (arguments not recorded).
        container: id of the container that it serves, as written there.
        namespace: containerd's namespace, as written there.
        name: name of the container (docker run --name, conmon -n).
        targets: names and ids of containers that a client names.
        argument: signal of runc kill.
        engine: "podman" or "cri", of conmon.
    """

    role: str
    verb: str | None = None
    container: str | None = None
    namespace: str | None = None
    name: str | None = None
    targets: tuple[str, ...] = ()
    argument: str | None = None
    engine: str | None = None


OTHER = Program("other")


def base_name(path: str) -> str:
    """Last part of an executable's path, without what /proc adds to a deleted one."""
    return path.removesuffix(" (deleted)").rsplit("/", 1)[-1]


def family(path: str) -> str | None:
    """Role that an executable's name suggests; None if the name is not of a runtime."""
    base = base_name(path)
    if base.startswith("containerd-shim-"):
        return "shim-v2"
    return _FAMILIES.get(base)


def is_self(path: str) -> bool:
    """The executable is named by a file descriptor or as /proc/self/exe: its name says nothing."""
    return _SELF.fullmatch(path.removesuffix(" (deleted)")) is not None


def is_script(path: str, args: Sequence[str]) -> bool:
    """A ``#!`` script: the kernel put the interpreter in front and the script's path behind it."""
    return path in args[1:3] and base_name(args[0]) != base_name(path)


def option(args: Sequence[str], name: str) -> str | None:
    """Value of an option of one or two dashes, in an argument of its own or behind "="; None if it
    was not given or not recorded."""
    for i, arg in enumerate(args):
        given, equals, value = arg.partition("=")
        if given.startswith("-") and given.lstrip("-") == name:
            return value if equals else "".join(args[i + 1 : i + 2]) or None
    return None


def parse(kind: str, args: Sequence[str]) -> Program:
    """Refine a family by its command line.

    Args:
        kind: what `family` gave.
        args: argv with argv[0]; empty if it was not recorded.
    """
    rest = list(args[1:])
    if kind in ("shim-v1", "shim-v2"):
        return _shim(kind, rest)
    if kind in ("runc", "crun"):
        return _runc(kind, rest)
    if kind == "conmon":
        return _conmon(rest)
    if kind in ("dockerd", "containerd"):
        return _daemon(kind, rest)
    if kind == "docker-client":
        return _docker(rest, args)
    if kind == "ctr":
        return _ctr(rest)
    if kind == "podman":
        return _client("podman", _split(rest, _PODMAN_VALUES, first=True)[1])
    return Program(kind)


def _split(
    args: Sequence[str], values: frozenset[str], *, first: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Flags with their values ("" if none), and the other words.

    Args:
        values: flags that take the next word, if they have no "=".
        first: stop at the first word that is no flag; the words then hold all that follows.
    """
    flags: dict[str, str] = {}
    words: list[str] = []
    i = 0
    while i < len(args):
        arg = args[i]
        i += 1
        if arg == "--":
            words += args[i:]
            break
        if len(arg) < 2 or not arg.startswith("-"):
            words.append(arg)
            if first:
                words += args[i:]
                break
            continue
        name, equals, value = arg.partition("=")
        if not equals and name in values and i < len(args):
            value = args[i]
            i += 1
        flags[name] = value
    return flags, words


def _daemon(kind: str, args: Sequence[str]) -> Program:
    short = _DAEMON_ASKS | (_CONTAINERD_VERBS if kind == "containerd" else frozenset())
    verb = next((arg for arg in args if arg in short), None)
    return Program(kind) if verb is None else Program("other", verb)


def _shim(kind: str, args: Sequence[str]) -> Program:
    values = frozenset(dash + name for name in _SHIM_VALUES for dash in ("-", "--"))
    raw, words = _split(args, values)
    flags = {name.lstrip("-"): value for name, value in raw.items()}
    namespace = flags.get("namespace") or None
    if kind == "shim-v1":
        container = base_name(flags.get("workdir", "")) or None
        if container is None and len(words) >= 3:
            # docker 1.11 to 17.11: containerd-shim ID BUNDLE RUNTIME
            container = words[0]
        return Program(kind, container=container, namespace=namespace)
    verb = words[0] if words else None
    container = flags.get("id") or None
    if verb == "start":
        return Program("shim-start", verb, container, namespace)
    if verb == "delete" or "info" in flags or "v" in flags:
        # Short-lived: containerd runs it to clean up behind a dead shim, or to ask its version.
        return Program("other", verb or "info", container, namespace)
    return Program("shim-v2", verb, container, namespace)


def _runc(kind: str, args: Sequence[str]) -> Program:
    flags, words = _split(args, _RUNC_VALUES, first=True)
    if not words:
        return Program(kind)
    verb = words[0]
    if verb == "init" and kind == "runc":
        return Program("runc-init", verb)
    namespace = _runc_namespace(flags.get("--root", ""))
    _, operands = _split(words[1:], _RUNC_VERB_VALUES, first=True)
    container = operands[0] if operands else None
    argument = operands[1] if verb == "kill" and len(operands) > 1 else None
    return Program(kind, verb, container, namespace, argument=argument)


def _runc_namespace(root: str) -> str | None:
    """containerd and docker keep runc's state in a folder a namespace: .../runtime-runc/moby,
    /run/containerd/runc/k8s.io."""
    above, _, last = root.rstrip("/").rpartition("/")
    return last if last and base_name(above) in ("runc", "runtime-runc") else None


def _conmon(args: Sequence[str]) -> Program:
    # Options differ by version: only those that matter are read, by their neighbours.
    found: dict[str, str] = {}
    short = {"-c": "--cid", "-n": "--name", "-r": "--runtime", "-b": "--bundle"}
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        name = short.get(name, name)
        if name in ("--cid", "--name") and name not in found:
            found[name] = value if equals else "".join(args[i + 1 : i + 2])
    engine = None
    if any("podman" in arg or "libpod" in arg for arg in args):
        engine = "podman"
    elif any("crio" in arg for arg in args):
        engine = "cri"
    verb = "exec" if any(a in ("-e", "--exec", "--exec-attach") for a in args) else "create"
    return Program(
        "conmon",
        verb if args else None,
        found.get("--cid") or None,
        name=found.get("--name") or None,
        engine=engine,
    )


def _docker(args: Sequence[str], argv: Sequence[str]) -> Program:
    if argv and base_name(argv[0]) == "docker-compose":
        return Program("docker-client", "compose")
    flags, words = _split(args, _DOCKER_VALUES, first=True)
    if "-d" in flags or "--daemon" in flags or words[:1] == ["daemon"]:
        return Program("dockerd")  # docker 1.12 and before
    return _client("docker-client", words)


def _client(role: str, words: list[str]) -> Program:
    """docker, or podman, whose command line is docker's behind its own options."""
    if words[:1] == ["container"]:
        words = words[1:]
    if not words:
        return Program(role)
    verb, rest = words[0], words[1:]
    if verb in _DOCKER_MAKES:
        name = None
        for i, arg in enumerate(rest):
            if arg == "--name" or arg.startswith("--name="):
                name = arg.partition("=")[2] or "".join(rest[i + 1 : i + 2])
                break
        return Program(role, verb, name=name or None)
    if verb not in _DOCKER_TAKES:
        return Program(role, verb)
    values = _DOCKER_VERB_VALUES - _DOCKER_NO_VALUE.get(verb, frozenset())
    _, operands = _split(rest, values, first=verb == "exec")
    if verb in ("exec", "rename"):
        operands = operands[:1]
    return Program(role, verb, targets=tuple(operands))


def _ctr(args: Sequence[str]) -> Program:
    flags, words = _split(args, _CTR_VALUES, first=True)
    namespace = flags.get("-n") or flags.get("--namespace") or None
    groups = ("t", "task", "tasks", "c", "container", "containers")
    grouped = words[:1] and words[0] in groups
    verb = words[1] if grouped and len(words) > 1 else (words[0] if words else None)
    # ctr's flags with values are many: every word may be the container, and only known ids match.
    targets = tuple(word for word in words[1:] if not word.startswith("-"))
    return Program("ctr", verb, namespace=namespace, targets=targets)
