"""Installing the flight recorder as a service of systemd, and taking it away again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from tracer.ending import undone_by
from tracer.errors import HostError, RtraceError
from tracer.output_file import name_beside
from tracer.service_unit import MARK, NAME, Service, render_unit

UNIT = f"/etc/systemd/system/{NAME}"
# sd_booted(3)
_BOOTED = "/run/systemd/system"
_TIMEOUT_S = 300.0


def install(service: Service, *, start: bool, force: bool) -> None:
    """Writes the unit, and enables it.

    Args:
        start: start it as well, or start it anew if it runs with another unit.
        force: replace a unit that differs.

    Raises:
        RtraceError: it cannot be installed, or does not start.
    """
    fact = "cannot install the service"
    _check_host(fact)
    wanted, present = render_unit(service), _read_unit()
    if present not in (None, wanted) and not force:
        raise RtraceError(
            fact, f"{UNIT} exists and differs", "see `rtrace install-service --print`; or --force"
        )
    try:
        os.makedirs(service.directory, mode=0o700, exist_ok=True)
        if present != wanted:
            _write_unit(wanted)
    except OSError as error:
        raise RtraceError(fact, f"{error.filename or UNIT}: {error.strerror}") from None
    _systemctl(fact, "daemon-reload")
    _systemctl(fact, "enable", NAME)
    if start:
        verb = "start" if present == wanted else "restart"
        _systemctl("the service does not start", verb, NAME, step=f"see: journalctl -u {NAME} -e")


def uninstall(*, force: bool) -> bool:
    """Stops the service and removes its unit; recordings stay.

    Returns:
        False if there was none.

    Raises:
        RtraceError: it cannot be removed, or is not from here (without `force`).
    """
    fact = "cannot remove the service"
    _check_host(fact)
    present = _read_unit()
    if present is None:
        return False
    if not present.startswith(MARK) and not force:
        raise RtraceError(fact, f"rtrace did not make {UNIT}", "remove it yourself, or --force")
    _systemctl(fact, "disable", "--now", NAME)
    try:
        os.unlink(UNIT)
    except OSError as error:
        raise RtraceError(fact, f"{UNIT}: {error.strerror}") from None
    _systemctl(fact, "daemon-reload")
    return True


def _check_host(fact: str) -> None:
    if os.geteuid() != 0:
        raise HostError(fact, "it needs root", "run it with sudo")
    if not os.path.isdir(_BOOTED) or shutil.which("systemctl") is None:
        raise HostError(
            fact,
            "systemd does not run this host",
            "give the command of `rtrace install-service --print` to your service manager",
        )


def _read_unit() -> str | None:
    try:
        with open(UNIT, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RtraceError(f"cannot read {UNIT}", error.strerror or str(error)) from None


def _write_unit(text: str) -> None:
    """Whole or not at all: systemd may read it at any time."""
    path = os.path.join(os.path.dirname(UNIT), name_beside())

    def remove() -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)

    with undone_by(remove):
        with open(path, "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.replace(path, UNIT)


def _systemctl(fact: str, *arguments: str, step: str = "") -> None:
    command = ["systemctl", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(fact, f"`{' '.join(command)}` does not end", step) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        cause = said[0] if said else f"`{' '.join(command)}` gave {done.returncode}"
        raise HostError(fact, cause, step)
