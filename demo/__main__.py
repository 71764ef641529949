"""`make demo`: records the life of one real container, then prints the report on it.

With the docker daemon of this host if one answers, else with one of its own. The whole host is
recorded, as in an incident, not the container alone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from demo.busybox import find_busybox, image_tar
from demo.privatedocker import PrivateDocker, PrivateDockerError

CAPTURE = "demo.rtrace"
CONTAINER = "rtrace-demo"
SCRIPT = "sleep 0.5; echo hello from the container"


class DemoError(Exception):
    """The demo cannot go on. ``str()`` says why, in one line."""


def main() -> int:
    """Run the demo; the exit status is that of the first step that failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that we clean up
    rtrace = str(Path(sys.executable).with_name("rtrace"))
    try:
        with _a_docker() as (image, environ):
            container = ["docker", "run", "--rm", "--name", CONTAINER, "--network", "none"]
            workload = [*container, image, "sh", "-c", SCRIPT]
            _run([rtrace, "record", "-o", CAPTURE, "--force", "--", *workload], environ)
            _run([rtrace, "report", CAPTURE], environ)
    except subprocess.CalledProcessError as error:
        print(f"demo: {shlex.join(error.cmd)}: exit status {error.returncode}", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 128 - error.returncode
    except (DemoError, PrivateDockerError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


@contextlib.contextmanager
def _a_docker() -> Iterator[tuple[str, dict[str, str]]]:
    """An image to run, and the environment in which `docker` finds a daemon to run it."""
    version = _host_version()
    if version is None:
        _say("no docker daemon answers here: starting a private one, to be removed afterwards")
        with PrivateDocker() as docker:
            yield docker.image, docker.environ
        return
    _say(f"using this host's docker {version}")
    busybox = find_busybox()
    if busybox is None:
        raise DemoError("cannot make an image: no busybox; install busybox-static")
    image = f"rtrace-demo-{os.getpid()}:latest"
    subprocess.run(
        ["docker", "import", "-", image],
        input=image_tar(busybox),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    try:
        yield image, dict(os.environ)
    finally:
        subprocess.run(["docker", "image", "rm", image], stdout=subprocess.DEVNULL, check=False)


def _host_version() -> str | None:
    """The version of the docker daemon on this host; None if none answers, or a remote one."""
    endpoint = _ask("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    if endpoint is None or not endpoint.startswith("unix://"):
        return None
    return _ask("docker", "version", "--format", "{{.Server.Version}}")


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _run(command: list[str], environ: dict[str, str]) -> None:
    _say(f"$ {shlex.join(['rtrace', *command[1:]])}")
    subprocess.run(command, env=environ, check=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
