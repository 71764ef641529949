"""Expected failures: fact, cause, next step, in one line. Caught once, in tracer.cli."""

from __future__ import annotations


class RtraceError(Exception):
    """An expected failure. ``str()`` is the one line that the user sees.

    Args:
        fact: what could not be done ("cannot read x.rtrace").
        cause: why ("it is not a capture").
        step: what to do now ("give a file that `rtrace record` wrote").
    """

    exit_code = 1

    def __init__(self, fact: str, cause: str = "", step: str = "") -> None:
        self.fact, self.cause, self.step = fact, cause, step
        line = f"{fact}: {cause}" if cause else fact
        super().__init__(f"{line}; {step}" if step else line)


class UsageError(RtraceError):
    """The command line is wrong."""

    exit_code = 2


class CaptureError(RtraceError):
    """A capture cannot be read, or cannot be written."""


class HostError(RtraceError):
    """This host does not allow what was asked for."""
