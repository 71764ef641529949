"""Pods by containerd's real CRI socket, as a kubelet would make them: gRPC, host network, no CNI.

The messages are those of k8s.io/cri-api (pkg/apis/runtime/v1/api.proto), written field by field:
what is needed of them is small and does not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc

Value = str | int | Mapping[int, "Value"] | Sequence["Value"]

_NODE = 2  # NamespaceMode: the node's own
_TIMEOUT_S = 60


class RuntimeService:
    """A client of the CRI.

    Args:
        socket: containerd's, as this process sees it.
        version: of the API: "v1", or "v1alpha2" before containerd 1.6.
    """

    def __init__(self, socket: Path, version: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._service = f"/runtime.{version}.RuntimeService"

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def run_pod(self, name: str) -> tuple[str, Mapping[int, Value]]:
        """A pod with a network, but no pid namespace, of the node: its id, and its config."""
        namespaces = {1: _NODE}
        config: Mapping[int, Value] = {
            1: {1: name, 2: f"{name}-uid", 3: "default"},  # metadata: name, uid, namespace
            8: {2: {1: namespaces}},  # linux.security_context.namespace_options
        }
        return self._call("RunPodSandbox", {1: config}), config

    def start_container(
        self,
        pod: tuple[str, Mapping[int, Value]],
        name: str,
        image: str,
        command: Sequence[str],
    ) -> str:
        """A container in a pod, created and started: its id."""
        security = {3: {1: _NODE, 2: 1}}  # namespace_options: network; pid: the container's own
        config: Mapping[int, Value] = {
            1: {1: name},  # metadata
            2: {1: image},
            3: command,
            15: {2: security},
        }
        container = self._call("CreateContainer", {1: pod[0], 2: config, 3: pod[1]})
        self._call("StartContainer", {1: container})
        return container

    def stop_container(self, container: str) -> None:
        """SIGTERM, and at once SIGKILL."""
        self._call("StopContainer", {1: container})

    def stop_pod(self, pod: tuple[str, Mapping[int, Value]]) -> None:
        """Ends all that is in a pod, and the pod."""
        self._call("StopPodSandbox", {1: pod[0]})

    def _call(self, method: str, message: Mapping[int, Value]) -> str:
        """The first field of the answer, which is the id wherever there is one."""
        call = self._channel.unary_unary(f"{self._service}/{method}")
        answer: bytes = call(encode(message), timeout=_TIMEOUT_S, wait_for_ready=True)
        return answer[2 : 2 + answer[1]].decode() if answer[:1] == b"\x0a" else ""


def encode(message: Mapping[int, Value]) -> bytes:
    """A message in protobuf's wire format (protobuf.dev/programming-guides/encoding)."""
    return b"".join(part for field, value in message.items() for part in _encode(field, value))


def _encode(field: int, value: Value) -> Iterator[bytes]:
    if isinstance(value, int):
        yield _varint(field << 3) + _varint(value)
    elif isinstance(value, (str, Mapping)):
        content = value.encode() if isinstance(value, str) else encode(value)
        yield _varint(field << 3 | 2) + _varint(len(content)) + content
    else:
        for item in value:
            yield from _encode(field, item)


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + _varint(number >> 7)
