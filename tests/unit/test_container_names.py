"""Which container a process tells of, and what files say of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tracer import abi, container_names
from tracer.container_names import (
    Sighting,
    find_detail_sighting,
    find_sighting,
    may_tell_of_containers,
    read_container,
)

ID = "0123456789abcdef" * 4
OTHER = "f" * 64
ME = os.getpid()


def words(line: str) -> tuple[bytes, ...]:
    return tuple(line.encode().split())


@pytest.mark.parametrize(
    ("line", "sighting"),
    [
        (
            f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {ID} -address /run/x.sock",
            Sighting(ID, 7, 70, "moby", None, "containerd", "."),
        ),
        (
            f"containerd-shim -namespace moby -workdir /var/lib/x/moby/{ID}/ -address x",
            Sighting(ID, 7, 70, "moby", None, "containerd", "."),
        ),
        (
            f"docker-containerd-shim -namespace=moby -workdir=/x/{ID}",
            Sighting(ID, 7, 70, "moby", None, "containerd", "."),
        ),
        (
            f"/usr/bin/conmon --api-version 1 -c {ID} -n web -b /run/bundle",
            Sighting(ID, 7, 70, None, "web", "podman", "/run/bundle"),
        ),
        (f"conmon -c {ID}", Sighting(ID, 7, 70, None, None, "podman", ".")),
        (
            f"runc --root /x create --bundle /run/b --pid-file p {ID}",
            Sighting(ID, 7, 70, bundle="/run/b"),
        ),
        (f"crun create --bundle /b {ID}", Sighting(ID, 7, 70, bundle="/b")),
        ("runc --version", None),
        ("runc run", None),
        ("containerd-shim-runc-v2 -v", None),
        ("conmon --version", None),
        ("", None),
        (f"grep {ID}", None),
        (f"/tmp/containerd-shim-runc-v2x/sh -id {ID}", None),
    ],
)
def test_arguments(line: str, sighting: Sighting | None) -> None:
    assert find_sighting(7, 70, words(line), ()) == sighting


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"/docker/{ID}", ID),
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", ID),
        (f"/docker/{OTHER}/docker/{ID}", ID),  # docker in docker: the inner one
        (f"/docker/{ID}0", None),
        (f"/docker/{ID[:-1]}", None),
        (f"/docker/{ID.upper()}", None),
        ("/user.slice", None),
        ("", None),
    ],
)
def test_cgroups(cgroup: str, container: str | None) -> None:
    for cgroups in ((cgroup.encode(), b""), (b"", cgroup.encode())):
        found = find_sighting(7, 70, (b"sh",), cgroups)
        assert (found.id if found else None) == container


def test_details() -> None:
    detail = next(
        abi.decode_details(
            bytes(
                abi.DetailHeader(
                    tgid=7,
                    start_ns=70,
                    type=abi.DetailType.EXEC,
                    args_len=3,
                    args_total=3,
                    cgroup_len=65 + 7,
                )
            )
            + b"sh\0"
            + f"{ID}\0docker\0".encode()
        )
    )

    found = find_detail_sighting(detail)

    assert found == Sighting(ID, 7, 70)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OCI bundle, and docker's directory of the container beside it."""
    docker = tmp_path / "containers" / ID
    docker.mkdir(parents=True)
    folder = tmp_path / "bundle"
    folder.mkdir()
    mounts = [{"source": "proc"}, None, {"source": f"{docker}/hostname"}]
    write(folder / "config.json", {"ociVersion": "1.0.2", "mounts": mounts})
    write(
        docker / "config.v2.json",
        {"ID": ID, "Name": "/web", "Config": {"Image": "nginx:1"}},
    )
    monkeypatch.setattr(container_names, "_DEFAULT_DOCKER_DIRECTORY", str(tmp_path / "default"))
    return folder


def read(sighting: Sighting) -> dict[str, Any]:
    """What files say, all of which may be read."""

    def denied(path: str) -> None:
        pytest.fail(f"may not read {path}")

    return read_container(sighting, f"/proc/{sighting.tgid}", denied)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_docker(bundle: Path) -> None:
    fact = read(Sighting(ID, ME, 0, "moby", None, "containerd", str(bundle)))

    assert fact == {
        "kind": "container",
        "id": ID,
        "name": "web",
        "image": "nginx:1",
        "runtime": "docker",
        "namespace": "moby",
        "source": f"{bundle.parent}/containers/{ID}/config.v2.json",
    }


def test_a_bundle_relative_to_the_shims_directory(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)

    assert read(Sighting(ID, ME, 0, "moby", None, "containerd", "."))["name"] == "web"


def test_docker_in_its_default_directory(bundle: Path) -> None:
    path = bundle.parent / "default" / ID / "config.v2.json"
    write(path, {"ID": ID, "Name": "/other", "Config": None})

    fact = read(Sighting(ID, ME, 0))

    assert (fact["name"], fact["image"], fact["runtime"]) == ("other", None, "docker")


def test_a_file_of_another_container_says_nothing(bundle: Path) -> None:
    docker = bundle.parent / "containers" / ID / "config.v2.json"
    write(docker, {"ID": OTHER, "Name": "/liar", "Config": {"Image": "x"}})

    fact = read(Sighting(ID, ME, 0, "moby", None, "containerd", str(bundle)))

    assert (fact["name"], fact["image"]) == (None, None)
    assert fact["source"] == "config.json of the bundle"


def test_no_directory_but_the_containers_own_is_believed(bundle: Path) -> None:
    sources = [
        f"/x/../containers/{ID}/hostname",
        f"/elsewhere/containers/{OTHER}/hostname",
        f"containers/{ID}/hostname",
        5,
    ]
    mounts = [{"source": source} for source in sources]
    write(bundle / "config.json", {"ociVersion": "1", "mounts": mounts})

    fact = read(Sighting(ID, ME, 0, None, None, "containerd", str(bundle)))

    assert fact["name"] is None


def test_kubernetes(bundle: Path) -> None:
    key = "io.kubernetes.cri."
    annotations = {
        f"{key}container-type": "container",
        f"{key}container-name": "app",
        f"{key}sandbox-name": "pod-1",
        f"{key}image-name": "registry/app:2",
    }
    write(bundle / "config.json", {"ociVersion": "1", "annotations": annotations})

    fact = read(Sighting(ID, ME, 0, "k8s.io", None, "containerd", str(bundle)))

    assert (fact["runtime"], fact["name"], fact["image"]) == ("cri", "app", "registry/app:2")
    # A sandbox has no name of its own.
    annotations = {f"{key}container-type": "sandbox", f"{key}sandbox-name": "pod-1"}
    write(bundle / "config.json", {"ociVersion": "1", "annotations": annotations})
    fact = read(Sighting(ID, ME, 0, "k8s.io", None, "containerd", str(bundle)))
    assert fact["name"] == "pod-1"


def test_nerdctl(bundle: Path) -> None:
    annotations = {"nerdctl/name": "web", "nerdctl/namespace": "default"}
    write(bundle / "config.json", {"ociVersion": "1", "annotations": annotations})

    fact = read(Sighting(ID, ME, 0, "default", None, "containerd", str(bundle)))

    assert (fact["runtime"], fact["name"], fact["image"]) == ("containerd", "web", None)


def test_cri_o(bundle: Path) -> None:
    annotations = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "pod-1",
        "io.kubernetes.cri-o.ImageName": "registry/app:2",
    }
    write(bundle / "config.json", {"ociVersion": "1", "annotations": annotations})

    fact = read(Sighting(ID, ME, 0, None, "k8s_app", "podman", str(bundle)))

    assert (fact["runtime"], fact["name"], fact["image"]) == ("cri", "app", "registry/app:2")
    annotations |= {"io.kubernetes.cri-o.ContainerType": "sandbox"}
    write(bundle / "config.json", {"ociVersion": "1", "annotations": annotations})
    assert read(Sighting(ID, ME, 0, None, None, "podman", str(bundle)))["name"] == "pod-1"


@pytest.mark.parametrize("stored", ["containers.json", "volatile-containers.json"])
def test_podman(tmp_path: Path, stored: str) -> None:
    """GIVEN a bundle in podman's storage THEN a list beside it has the image, and the name."""
    bundle = tmp_path / "overlay-containers" / ID / "userdata"
    bundle.mkdir(parents=True)
    write(bundle / "config.json", {"ociVersion": "1", "annotations": {}})
    mine = {"id": ID, "metadata": json.dumps({"image-name": "localhost/app:1", "name": "web"})}
    others = [5, {"id": OTHER, "metadata": "{}"}]
    write(tmp_path / "overlay-containers" / "containers.json", others)
    write(tmp_path / "overlay-containers" / stored, [*others, mine])

    fact = read(Sighting(ID, ME, 0, None, None, "podman", str(bundle)))

    assert (fact["runtime"], fact["name"], fact["image"]) == ("podman", "web", "localhost/app:1")


@pytest.mark.parametrize("metadata", [None, 5, "", "[]", "{", '{"image-name": 5}', "[" * 100_000])
def test_podmans_list_damaged(tmp_path: Path, metadata: object) -> None:
    bundle = tmp_path / ID / "userdata"
    bundle.mkdir(parents=True)
    write(tmp_path / "containers.json", [{"id": ID, "metadata": metadata}])

    fact = read(Sighting(ID, ME, 0, None, "web", "podman", str(bundle)))

    assert (fact["runtime"], fact["name"], fact["image"]) == ("podman", "web", None)


def test_containerd_alone(tmp_path: Path) -> None:
    named = read(Sighting("web", ME, 0, "default", None, "containerd", str(tmp_path)))
    unnamed = read(Sighting(ID, ME, 0, "default", None, "containerd", str(tmp_path)))

    assert (named["name"], named["namespace"]) == ("web", "default")
    assert unnamed["name"] is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"ociVersion": 5}',
        b'{"ociVersion": "1", "mounts": {}, "annotations": []}',
        b'{"ociVersion": "1", "mounts": [1, [], {"source": null}], "annotations": {"a": 1}}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"ociVersion": "1", "x": "' + b"x" * (5 << 20) + b'"}',
    ],
    ids=range(10),
)
def test_damaged_files_are_no_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)

    fact = read(Sighting(ID, ME, 0, "moby", None, "containerd", str(tmp_path)))

    assert (fact["name"], fact["image"], fact["runtime"]) == (None, None, "containerd")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")

    assert read(Sighting(ID, ME, 0, bundle=str(tmp_path)))["source"] is None


@pytest.mark.parametrize("container", ["../x", "a/b", "..", ""])
def test_an_id_that_is_a_path_leads_to_no_file(tmp_path: Path, container: str) -> None:
    write(tmp_path / "config.json", {"ociVersion": "1"})
    hostile = {"ID": container, "Name": "/evil"}
    write(tmp_path / "default" / "containers" / "config.v2.json", hostile)
    write(tmp_path / "x" / "config.v2.json", hostile)

    fact = read(Sighting(container, ME, 0, bundle=str(tmp_path)))

    assert fact["name"] is None


def test_a_process_that_is_gone(bundle: Path) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)

    fact = read(Sighting(ID, pid, 0, "moby", None, "containerd", str(bundle)))

    assert fact["name"] is None


def tells(details: bytes, *known: str) -> bool:
    return may_tell_of_containers(details, known.__contains__)


@pytest.mark.parametrize("before", range(5))
def test_an_id_is_noticed_wherever_it_lies(before: int) -> None:
    assert tells(b"/" * before + f"/docker/{OTHER}".encode() + bytes(8))
    assert tells(b"/" * before + OTHER.encode())


@pytest.mark.parametrize("program", ["containerd-shim-runc-v2", "conmon", "docker-runc", "crun"])
def test_a_runtime_is_noticed_without_an_id(program: str) -> None:
    assert tells(f"/usr/bin/{program} --x".encode())


@pytest.mark.parametrize(
    "details", [b"", b"con run", ID[:63].encode(), b"/" + b"f" * 65 + b"/", b"f" * 200]
)
def test_what_is_no_id_tells_nothing(details: bytes) -> None:
    assert not tells(details)


def test_a_container_that_is_known_tells_nothing_new() -> None:
    details = f"/a/{ID}\0\0/b/{ID}\0\0".encode() * 3

    assert not tells(details, ID)
    assert tells(details + f"/a/{OTHER}".encode(), ID)
    assert tells(b"f" * 70 + f"/a/{OTHER}".encode(), ID)
    assert not tells(b"f" * 70 + f"/a/{OTHER}".encode(), ID, OTHER)
