/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Signals that can end a process or that explain an end, and the OOM killer's choice.
 *
 * The task in whose context signal_generate fires is not always the sender: the kernel sends
 * signals in the context of whatever runs. So what was known is recorded, and the analysis
 * decides.
 */
#ifndef RTRACE_SIGNALS_H
#define RTRACE_SIGNALS_H

#include "reparent.h"

/* include/linux/sched/signal.h */
#define SEND_SIG_NOINFO ((void *)0)
#define SEND_SIG_PRIV ((void *)1)

static __always_inline void emit_signal(int signal, struct kernel_siginfo *info,
					struct task_struct *target, int group, int result,
					struct task_struct *sender)
{
	struct task_struct *sender_leader = READ(sender, group_leader);
	struct process sender_process = probe_process(sender);
	u32 sender_flags = READ(sender, flags);
	struct kernel_siginfo copy = {};
	struct rtrace_event *event;
	u8 origin = RTRACE_ORIGIN_INFO;
	u8 context = 0;

	if (info == SEND_SIG_NOINFO)
		origin = RTRACE_ORIGIN_NOINFO;
	else if (info == SEND_SIG_PRIV)
		origin = RTRACE_ORIGIN_PRIV;
	else
		bpf_probe_read_kernel(&copy, sizeof(copy), info);
	if (sender_flags & PF_EXITING) {
		struct signal_struct *group_state = READ(sender, signal);

		context |= RTRACE_CONTEXT_EXITING;
		if (READ(group_state, flags) & SIGNAL_GROUP_EXIT ||
		    !READ(group_state, live.counter))
			context |= RTRACE_CONTEXT_GROUP_EXIT;
	}
	if (!sender_process.tgid)
		context |= RTRACE_CONTEXT_IDLE;
	if (FIELD(target, pdeath_signal) == signal)
		context |= RTRACE_CONTEXT_PDEATH;

	event = reserve_event(RTRACE_SIGNAL, FIELD(target, tgid), FIELD(target, pid),
			      FIELD(target, group_leader, start_boottime),
			      process_flags(FIELD(target, group_leader)));
	if (!event)
		return;
	event->signal.sender_start_ns = sender_process.start_ns;
	event->signal.sender_tgid = sender_process.tgid;
	event->signal.sender_tid = READ(sender, pid);
	event->signal.si_code = copy.si_code;
	event->signal.si_pid = copy.si_code > 0 ? 0 : copy.si_pid;
	event->signal.signal = signal;
	event->signal.group = !!group;
	event->signal.result = result;
	event->signal.origin = origin;
	if (sender_process.tgid) {
		struct pid *pid = READ(sender_leader, thread_pid);
		struct upid upid;

		probe_upid(pid, READ(pid, level), &upid);
		if (upid.nr == 1)
			context |= RTRACE_CONTEXT_NS_INIT;
	}
	event->signal.context = context;
	event->signal.pad = 0;
	probe_comm(event->signal.comm, sender_leader);
	submit_event(event);
}

HOOK(signal_generate, int signal, struct kernel_siginfo *info, struct task_struct *target,
     int group, int result)
{
	struct task_struct *current = (void *)bpf_get_current_task();

	if (COUNTER(orphaning_count) && READ(current, flags) & PF_EXITING)
		observe_reaper((u64)current, RTRACE_HOOK_SIGNAL);
	if (signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH || !admitted(target))
		return 0;
	mention(current);
	emit_signal(signal, info, target, group, result, current);
	return 0;
}

/*
 * The argument is the victim's task since 6.10, its pid before: so this one is a raw
 * tracepoint, whose arguments have no type for the verifier.
 */
RAW_HOOK(mark_victim)
{
	struct process victim = {};
	struct rtrace_event *event;
	struct task_struct *task = NULL;

	if (ctx[0] >> 32) {
		task = (void *)ctx[0];
		if (!admitted(task))
			return 0;
		victim = probe_process(task);
	} else {
		victim.tgid = ctx[0];
	}
	event = reserve_event(RTRACE_OOM, victim.tgid, victim.tgid, victim.start_ns, 0);
	if (!event)
		return 0;
	__builtin_memset(&event->oom, 0, sizeof(event->oom));
	if (task)
		probe_comm(event->oom.comm, task);
	submit_event(event);
	return 0;
}

#endif
