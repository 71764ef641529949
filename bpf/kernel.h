/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The slice of kernel types that the programs read. Fields only, no order, no sizes: the
 * loader relocates every access to the running kernel's own layout (CO-RE).
 *
 * A name with a ___suffix is an older or newer form of the same kernel type.
 */
#ifndef RTRACE_KERNEL_H
#define RTRACE_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004
#define SIGCHLD 17
#define SIGURG 23
#define SIGWINCH 28

typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

struct ns_common {
	unsigned int inum;
};

struct task_struct;

struct pid_namespace {
	struct task_struct *child_reaper;
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[0];
};

struct kernfs_node {
	struct kernfs_node *__parent; /* since 6.15, commit 633488947ef6 */
	const char *name;
	unsigned long long id;
};

struct kernfs_node___before_6_15 {
	struct kernfs_node *parent;
};

/* Built from the kernel's configuration: only the names count here. */
enum cgroup_subsys_id {
	cpuset_cgrp_id = 1,
	cpu_cgrp_id = 2,
	cpuacct_cgrp_id = 3,
	io_cgrp_id = 4,
	memory_cgrp_id = 5,
	devices_cgrp_id = 6,
	freezer_cgrp_id = 7,
	pids_cgrp_id = 8,
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[0];
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
	unsigned int is_child_subreaper : 1;
	unsigned int has_child_subreaper : 1;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct task_struct {
	unsigned int flags;
	int exit_state;
	int exit_code;
	int pdeath_signal;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct list_head children;
	struct list_head sibling;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	unsigned long long start_boottime;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct mm_struct *mm;
};

struct linux_binprm {
	const char *filename;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* siginfo as user space has it (include/uapi/asm-generic/siginfo.h, 64 bit): ABI, so not
 * relocated. si_pid comes first in each member of the union that names a sender. */
struct kernel_siginfo {
	int si_signo;
	int si_errno;
	int si_code;
	int pad;
	int si_pid;
};

#endif
