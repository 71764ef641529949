/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the two builds of the same programs, and nothing else:
 * core (clang and libbpf, fields relocated at load time) and bcc (compiled at run time).
 * Here is core; it is the only one so far.
 *
 * HOOK(name, args...)   a program on the tracepoint `name`, with the tracepoint's arguments
 *                       as pointers that may be followed directly
 * READ(p, a, b, ...)    p->a->b..., for a pointer that did not come from a hook's arguments:
 *                       0 where a pointer on the way is bad
 * ENUM_VALUE(type, v)   the running kernel's value of an enum constant, -1 if it has none
 * BIT(p, f)             a bit field of a pointer that may be followed directly
 */
#ifndef RTRACE_DIALECT_H
#define RTRACE_DIALECT_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef _Bool bool;

#define true 1
#define false 0

#define HOOK(name, args...)                                                                        \
	SEC("tp_btf/" #name)                                                                       \
	int BPF_PROG(name, args)

#define READ(p, fields...) BPF_CORE_READ(p, fields)
#define BIT(p, field) BPF_CORE_READ_BITFIELD(p, field)
#define BIT_PROBED(p, field) BPF_CORE_READ_BITFIELD_PROBED(p, field)
#define HAS_FIELD(p, field) bpf_core_field_exists((p)->field)
#define ENUM_VALUE(type, value)                                                                    \
	(bpf_core_enum_value_exists(type, value) ? bpf_core_enum_value(type, value) : -1)
#define OFFSET(type, field) __builtin_preserve_field_info(((type *)0)->field, BPF_FIELD_BYTE_OFFSET)

/*
 * A global function is verified once, alone, and not again at each call: in a loop that is
 * the difference between 0.5 s and 0.02 s of load time. Its arguments must be plain numbers
 * (since 5.6; pointers came later), so tasks are passed to it as addresses.
 */
#define VERIFIED_ONCE __noinline

static __always_inline u64 address_of(const void *pointer)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

/* Keeps the compiler from forgetting a bound that the verifier has to see. */
#define BOUND(x) asm volatile("" : "+r"(x))

#endif
