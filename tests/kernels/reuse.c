/*
 * Processes until there are no more process ids, then so many more that each id that is left is
 * used again and again: reuse MORE.
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
	for (i = 0; i < FREED && i < count; i++) {
		kill(held[i], SIGKILL);
		wait_for_child(held[i]);
	}
	while (reused < more) {
		int child = fork();

		if (child < 0) {
			refused++;
			nap(); /* an id is free again only when RCU has let go of its process */
			continue;
		}
		if (!child)
			_exit(5);
		wait_for_child(child);
		reused++;
	}
	for (i = FREED; i < count; i++)
		kill(held[i], SIGKILL);
	for (i = FREED; i < count; i++)
		wait_for_child(held[i]);
	SAY("pid %d", getpid());
	SAY("reused %ld", reused);
	SAY("refused %ld", refused);
	return 0;
}
