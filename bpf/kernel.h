/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The slice of kernel types that the programs read. Fields only, no order, no padding: in core
 * the loader relocates every access to the running kernel's own layout (CO-RE); for bcc,
 * tracer/kernel_types.py reads this file and writes kernel_layout.h with the same types as they
 * lie in the running kernel.
 *
 * A name with a ___suffix is a form of the same kernel type that not every kernel has; an array of
 * no elements is one of whose length nothing is known.
 */
#ifndef RTRACE_KERNEL_H
#define RTRACE_KERNEL_H

#include "dialect.h"

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define PIDTYPE_TGID 1 /* include/linux/pid_types.h, since 4.19 */
#define SIGNAL_GROUP_EXIT 0x00000004
#define SIGCHLD 17
#define SIGURG 23
#define SIGWINCH 28

#ifndef RTRACE_CORE
#include "kernel_layout.h"
#else

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct xarray {
	void *xa_head;
};

struct idr {
	struct xarray idr_rt;
};

struct ns_common {
	unsigned int inum;
};

struct task_struct;

struct pid_namespace {
	struct idr idr;
	struct task_struct *child_reaper;
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[0];
	struct upid numbers[0];
};

struct kernfs_node {
	const char *name;
	unsigned long long id;
};

/* commit 633488947ef6 */
struct kernfs_node___since_6_15 {
	struct kernfs_node *__parent;
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

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
};

struct path {
	struct dentry *dentry;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sk_buff_head {
	unsigned int qlen;
};

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	unsigned short sk_type;
	struct socket *sk_socket;
	struct pid *sk_peer_pid;
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
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
	struct hlist_node pid_links[0];
	unsigned long long start_boottime;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct files_struct *files;
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

#endif /* RTRACE_CORE */

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
