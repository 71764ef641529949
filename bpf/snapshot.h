/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is alive: one struct rtrace_task for each process, read from the iterator's file.
 */
#ifndef RTRACE_SNAPSHOT_H
#define RTRACE_SNAPSHOT_H

#include "filter.h"

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct rtrace_task record = {};
	struct task_struct *parent;

	if (!task || task->pid != task->tgid || !admitted(task))
		return 0;
	parent = task->real_parent;
	mention(parent);
	record.ts_ns = bpf_ktime_get_boot_ns();
	record.start_ns = task->start_boottime;
	record.tgid = task->tgid;
	record.parent_start_ns = parent->group_leader->start_boottime;
	record.parent_tgid = parent->tgid;
	record.cgroup_id = cgroup_v2_id(task);
	record.level = task->thread_pid->level;
	ns_identity(task, &record.ns_tgid, &record.pidns);
	record.pdeath_signal = task->pdeath_signal;
	record.exit_state = task->exit_state;
	record.flags = process_flags(task);
	if (record.ns_tgid == 1)
		record.flags |= RTRACE_F_NS_INIT;
	bpf_core_read(record.comm, RTRACE_COMM_LEN, &task->comm);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#endif
