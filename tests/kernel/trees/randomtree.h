/* What the parts of randomtree share: the log's format, the plan of a tree, and small helpers. */
#pragma once

#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_NODES 4096
#define MAX_RECORDS (1u << 17)
#define MAX_THREADS 3
#define MAX_VICTIMS 4
#define MAX_LEVEL 3 /* of nested pid namespaces */
#define THREAD_STACK_BYTES (128u << 10)
#define ROUND_DEADLINE_NS 20000000000ull
#define NO_RUN UINT32_MAX

/* The enums below are part of the log format: log.py has the same ones. */
enum kind {
	UNFINISHED, /* its writer was killed */
	ROUND, /* lo..hi: the round; detail: born; creator: planned; last: records dropped */
	BIRTH, /* lo..hi: it started in between; creator: who called clone; how: enum birth */
	SPAWN, /* the same, written by the creator; pid: in the creator's namespace, or -errno */
	SEEN_GETPPID, /* ppid was the parent at an instant in lo..hi, and still at or after last */
	SEEN_PROC, /* the same, but ppid is the host's number, from /proc/self/stat */
	SNAPSHOT, /* SEEN_PROC by the driver, of zombies too; last: start in ticks; detail: state */
	EXECED, /* lo: a moment after it; how: 1 if another thread than the leader called it */
	SUBREAPER, /* lo..hi: set (how 1) or cleared (how 0) */
	THREAD_EXIT, /* lo: right before a thread exits alone; how: 0 for the leader */
	EXIT, /* lo: right before the end that it chose itself; how: enum death */
	KILL, /* lo: right before the node (detail) is killed by its creator */
};

enum birth {
	FORK,
	FORK_NO_SIGNAL,
	FORK_SIBLING,
	FORK_PIDNS,
	FORK_INJECT,
	VFORK
};
enum death {
	EXIT_GROUP,
	EXIT_GROUP_BY_THREAD,
	EXIT_LEADER_FIRST,
	SIGKILL_SELF,
	SIGTERM_SELF,
	SIGKILL_PGROUP
};
enum moment {
	NOW,
	SOON,
	WAVE1,
	WAVE2,
	WAVE3,
	END
};

enum trait {
	REAPS = 1 << 0,
	SIGCHLD_IGNORED = 1 << 1,
	SIGCHLD_NOCLDWAIT = 1 << 2,
	SUBREAPER_EARLY = 1 << 3,
	SUBREAPER_LATE = 1 << 4, /* when its children are there already */
	SUBREAPER_CLEARED = 1 << 5,
	PDEATH_SIGKILL = 1 << 6,
	PDEATH_SIGTERM = 1 << 7,
	SIGTERM_IGNORED = 1 << 8,
	PGROUP = 1 << 9,
	EXEC_EARLY = 1 << 10,
	EXEC_LATE = 1 << 11, /* when its children are there already */
	EXEC_BY_THREAD = 1 << 12,
	VICTIM = 1 << 13, /* its creator kills it at its moment, if that is still there */
	CHAIN = 1 << 14, /* part of a long line of only children */
	CROWD = 1 << 15, /* parent of more than 128 */
};

struct log_header {
	char magic[8];
	uint32_t record_bytes;
	uint32_t rounds;
	uint64_t seed;
	int32_t driver_tgid; /* host */
	int32_t driver_pid;
	uint32_t size;
	uint32_t spare;
	uint64_t begin_ns;
	uint64_t ticks_per_second;
	uint64_t driver_start_ticks;
};

struct record {
	uint16_t kind; /* written last */
	uint16_t how;
	uint32_t round;
	uint32_t node;
	uint32_t creator;
	uint32_t
		pidns; /* namespace of pid and ppid: the node that is its init, 0 for the outer one */
	int32_t tgid; /* in the host's numbers */
	int32_t pid;
	int32_t ppid;
	uint32_t traits;
	uint32_t detail;
	uint64_t lo_ns;
	uint64_t hi_ns;
	uint64_t last_ns;
};

_Static_assert(sizeof(struct log_header) == 64, "log.py reads 64 bytes");
_Static_assert(sizeof(struct record) == 64, "log.py reads 64 bytes");

/* A process. Nodes lie in depth-first order: the subtree of node i is i .. i + size - 1. */
struct node {
	/* The plan, written before the round. */
	uint32_t id, creator, size, traits, delay_us, pace_us;
	uint32_t init; /* of the pid namespace that it is to be born into, if that is another one */
	uint8_t birth, death, moment, threads, level;
	uint8_t thread; /* the thread of the creator that makes it, 0 for the leader */
	uint8_t thread_moments[MAX_THREADS + 1];

	/* Its life, written by the process and, before its birth, by its creator. */
	enum {
		TO_BE_BORN,
		TO_SPAWN,
		TO_LINGER
	} stage;
	int32_t tgid, pid;
	uint32_t pidns;
	uint64_t start_lo_ns;
	uint32_t run_getppid,
		run_proc; /* the records that go on as long as the parent is the same */
	uint32_t threads_done;
	int32_t victim_fds[MAX_VICTIMS];
	uint32_t victims[MAX_VICTIMS];
	uint32_t n_victims;
};

/* Shared by all processes of a round, also after an exec. */
struct arena {
	uint32_t phase; /* enum moment; a futex */
	uint32_t round;
	uint32_t born;
	uint32_t n_records;
	uint64_t deadline_ns;
	int fd;
	char exe[PATH_MAX];
	struct node nodes[MAX_NODES];
	struct record records[MAX_RECORDS];
};
extern struct arena *arena;

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static inline void sleep_us(unsigned int us)
{
	nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

static inline uint32_t phase(void)
{
	return __atomic_load_n(&arena->phase, __ATOMIC_ACQUIRE);
}

/* Returns early when the phase changes, so that a wave starts at one instant. */
static inline void wait_phase(uint32_t old, unsigned int us)
{
	struct timespec timeout = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	syscall(SYS_futex, &arena->phase, FUTEX_WAIT, old, &timeout, NULL, 0);
}

static inline void set_phase(uint32_t value)
{
	__atomic_store_n(&arena->phase, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, &arena->phase, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static inline void exit_if_overdue(void)
{
	if (now_ns() > arena->deadline_ns)
		syscall(SYS_exit_group, 99);
}

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull); /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* One of 0 .. n - 1. */
static inline uint32_t roll(uint64_t *state, uint32_t n)
{
	return next_random(state) % n;
}

static inline bool chance(uint64_t *state, uint32_t percent)
{
	return roll(state, 100) < percent;
}

/* An index, each with its probability. They add up to 100. */
static inline uint32_t draw(uint64_t *state, const uint8_t *percents)
{
	uint32_t dice = roll(state, 100), i;

	for (i = 0; dice >= percents[i]; i++)
		dice -= percents[i];
	return i;
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* witness.c: the log, and what a process sees of itself. */
struct proc_stat {
	char state;
	int ppid;
	uint64_t start_ticks;
};

struct record *new_record(const struct node *n);
uint32_t finish(struct record *r, enum kind kind);
void log_event(const struct node *n, enum kind kind, uint16_t how, uint64_t lo_ns, uint64_t hi_ns);
bool read_proc_stat(const char *path, struct proc_stat *stat);
int host_tgid(void);
void observe(struct node *n);

/* life.c: what a process does. */
void spawn(struct node *n, struct node *child, int *pidfd);
_Noreturn void live(struct node *n);

/* plan.c: the whole tree, before its root is born. */
uint32_t plan_round(uint64_t seed, uint32_t round, uint32_t size);
