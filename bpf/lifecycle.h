/* SPDX-License-Identifier: GPL-2.0 */
/*
 * fork, exec, exit, comm and reap of processes. Threads appear only where they change a
 * process: the last one's exit, an exec from one that is not the leader.
 */
#ifndef RTRACE_LIFECYCLE_H
#define RTRACE_LIFECYCLE_H

#include "details.h"
#include "reparent.h"

/* Processes seen with PR_SET_CHILD_SUBREAPER: prctl() has no tracepoint of its own, but a
 * subreaper matters from its first child on, so its forks are where to look. */
DEFINE_MAP(LRU_HASH, subreapers, struct process, u8, 4096);

static __always_inline void fill_comm_event(struct rtrace_event *event, struct task_struct *leader)
{
	struct task_struct *parent = FIELD(leader, real_parent);

	event->comm.parent_start_ns = FIELD(parent, group_leader, start_boottime);
	event->comm.parent_tgid = FIELD(parent, tgid);
	event->comm.pad = 0;
	event->comm.pad2 = 0;
	ns_identity(leader, &event->comm.ns_tgid, &event->comm.pidns);
}

static __always_inline void note_subreaper(struct task_struct *task)
{
	struct task_struct *leader = FIELD(task, group_leader);
	struct process process = {.start_ns = FIELD(leader, start_boottime),
				  .tgid = FIELD(task, tgid)};
	struct rtrace_event *event;
	u8 seen = 1;

	if (bpf_map_update_elem(MAP(subreapers), &process, &seen, BPF_NOEXIST))
		return;
	event = reserve_event(RTRACE_SUBREAPER, process.tgid, FIELD(task, pid), process.start_ns,
			      process_flags(leader));
	if (!event)
		return;
	fill_comm_event(event, leader);
	copy_comm(event->comm.comm, leader);
	submit_event(event);
}

HOOK(sched_process_fork, struct task_struct *forker, struct task_struct *child)
{
	struct task_struct *parent;
	struct rtrace_event *event;

	if (FIELD(child, pid) != FIELD(child, tgid))
		return 0; /* a thread */
	if (!admitted(child))
		return 0;
	parent = FIELD(child, real_parent);
	mention(parent);
	if (BIT(FIELD(forker, signal), is_child_subreaper) && admitted(forker))
		note_subreaper(forker);
	event = reserve_event(RTRACE_FORK, FIELD(child, tgid), FIELD(child, pid),
			      FIELD(child, start_boottime),
			      FIELD(child, flags) & PF_KTHREAD ? RTRACE_F_KTHREAD : 0);
	if (!event)
		return 0;
	event->fork.parent_start_ns = FIELD(parent, group_leader, start_boottime);
	event->fork.parent_tgid = FIELD(parent, tgid);
	event->fork.forker_start_ns = FIELD(forker, group_leader, start_boottime);
	event->fork.forker_tgid = FIELD(forker, tgid);
	ns_identity(child, &event->fork.ns_tgid, &event->fork.pidns);
	if (event->fork.ns_tgid == 1)
		event->flags |= RTRACE_F_NS_INIT;
	copy_comm(event->fork.comm, child);
	submit_event(event);
	if (config.filter != RTRACE_FILTER_NONE && FIELD(forker, tgid) != FIELD(parent, tgid))
		mention(forker); /* CLONE_PARENT */
	return 0;
}

HOOK(sched_process_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	struct task_struct *parent = FIELD(task, real_parent);
	struct rtrace_event *event;

	if (!admitted(task))
		return 0;
	mention(parent);
	event = reserve_event(RTRACE_EXEC, FIELD(task, tgid), FIELD(task, pid),
			      FIELD(task, start_boottime), process_flags(task));
	if (!event)
		return 0;
	event->exec.parent_start_ns = FIELD(parent, group_leader, start_boottime);
	event->exec.parent_tgid = FIELD(parent, tgid);
	event->exec.cgroup_id = cgroup_v2_id(task);
	event->exec.old_tid = old_tid;
	ns_identity(task, &event->exec.ns_tgid, &event->exec.pidns);
	if (event->exec.ns_tgid == 1)
		event->flags |= RTRACE_F_NS_INIT;
	copy_comm(event->exec.comm, task);
	output_exec_detail(task, bprm, event->ts_ns);
	submit_event(event);
	return 0;
}

/* What wait_task_zombie() (kernel/exit.c) will report. */
static __always_inline int wait_status(struct task_struct *leader)
{
	if (FIELD(leader, signal, flags) & SIGNAL_GROUP_EXIT)
		return FIELD(leader, signal, group_exit_code);
	return FIELD(leader, exit_code);
}

static __always_inline void emit_exit(struct task_struct *task)
{
	struct task_struct *leader = FIELD(task, group_leader);
	struct task_struct *parent = FIELD(leader, real_parent);
	struct process process = {.start_ns = FIELD(leader, start_boottime),
				  .tgid = FIELD(task, tgid)};
	struct rtrace_event *event;
	u32 flags = process_flags(leader);
	u8 seen = 1;

	if (flags & RTRACE_F_SUBREAPER)
		bpf_map_delete_elem(MAP(subreapers), &process);
	if (BIT(FIELD(parent, signal), is_child_subreaper))
		flags |= RTRACE_F_SUBREAPER_CHILD;
	if (is_nested_init(leader))
		flags |= RTRACE_F_NS_INIT;
	if (config.filter != RTRACE_FILTER_NONE)
		bpf_map_update_elem(MAP(exited), &process, &seen, BPF_ANY);
	mention(parent);
	event = reserve_event(RTRACE_EXIT, process.tgid, FIELD(task, pid), process.start_ns, flags);
	if (!event)
		return;
	event->exit.parent_start_ns = FIELD(parent, group_leader, start_boottime);
	event->exit.parent_tgid = FIELD(parent, tgid);
	event->exit.exit_code = wait_status(leader);
	event->exit.group_exit = !!(FIELD(leader, signal, flags) & SIGNAL_GROUP_EXIT);
	event->exit.pad = 0;
	event->exit.pad2 = 0;
	copy_comm(event->exit.comm, leader);
	submit_event(event);
}

/* Every thread comes here. live was counted down before: 0 when no other thread is left. Two
 * threads that end at the same instant may both see 0, so a process can have two EXIT events. */
HOOK(sched_process_exit, struct task_struct *task)
{
	bool group_dead = FIELD(task, signal, live.counter) == 0;

	if (group_dead && admitted(task))
		emit_exit(task);
	orphan_children(task, group_dead);
	return 0;
}

HOOK(sched_process_free, struct task_struct *task)
{
	struct process process = {.start_ns = FIELD(task, start_boottime),
				  .tgid = FIELD(task, tgid)};
	struct rtrace_event *event;

	if (FIELD(task, pid) != FIELD(task, tgid))
		return 0;
	if (config.filter != RTRACE_FILTER_NONE && bpf_map_delete_elem(MAP(exited), &process))
		return 0;
	event = reserve_event(RTRACE_REAP, process.tgid, process.tgid, process.start_ns, 0);
	if (!event)
		return 0;
	event->reap.exit_code = wait_status(task);
	event->reap.pad = 0;
	__builtin_memset(event->reap.pad2, 0, sizeof(event->reap.pad2));
	submit_event(event);
	return 0;
}

HOOK(task_rename, struct task_struct *task, const char *comm)
{
	struct rtrace_event *event;

	if (FIELD(task, pid) != FIELD(task, tgid) || !admitted(task))
		return 0;
	mention(FIELD(task, real_parent));
	event = reserve_event(RTRACE_COMM, FIELD(task, tgid), FIELD(task, pid),
			      FIELD(task, start_boottime), process_flags(task));
	if (!event)
		return 0;
	fill_comm_event(event, task);
	__builtin_memset(event->comm.comm, 0, RTRACE_COMM_LEN);
	bpf_probe_read_kernel_str(event->comm.comm, RTRACE_COMM_LEN, comm);
	submit_event(event);
	return 0;
}

#endif
