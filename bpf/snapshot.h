/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is alive: one struct rtrace_task for each process.
 *
 * core has them from a task iterator, by reading its file. Iterators need BTF, so bcc walks the
 * initial pid namespace's table of ids (struct idr, a radix tree) as the iterator itself does:
 * user space runs the program again and again, each time from the id that it gave last.
 */
#ifndef RTRACE_SNAPSHOT_H
#define RTRACE_SNAPSHOT_H

#include "filter.h"

/* False if the process is not to be recorded. */
static __always_inline bool fill_task(struct rtrace_task *record, struct task_struct *task)
{
	struct task_struct *parent;

	if (!admitted(task))
		return false;
	parent = FIELD(task, real_parent);
	mention(parent);
	record->ts_ns = bpf_ktime_get_boot_ns();
	record->start_ns = FIELD(task, start_boottime);
	record->tgid = FIELD(task, tgid);
	record->parent_start_ns = FIELD(parent, group_leader, start_boottime);
	record->parent_tgid = FIELD(parent, tgid);
	record->cgroup_id = cgroup_v2_id(task);
	record->level = FIELD(task, thread_pid, level);
	ns_identity(task, &record->ns_tgid, &record->pidns);
	record->pdeath_signal = FIELD(task, pdeath_signal);
	record->exit_state = FIELD(task, exit_state);
	record->flags = process_flags(task);
	if (record->ns_tgid == 1)
		record->flags |= RTRACE_F_NS_INIT;
	probe_comm(record->comm, task);
	return true;
}

#ifdef RTRACE_CORE

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct rtrace_task record = {};

	if (task && task->pid == task->tgid && fill_task(&record, task))
		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#else

#define XA_SLOTS (sizeof(((struct xa_node *)0)->slots) / sizeof(void *))
#define XA_LEVELS 8 /* more than ids have bits for */
#define IDS_A_CALL 16
#define ROOM_TASKS (IDS_A_CALL * IDS_A_CALL)

struct room {
	u64 count;
	struct rtrace_task task[ROOM_TASKS];
};

/* What one run of the program found. */
DEFINE_MAPPED_ARRAY(rooms, struct room, 1);

/* xa_is_node() of include/linux/xarray.h */
static __always_inline bool is_xa_node(u64 entry)
{
	return (entry & 3) == 2 && entry > 4096;
}

/* The process whose leader has this id, NULL if there is none; `next` becomes the next id that may
 * be in use, 0 after the last. */
static __always_inline struct task_struct *find_process(u64 namespace, u64 id, u64 *next)
{
	struct pid_namespace *ns = (void *)namespace;
	u64 entry = (u64)READ(ns, idr.idr_rt.xa_head);
	struct task_struct *task;
	struct hlist_node *link;
	u64 index;
	u8 shift = 0;
	int level;

	*next = 0;
	for (level = 0; level < XA_LEVELS && is_xa_node(entry); level++) {
		void *node = (void *)(entry - 2);

		shift = READ((struct xa_node *)node, shift) & 63;
		index = id >> shift;
		if (!level && index >= XA_SLOTS)
			return NULL;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      node + OFFSET(struct xa_node, slots) +
					      (index & (XA_SLOTS - 1)) * sizeof(entry));
	}
	if (!entry) {
		*next = level ? ((id >> shift) + 1) << shift : 0;
		return NULL;
	}
	*next = id + 1;
	link = READ((struct hlist_head *)(entry + OFFSET(struct pid, tasks) +
					  PIDTYPE_TGID * SIZE_OF(struct hlist_head)),
		    first);
	task = (void *)link - OFFSET(struct task_struct, pid_links) -
	       PIDTYPE_TGID * SIZE_OF(struct hlist_node);
	return link && READ(task, tgid) == id ? task : NULL;
}

/* Takes down the process with this id; gives the next id. */
VERIFIED_ONCE(u64, visit_id, u64 namespace, u64 id)
{
	struct rtrace_task record = {};
	struct task_struct *task;
	struct room *room;
	u32 zero = 0;
	u64 index, next;

	task = find_process(namespace, id, &next);
	room = bpf_map_lookup_elem(MAP(rooms), &zero);
	if (!room || !task || !fill_task(&record, task))
		return next;
	index = room->count;
	if (index < ROOM_TASKS) {
		room->task[index] = record;
		room->count = index + 1;
	}
	return next;
}

VERIFIED_ONCE(u64, visit_some_ids, u64 namespace, u64 id)
{
	int i;

	for (i = 0; i < IDS_A_CALL && id; i++)
		id = visit_id(namespace, id);
	return id;
}

/* ctx[0]: the id to begin with. */
CALLED(snapshot)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct room *room;
	struct upid upid;
	u64 id = ctx[0];
	u32 zero = 0;
	int i;

	room = bpf_map_lookup_elem(MAP(rooms), &zero);
	if (!room)
		return 0;
	room->count = 0;
	probe_upid(READ(current, thread_pid), 0, &upid);
	for (i = 0; i < IDS_A_CALL && id; i++)
		id = visit_some_ids((u64)upid.ns, id);
	return id;
}

#endif

#endif
