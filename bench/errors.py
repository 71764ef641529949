"""Why something could not be measured."""

from __future__ import annotations


class BenchError(Exception):
    """Something could not be measured; ``str()`` says why."""

    @classmethod
    def from_output(cls, program: str, output: str | bytes) -> BenchError:
        """With the last line that a failed program said."""
        text = output if isinstance(output, str) else output.decode("utf-8", "replace")
        lines = text.strip().splitlines() or ["it says nothing"]
        return cls(f"{program} failed: {lines[-1].strip()[:120]}")
