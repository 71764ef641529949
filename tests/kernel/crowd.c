/*
 * Processes that are there and do nothing: NAME COUNT makes so many children, and says so.
 *
 * They cost little: the program is static and small, and a child touches no page of its own but
 * its stack. Any other argument makes none: a test may call the program what it likes.
 */
#include "tester.h"

int main(int argc, char **argv)
{
	int i, made = 0, count = argc == 2 ? atoi(argv[1]) : 0;

	for (i = 0; i < count; i++) {
		int pid = fork();

		if (pid < 0)
			break;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause_forever();
		}
		made++;
	}
	SAY("pid %d\ncount %d", getpid(), made);
	pause_forever();
}
