# Sourced by what becomes process 1 of a machine. Its working directory is the root to be.
# Everything here is mounted in a mount namespace of its own, and gone with it.

# The hierarchies of the host's cgroups (Machine has made one for this machine in each).
list_hierarchies() {
	awk '($3 == "cgroup" || $3 == "cgroup2") && $2 ~ "^/sys/fs/cgroup" { print $3, $2 }' /proc/self/mounts
}

# /proc, /sys, /dev, /run and /tmp.
mount_system() {
	mount -t proc proc proc
	mount -t sysfs sysfs sys
	mount -t tmpfs -o mode=755 tmpfs dev
	for node in null:3 zero:5 full:7 random:8 urandom:9; do
		mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
	done
	mknod -m 666 dev/tty c 5 0
	mkdir dev/pts dev/shm dev/mqueue
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
	mount -t tmpfs -o mode=1777 tmpfs dev/shm
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	touch dev/console
	mount --bind dev/null dev/console
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs -o mode=1777 tmpfs tmp
}

# The hierarchies that the host has, as this cgroup namespace sees them.
#     mount_cgroups "$(list_hierarchies)"
mount_cgroups() {
	if [ "$1" = "cgroup2 /sys/fs/cgroup" ]; then
		mount -t cgroup2 cgroup2 sys/fs/cgroup
		return
	fi
	mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
	echo "$1" | while read -r type where; do
		mkdir "sys/fs/cgroup/${where##*/}"
		case $type/${where##*/} in
		cgroup2/*) mount -t cgroup2 cgroup2 "sys/fs/cgroup/${where##*/}" ;;
		*/systemd) mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd ;;
		*) mount -t cgroup -o "${where##*/}" cgroup "sys/fs/cgroup/${where##*/}" ;;
		esac
	done
}

# Leaves the host's mounts behind, and becomes systemd.
#     become_systemd [NAME=VALUE...] /lib/systemd/systemd [OPTION...]
become_systemd() {
	mkdir -p old
	pivot_root . old
	exec chroot . /bin/sh -c 'umount -l /old && rmdir /old && exec env -i container=rtrace-lab \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"' sh "$@"
}
