"""Who made a signal, as far as its record tells."""

from __future__ import annotations

from tracer.abi import Context, Origin

# kill(), sigqueue(), tkill(): only for these is the task in whose context it was made the sender.
_BY_PROCESS = (0, -1, -6)


def signal_kind(origin: int, si_code: int, context: int) -> str:
    """Kind of a signal, from the fields of ``struct rtrace_signal`` (bpf/events.h).

    Returns:
        "process" (kill() and its kin), "parent-death", "pid-namespace-end", "kernel" (the kernel
        by itself), or "kernel-call" (kernel code on that task's behalf: cgroup.kill).
    """
    if origin == Origin.INFO:
        return "process" if si_code in _BY_PROCESS else "kernel"
    if context & Context.PDEATH and context & Context.EXITING:
        return "parent-death"
    if origin == Origin.PRIV:
        ending = Context.EXITING | Context.NS_INIT
        return "pid-namespace-end" if context & ending == ending else "kernel"
    return "kernel-call"
