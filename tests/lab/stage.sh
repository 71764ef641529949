#!/bin/sh
# Process 1 of a lab's namespaces: lays the lab over a suite's root, in memory, and becomes systemd.
#     stage.sh STATE ROOT NAME CGROUPS         CGROUPS: unified | as-host
set -eu
state=$1 lower=$2 name=$3 cgroups=$4
. "$(dirname "$0")/../machines/stage.sh"

hostname "$name"
hierarchies=$(list_hierarchies)
[ "$cgroups" = as-host ] || hierarchies="cgroup2 /sys/fs/cgroup"
memory="$state/memory"
mount -t tmpfs -o mode=755 lab "$memory"
cp -a "$state/configuration" "$memory/upper"
mkdir "$memory/work" "$memory/root" "$memory/data"
mount -t overlay -o "lowerdir=$lower,upperdir=$memory/upper,workdir=$memory/work" lab "$memory/root"
cd "$memory/root"
for engine in docker containerd containers; do # overlay2 must not lie on an overlay
	mkdir -p "var/lib/$engine" "$memory/data/$engine"
	mount --bind "$memory/data/$engine" "var/lib/$engine"
done
mount_system
mknod -m 666 dev/fuse c 10 229
mount_cgroups "$hierarchies"
busybox ip link set lo up 2>/dev/null || ip link set lo up

become_systemd /lib/systemd/systemd --log-target=journal --show-status=false
