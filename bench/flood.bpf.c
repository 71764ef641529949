// SPDX-License-Identifier: GPL-2.0
/*
 * Synthetic events: rtrace's own records, written by rtrace's own code into the rings and loss
 * counters of a recorder that is running (the loader reuses its maps), as fast as asked for.
 *
 * Run with BPF_PROG_TEST_RUN. Needs Linux 5.17 (bpf_loop).
 */
#include "maps.h"

struct flood_request {
	u32 processes; /* a FORK, an EXIT and a REAP each */
	u32 first_tgid;
};

static __always_inline void emit_fork(u32 tgid, u64 start_ns)
{
	struct rtrace_event *event = reserve_event(RTRACE_FORK, tgid, tgid, start_ns, 0);

	if (!event)
		return;
	event->fork.parent_start_ns = 1000000000;
	event->fork.forker_start_ns = 1000000000;
	event->fork.parent_tgid = 1000;
	event->fork.forker_tgid = 1000;
	event->fork.ns_tgid = tgid;
	event->fork.pidns = 0;
	__builtin_memcpy(event->fork.comm, "flood\0\0\0\0\0\0\0\0\0\0", RTRACE_COMM_LEN);
	submit_event(event);
}

static __always_inline void emit_exit(u32 tgid, u64 start_ns)
{
	struct rtrace_event *event = reserve_event(RTRACE_EXIT, tgid, tgid, start_ns, 0);

	if (!event)
		return;
	event->exit.parent_start_ns = 1000000000;
	event->exit.parent_tgid = 1000;
	event->exit.exit_code = 0;
	event->exit.group_exit = 1;
	event->exit.pad = 0;
	event->exit.pad2 = 0;
	__builtin_memcpy(event->exit.comm, "flood\0\0\0\0\0\0\0\0\0\0", RTRACE_COMM_LEN);
	submit_event(event);
}

static __always_inline void emit_reap(u32 tgid, u64 start_ns)
{
	struct rtrace_event *event = reserve_event(RTRACE_REAP, tgid, tgid, start_ns, 0);

	if (!event)
		return;
	__builtin_memset(&event->reap, 0, sizeof(event->reap));
	submit_event(event);
}

static long emit_process(u32 index, struct flood_request *request)
{
	u32 tgid = 2000 + (request->first_tgid + index) % 4000000;
	u64 start_ns = bpf_ktime_get_boot_ns();

	emit_fork(tgid, start_ns);
	emit_exit(tgid, start_ns);
	emit_reap(tgid, start_ns);
	return 0;
}

SEC("syscall")
int flood(struct flood_request *request)
{
	struct flood_request copy = *request;

	bpf_loop(copy.processes, emit_process, &copy, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
