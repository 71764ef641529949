"""Names and images of containers, while they live.

First from files, which answer when every daemon is dead: the OCI bundle's config.json, where
the shim's working directory is, and docker's config.v2.json, in the directory that the bundle
mounts /etc/hostname, /etc/hosts and /etc/resolv.conf from. All paths are seen through
/proc/PID/root of a runtime process, so that engines in other mount namespaces are found too.

podman's image is in a list of its storage, where conmon's bundle is: containers.json, or
volatile-containers.json, where newer ones put what `podman run --rm` made.

Sources: OCI runtime-spec config.json; moby daemon/container.go (config.v2.json); containerd
pkg/cri/annotations; CRI-O pkg/annotations; nerdctl pkg/labels; conmon(8); containers/storage
containers.go.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tracer import abi
from tracer.foreign_files import parse_json, read_regular

_TEXT_LIMIT = 4096
_ID_LENGTH = 64
_ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_DOCKER_DIRECTORY = re.compile(r"^(/.+/containers/([0-9a-f]{64}))/(?:hostname|hosts|resolv\.conf)$")
_DEFAULT_DOCKER_DIRECTORY = "/var/lib/docker/containers"
_CRI_NAME = "io.kubernetes.cri.container-name"
_CRI_SANDBOX = "io.kubernetes.cri.sandbox-name"
_CRI_IMAGE = "io.kubernetes.cri.image-name"
_CRIO_TYPE = "io.kubernetes.cri-o.ContainerType"
_CRIO_IMAGE = "io.kubernetes.cri-o.ImageName"
_NERDCTL_NAME = "nerdctl/name"
_STORED = ("containers.json", "volatile-containers.json")
_POD_NAME, _CONTAINER_NAME = "io.kubernetes.pod.name", "io.kubernetes.container.name"
_OCI_RUNTIMES = (b"runc", b"crun", b"docker-runc")
_CRI_TYPE = "io.kubernetes.cri.container-type"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A container that a process tells of.

    Attributes:
        id: the container's id.
        tgid, start_ns: the process, a shim, conmon or a process in the container.
        namespace: containerd's namespace, if the process says.
        name: if the process says (conmon).
        runtime: "containerd" or "podman" if the process is theirs, else "unknown".
        bundle: directory of the OCI bundle as the process sees it, if it is a runtime's process.
    """

    id: str
    tgid: int
    start_ns: int
    namespace: str | None = None
    name: str | None = None
    runtime: str = "unknown"
    bundle: str | None = None


def find_sighting(
    tgid: int, start_ns: int, args: tuple[bytes, ...], cgroups: tuple[bytes, ...]
) -> Sighting | None:
    """The container that a process's arguments or cgroup names, if there is one."""
    program = os.path.basename(args[0]) if args else b""
    options = _options(args)
    if b"containerd-shim" in program:
        container = options.get("id") or _last_directory(options.get("workdir"))
        if container:
            namespace = options.get("namespace")
            return Sighting(container, tgid, start_ns, namespace, None, "containerd", ".")
    elif program == b"conmon" and "c" in options:
        bundle = options.get("b") or "."
        return Sighting(options["c"], tgid, start_ns, None, options.get("n"), "podman", bundle)
    elif program in _OCI_RUNTIMES and b"create" in args and "bundle" in options:
        container = args[-1].decode("utf-8", "backslashreplace")
        return Sighting(container, tgid, start_ns, bundle=options["bundle"])
    for cgroup in cgroups:
        found = _ID.findall(cgroup)
        if found:
            return Sighting(found[-1].decode(), tgid, start_ns)
    return None


# What the names of the programs have in common, so that most details are searched twice only.
_PROGRAM_PARTS = {b"con": (b"containerd-shim", b"conmon"), b"run": (b"runc", b"crun")}
_IS_HEX = bytes(ord("x") if chr(byte) in "0123456789abcdef" else ord(".") for byte in range(256))
_STEP = 4
_ID_STEPS = b"x" * (_ID_LENGTH // _STEP)


def may_tell_of_containers(details: bytes, is_known: Callable[[str], bool]) -> bool:
    """Whether any of these details (as abi.decode_details takes them) may give a sighting.

    Asked of a whole batch at once, at C speed: most hosts run thousands of programs for each
    container. (A regular expression takes ten times as long.)

    Args:
        is_known: whether nothing more has to be found out about the container with an id: one
            that runs thousands of programs is looked at once.
    """
    for part, programs in _PROGRAM_PARTS.items():
        if part in details and any(program in details for program in programs):
            return True
    # A run of hex digits as long as an id is one in every fourth byte too.
    digits = details[::_STEP].translate(_IS_HEX)
    at = digits.find(_ID_STEPS)
    while at >= 0:
        start = at * _STEP
        found = _ID.search(details, max(0, start - _STEP), start + _ID_LENGTH + _STEP)
        if found is None:  # a longer run
            at = digits.find(_ID_STEPS, at + 1)
            continue
        if not is_known(found[0].decode()):
            return True
        at = digits.find(_ID_STEPS, found.end() // _STEP)
    return False


def find_detail_sighting(detail: abi.Detail) -> Sighting | None:
    """As ``find_sighting``, for an exec."""
    cgroups = (detail.cgroup, detail.cgroup_v1)
    return find_sighting(detail.tgid, detail.start_ns, detail.args, cgroups)


@contextlib.contextmanager
def open_monitor(container: str) -> Iterator[str | None]:
    """Directory in /proc of the conmon that keeps a container; None if there is none.

    conmon forks to go into the background: who executed it is gone soon, and who stays does so
    without an exec that could tell of it.
    """
    fd = -1
    try:
        for name in filter(str.isdecimal, os.listdir("/proc")):
            if _read_bytes(f"/proc/{name}/comm") != b"conmon\n":
                continue
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                held = f"/proc/self/fd/{fd}"
                found = find_sighting(0, 0, tuple(_read_bytes(f"{held}/cmdline").split(b"\0")), ())
                if found is not None and found.id == container:
                    yield held
                    return
                os.close(fd)
                fd = -1
        yield None
    finally:
        if fd >= 0:
            os.close(fd)


def read_container(
    sighting: Sighting, directory: str | None, on_denied: Callable[[str], None]
) -> dict[str, Any]:
    """What files say of a container: content of a FACT chunk of the kind "container".

    Args:
        directory: of the sighting's process in /proc; None: it is not there.
        on_denied: called with the path of a file that this process may not read.

    ``name`` and ``image`` are None where nothing says; ``source`` is the file that was read.
    """
    fact: dict[str, Any] = {
        "kind": "container",
        "id": sighting.id,
        "name": sighting.name,
        "image": None,
        "runtime": sighting.runtime,
        "namespace": sighting.namespace,
        "source": None,
    }
    # What runs inside a container may show any files it likes: only the runtime's are believed.
    root = "/" if sighting.bundle is None or directory is None else f"{directory}/root"
    bundle = _read_bundle(sighting, directory, on_denied)
    if bundle:
        fact["source"] = "config.json of the bundle"
    _add_annotations(fact, bundle.get("annotations"))
    if fact["runtime"] == "podman":
        _add_stored(fact, sighting, root, on_denied)
    docker: dict[str, Any] = {}
    if _ID.fullmatch(sighting.id.encode()):  # docker's ids are such, and it may be no path
        docker_directory = _docker_directory(bundle, sighting.id)
        docker = _read_json(root, f"{docker_directory}/config.v2.json", on_denied)
    if docker.get("ID") == sighting.id:
        fact["name"] = _string(docker.get("Name"), "").lstrip("/") or None
        config = docker.get("Config")
        fact["image"] = _string(config.get("Image")) if isinstance(config, dict) else None
        fact["runtime"] = "docker"
        fact["source"] = f"{docker_directory}/config.v2.json"
    elif sighting.runtime == "containerd" and fact["name"] is None:
        fact["name"] = sighting.id if len(sighting.id) != 64 else None
    return fact


def _read_bundle(
    sighting: Sighting, directory: str | None, on_denied: Callable[[str], None]
) -> dict[str, Any]:
    if sighting.bundle is None or directory is None:
        return {}
    view = "root" if sighting.bundle.startswith("/") else "cwd"
    bundle = _read_json(f"{directory}/{view}", f"{sighting.bundle}/config.json", on_denied)
    return bundle if isinstance(bundle.get("ociVersion"), str) else {}


def _add_annotations(fact: dict[str, Any], annotations: object) -> None:
    """What a kubelet's runtime (containerd's CRI plugin, CRI-O), or nerdctl, has put into the
    bundle."""
    if not isinstance(annotations, dict):
        return
    fact["name"] = _string(annotations.get(_NERDCTL_NAME)) or fact["name"]
    if _CRI_TYPE in annotations:
        names, image = (_CRI_NAME, _CRI_SANDBOX), _CRI_IMAGE
    elif _CRIO_TYPE in annotations:
        names, image = (_CONTAINER_NAME, _POD_NAME), _CRIO_IMAGE
        if annotations[_CRIO_TYPE] == "sandbox":
            names = (_POD_NAME, _CONTAINER_NAME)
    else:
        return
    fact["runtime"] = "cri"
    fact["name"] = next((found for n in names if (found := _string(annotations.get(n)))), None)
    fact["image"] = _string(annotations.get(image))


def _add_stored(
    fact: dict[str, Any], sighting: Sighting, root: str, on_denied: Callable[[str], None]
) -> None:
    """Image, and name, from the lists of containers beside <id>/userdata, the bundle."""
    above, _, last = (sighting.bundle or "").rstrip("/").rpartition(f"/{sighting.id}/")
    if last != "userdata" or not above.startswith("/") or root == "/":
        return
    listed: list[object] = []
    for name in _STORED:
        content = _read_any(root, f"{above}/{name}", on_denied)
        listed += content if isinstance(content, list) else []
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("id") != sighting.id:
            continue
        try:
            about = parse_json(_string(entry.get("metadata"), "{}").encode())
        except ValueError:
            about = {}
        about = about if isinstance(about, dict) else {}
        fact["image"] = _string(about.get("image-name"))
        fact["name"] = fact["name"] or _string(about.get("name"))


def _docker_directory(bundle: dict[str, Any], container: str) -> str:
    mounts = bundle.get("mounts")
    for mount in mounts if isinstance(mounts, list) else []:
        source = mount.get("source") if isinstance(mount, dict) else None
        match = _DOCKER_DIRECTORY.match(source) if isinstance(source, str) else None
        if match and match[2] == container and ".." not in match[1]:
            return match[1]
    return f"{_DEFAULT_DOCKER_DIRECTORY}/{container}"


def _options(args: tuple[bytes, ...]) -> dict[str, str]:
    """Options with values, of one or two dashes, with ``=`` or as two arguments."""
    options: dict[str, str] = {}
    for position, argument in enumerate(args[1:], 1):
        name, equals, value = argument.partition(b"=")
        if not name.startswith(b"-"):
            continue
        if not equals:
            value = args[position + 1] if position + 1 < len(args) else b""
        text = value.decode("utf-8", "backslashreplace")
        options.setdefault(name.lstrip(b"-").decode("utf-8", "backslashreplace"), text)
    return options


def _last_directory(path: str | None) -> str | None:
    return os.path.basename(path.rstrip("/")) if path else None


def _string(value: object, default: str | None = None) -> Any:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else default


def _read_bytes(path: str) -> bytes:
    """What is in a file of /proc, b"" if that cannot be told."""
    try:
        with open(path, "rb") as file:
            return file.read(abi.ARGS_MAX)
    except OSError:
        return b""


def _read_json(root: str, path: str, on_denied: Callable[[str], None]) -> dict[str, Any]:
    """The object in a file, {} if there is none."""
    content = _read_any(root, path, on_denied)
    return content if isinstance(content, dict) else {}


def _read_any(root: str, path: str, on_denied: Callable[[str], None]) -> object:
    """The JSON in a file, None if there is none."""
    try:
        return parse_json(read_regular(root, path))
    except PermissionError:
        on_denied(f"{root.rstrip('/')}/{path.lstrip('/')}")
    except (OSError, ValueError):
        pass
    return None
