/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who a task is: its process, its pid namespace, its flags.
 *
 * Two forms where both are needed: plain C on pointers from a hook's arguments (cheap), and
 * probe_ functions on pointers from anywhere else.
 */
#ifndef RTRACE_IDENTITY_H
#define RTRACE_IDENTITY_H

#include "maps.h"

struct process {
	u64 start_ns;
	u32 tgid;
	u32 pad;
};

static __always_inline struct process probe_process(struct task_struct *task)
{
	struct process process = {
		.start_ns = READ(task, group_leader, start_boottime),
		.tgid = READ(task, tgid),
	};

	return process;
}

/* numbers[level] of a struct pid: the id in the task's own (innermost) pid namespace. 6.1's
 * verifier adds to a pointer only what has an end: levels have it at 32 (MAX_PID_NS_LEVEL). */
static __always_inline void probe_upid(struct pid *pid, u32 level, struct upid *upid)
{
	void *numbers = (void *)pid + OFFSET(struct pid, numbers);
	void *entry = numbers + (level * SIZE_OF(struct upid) & 1023);

	upid->nr = 0;
	upid->ns = NULL;
	bpf_probe_read_kernel(&upid->nr, sizeof(upid->nr), entry + OFFSET(struct upid, nr));
	bpf_probe_read_kernel(&upid->ns, sizeof(upid->ns), entry + OFFSET(struct upid, ns));
}

/* Id in the task's own pid namespace, and the inode of that namespace; 0 for the initial one. */
static __always_inline void ns_identity(struct task_struct *task, u32 *ns_tgid, u32 *pidns)
{
	struct pid *pid = FIELD(task, thread_pid);
	u32 level = FIELD(pid, level);
	struct upid upid;

	if (!level) { /* nearly all processes: no probe read */
		*ns_tgid = FIELD(task, tgid);
		*pidns = 0;
		return;
	}
	probe_upid(pid, level, &upid);
	*ns_tgid = upid.nr;
	*pidns = READ(upid.ns, ns.inum);
}

/* Process 1 of a pid namespace other than the initial one. */
static __always_inline bool is_nested_init(struct task_struct *leader)
{
	struct pid *pid = FIELD(leader, thread_pid);
	u32 level = FIELD(pid, level);
	struct upid upid;

	if (!level)
		return false;
	probe_upid(pid, level, &upid);
	return upid.nr == 1;
}

/* In two loads in core, where a probe read would be a call. */
static __always_inline void copy_comm(char *comm, struct task_struct *task)
{
	COPY_16(comm, task, comm);
}

static __always_inline void probe_comm(char *comm, struct task_struct *task)
{
	READ_INTO(comm, RTRACE_COMM_LEN, task, comm);
}

static __always_inline u32 process_flags(struct task_struct *leader)
{
	u32 flags = 0;

	if (BIT(FIELD(leader, signal), is_child_subreaper))
		flags |= RTRACE_F_SUBREAPER;
	if (FIELD(leader, flags) & PF_KTHREAD)
		flags |= RTRACE_F_KTHREAD;
	return flags;
}

static __always_inline u64 cgroup_v2_id(struct task_struct *task)
{
	return FIELD(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	if (HAS_FIELD(kernfs_node___before_6_15, parent))
		return READ((struct kernfs_node___before_6_15 *)node, parent);
	return READ((struct kernfs_node___since_6_15 *)node, __parent);
}

/* Index in css_set.subsys. The settings are constants to the verifier: one case is left. */
static __always_inline int subsys_index(u32 controller)
{
	switch (controller) {
	case RTRACE_CONTROLLER_PIDS:
		return ENUM_VALUE(enum cgroup_subsys_id, pids_cgrp_id);
	case RTRACE_CONTROLLER_MEMORY:
		return ENUM_VALUE(enum cgroup_subsys_id, memory_cgrp_id);
	case RTRACE_CONTROLLER_DEVICES:
		return ENUM_VALUE(enum cgroup_subsys_id, devices_cgrp_id);
	case RTRACE_CONTROLLER_CPU:
		return ENUM_VALUE(enum cgroup_subsys_id, cpu_cgrp_id);
	case RTRACE_CONTROLLER_CPUACCT:
		return ENUM_VALUE(enum cgroup_subsys_id, cpuacct_cgrp_id);
	case RTRACE_CONTROLLER_CPUSET:
		return ENUM_VALUE(enum cgroup_subsys_id, cpuset_cgrp_id);
	case RTRACE_CONTROLLER_BLKIO:
		return ENUM_VALUE(enum cgroup_subsys_id, io_cgrp_id);
	case RTRACE_CONTROLLER_FREEZER:
		return ENUM_VALUE(enum cgroup_subsys_id, freezer_cgrp_id);
	}
	return -1;
}

/* The task's cgroup in the hierarchy of a controller, be it v1 or v2; NULL if there is none. */
static __always_inline struct cgroup *controller_cgroup(struct task_struct *task, u32 controller)
{
	struct css_set *set = READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;
	int index = subsys_index(controller);

	if (index < 0)
		return NULL;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + OFFSET(struct css_set, subsys) + index * sizeof(css));
	return READ(css, cgroup);
}

#endif
