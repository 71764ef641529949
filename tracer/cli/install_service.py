"""`rtrace install-service`."""

from __future__ import annotations

import os
import shutil
import sys

import click

from tracer.cli.completers import complete_folder, complete_trigger
from tracer.cli.documented import Command
from tracer.errors import RtraceError
from tracer.units import size_option

# Rare, and each worth a look; containers that end are not.
_TRIGGERS = ("dockerd-exit", "containerd-exit", "runtime-kill", "oom")


@click.command(
    "install-service",
    cls=Command,
    examples=[
        ("sudo rtrace install-service", "record from now on, and at each boot"),
        (
            "sudo rtrace install-service --trigger shim-exit --max-size 200MiB --force",
            "with other bounds and events than before",
        ),
        ("rtrace install-service --print", "look at the unit, do nothing"),
        ("sudo rtrace install-service --uninstall", "end it; recordings stay"),
    ],
    files=[
        ("/etc/systemd/system/rtrace.service", "the unit"),
        ("/var/lib/rtrace", "the recording and its saves, see --dir"),
    ],
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=size_option,
    default="64MiB",
    show_default=True,
    help="How much is kept of what is going on, and the size of a save.",
)
@click.option(
    "--trigger",
    "triggers",
    multiple=True,
    metavar="EVENT",
    shell_complete=complete_trigger,
    default=_TRIGGERS,
    show_default=True,
    help="Save at this event, see `rtrace record`; may be repeated.",
)
@click.option(
    "--keep", type=click.IntRange(min=1), default=10, show_default=True, help="How many saves."
)
@click.option(
    "--dir",
    "directory",
    metavar="PATH",
    shell_complete=complete_folder,
    default="/var/lib/rtrace",
    show_default=True,
    help="For the recording and its saves.",
)
@click.option(
    "--buffer",
    metavar="SIZE",
    callback=size_option,
    default="16MiB",
    show_default=True,
    help="Ring buffer for events.",
)
@click.option("--no-args", is_flag=True, help="Do not record the arguments of programs.")
@click.option("--no-start", is_flag=True, help="Start it at the next boot only.")
@click.option("--print", "show", is_flag=True, help="Only show the unit.")
@click.option("--uninstall", is_flag=True, help="Stop it and remove its unit; recordings stay.")
@click.option("--force", is_flag=True, help="Replace or remove a unit that is not from here.")
def install_service(
    max_size: int,
    triggers: tuple[str, ...],
    keep: int,
    directory: str,
    buffer: int,
    no_args: bool,
    no_start: bool,
    show: bool,
    uninstall: bool,
    force: bool,
) -> None:
    """Run the flight recorder as a service of systemd.

    It records all the time, keeps the newest --max-size, and saves what it holds at events and
    with `rtrace snapshot`.
    """
    from tracer import options, service
    from tracer.service_unit import NAME, Service, render_unit
    from tracer.triggers import parse_trigger

    if uninstall:
        removed = service.uninstall(force=force)
        print(f"removed {NAME}" if removed else f"there is no {NAME}", file=sys.stderr)
        return
    if not os.path.isabs(directory) or "\n" in directory:
        raise click.BadParameter(f"{directory!r} is not an absolute path", param_hint="--dir")
    options.choose_bound(max_size, triggers)  # refuses one that is too small
    wanted = Service(
        rtrace=_find_command(),
        directory=os.path.normpath(directory),
        max_bytes=max_size,
        triggers=[parse_trigger(trigger) for trigger in triggers],
        keep=keep,
        buffer_bytes=options.round_buffer(buffer),
        no_args=no_args,
        compiles=not os.path.exists("/sys/kernel/btf/vmlinux"),
    )
    if show:
        sys.stdout.write(render_unit(wanted))
        return
    service.install(wanted, start=not no_start, force=force)
    state = "starts at the next boot" if no_start else "is recording"
    print(
        f"{NAME} {state}; recordings are in {wanted.directory}\n"
        f"next: systemctl status {NAME}; sudo rtrace snapshot",
        file=sys.stderr,
    )


def _find_command() -> str:
    """Absolute path of the command that runs."""
    found = shutil.which(sys.argv[0])
    if found is None:
        raise RtraceError(
            "cannot install the service",
            f"{sys.argv[0]} is not a command",
            "run it as `rtrace install-service`",
        )
    return os.path.abspath(found)
