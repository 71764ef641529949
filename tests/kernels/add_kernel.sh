#!/bin/sh
# Hook of mmdebstrap: add_kernel.sh SERIES ROOT. Unpacks the newest kernel of a series and its headers
# into the root; installing them would want a boot loader's tools and a compiler. What the boot needs
# is left in ROOT/boot/rtrace: release, vmlinuz, busybox, modules/NN-NAME.ko[.xz] in loading order.
set -eu
series=$1 root=$2
modules="virtio_pci virtio_blk ext4"

image=$(chroot "$root" apt-cache pkgnames "linux-image-$series." |
	grep -E '^linux-image-[0-9.]+(-[0-9]+|\+deb[0-9.]+)-amd64$' | sort -V | tail -n 1)
if [ -z "$image" ]; then
	echo "no kernel $series in Debian: $(cat "$root"/etc/apt/sources.list)" >&2
	exit 1
fi
release=${image#linux-image-}
# The kernel may be split into several packages; what is not of this version is a tool.
packages=$(chroot "$root" apt-cache depends --recurse --important "$image" "linux-headers-$release" |
	grep '^linux-' | grep -F -- "${release%-amd64}" | sort -u)
echo "kernel: $packages" | tr '\n' ' '

mkdir "$root/boot/rtrace" "$root/boot/rtrace/modules" "$root/boot/debs"
# shellcheck disable=SC2086 # a list of words
chroot "$root" sh -c 'cd /boot/debs && apt-get -qq -o APT::Sandbox::User=root download "$@"' sh $packages
for deb in "$root"/boot/debs/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
done
chroot "$root" depmod "$release"

cd "$root/boot/rtrace"
echo "$release" >release
cp "$root/usr/bin/busybox" busybox
cp "$root/boot/vmlinuz-$release" vmlinuz 2>/dev/null ||
	cp "$root/usr/lib/modules/$release/vmlinuz" vmlinuz
number=10
for module in $modules; do
	chroot "$root" modprobe --show-depends -S "$release" "$module" | grep '^insmod' |
		while read -r _ path _; do echo "$path"; done
done | awk '!seen[$0]++' | while read -r path; do
	cp "$root$path" "modules/$number-${path##*/}"
	number=$((number + 1))
done
