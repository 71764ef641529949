/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who talks to whom: one struct rtrace_socket for each open unix socket with a name.
 *
 * core has them from an iterator over all open files (task_file, as old as the one over tasks). For
 * bcc user space runs a program that walks tables of files, as snapshot.h walks that of ids.
 *
 * Nothing is locked: an end that closes meanwhile may be read half, as a connection without a peer.
 */
#ifndef RTRACE_SOCKETS_H
#define RTRACE_SOCKETS_H

#include "snapshot.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOCK_SEQPACKET 5
#define TCP_ESTABLISHED 1
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define FAMILY_BYTES 2 /* sa_family_t, before sun_path */

/* NULL if the file is no unix socket of a type that connects. */
static __always_inline struct sock *connecting_unix(struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	u16 type;

	if ((FIELD(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ(file, private_data); /* NULL: opened by its path, with O_PATH */
	sk = READ(socket, sk);
	if (!sk || READ(sk, __sk_common.skc_family) != AF_UNIX)
		return NULL;
	type = READ(sk, sk_type);
	return type == SOCK_STREAM || type == SOCK_SEQPACKET ? sk : NULL;
}

/* "/run/systemd/journal/" */
static __always_inline bool is_journal(const char *name)
{
	const u64 *words = (const u64 *)name;

	return words[0] == 0x7379732f6e75722f && words[1] == 0x756f6a2f646d6574 &&
	       (words[2] & 0xffffffffff) == 0x2f6c616e72;
}

/* False if there is no name, or one that is left out. */
static __always_inline bool read_name(struct rtrace_socket *record, struct unix_sock *owner)
{
	struct unix_address *address = READ(owner, addr);
	void *name = (void *)address + OFFSET(struct unix_address, name) + FAMILY_BYTES;
	struct dentry *dentry;
	char first = 0;
	u64 length;

	if (!address)
		return false;
	/* A path has a NUL behind it, and an abstract name one in front. */
	length = (u32)READ(address, len) - FAMILY_BYTES - 1;
	bpf_probe_read_kernel(&first, sizeof(first), name);
	if (first) {
		record->flags |= RTRACE_S_PATH;
		dentry = READ(owner, path.dentry); /* NULL if the socket is closed */
		if (dentry && !READ(dentry, d_hash.pprev)) /* d_unhashed() */
			record->flags |= RTRACE_S_DELETED;
	} else {
		name++;
	}
	BOUND(length); /* or it is compared in other registers than it is used in */
	if (length - 1 >= RTRACE_SOCKET_NAME_MAX)
		return false;
	record->name_len = length;
	BOUND(length);
	if (length > RTRACE_SOCKET_NAME_MAX)
		return false;
	bpf_probe_read_kernel(record->name, length, name);
	return !is_journal(record->name);
}

static __always_inline void read_credentials(struct rtrace_socket *record, struct sock *sk)
{
	struct pid *pid = READ(sk, sk_peer_pid);
	struct task_struct *task;
	struct hlist_node *link;
	struct upid upid;

	if (!pid)
		return;
	probe_upid(pid, 0, &upid);
	record->cred_tgid = upid.nr;
	link = READ((struct hlist_head *)((void *)pid + OFFSET(struct pid, tasks) +
					  PIDTYPE_TGID * SIZE_OF(struct hlist_head)),
		    first);
	if (!link) /* it has exited */
		return;
	task = (void *)link - OFFSET(struct task_struct, pid_links) -
	       PIDTYPE_TGID * SIZE_OF(struct hlist_node);
	record->cred_start_ns = READ(task, start_boottime);
}

/* False if there is nothing to tell of the file. */
static __always_inline bool fill_socket(struct rtrace_socket *record, struct task_struct *task,
					struct file *file, u32 fd)
{
	struct sock *sk = connecting_unix(file), *peer;
	struct process process;

	if (!sk)
		return false;
	peer = READ((struct unix_sock *)sk, peer);
	if (!read_name(record, (struct unix_sock *)sk)) {
		record->flags = RTRACE_S_PEER_NAME;
		/* A journal's is in both. */
		if (record->name_len || !peer || !read_name(record, (struct unix_sock *)peer))
			return false;
	}
	if (peer) {
		record->peer_inode = READ(peer, sk_socket, file, f_inode, i_ino);
		if (READ(peer, __sk_common.skc_state) == TCP_CLOSE)
			record->flags |= RTRACE_S_PEER_CLOSED;
		else if (!record->peer_inode)
			record->flags |= RTRACE_S_WAITING;
	}
	if (!admitted(task))
		record->flags |= RTRACE_S_OUTSIDE;
	process = probe_process(task);
	record->ts_ns = bpf_ktime_get_boot_ns();
	record->start_ns = process.start_ns;
	record->tgid = process.tgid;
	record->inode = FIELD(file, f_inode, i_ino);
	record->fd = fd;
	record->netns = READ(sk, __sk_common.skc_net.net, ns.inum);
	record->type = READ(sk, sk_type);
	record->state = READ(sk, __sk_common.skc_state);
	if (record->state == TCP_LISTEN)
		record->pending = READ(sk, sk_receive_queue.qlen);
	read_credentials(record, sk);
	probe_comm(record->comm, READ(task, group_leader));
	return true;
}

#ifdef RTRACE_CORE

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

SEC("iter/task_file")
int sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct rtrace_socket record = {};

	if (task && file && fill_socket(&record, task, file, ctx->fd))
		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#else

#define FDS_A_STEP 32
#define STEPS_A_CALL 64

struct socket_room {
	u64 next; /* cursor: what a program returns has 32 bits */
	u64 count;
	struct rtrace_socket socket[STEPS_A_CALL * FDS_A_STEP];
};

/* What one run of the program found. */
DEFINE_MAPPED_ARRAY(socket_rooms, struct socket_room, 1);

VERIFIED_ONCE(u64, visit_file, u64 address, u64 fd)
{
	struct task_struct *task = (void *)address;
	struct fdtable *table = READ(task, files, fdt);
	struct rtrace_socket record = {};
	struct socket_room *room;
	struct file *file = NULL;
	u32 zero = 0;
	u64 index;

	if (fd >= READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), READ(table, fd) + fd);
	room = bpf_map_lookup_elem(MAP(socket_rooms), &zero);
	if (!room || !file || !fill_socket(&record, task, file, fd))
		return 1;
	index = room->count;
	if (index < STEPS_A_CALL * FDS_A_STEP) {
		room->socket[index] = record;
		room->count = index + 1;
	}
	return 1;
}

/* A cursor is an id, and in its low half the file descriptor to go on with; 0: the end. */
VERIFIED_ONCE(u64, visit_some_files, u64 namespace, u64 cursor)
{
	struct task_struct *task;
	u32 fd = cursor;
	u64 next;
	int i;

	task = find_process(namespace, cursor >> 32, &next);
	for (i = 0; i < FDS_A_STEP; i++)
		if (!task || !visit_file((u64)task, fd + i))
			return next << 32;
	return cursor + FDS_A_STEP;
}

/* ctx[0]: the cursor to begin with. */
CALLED(sockets)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct socket_room *room;
	u64 cursor = ctx[0];
	struct upid upid;
	u32 zero = 0;
	int i;

	room = bpf_map_lookup_elem(MAP(socket_rooms), &zero);
	if (!room)
		return 0;
	room->count = 0;
	probe_upid(READ(current, thread_pid), 0, &upid);
	for (i = 0; i < STEPS_A_CALL && cursor; i++)
		cursor = visit_some_files((u64)upid.ns, cursor);
	room->next = cursor;
	return 0;
}

#endif

#endif
