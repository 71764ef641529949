"""The two questions that the recorder asks a docker daemon, over its unix socket.

A daemon that hangs or babbles costs a second and a few MB, and is reported as a problem.
https://docs.docker.com/engine/api/ (SystemVersion, SystemInfo, ContainerList).
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

TIMEOUT_S = 1.0
_ANSWER_LIMIT = 8 << 20


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(socket_path: str, resource: str, timeout: float = TIMEOUT_S) -> Any:
    """The daemon's answer to ``GET resource``, decoded.

    Raises:
        OSError: no daemon, no answer in time, or an answer that is none.
    """
    deadline = time.monotonic() + timeout
    connection = _UnixConnection(socket_path, timeout)
    try:
        connection.request("GET", resource)
        response = connection.getresponse()
        body = b""
        # The socket's timeout is for each read: a daemon may not drip an answer for ever.
        while part := response.read1(1 << 16):
            body += part
            if len(body) > _ANSWER_LIMIT or time.monotonic() > deadline:
                raise OSError(f"{socket_path} did not end its answer to GET {resource}")
        if response.status != http.client.OK:
            raise OSError(f"{socket_path} answered {response.status} to GET {resource}")
        return json.loads(body)
    except (http.client.HTTPException, ValueError, RecursionError) as error:
        raise OSError(f"{socket_path} gave no valid answer to GET {resource}: {error}") from None
    finally:
        connection.close()
