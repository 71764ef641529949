"""Whatever a hostile process puts where a runtime has its files: a name or none, never an error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracer.container_names import Sighting, find_sighting, read_container

ID = "0123456789abcdef" * 4
_KEYS = st.sampled_from(
    [
        *("ociVersion", "annotations", "mounts", "source", "ID", "Name", "Config", "Image"),
        *("id", "metadata", "name", "image-name", "nerdctl/name", "io.kubernetes.pod.name"),
        *("io.kubernetes.cri.container-type", "io.kubernetes.cri.container-name"),
        *("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.ImageName"),
    ]
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [ID, "sandbox", f"/x/containers/{ID}/hostname", "\ud800", "{}", "[[", '{"a":1}']
    ),
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage") / ID / "userdata"
    folder.mkdir(parents=True)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(config=_JSON, stored=_JSON, runtime=st.sampled_from(["containerd", "podman", "unknown"]))
def test_files_with_any_json(place: Path, config: Any, stored: Any, runtime: str) -> None:
    (place / "config.json").write_text(json.dumps(config))
    (place.parents[1] / "containers.json").write_text(json.dumps(stored))
    sighting = Sighting(ID, os.getpid(), 0, None, None, runtime, str(place))

    fact = read_container(sighting, "/proc/self", lambda _path: None)

    assert fact["id"] == ID
    for name in ("name", "image"):
        assert fact[name] is None or isinstance(fact[name], str)
    json.dumps(fact, allow_nan=False).encode("ascii")


_ARGUMENTS = st.lists(
    st.one_of(
        st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"")),
        st.sampled_from(
            [
                *(
                    b"containerd-shim",
                    b"conmon",
                    b"runc",
                    b"create",
                    b"-id",
                    b"--id=",
                    b"-c",
                    b"-b",
                ),
                *(
                    b"--bundle",
                    b"--bundle=/x",
                    b"-workdir",
                    b"/",
                    b"-",
                    b"--",
                    b"\xff",
                    ID.encode(),
                ),
            ]
        ),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(args=_ARGUMENTS, cgroups=st.lists(st.binary(max_size=100), max_size=2))
def test_any_arguments_and_cgroups(args: list[bytes], cgroups: list[bytes]) -> None:
    found = find_sighting(1, 1, tuple(args), tuple(cgroups))
    if found is not None:
        fact = read_container(found, None, lambda _path: None)
        json.dumps(fact, allow_nan=False).encode("ascii")
