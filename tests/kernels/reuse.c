/*
 * Processes until there are no more process ids, then so many more that each id that is left is
 * used again and again, by one process after the other: reuse MORE.
 */
#include "tester.h"

#define MOST 60000
#define FREED 4

int main(int argc, char **argv)
{
	static int held[MOST];
	long more = argc > 1 ? atol(argv[1]) : 0, refused = 0, reused = 0;
	int count = 0, i;

	while (count < MOST) {
		int child = fork();

		if (child < 0)
			break;
		if (!child)
			pause_forever();
		held[count++] = child;
	}
	SAY("held %d", count);
	SAY("error %d", errno);
	/* The last ones: ids below 300 (RESERVED_PIDS in kernel/pid.c) are not given out again. */
	for (i = 0; i < FREED && count; i++) {
		kill(held[--count], SIGKILL);
		wait_for_child(held[count]);
	}
	while (reused < more) {
		int child = fork();

		if (child < 0) {
			refused++;
			nap();
			continue;
		}
		if (!child)
			_exit(5);
		wait_for_child(child);
		reused++;
	}
	for (i = 0; i < count; i++)
		kill(held[i], SIGKILL);
	for (i = 0; i < count; i++)
		wait_for_child(held[i]);
	SAY("pid %d", getpid());
	SAY("reused %ld", reused);
	SAY("refused %ld", refused);
	return 0;
}
