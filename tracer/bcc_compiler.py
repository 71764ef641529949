"""Runs bcc in a process of its own, with JSON in and JSON out.

bcc maps LLVM into memory (100 MB), writes what it thinks to stdout and stderr, and changes the
working directory: none of that is to happen to the recorder, which only wants the code.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from tracer.errors import HostError

_INSTALL = "apt-get install python3-bpfcc (Debian, Ubuntu) or dnf install python3-bcc (Fedora)"
# Exit statuses of the process.
_BROKEN, _REFUSED = 3, 4
# -P and the package's folder last: nothing in the working directory is imported.
_CHILD = "import sys; sys.path.append(sys.argv[1]); import tracer.bcc_compiler as c; c.main()"


def explain_missing_bcc() -> HostError | None:
    """Why bcc cannot be imported here, as far as that is known without importing it."""
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        cause = f"python3-bpfcc is not visible to {sys.executable}"
        return HostError("cannot use the bcc engine", cause, _INSTALL)
    if not os.path.exists(os.path.join(os.path.dirname(found.origin), "libbcc.py")):
        cause = f"{found.origin} is PyPI's bcc, an unrelated package"
        return HostError("cannot use the bcc engine", cause, f"remove it; {_INSTALL}")
    return None


class CompileError(Exception):
    """bcc refuses the source. ``str()`` is its first reason."""


def compile_c(
    source: str, flags: Sequence[str], functions: Sequence[str], kernel_source: str | None
) -> dict[str, bytes]:
    """Compiles C to BPF instructions.

    Args:
        source: main.c: functions that are to be returned take one argument and are not static.
        flags: for clang.
        functions: whose code to return.
        kernel_source: folder whose include/ stands for the kernel's headers; None: those of the
            running kernel, where bcc finds them.

    Returns:
        Code by function.

    Raises:
        HostError: bcc is not there, or broken.
        CompileError: it refuses the source.
    """
    if missing := explain_missing_bcc():
        raise missing
    request = {"source": source, "flags": list(flags), "functions": list(functions)}
    # Ctrl-C waits until main() has said what it does: while Python starts, it would be an error.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, _package_root()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(kernel_source),
        )
    except OSError as error:  # no more files, memory or processes
        cause = f"its compiler cannot be started: {os.strerror(error.errno or 0)}"
        raise HostError("cannot use the bcc engine", cause, "use --engine core") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with child:
        answered, errors = child.communicate(json.dumps(request).encode())
    said = errors.decode("utf-8", "replace")
    if child.returncode == _BROKEN:
        raise HostError("cannot use the bcc engine", said.strip(), _INSTALL)
    if child.returncode == _REFUSED:
        raise CompileError(_first_reason(said))
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise HostError(
            "cannot use the bcc engine", f"{name} ended the compiler", "try again, or --engine core"
        )
    if child.returncode != 0:
        raise HostError("cannot use the bcc engine", _first_reason(said), "use --engine core")
    return {name: bytes.fromhex(code) for name, code in json.loads(answered).items()}


def _environment(kernel_source: str | None) -> dict[str, str]:
    """Nobody's settings lead bcc to other headers."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BCC_") and name != "ARCH"
    }
    return environment | ({"BCC_KERNEL_SOURCE": kernel_source} if kernel_source else {})


def _package_root() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _first_reason(said: str) -> str:
    """The first error in what clang says, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return (errors or lines[-1:] or ["it does not say why"])[0]


def _answer() -> int:
    request = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # bcc writes to stdout too
    try:
        from bcc import BPF
    except (ImportError, OSError, AttributeError) as error:  # its library, not the module
        print(f"bcc cannot be loaded ({error})", file=sys.stderr)
        return _BROKEN

    try:
        bpf = BPF(text=request["source"], cflags=request["flags"])
        code = {name: bpf.dump_func(name.encode()).hex() for name in request["functions"]}
    except Exception as error:  # bcc raises nothing more special
        print(error, file=sys.stderr)
        return _REFUSED
    with os.fdopen(answer, "w") as stdout:
        json.dump(code, stdout)
    return 0


def main() -> None:
    """The process's whole life; Ctrl-C ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sys.exit(_answer())
