/*
 * Many processes that live: crowd COUNT; says how many it could make, and ends them when its
 * input ends. They share what processes can share (memory, files), so that 100,000 fit into a
 * small machine: to a recorder they are processes like any other.
 */
#include "tester.h"

static char stack[16384] __attribute__((aligned(16)));

static int wait_for_end(void *unused)
{
	pause_forever();
}

int main(int argc, char **argv)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM;
	long count = argc > 1 ? atol(argv[1]) : 0, made;
	char byte;

	signal(SIGTERM, SIG_DFL);
	setpgid(0, 0);
	/* All on one stack: it holds nothing that any of them comes back to. */
	for (made = 0; made < count; made++)
		if (clone(wait_for_end, stack + sizeof(stack), flags | SIGCHLD, NULL) < 0)
			break;
	SAY("pid %d", getpid());
	SAY("made %ld", made);
	if (read(0, &byte, 1) < 0)
		return 1;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGKILL);
	return 0;
}
