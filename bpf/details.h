/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What has no fixed size: filename and argv of an exec, names of cgroups. Put together in
 * per-CPU scratch memory, since a ring buffer reservation needs a size that is known before.
 */
#ifndef RTRACE_DETAILS_H
#define RTRACE_DETAILS_H

#include "filter.h"

#define CGROUP_NAME_MAX 256 /* NAME_MAX + 1 */
#define CGROUP_LEVELS 12
#define DETAIL_ROOM 8192

_Static_assert(RTRACE_FILENAME_MAX + RTRACE_ARGS_MAX + 2 * RTRACE_CGROUP_MAX + CGROUP_NAME_MAX <=
		       DETAIL_ROOM,
	       "scratch memory for a detail");

struct scratch {
	struct rtrace_detail header;
	char data[DETAIL_ROOM];
};

DEFINE_MAP(PERCPU_ARRAY, scratches, u32, struct scratch, 1);

static __always_inline struct scratch *begin_detail(u16 type, struct task_struct *leader, u64 ts_ns)
{
	u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(MAP(scratches), &zero);

	if (!scratch)
		return NULL;
	__builtin_memset(&scratch->header, 0, sizeof(scratch->header));
	scratch->header.ts_ns = ts_ns;
	scratch->header.type = type;
	scratch->header.tgid = FIELD(leader, tgid);
	scratch->header.start_ns = FIELD(leader, start_boottime);
	return scratch;
}

static __always_inline void end_detail(struct scratch *scratch, u64 used)
{
	BOUND(used);
	if (used > DETAIL_ROOM - sizeof(u64))
		used = DETAIL_ROOM - sizeof(u64);
	__builtin_memset(scratch->data + used, 0, sizeof(u64)); /* no bytes of others as padding */
	used = (used + 7) & ~7ULL;
	output_detail(&scratch->header, sizeof(scratch->header) + used);
}

/* Appends the cgroup's name and those of its ancestors, not the root's; gives the new end. */
VERIFIED_ONCE(u64, append_cgroup, u64 address, u64 used)
{
	struct kernfs_node *node = (void *)address, *parent;
	u64 start = used;
	u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(MAP(scratches), &zero);
	long length;
	int i;

	if (!scratch)
		return used;
	for (i = 0; i < CGROUP_LEVELS; i++) {
		parent = kernfs_parent(node);
		if (!parent)
			break;
		BOUND(used);
		if (used > DETAIL_ROOM - CGROUP_NAME_MAX ||
		    used - start > RTRACE_CGROUP_MAX - CGROUP_NAME_MAX)
			break;
		length = bpf_probe_read_kernel_str(scratch->data + used, CGROUP_NAME_MAX,
						   READ(node, name));
		if (length <= 0)
			break;
		used += length;
		node = parent;
	}
	return used;
}

static __always_inline void output_exec_detail(struct task_struct *task, struct linux_binprm *bprm,
					       u64 ts_ns)
{
	struct scratch *scratch = begin_detail(RTRACE_DETAIL_EXEC, task, ts_ns);
	u64 args_start, args_total, args, used = 0, end;
	struct cgroup *v1;
	long length;

	if (!scratch)
		return;
	length = bpf_probe_read_kernel_str(scratch->data, RTRACE_FILENAME_MAX,
					   FIELD(bprm, filename));
	if (length > 0)
		used = (length - 1) & (RTRACE_FILENAME_MAX - 1);
	scratch->header.filename_len = used;

	args_start = FIELD(task, mm, arg_start);
	args_total = FIELD(task, mm, arg_end) - args_start;
	scratch->header.args_total = args_total;
	if (!config.no_args) {
		args = args_total;
		BOUND(args);
		if (args > RTRACE_ARGS_MAX)
			args = RTRACE_ARGS_MAX;
		BOUND(used);
		used &= RTRACE_FILENAME_MAX - 1;
		if (!bpf_probe_read_user(scratch->data + used, args, (void *)args_start)) {
			scratch->header.args_len = args;
			used += args;
		}
	}

	end = append_cgroup((u64)READ(task, cgroups, dfl_cgrp, kn), used);
	scratch->header.cgroup_len = end - used;
	used = end;
	if (config.v1_controller != RTRACE_CONTROLLER_NONE) {
		v1 = controller_cgroup(task, config.v1_controller);
		if (READ(v1, root, hierarchy_id)) {
			end = append_cgroup((u64)READ(v1, kn), used);
			scratch->header.cgroup_v1_len = end - used;
			used = end;
		}
	}
	end_detail(scratch, used);
}

/* Which cgroup a process is moved to; in a v1 host once for each hierarchy. */
HOOK(cgroup_attach_task, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	struct scratch *scratch;
	u64 used = 0;
	long length;

	if (FIELD(task, pid) != FIELD(task, tgid) || !admitted(task))
		return 0;
	scratch = begin_detail(RTRACE_DETAIL_ATTACH, task, bpf_ktime_get_boot_ns());
	if (!scratch)
		return 0;
	length = bpf_probe_read_kernel_str(scratch->data, RTRACE_CGROUP_MAX, path);
	if (length > 0)
		used = (length - 1) & (RTRACE_CGROUP_MAX - 1);
	scratch->header.cgroup_len = used;
	scratch->header.hierarchy = FIELD(cgroup, root, hierarchy_id);
	end_detail(scratch, used);
	return 0;
}

#endif
