"""Recording: BPF programs, rings, snapshots and the capture file. Never imports pandas."""

__version__ = "0.1.0"
