// SPDX-License-Identifier: GPL-2.0
/*
 * A storm of processes, and what it cost itself.
 *
 *     storm fork|vfork|exec ITERATIONS WORKERS
 *
 * Each worker makes ITERATIONS children, one after the other, and waits for each. A child exits
 * at once, or (exec) becomes this program again, which then exits at once: by its path and not as
 * /proc/self/exe, so that all have one name. A worker is bound to a CPU with its children, each to
 * the next: otherwise the scheduler's choice where a child runs makes more difference than any
 * tracer.
 * Prints: wall nanoseconds, CPU nanoseconds (user and system, children included).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char self[PATH_MAX];

static long long cpu_ns(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static long long wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static pid_t make_child(const char *mode)
{
	char *const argv[] = {program_invocation_short_name, NULL};
	static char *const envp[] = {NULL};
	pid_t child = mode[0] == 'f' ? fork() : vfork();

	if (child)
		return child;
	if (mode[0] == 'e')
		execve(self, argv, envp);
	_exit(mode[0] == 'e');
}

/* To the index-th CPU of those that may be used, counted round and round. */
static void bind_to_cpu(long index)
{
	cpu_set_t allowed, chosen;
	int cpu;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	index %= CPU_COUNT(&allowed);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || index--)
			continue;
		CPU_ZERO(&chosen);
		CPU_SET(cpu, &chosen);
		sched_setaffinity(0, sizeof(chosen), &chosen);
		return;
	}
}

static void work(const char *mode, long iterations)
{
	int status;

	while (iterations-- > 0) {
		pid_t child = make_child(mode);

		if (child < 0 || waitpid(child, &status, 0) != child || status)
			_exit(1);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	long workers, i;
	long long start;
	int status, failed = 0;

	if (argc == 1)
		return 0; /* a child of an exec storm */
	if (argc != 4)
		return 2;
	if (strcmp(argv[1], "fork") && strcmp(argv[1], "vfork") && strcmp(argv[1], "exec"))
		return 2;
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	workers = atol(argv[3]);
	start = wall_ns();
	for (i = 0; i < workers; i++) {
		pid_t worker = fork();

		if (worker < 0)
			return 1;
		if (!worker) {
			bind_to_cpu(i);
			work(argv[1], atol(argv[2]));
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	printf("%lld %lld\n", wall_ns() - start, cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN));
	return !!failed;
}
