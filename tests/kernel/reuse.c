/*
 * Processes with the same id, one right after the other: NAME COUNT. Each exits with its number.
 *
 * clone3() with set_tid takes CAP_CHECKPOINT_RESTORE.
 */
#include "tester.h"
#include <linux/sched.h>

static int fork_as(pid_t tgid)
{
	struct clone_args arguments = {
		.exit_signal = SIGCHLD,
		.set_tid = tgid ? (uintptr_t)&tgid : 0,
		.set_tid_size = tgid ? 1 : 0,
	};

	return syscall(SYS_clone3, &arguments, sizeof(arguments));
}

int main(int argc, char **argv)
{
	int i, tgid = 0, count = argc == 2 ? atoi(argv[1]) : 0;

	for (i = 0; i < count; i++) {
		int pid = fork_as(tgid);

		if (!pid)
			_exit(i);
		if (pid < 0) { /* somebody else has it by now */
			SAY("errno %d", errno);
			return 1;
		}
		tgid = pid;
		wait_for_child(pid);
	}
	SAY("tgid %d\ncount %d", tgid, count);
	return 0;
}
