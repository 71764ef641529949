/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The records that the BPF programs write: the one source of truth for their layout.
 *
 * Plain C types only, 64-bit fields first, explicit padding: any compiler can parse this
 * file alone, and clang (CO-RE), bcc and the host compiler agree on every offset.
 * tracer/abi.py mirrors it; tests/unit/test_abi.py holds the two together.
 *
 * A process is identified by (tgid, start_ns): start_ns is its leader's
 * task_struct.start_boottime, so that a recycled tgid is another process.
 * All times are CLOCK_BOOTTIME nanoseconds. tgid and tid are those of the initial pid
 * namespace. A tgid of 0 with a start_ns of 0 means "not known".
 */
#ifndef RTRACE_EVENTS_H
#define RTRACE_EVENTS_H

#define RTRACE_SCHEMA 1 /* raised with every change of a layout or a meaning in this file */
#define RTRACE_COMM_LEN 16 /* TASK_COMM_LEN */

enum rtrace_type {
	RTRACE_FORK = 1, /* a process was made (threads are not recorded) */
	RTRACE_EXEC = 2,
	RTRACE_EXIT = 3, /* the last thread of a process is exiting */
	RTRACE_REPARENT = 4, /* a thread with children is exiting: one of its children */
	RTRACE_REAPER = 5, /* whom the kernel gave all children of that thread to */
	RTRACE_SIGNAL = 6, /* signal_generate, but for SIGCHLD, SIGURG and SIGWINCH */
	RTRACE_OOM = 7, /* mark_victim */
	RTRACE_SUBREAPER = 8, /* first seen with PR_SET_CHILD_SUBREAPER in force */
	RTRACE_COMM = 9, /* the leader's comm changed (prctl, /proc/PID/comm, exec) */
	RTRACE_REAP = 10, /* the process was waited for; ts_ns is up to an RCU grace period late */
	RTRACE_STUB = 11, /* a process outside the filter that an event refers to */
};

/* rtrace_event.flags: of the subject, as the kernel had them at that moment */
enum rtrace_flag {
	RTRACE_F_SUBREAPER = 1, /* signal->is_child_subreaper */
	RTRACE_F_NS_INIT = 2, /* process 1 of its pid namespace; EXIT: not of the initial one */
	RTRACE_F_ZOMBIE = 4, /* REPARENT: the child had exited already */
	RTRACE_F_MORE = 8, /* REPARENT (last of a walk) and REAPER: there are more children */
	RTRACE_F_KTHREAD = 16, /* PF_KTHREAD */
	RTRACE_F_SUBREAPER_CHILD = 32, /* EXIT: the parent is a subreaper */
};

/* Which rule of find_new_reaper() (kernel/exit.c) applies. */
enum rtrace_reason {
	RTRACE_REASON_UNKNOWN = 0,
	RTRACE_REASON_THREAD = 1, /* a live thread of the same process */
	RTRACE_REASON_SUBREAPER = 2, /* nearest ancestor with PR_SET_CHILD_SUBREAPER */
	RTRACE_REASON_INIT = 3, /* child_reaper of the pid namespace */
};

/* Where the reaper in a RTRACE_REAPER event was read, always in the exiting thread's context. */
enum rtrace_hook {
	RTRACE_HOOK_NONE = 0, /* no child could be read any more: not observed */
	RTRACE_HOOK_SIGNAL = 1, /* a signal from inside exit_notify(), tasklist_lock held */
	RTRACE_HOOK_PROC_EXIT_CONNECTOR = 2, /* right after exit_notify() */
	RTRACE_HOOK_SCHED_SWITCH = 3, /* first switch away after exit_notify() */
};

/* rtrace_signal.origin: what the siginfo argument of signal_generate was. */
enum rtrace_origin {
	RTRACE_ORIGIN_INFO = 0, /* a real siginfo: si_code says who */
	RTRACE_ORIGIN_NOINFO = 1, /* SEND_SIG_NOINFO: kernel code in some task's context */
	RTRACE_ORIGIN_PRIV = 2, /* SEND_SIG_PRIV: the kernel itself */
};

/* rtrace_signal.context: what the task in whose context the signal was made was doing. */
enum rtrace_context {
	RTRACE_CONTEXT_EXITING = 1, /* PF_EXITING: it cannot be calling kill() */
	RTRACE_CONTEXT_NS_INIT = 2, /* process 1 of its pid namespace */
	RTRACE_CONTEXT_PDEATH = 4, /* the signal is the target's pdeath_signal */
	RTRACE_CONTEXT_IDLE = 8, /* no process: interrupt on an idle CPU */
	RTRACE_CONTEXT_GROUP_EXIT = 16, /* EXITING, and not one thread only: all of its process */
};

struct rtrace_fork { /* subject: the child */
	unsigned long long parent_start_ns; /* real_parent */
	unsigned long long forker_start_ns; /* who called clone(): another one with CLONE_PARENT */
	unsigned int parent_tgid;
	unsigned int forker_tgid;
	unsigned int ns_tgid; /* pid in its own pid namespace */
	unsigned int pidns; /* inode of that namespace, 0: the initial one */
	char comm[RTRACE_COMM_LEN];
};

struct rtrace_exec { /* subject: the process, after the exec */
	unsigned long long parent_start_ns;
	unsigned long long cgroup_id; /* cgroup v2 id (inode number), 0 where there is no v2 */
	unsigned int parent_tgid;
	unsigned int old_tid; /* thread that called execve(); it has the leader's tid now */
	unsigned int ns_tgid;
	unsigned int pidns;
	char comm[RTRACE_COMM_LEN];
};

struct rtrace_exit { /* subject: the process; tid is its last thread's */
	unsigned long long parent_start_ns;
	unsigned int parent_tgid;
	int exit_code; /* what wait() will report: status in bits 8-15, signal in 0-6, core 7 */
	unsigned int group_exit; /* 1: exit_group() or a fatal signal ended all threads */
	unsigned int pad;
	unsigned long long pad2;
	char comm[RTRACE_COMM_LEN];
};

struct rtrace_reparent { /* subject: the child; ts_ns: exit tracepoint of the old parent */
	unsigned long long parent_start_ns; /* old parent: the process of the exiting thread */
	unsigned long long reaper_start_ns; /* new parent as predicted by the kernel's rule */
	unsigned int parent_tgid;
	unsigned int parent_tid; /* the exiting thread */
	unsigned int reaper_tgid;
	unsigned int reason; /* enum rtrace_reason, of the prediction */
	unsigned long long pad[2];
};

struct rtrace_reaper { /* subject: the old parent, tid the exiting thread; ts_ns: observed */
	unsigned long long exit_ns; /* ts_ns of its RTRACE_REPARENT events, if there are any */
	unsigned long long reaper_start_ns; /* the children's real_parent as read */
	unsigned int reaper_tgid;
	unsigned int reaper_tid;
	unsigned int reason; /* enum rtrace_reason, of what was observed */
	unsigned int hook; /* enum rtrace_hook */
	unsigned int children; /* how many REPARENT events there are */
	unsigned int pad;
	unsigned long long pad2;
};

struct rtrace_signal { /* subject: the target, tid the thread it was sent to */
	unsigned long long sender_start_ns; /* the task in whose context it was made */
	unsigned int sender_tgid;
	unsigned int sender_tid;
	int si_code;
	int si_pid; /* as in siginfo: in the target's pid namespace; 0 if none */
	unsigned short signal;
	unsigned char group; /* 1: to the process, 0: to one thread */
	unsigned char result; /* TRACE_SIGNAL_*: 0 delivered, 1 ignored, 2 already pending, ... */
	unsigned char origin; /* enum rtrace_origin */
	unsigned char context; /* enum rtrace_context bits */
	unsigned short pad;
	char comm[RTRACE_COMM_LEN]; /* of the sender's leader */
};

struct rtrace_oom { /* subject: the victim */
	unsigned long long pad[4];
	char comm[RTRACE_COMM_LEN];
};

struct rtrace_comm { /* subject: the process; also RTRACE_SUBREAPER and RTRACE_STUB */
	unsigned long long parent_start_ns;
	unsigned int parent_tgid;
	unsigned int ns_tgid;
	unsigned int pidns;
	unsigned int pad;
	unsigned long long pad2;
	char comm[RTRACE_COMM_LEN];
};

struct rtrace_reap { /* subject: the process */
	int exit_code; /* as in rtrace_exit: also there if that event was lost */
	unsigned int pad;
	unsigned long long pad2[5];
};

struct rtrace_event {
	unsigned long long ts_ns;
	unsigned long long start_ns;
	unsigned int tgid;
	unsigned int tid;
	unsigned int cpu_lost; /* events lost on this CPU before this one, since the start */
	unsigned short cpu;
	unsigned char type; /* enum rtrace_type */
	unsigned char flags; /* enum rtrace_flag bits */
	union {
		struct rtrace_fork fork;
		struct rtrace_exec exec;
		struct rtrace_exit exit;
		struct rtrace_reparent reparent;
		struct rtrace_reaper reaper;
		struct rtrace_signal signal;
		struct rtrace_oom oom;
		struct rtrace_comm comm; /* COMM, SUBREAPER, STUB */
		struct rtrace_reap reap;
	};
};

_Static_assert(sizeof(struct rtrace_fork) == 48, "struct rtrace_fork");
_Static_assert(sizeof(struct rtrace_exec) == 48, "struct rtrace_exec");
_Static_assert(sizeof(struct rtrace_exit) == 48, "struct rtrace_exit");
_Static_assert(sizeof(struct rtrace_reparent) == 48, "struct rtrace_reparent");
_Static_assert(sizeof(struct rtrace_reaper) == 48, "struct rtrace_reaper");
_Static_assert(sizeof(struct rtrace_signal) == 48, "struct rtrace_signal");
_Static_assert(sizeof(struct rtrace_oom) == 48, "struct rtrace_oom");
_Static_assert(sizeof(struct rtrace_comm) == 48, "struct rtrace_comm");
_Static_assert(sizeof(struct rtrace_reap) == 48, "struct rtrace_reap");
_Static_assert(sizeof(struct rtrace_event) == 80, "struct rtrace_event");

/*
 * Details: what has no fixed size, in a ring of its own. A detail is this header and then
 * its parts, back to back: filename, args, cgroup, cgroup_v1, each of the length given, padded
 * with zeros to 8 bytes.
 */
enum rtrace_detail_type {
	RTRACE_DETAIL_EXEC = 1, /* belongs to the RTRACE_EXEC with the same tgid, start_ns, ts_ns */
	RTRACE_DETAIL_ATTACH = 2, /* the process was moved to a cgroup; `cgroup` is its path */
};

#define RTRACE_FILENAME_MAX 512
#define RTRACE_ARGS_MAX 4096
#define RTRACE_CGROUP_MAX 1024

struct rtrace_detail {
	unsigned long long ts_ns;
	unsigned long long start_ns;
	unsigned int tgid;
	unsigned int args_total; /* bytes of argv in the process; more than args_len: cut */
	unsigned short type; /* enum rtrace_detail_type */
	unsigned short filename_len; /* linux_binprm.filename, with no NUL */
	unsigned short args_len; /* argv, each argument ended by a NUL */
	unsigned short cgroup_len; /* EXEC: names of the v2 cgroup, the innermost first, each
				    * ended by a NUL; ATTACH: the path, with no NUL */
	unsigned short cgroup_v1_len; /* EXEC: same, of the v1 pids or memory hierarchy */
	unsigned short hierarchy; /* ATTACH: cgroup_root.hierarchy_id, 0 is v2 */
	unsigned short cpu;
	unsigned short pad;
	unsigned int cpu_lost; /* details lost on this CPU before this one */
	unsigned int pad2;
};

_Static_assert(sizeof(struct rtrace_detail) == 48, "struct rtrace_detail");

/* The start and end snapshots: one record a process, written by the task iterator. */
struct rtrace_task {
	unsigned long long ts_ns; /* when the iterator was at this process */
	unsigned long long start_ns;
	unsigned long long parent_start_ns; /* real_parent */
	unsigned long long cgroup_id; /* as in rtrace_exec */
	unsigned int tgid;
	unsigned int parent_tgid;
	unsigned int ns_tgid;
	unsigned int pidns; /* 0: the initial one */
	unsigned int level; /* depth of the pid namespace, 0: the initial one */
	unsigned int pdeath_signal;
	unsigned int exit_state; /* 0: alive, 16: EXIT_DEAD, 32: EXIT_ZOMBIE */
	unsigned int flags; /* enum rtrace_flag bits */
	char comm[RTRACE_COMM_LEN];
};

_Static_assert(sizeof(struct rtrace_task) == 80, "struct rtrace_task");

/*
 * Unix sockets: one record for each open file that is one, of a type that connects, and has a name
 * or is connected to one that has. Accepted sockets have the name of the one they were accepted
 * from, so both ends of a connection have a record, but for connections without any name
 * (socketpair). The streams to systemd's journal are left out: they are two a service, and no
 * control path.
 */
enum rtrace_socket_flag {
	RTRACE_S_PEER_NAME = 1, /* the name is the peer's: this end connected to it */
	RTRACE_S_PATH = 2, /* the name is a path, not abstract */
	RTRACE_S_DELETED = 4, /* and nothing has that name any more */
	RTRACE_S_WAITING = 8, /* connected, and the other side has not accepted yet */
	RTRACE_S_PEER_CLOSED = 16, /* the other side has closed */
	RTRACE_S_OUTSIDE = 32, /* the holder is not admitted by the filter */
};

#define RTRACE_SOCKET_NAME_MAX 108 /* UNIX_PATH_MAX */

struct rtrace_socket {
	unsigned long long ts_ns; /* when the iterator was here */
	unsigned long long start_ns; /* of the holder */
	unsigned long long inode; /* of the socket: the same in two records is the same socket */
	unsigned long long peer_inode; /* 0: none, or nobody has it open */
	unsigned long long cred_start_ns;
	unsigned int tgid; /* the holder */
	unsigned int cred_tgid; /* sk_peer_pid: who connected; for who connects, and for the
				 * listening socket itself, who called listen(); 0: nobody */
	unsigned int fd;
	unsigned int
		netns; /* inode of the network namespace; an accepted socket has its client's */
	unsigned int pending; /* LISTEN: connections that wait to be accepted */
	unsigned short type; /* SOCK_STREAM 1, SOCK_SEQPACKET 5 */
	unsigned char state; /* TCP_ESTABLISHED 1, TCP_CLOSE 7, TCP_LISTEN 10 */
	unsigned char flags; /* enum rtrace_socket_flag bits */
	char comm[RTRACE_COMM_LEN]; /* of the holder's leader */
	char name[RTRACE_SOCKET_NAME_MAX]; /* bytes as bound; an abstract one without its NUL */
	unsigned int name_len;
};

_Static_assert(sizeof(struct rtrace_socket) == 192, "struct rtrace_socket");

/* Lost records, one entry a CPU, in a map that user space reads by mmap. */
struct rtrace_loss {
	unsigned long long events;
	unsigned long long details;
};

/* Read-only settings, filled in before the programs are loaded. */
enum rtrace_filter {
	RTRACE_FILTER_NONE = 0,
	RTRACE_FILTER_PIDNS = 1,
	RTRACE_FILTER_CGROUP = 2,
};

/* Names a v1 hierarchy by a controller in it. */
enum rtrace_controller {
	RTRACE_CONTROLLER_NONE = 0,
	RTRACE_CONTROLLER_PIDS = 1,
	RTRACE_CONTROLLER_MEMORY = 2,
	RTRACE_CONTROLLER_DEVICES = 3,
	RTRACE_CONTROLLER_CPU = 4,
	RTRACE_CONTROLLER_CPUACCT = 5,
	RTRACE_CONTROLLER_CPUSET = 6,
	RTRACE_CONTROLLER_BLKIO = 7,
	RTRACE_CONTROLLER_FREEZER = 8,
};

struct rtrace_config {
	unsigned long long cgroup_id; /* FILTER_CGROUP: kernfs id of the subtree's top */
	unsigned int filter; /* enum rtrace_filter */
	unsigned int pidns; /* FILTER_PIDNS: inode of the namespace */
	unsigned int cgroup_controller; /* FILTER_CGROUP: whose v1 hierarchy, NONE: v2 */
	unsigned int v1_controller; /* in whose v1 hierarchy cgroups are named at exec */
	unsigned int no_args; /* 1: argv is not read */
	unsigned int pad;
};

_Static_assert(sizeof(struct rtrace_config) == 32, "struct rtrace_config");

#endif
