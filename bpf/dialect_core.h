/* SPDX-License-Identifier: GPL-2.0 */
/* dialect.h for clang and libbpf (CO-RE). */
#ifndef RTRACE_DIALECT_CORE_H
#define RTRACE_DIALECT_CORE_H

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
#define RAW_HOOK(name)                                                                             \
	SEC("raw_tp/" #name)                                                                       \
	int name(u64 *ctx)
#define FENTRY(function)                                                                           \
	SEC("fentry/" #function)                                                                   \
	int fentry_##function(void *ctx)
#define KPROBE(function)                                                                           \
	SEC("kprobe/" #function)                                                                   \
	int kprobe_##function(void *ctx)

#define FIELD(p, fields...) ___arrow((p), fields)
#define READ(p, fields...) BPF_CORE_READ(p, fields)
#define READ_INTO(to, size, p, field) bpf_core_read(to, size, &(p)->field)
#define COPY_16(to, p, field)                                                                      \
	do {                                                                                       \
		((u64 *)(to))[0] = ((const u64 *)(p)->field)[0];                                   \
		((u64 *)(to))[1] = ((const u64 *)(p)->field)[1];                                   \
	} while (0)
#define BIT(p, field) BPF_CORE_READ_BITFIELD(p, field)
#define BIT_PROBED(p, field) BPF_CORE_READ_BITFIELD_PROBED(p, field)
#define HAS_FIELD(tag, field) bpf_core_field_exists(((struct tag *)0)->field)
#define ENUM_VALUE(type, value)                                                                    \
	(bpf_core_enum_value_exists(type, value) ? bpf_core_enum_value(type, value) : -1)
#define OFFSET(type, field) __builtin_preserve_field_info(((type *)0)->field, BPF_FIELD_BYTE_OFFSET)
#define SIZE_OF(type) bpf_core_type_size(type)

#define DEFINE_MAP(kind, name, key_type, value_type, entries)                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(max_entries, entries);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define DEFINE_MAPPED_ARRAY(name, value_type, entries)                                             \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, entries);                                                      \
		__type(key, u32);                                                                  \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define CPUS 1 /* the loader sets what losses has */
#define DEFINE_RING(name)                                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, 4096); /* the loader sets it */                                \
	} name SEC(".maps")
#define MAP(name) (&(name))

#define DEFINE_COUNTER(name) static u64 name
#define COUNTER(name) (name)
#define ADD_TO_COUNTER(name, n) __sync_fetch_and_add(&(name), n)

#define VERIFIED_ONCE(type, name, args...) __noinline type name(args)

/* Settings are read-only data, so constants to the verifier. */
#define DEFINE_SETTINGS(type, name) const volatile type name = {}

#define DEFINE_LICENSE(text) char LICENSE[] SEC("license") = text

static __always_inline u64 address_of(const void *pointer)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

#endif
