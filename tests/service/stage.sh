#!/bin/sh
# Process 1 of fresh namespaces: lays a root over this host's, in memory, and becomes systemd.
#     stage.sh SCRATCH CHECKOUT UNITS
set -eu
scratch=$1 checkout=$2 units=$3
. "$checkout/tests/machines/stage.sh"

hostname rtrace-lab
hierarchies=$(list_hierarchies)
mount -t tmpfs -o mode=755 lab "$scratch"/memory
cd "$scratch"/memory
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work lab root
cd root
mount_system
mount_cgroups "$hierarchies"
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

become_systemd SYSTEMD_UNIT_PATH=/etc/systemd/system:/lab/units \
	/lib/systemd/systemd --unit=multi-user.target --log-target=journal --show-status=false
