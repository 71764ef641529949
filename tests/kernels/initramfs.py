"""What the kernel runs first: loads what it needs to find its disks, then becomes the guest's init.

A stock kernel has its drivers as modules. Debian's own initramfs would take longer to unpack than
everything here takes to boot.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.image import Image

CHECKOUT = "/mnt/checkout"  # inside
RESULTS = "/mnt/results"

_FIRST = """#!/busybox sh
for module in /modules/*; do /busybox insmod $module; done
/busybox mount -t devtmpfs dev /dev
/busybox mount -t ext4 /dev/vda /root && /busybox mount -t ext4 /dev/vdb /root/mnt || {
    echo "no disks"; /busybox poweroff -f; }
/busybox mount -o move /dev /root/dev
/busybox mount -t tmpfs run /root/run
/busybox cp /init.guest /root/run/init
exec /busybox switch_root /root /usr/bin/busybox sh /run/init
"""

# Process 1: a shell, which reaps whatever is left to it while it waits.
_SECOND = f"""
mount() {{ /usr/bin/busybox mount "$@"; }}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs security /sys/kernel/security
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
/usr/bin/busybox ip link set lo up
/usr/bin/busybox hostname guest
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export PYTHONPATH={CHECKOUT} PYTHONDONTWRITEBYTECODE=1
cd /tmp
python3 -m tests.kernels.inside {RESULTS}
kill -9 -1
sync
/usr/bin/busybox umount /mnt
/usr/bin/busybox poweroff -f
"""


def write_initramfs(path: Path, image: Image) -> None:
    """The archive that the kernel unpacks into its first root."""
    members: list[tuple[str, int, bytes]] = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("dev", "root", "modules")),
        ("busybox", stat.S_IFREG | 0o755, image.busybox.read_bytes()),
        ("init", stat.S_IFREG | 0o755, _FIRST.encode()),
        ("init.guest", stat.S_IFREG | 0o644, _SECOND.encode()),
    ]
    for module in image.modules:
        members.append((f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()))
    with open(path, "wb") as file:
        for part in _archive(members):
            file.write(part)


def _archive(members: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """The "newc" form of cpio (the kernel's Documentation/driver-api/early-userspace)."""
    for number, (name, mode, content) in enumerate([*members, ("TRAILER!!!", 0, b"")], start=1):
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        yield head + b"\0" * (-len(head) % 4)
        yield content + b"\0" * (-len(content) % 4)
