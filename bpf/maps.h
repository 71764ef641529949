/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Settings, the two rings and the loss counters: everything between the programs and the
 * collector.
 *
 * The collector reads the rings by mmap and polls them, so nothing is ever woken up
 * (BPF_RB_NO_WAKEUP): wakeups are what makes other ring buffer tracers slow.
 */
#ifndef RTRACE_MAPS_H
#define RTRACE_MAPS_H

#include "dialect.h"
#include "events.h"
#include "kernel.h"

/* What the collector reads. The loader sizes the rings, and gives losses an entry for each CPU. */
DEFINE_SETTINGS(struct rtrace_config, config);
DEFINE_RING(events);
DEFINE_RING(details);
DEFINE_MAPPED_ARRAY(losses, struct rtrace_loss, CPUS);

static __always_inline struct rtrace_loss *cpu_losses(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(MAP(losses), &cpu);
}

/*
 * Room for one event with its common fields set, or NULL: then the loss is counted, and the
 * next event of this CPU tells where it was.
 */
static __always_inline struct rtrace_event *reserve_event(enum rtrace_type type, u32 tgid, u32 tid,
							  u64 start_ns, u32 flags)
{
	struct rtrace_loss *loss = cpu_losses();
	struct rtrace_event *event;

	event = bpf_ringbuf_reserve(MAP(events), sizeof(*event), 0);
	if (!event) {
		if (loss)
			__sync_fetch_and_add(&loss->events, 1);
		return NULL;
	}
	event->ts_ns = bpf_ktime_get_boot_ns();
	event->start_ns = start_ns;
	event->tgid = tgid;
	event->tid = tid;
	event->cpu_lost = loss ? loss->events : 0;
	event->cpu = bpf_get_smp_processor_id();
	event->type = type;
	event->flags = flags;
	return event;
}

static __always_inline void submit_event(struct rtrace_event *event)
{
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline void output_detail(struct rtrace_detail *detail, u64 size)
{
	struct rtrace_loss *loss = cpu_losses();

	detail->cpu = bpf_get_smp_processor_id();
	detail->cpu_lost = loss ? loss->details : 0;
	if (bpf_ringbuf_output(MAP(details), detail, size, BPF_RB_NO_WAKEUP) && loss)
		__sync_fetch_and_add(&loss->details, 1);
}

#endif
