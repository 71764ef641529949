#!/bin/sh
# Process 1 of fresh namespaces: lays a root over this host's, in memory, and becomes systemd.
#     stage.sh SCRATCH CHECKOUT UNITS
# Everything here is mounted in a mount namespace of its own, and gone with it.
set -eu
scratch=$1 checkout=$2 units=$3

hostname rtrace-lab
awk '$3 == "cgroup" || $3 == "cgroup2" { print $3, $2, $4 }' /proc/self/mounts >"$scratch/hierarchies"
mount -t tmpfs -o mode=755 lab "$scratch"/memory
cd "$scratch"/memory
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work lab root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys

# The hierarchies that the host has, as this cgroup namespace sees them.
if grep -qx 'cgroup2 /sys/fs/cgroup .*' "$scratch/hierarchies"; then
	mount -t cgroup2 cgroup2 sys/fs/cgroup
else
	mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
	while read -r type where options; do
		case $where in /sys/fs/cgroup/*) ;; *) continue ;; esac
		mkdir "sys/fs/cgroup/${where##*/}"
		case $type/${where##*/} in
		cgroup2/*) mount -t cgroup2 cgroup2 "sys/fs/cgroup/${where##*/}" ;;
		*/systemd) mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd ;;
		*) mount -t cgroup -o "${where##*/}" cgroup "sys/fs/cgroup/${where##*/}" ;;
		esac
	done <"$scratch/hierarchies"
fi

mount -t tmpfs -o mode=755 tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind dev/null dev/console
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p "./$checkout"
mount --bind "$checkout" "./$checkout"

# No unit of this host but those that systemd itself needs.
rm -rf var/lib/rtrace
mkdir -p lab/units etc/systemd/system
mount -t tmpfs -o mode=755 tmpfs etc/systemd/system
for unit in $units; do
	cp "lib/systemd/system/$unit" lab/units/
done
mkdir lab/units/sockets.target.wants
ln -s ../systemd-journald.socket lab/units/sockets.target.wants/

mkdir -p old
pivot_root . old
exec chroot . /bin/sh -c 'umount -l /old && rmdir /old && exec env -i container=rtrace-lab \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C SYSTEMD_UNIT_PATH=/etc/systemd/system:/lab/units \
	/lib/systemd/systemd --unit=multi-user.target --log-target=journal --show-status=false'
