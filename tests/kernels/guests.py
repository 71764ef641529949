"""The kernels that are booted, each with a Debian release around it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine to boot.

    Attributes:
        kernel: series; the newest of it in Debian is taken.
        suite: Debian release of everything but the kernel.
        kernel_suite: Debian release that has the kernel, if it is another.
    """

    kernel: str
    suite: str
    kernel_suite: str = ""

    @property
    def suites(self) -> list[str]:
        """Where its packages come from."""
        return [self.suite, *([self.kernel_suite] if self.kernel_suite else [])]


# Debian 11's own libbpf is too old for rtrace: its kernel runs below Debian 12.
GUESTS = (
    Guest("5.10", "bookworm", "bullseye"),
    Guest("6.1", "bookworm"),
    Guest("6.12", "trixie"),
    Guest("7.3", "trixie", "trixie-backports"),
)
