/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the two builds of the same programs, and nothing else:
 *
 *   core  compiled by clang when the package is built, fields relocated by libbpf at load time
 *   bcc   compiled on the host by bcc's clang, against the layout of the kernel that runs
 *
 * Programs, each with its hook in its name:
 *   HOOK(name, args...)     on the tracepoint `name`, with its arguments
 *   RAW_HOOK(name)          the same where the arguments differ between kernels: ctx[0], ctx[1], ...
 *   FENTRY(f), KPROBE(f)    on the entry of the kernel's function f
 *   CALLED(name)            bcc: run by user space, with ctx[0], ... as arguments
 *
 * Kernel memory:
 *   FIELD(p, a, b, ...)     p->a->b... for pointers that come from a hook's arguments: loads in
 *                           core, where the verifier knows their types; READ in bcc
 *   READ(p, a, b, ...)      the same for any address: 0 where a pointer on the way is bad
 *   READ_INTO(to, n, p, f)  n bytes of p->f
 *   COPY_16(to, p, f)       16 bytes of p->f, for a pointer as in FIELD
 *   BIT, BIT_PROBED(p, f)   a bit field, for pointers as in FIELD and as in READ
 *   HAS_FIELD(tag, f)       whether the running kernel's struct has it; tag: without `struct`
 *   ENUM_VALUE(type, v)     the running kernel's value of an enum constant, -1 if it has none
 *   OFFSET(type, f), SIZE_OF(type)
 *
 * DEFINE_SETTINGS(type, name): what user space sets before it loads the programs.
 *
 * Everything between programs, and to user space:
 *   DEFINE_MAP(kind, name, key type, value type, entries), DEFINE_RING(name), and
 *   DEFINE_MAPPED_ARRAY(name, value type, entries) that user space reads by mmap; MAP(name) is
 *                           what a helper takes
 *   DEFINE_COUNTER(name), COUNTER(name), ADD_TO_COUNTER(name, n)
 *
 * VERIFIED_ONCE(type, name, args...)
 *   A global function, verified once, alone, and not again at each call: in a loop that is the
 *   difference between 0.5 s and 0.02 s of load time. Its arguments must be plain numbers (since
 *   5.6; pointers came later), so tasks are passed to it as addresses; two at most (bcc).
 */
#ifndef RTRACE_DIALECT_H
#define RTRACE_DIALECT_H

#ifdef RTRACE_CORE
#include "dialect_core.h"
#else
#include "dialect_bcc.h"
#endif

/* Keeps the compiler from forgetting a bound that the verifier has to see. */
#define BOUND(x) asm volatile("" : "+r"(x))

#endif
