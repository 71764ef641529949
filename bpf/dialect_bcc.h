/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dialect.h for bcc, which brings the helpers and the types (bcc/helpers.h).
 *
 * bcc inlines every function and resolves no calls. So a function that is to stay one is called
 * by a number that no helper has, and tracer/bpf_linker.py puts the function behind the program
 * and the distance into the call. Maps are named by numbers of that kind too. tracer/bcc_source.py
 * finds definitions by their macros, gives the numbers (NUMBER_name), and writes main.c: what bcc
 * takes functions from, with one for each program and function here.
 */
#ifndef RTRACE_DIALECT_BCC_H
#define RTRACE_DIALECT_BCC_H

#define HOOK(name, args...)                                                                        \
	static __always_inline int name##_body(u64 *ctx, args);                                    \
	static __always_inline int name(u64 *ctx)                                                  \
	{                                                                                          \
		return name##_body(___bpf_ctx_cast(args));                                         \
	}                                                                                          \
	static __always_inline int name##_body(u64 *ctx, args)
#define RAW_HOOK(name) static __always_inline int name(u64 *ctx)
#define FENTRY(function) static __always_inline int fentry_##function(u64 *ctx)
#define KPROBE(function) static __always_inline int kprobe_##function(u64 *ctx)
/* A program that user space runs: arguments as in RAW_HOOK, result to user space. */
#define CALLED(name) static __always_inline int name(u64 *ctx)

#define READ_FROM(type, address)                                                                   \
	({                                                                                         \
		type field_read;                                                                   \
		bpf_probe_read_kernel(&field_read, sizeof(field_read), address);                   \
		field_read;                                                                        \
	})
#define READ_1(p, a) READ_FROM(typeof((p)->a), &(p)->a)
#define READ_2(p, a, b) READ_FROM(typeof((p)->a->b), &READ_1(p, a)->b)
#define READ_3(p, a, b, c) READ_FROM(typeof((p)->a->b->c), &READ_2(p, a, b)->c)
#define READ_4(p, a, b, c, d) READ_FROM(typeof((p)->a->b->c->d), &READ_3(p, a, b, c)->d)
#define READ_OF(_p, _1, _2, _3, _4, which, ...) which
#define READ(p, fields...) READ_OF(p, fields, READ_4, READ_3, READ_2, READ_1)(p, fields)
#define FIELD(p, fields...) READ(p, fields)
#define READ_INTO(to, size, p, field) bpf_probe_read_kernel(to, size, &(p)->field)
#define COPY_16(to, p, field) bpf_probe_read_kernel(to, 16, &(p)->field)

/* kernel_layout.h has, for each bit field, the byte that holds it and where it is in there. */
#define BIT(p, field) (READ(p, field##_byte) >> field##_shift & 1)
#define BIT_PROBED(p, field) BIT(p, field)

#define HAS_FIELD(tag, field) HAS_##tag##_##field
#define ENUM_VALUE(type, value) ((int)(value))
#define OFFSET(type, field) __builtin_offsetof(type, field)
#define SIZE_OF(type) sizeof(type)

/* The loader makes the maps, from what main.c's functions say of these. */
struct map_definition {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 entries;
	u32 flags;
};

#define DEFINE_MAP_WITH(kind, name, key_type, value_type, entries, flags)                          \
	static const struct map_definition name = {BPF_MAP_TYPE_##kind, sizeof(key_type),          \
						   sizeof(value_type), entries, flags}
#define DEFINE_MAP(kind, name, key_type, value_type, entries)                                      \
	DEFINE_MAP_WITH(kind, name, key_type, value_type, entries, 0)
#define DEFINE_MAPPED_ARRAY(name, value_type, entries)                                             \
	DEFINE_MAP_WITH(ARRAY, name, u32, value_type, entries, BPF_F_MMAPABLE)
#define DEFINE_RING(name)                                                                          \
	static const struct map_definition name = {BPF_MAP_TYPE_RINGBUF, 0, 0, BYTES_##name, 0}
#define MAP(name) ((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, NUMBER_##name))

#define DEFINE_COUNTER(name) DEFINE_MAP(ARRAY, name, u32, u64, 1)
#define COUNTER(name)                                                                              \
	({                                                                                         \
		u32 only_entry = 0;                                                                \
		u64 *counter = bpf_map_lookup_elem(MAP(name), &only_entry);                        \
		counter ? *counter : 0;                                                            \
	})
#define ADD_TO_COUNTER(name, n)                                                                    \
	({                                                                                         \
		u32 only_entry = 0;                                                                \
		u64 *counter = bpf_map_lookup_elem(MAP(name), &only_entry);                        \
		if (counter)                                                                       \
			__sync_fetch_and_add(counter, n);                                          \
	})

#define VERIFIED_ONCE(type, name, args...)                                                         \
	static type (*const name)(args) = (void *)NUMBER_##name;                                   \
	static __always_inline type name##_body(args)

/* bcc takes functions of one argument as they are: this one comes in two registers. */
struct two_arguments {
	u64 first;
	u64 second;
};

/* SETTINGS: what is in the braces of an initializer. */
#define DEFINE_SETTINGS(type, name) static const type name = {SETTINGS}

/* The loader says it. */
#define DEFINE_LICENSE(text) _Static_assert(sizeof(text), text)

static __always_inline u64 address_of(const void *pointer)
{
	return (u64)pointer;
}

#endif
