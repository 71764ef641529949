/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --pidns and --cgroup: what is recorded, and stubs for those outside that events refer to.
 *
 * config.filter is read-only data: without a filter the verifier removes all of this.
 */
#ifndef RTRACE_FILTER_H
#define RTRACE_FILTER_H

#include "identity.h"

#define MAX_PIDNS_DEPTH 33 /* MAX_PID_NS_LEVEL + 1, kernel/pid_namespace.c */
#define MAX_CGROUP_DEPTH 32
#define MAX_STUB_ANCESTORS 32

/* Processes outside the filter that have had their stub. */
DEFINE_MAP(LRU_HASH, stubs, struct process, u8, 8192);

/* Inside the filter, and exited: sched_process_free comes when nothing else tells any more. */
DEFINE_MAP(LRU_HASH, exited, struct process, u8, 32768);

static __always_inline bool in_pidns(struct task_struct *task)
{
	struct pid *pid = READ(task, thread_pid);
	u32 level = READ(pid, level);
	struct upid upid;
	int i;

	for (i = 0; i < MAX_PIDNS_DEPTH; i++) {
		/* Or both conditions become one comparison with a number that 6.1's verifier does not
		 * know the end of: to it the loop has none then. */
		BOUND(i);
		if (i > level)
			return false;
		probe_upid(pid, i, &upid);
		if (READ(upid.ns, ns.inum) == config.pidns)
			return true;
	}
	return false;
}

static __always_inline bool in_cgroup(struct task_struct *task)
{
	struct kernfs_node *node;
	struct cgroup *cgroup;
	int i;

	if (config.cgroup_controller == RTRACE_CONTROLLER_NONE) {
		node = READ(task, cgroups, dfl_cgrp, kn);
	} else {
		/* Not inside READ(): all fields named there are looked for in the kernel's BTF. */
		cgroup = controller_cgroup(task, config.cgroup_controller);
		node = READ(cgroup, kn);
	}
	for (i = 0; i < MAX_CGROUP_DEPTH && node; i++) {
		if (READ(node, id) == config.cgroup_id)
			return true;
		node = kernfs_parent(node);
	}
	return false;
}

VERIFIED_ONCE(int, in_filter, u64 address)
{
	struct task_struct *task = (void *)address;

	if (config.filter == RTRACE_FILTER_PIDNS)
		return in_pidns(task);
	return in_cgroup(task);
}

/* For a pointer that comes from a hook's arguments, and for any address. */
static __always_inline bool admitted(struct task_struct *task)
{
	return config.filter == RTRACE_FILTER_NONE || in_filter(address_of(task));
}

/*
 * Stubs for a task and its ancestors, as far as they are outside and have had none: id, parent
 * and comm, nothing else of them is recorded.
 */
VERIFIED_ONCE(int, emit_stubs, u64 address)
{
	struct task_struct *task = (void *)address, *leader;
	struct process process, parent;
	struct rtrace_event *event;
	u8 seen = 1;
	int i;

	for (i = 0; i < MAX_STUB_ANCESTORS; i++) {
		process = probe_process(task);
		if (!process.tgid || in_filter((u64)task))
			return 0;
		if (bpf_map_update_elem(MAP(stubs), &process, &seen, BPF_NOEXIST))
			return 0;
		leader = READ(task, group_leader);
		task = READ(task, real_parent);
		parent = probe_process(task);
		event = reserve_event(RTRACE_STUB, process.tgid, process.tgid, process.start_ns, 0);
		if (!event)
			return 0;
		event->comm.parent_start_ns = parent.start_ns;
		event->comm.parent_tgid = parent.tgid;
		event->comm.ns_tgid = 0;
		event->comm.pidns = 0;
		event->comm.pad = 0;
		event->comm.pad2 = 0;
		probe_comm(event->comm.comm, leader);
		submit_event(event);
	}
	return 0;
}

/* To be called for everyone but the subject that an event names. */
static __always_inline void mention(struct task_struct *task)
{
	if (config.filter != RTRACE_FILTER_NONE)
		emit_stubs(address_of(task));
}

#endif
