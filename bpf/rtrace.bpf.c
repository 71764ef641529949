// SPDX-License-Identifier: GPL-2.0
/*
 * rtrace's BPF programs, one concept a header:
 *
 *   events.h     the records (shared with user space)
 *   kernel.h     the kernel types that are read
 *   dialect.h    what differs between the two builds
 *   maps.h       settings, rings, losses
 *   identity.h   who a task is
 *   filter.h     --pidns, --cgroup, stubs
 *   details.h    argv, cgroup names
 *   reparent.h   who adopts whom
 *   lifecycle.h  fork, exec, exit, comm, reap
 *   signals.h    signals and OOM
 *   snapshot.h   what is alive
 *   sockets.h    who talks to whom
 */
#include "lifecycle.h"
#include "signals.h"
#include "snapshot.h"
#include "sockets.h"

DEFINE_LICENSE("GPL");
