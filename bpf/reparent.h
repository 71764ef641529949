/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reparenting. The kernel has no hook for it, so it takes two steps:
 *
 * 1. When a thread with children exits, its children are written down with the reaper that
 *    find_new_reaper() would choose now (REPARENT). Often right, but the reaper may be
 *    exiting itself, and only exit_notify() decides.
 * 2. After exit_notify() has moved the children, still in the exiting thread's context, the
 *    new parent is read from one of them (REAPER). All children of one exiting thread get
 *    the same reaper, so one observation is enough.
 *
 * A child can come to a thread that is exiting already, when the old parent chose it just before:
 * the walk of step 1 misses it, since the kernel joins the lists of children last. So one child
 * of each adoption is remembered with its reaper (adoptions), and looked at when that one exits.
 *
 * Kernel source: forget_original_parent(), find_child_reaper(), find_new_reaper() in
 * kernel/exit.c.
 */
#ifndef RTRACE_REPARENT_H
#define RTRACE_REPARENT_H

#include "filter.h"

#define CHILDREN_A_CALL 32
#define MAX_CHILDREN (CHILDREN_A_CALL * CHILDREN_A_CALL)
#define MAX_KEPT 32 /* children kept to read the reaper from: a power of two */
#define MAX_ANCESTORS 64

struct child {
	u64 task; /* address */
	u64 start_ns;
};

/* An exiting thread between its exit tracepoint and exit_notify(). */
struct orphaning {
	u64 exit_ns;
	struct process parent;
	struct process predicted; /* the reaper */
	u32 predicted_reason; /* enum rtrace_reason */
	u32 tid;
	u32 children;
	u32 kept;
	u64 adopted; /* address of an adopted child that the walk has yet to meet */
	u32 walked;
	u32 more; /* not all children were walked */
	u32 observed; /* REAPER has been emitted */
	struct child child[MAX_KEPT];
};

DEFINE_MAP(HASH, orphanings, u64, struct orphaning, 2048);

/* Entries of orphanings. Nearly always 0, and then no hook has anything to look up. */
DEFINE_COUNTER(orphaning_count);

/* Reaper thread (address) -> one child of the last group that it was seen to get. */
DEFINE_MAP(LRU_HASH, adoptions, u64, struct child, 4096);

/* What a new entry of orphanings begins with: too large for the stack. */
DEFINE_MAP(ARRAY, no_orphaning, u32, struct orphaning, 1);

struct prediction {
	struct task_struct *reaper; /* NULL: not known */
	u32 reason;
};

enum candidate {
	CANDIDATE_END,
	CANDIDATE_NO,
	CANDIDATE_YES
};

/* One step of find_new_reaper(): whether an ancestor is a subreaper with a live thread. A
 * group has one when signal->live, counted down early in do_exit(), is not 0. */
VERIFIED_ONCE(int, judge_candidate, u64 address, u32 level)
{
	struct task_struct *task = (void *)address;
	struct signal_struct *signal = READ(task, signal);

	if (!READ(task, pid) || READ(task, thread_pid, level) != level)
		return CANDIDATE_END;
	if (BIT_PROBED(signal, is_child_subreaper) && READ(signal, live.counter))
		return CANDIDATE_YES;
	return CANDIDATE_NO;
}

/* find_new_reaper() as far as it can be known before exit_notify(). */
static __always_inline void predict_reaper(struct task_struct *father, bool group_dead,
					   struct task_struct *child_reaper, u32 level,
					   struct prediction *prediction)
{
	struct task_struct *reaper;
	int candidate, i;

	if (!group_dead) {
		prediction->reaper = (void *)address_of(FIELD(father, group_leader));
		prediction->reason = RTRACE_REASON_THREAD;
		return;
	}
	prediction->reaper = child_reaper;
	prediction->reason = RTRACE_REASON_INIT;
	if (!BIT(FIELD(father, signal), has_child_subreaper))
		return;
	reaper = (void *)address_of(FIELD(father, real_parent));
	for (i = 0; i < MAX_ANCESTORS; i++) {
		candidate = judge_candidate((u64)reaper, level);
		if (candidate == CANDIDATE_END)
			return;
		if (candidate == CANDIDATE_YES) {
			reaper = READ(reaper, group_leader);
			if (reaper != child_reaper) {
				prediction->reaper = reaper;
				prediction->reason = RTRACE_REASON_SUBREAPER;
			}
			return;
		}
		reaper = READ(reaper, real_parent);
	}
	prediction->reaper = NULL;
	prediction->reason = RTRACE_REASON_UNKNOWN;
}

/* Task addresses are the keys of orphanings. */
static __always_inline struct orphaning *find_orphaning(u64 father)
{
	return bpf_map_lookup_elem(MAP(orphanings), &father);
}

static __always_inline void emit_reparent(struct orphaning *orphaning, u32 tgid, u64 start_ns,
					  u32 flags)
{
	struct rtrace_event *event = reserve_event(RTRACE_REPARENT, tgid, tgid, start_ns, flags);

	if (!event)
		return;
	event->ts_ns = orphaning->exit_ns;
	event->reparent.parent_start_ns = orphaning->parent.start_ns;
	event->reparent.parent_tgid = orphaning->parent.tgid;
	event->reparent.parent_tid = orphaning->tid;
	event->reparent.reaper_start_ns = orphaning->predicted.start_ns;
	event->reparent.reaper_tgid = orphaning->predicted.tgid;
	event->reparent.reason = orphaning->predicted_reason;
	__builtin_memset(event->reparent.pad, 0, sizeof(event->reparent.pad));
	submit_event(event);
}

/*
 * REPARENT for the child whose `sibling` is at `node`; gives the next node, 0 after the last.
 *
 * The list is read without its lock. While its owner is exiting it only shrinks when another
 * thread of the process waits for a child: the node that was left then leads nowhere, and the
 * walk ends with MORE.
 */
VERIFIED_ONCE(u64, visit_child, u64 father, u64 node)
{
	struct task_struct *child = (void *)node - OFFSET(struct task_struct, sibling);
	u64 head = father + OFFSET(struct task_struct, children);
	struct orphaning *orphaning = find_orphaning(father);
	u64 next = (u64)READ((struct list_head *)node, next);
	u64 start_ns = READ(child, start_boottime);
	u32 flags = 0, kept;

	if (!orphaning)
		return 0;
	if ((u64)READ(child, real_parent) != father || next == node) {
		orphaning->more = 1;
		return 0;
	}
	if (orphaning->adopted == (u64)child)
		orphaning->adopted = 0;
	if (next == head)
		next = 0;
	if (++orphaning->walked == MAX_CHILDREN && next) {
		flags |= RTRACE_F_MORE;
		orphaning->more = 1;
	}
	if (config.filter != RTRACE_FILTER_NONE && !in_filter((u64)child))
		return next;
	kept = orphaning->kept;
	if (kept < MAX_KEPT) {
		orphaning->child[kept].task = (u64)child;
		orphaning->child[kept].start_ns = start_ns;
		orphaning->kept = kept + 1;
	}
	orphaning->children++;
	if (READ(child, exit_state))
		flags |= RTRACE_F_ZOMBIE;
	emit_reparent(orphaning, READ(child, tgid), start_ns, flags);
	return next;
}

/* Two short loops, since the verifier's work grows with the square of a loop's length. */
VERIFIED_ONCE(u64, visit_some_children, u64 father, u64 node)
{
	int i;

	for (i = 0; i < CHILDREN_A_CALL && node; i++)
		node = visit_child(father, node);
	return node;
}

/*
 * Whether a child that was seen before is still there. It may have been freed, and its memory used
 * again: but as long as it has not been released, which clears thread_pid, it is itself, and its
 * real_parent cannot be freed either.
 */
static __always_inline bool is_there(struct child *child)
{
	struct task_struct *task = (void *)child->task;

	return READ(task, thread_pid) && READ(task, start_boottime) == child->start_ns;
}

static __always_inline bool is_child_of(struct child *child, u64 parent)
{
	struct task_struct *task = (void *)child->task;

	return (u64)READ(task, real_parent) == parent && is_there(child);
}

static __always_inline void end_orphaning(u64 father)
{
	if (!bpf_map_delete_elem(MAP(orphanings), &father))
		ADD_TO_COUNTER(orphaning_count, -1);
}

/* The entry of an exiting thread, a new one if it has none; NULL if there is no room. The thread
 * itself may be making it on another CPU at this moment: its tid is then still 0. */
static __always_inline struct orphaning *begin_orphaning(u64 father)
{
	struct orphaning *orphaning = find_orphaning(father);
	struct task_struct *task = (void *)father;
	u32 tid = READ(task, pid);
	u32 zero = 0;

	if (orphaning && (!orphaning->tid || orphaning->tid == tid))
		return orphaning;
	if (orphaning) /* left by another task at this address, whose last hook was missed */
		end_orphaning(father);
	orphaning = bpf_map_lookup_elem(MAP(no_orphaning), &zero);
	if (!orphaning)
		return NULL;
	if (bpf_map_update_elem(MAP(orphanings), &father, orphaning, BPF_NOEXIST))
		return find_orphaning(father);
	ADD_TO_COUNTER(orphaning_count, 1);
	orphaning = find_orphaning(father);
	if (!orphaning)
		return NULL;
	orphaning->exit_ns = bpf_ktime_get_boot_ns();
	orphaning->parent = probe_process(task);
	orphaning->tid = tid;
	return orphaning;
}

/* The child that an exiting thread adopted last, and that its walk did not or will not meet. */
VERIFIED_ONCE(int, expect_missed, u64 father)
{
	struct orphaning *orphaning = begin_orphaning(father);
	struct child *child = bpf_map_lookup_elem(MAP(adoptions), &father);

	if (!orphaning || !child)
		return 0;
	orphaning->child[0] = *child;
	if (!orphaning->kept)
		orphaning->kept = 1;
	orphaning->more = 1;
	orphaning->observed = 0;
	return 0;
}

/* Whether the kernel can have chosen the task as a reaper: else nothing need be looked up. */
static __always_inline bool may_be_reaper(struct task_struct *task)
{
	return FIELD(task, signal, nr_threads) > 1 || BIT(FIELD(task, signal), is_child_subreaper);
}

/* At the exit tracepoint of any thread. */
static __always_inline void orphan_children(struct task_struct *task, bool group_dead)
{
	void *head = (void *)task + OFFSET(struct task_struct, children);
	struct task_struct *child_reaper;
	struct prediction prediction;
	struct orphaning *orphaning;
	struct child *adopted = NULL;
	struct upid upid;
	u64 father, node;
	u32 level;
	int i;

	if ((void *)FIELD(task, children.next) == head && !may_be_reaper(task))
		return;
	level = FIELD(task, thread_pid, level);
	probe_upid(FIELD(task, thread_pid), level, &upid);
	child_reaper = READ(upid.ns, child_reaper);
	/* A namespace's init that ends: zap_pid_ns_processes() kills and reaps its children. */
	if (group_dead && READ(child_reaper, tgid) == FIELD(task, tgid))
		return;
	father = bpf_get_current_task();
	if (may_be_reaper(task))
		adopted = bpf_map_lookup_elem(MAP(adoptions), &father);
	if ((void *)FIELD(task, children.next) == head) {
		if (adopted && is_child_of(adopted, father))
			expect_missed(father);
		return;
	}

	orphaning = begin_orphaning(father);
	if (!orphaning)
		return;
	orphaning->adopted = adopted ? adopted->task : 0;
	predict_reaper(task, group_dead, child_reaper, level, &prediction);
	orphaning->predicted_reason = prediction.reason;
	if (prediction.reaper)
		orphaning->predicted = probe_process(prediction.reaper);
	node = (u64)READ((struct list_head *)head, next);
	for (i = 0; i < CHILDREN_A_CALL && node; i++)
		node = visit_some_children(father, node);
	if (adopted && orphaning->adopted && is_child_of(adopted, father))
		expect_missed(father);
	if (!orphaning->kept) { /* none that is recorded: nor is anybody else here */
		end_orphaning(father);
		return;
	}
	mention(task);
	if (prediction.reaper)
		mention(prediction.reaper);
}

/* The new parent of one child; false when the child is gone, or has not been moved yet. */
static __always_inline bool read_reaper(struct child *child, u64 father, struct process *reaper,
					u32 *reaper_tid, struct task_struct **reaper_task)
{
	struct task_struct *task = (void *)child->task;
	struct task_struct *parent = READ(task, real_parent);

	if ((u64)parent == father)
		return false;
	*reaper = probe_process(parent);
	*reaper_tid = READ(parent, pid);
	*reaper_task = parent;
	/* Asked last: what was read before is true only if the child is still there. */
	return is_child_of(child, (u64)parent);
}

/* The rule, from who it chose. */
static __always_inline u32 reason_of(struct orphaning *orphaning, struct task_struct *reaper)
{
	struct pid *pid = READ(reaper, group_leader, thread_pid);
	struct upid upid;

	if (READ(reaper, tgid) == orphaning->parent.tgid)
		return RTRACE_REASON_THREAD;
	probe_upid(pid, READ(pid, level), &upid);
	return upid.nr == 1 ? RTRACE_REASON_INIT : RTRACE_REASON_SUBREAPER;
}

static __always_inline void emit_reaper(struct orphaning *orphaning, struct process *reaper,
					u32 reaper_tid, u32 reason, u32 hook)
{
	struct rtrace_event *event =
		reserve_event(RTRACE_REAPER, orphaning->parent.tgid, orphaning->tid,
			      orphaning->parent.start_ns, orphaning->more ? RTRACE_F_MORE : 0);

	if (!event)
		return;
	event->reaper.exit_ns = orphaning->exit_ns;
	event->reaper.reaper_start_ns = reaper->start_ns;
	event->reaper.reaper_tgid = reaper->tgid;
	event->reaper.reaper_tid = reaper_tid;
	event->reaper.reason = reason;
	event->reaper.hook = hook;
	event->reaper.children = orphaning->children;
	event->reaper.pad = 0;
	event->reaper.pad2 = 0;
	submit_event(event);
}

/*
 * Remembers one child of those that a reaper got: it may be exiting itself, or soon. Written before
 * the flag is read, as the reaper sets the flag before it looks here: one of the two sees the other.
 */
static __always_inline void note_adoption(struct task_struct *reaper, struct child *child)
{
	u64 address = (u64)reaper;

	bpf_map_update_elem(MAP(adoptions), &address, child, BPF_ANY);
	if (READ(reaper, flags) & PF_EXITING)
		expect_missed(address);
}

/* Which of the children kept of an exiting thread shows that the kernel has moved them, or -1.
 * `released`: it may also have been waited for, or released at once, as long as its memory still
 * is what it was. */
VERIFIED_ONCE(int, find_moved, u64 father, u32 released)
{
	struct orphaning *orphaning = find_orphaning(father);
	int i;

	if (!orphaning)
		return -1;
	for (i = 0; i < MAX_KEPT; i++) {
		struct child *child = &orphaning->child[i];
		struct task_struct *task = (void *)child->task;

		if (i >= orphaning->kept)
			return -1;
		if ((u64)READ(task, real_parent) == father)
			continue;
		if (released ? READ(task, start_boottime) == child->start_ns : is_there(child))
			return i;
	}
	return -1;
}

/*
 * Whether the predicted reaper is the last parent of a child that has been released meanwhile (a
 * zombie whose new parent ignores SIGCHLD). That parent is protected by nothing any more, so only
 * what was expected is believed.
 */
static __always_inline bool released_to_predicted(struct orphaning *orphaning, u64 father,
						  u32 *reaper_tid, struct task_struct **reaper_task)
{
	int moved = find_moved(father, true);
	struct task_struct *task, *parent;
	struct process reaper;

	if (moved < 0)
		return false;
	task = (void *)orphaning->child[moved & (MAX_KEPT - 1)].task;
	parent = READ(task, real_parent);
	reaper = probe_process(parent);
	*reaper_tid = READ(parent, pid);
	*reaper_task = parent;
	return reaper.tgid && reaper.tgid == orphaning->predicted.tgid &&
	       reaper.start_ns == orphaning->predicted.start_ns;
}

/*
 * Reads the reaper of an exiting thread's children, if the kernel has moved them. After the last
 * hook no other will come: then it says that it could not be observed rather than nothing.
 */
VERIFIED_ONCE(int, observe_reaper, u64 father, u32 hook)
{
	bool last = hook != RTRACE_HOOK_SIGNAL;
	struct orphaning *orphaning = find_orphaning(father);
	struct task_struct *reaper_task = NULL;
	struct process reaper = {};
	u32 reaper_tid = 0;
	int moved;

	if (!orphaning)
		return 0;
	if (!orphaning->observed) {
		moved = find_moved(father, false);
		if (moved >= 0 && read_reaper(&orphaning->child[moved & (MAX_KEPT - 1)], father,
					      &reaper, &reaper_tid, &reaper_task)) {
			orphaning->observed = 1;
			mention(reaper_task);
			emit_reaper(orphaning, &reaper, reaper_tid,
				    reason_of(orphaning, reaper_task), hook);
			note_adoption(reaper_task, &orphaning->child[moved & (MAX_KEPT - 1)]);
		}
	}
	if (!last)
		return 0;
	if (!orphaning->observed &&
	    released_to_predicted(orphaning, father, &reaper_tid, &reaper_task)) {
		mention(reaper_task);
		emit_reaper(orphaning, &orphaning->predicted, reaper_tid,
			    orphaning->predicted_reason, hook);
	} else if (!orphaning->observed) {
		reaper = (struct process){};
		emit_reaper(orphaning, &reaper, 0, RTRACE_REASON_UNKNOWN, RTRACE_HOOK_NONE);
	}
	end_orphaning(father);
	return 0;
}

/* Everywhere, but on every switch of every task: exit_state is set inside exit_notify(). */
HOOK(sched_switch, bool preempt, struct task_struct *prev)
{
	if (FIELD(prev, exit_state) && COUNTER(orphaning_count))
		observe_reaper(bpf_get_current_task(), RTRACE_HOOK_SCHED_SWITCH);
	return 0;
}

/* Called once a thread, right after exit_notify(): preferred where the kernel allows it. */
FENTRY(proc_exit_connector)
{
	observe_reaper(bpf_get_current_task(), RTRACE_HOOK_PROC_EXIT_CONNECTOR);
	return 0;
}

KPROBE(proc_exit_connector)
{
	observe_reaper(bpf_get_current_task(), RTRACE_HOOK_PROC_EXIT_CONNECTOR);
	return 0;
}

#endif
