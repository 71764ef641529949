/* Processes that do things from threads: exec, exit, exit_group, fork. */
#include "tester.h"

static pid_t leader, parent_tid;

static void *exec_true(void *unused)
{
	SAY("tid %d", tid());
	execl("/bin/true", "true", "from a thread", NULL);
	_exit(98);
}

/* The leader exits with 3, and the last thread, when it has seen that, with 7. */
static void *outlive_leader(void *unused)
{
	while (thread_state(leader) != 'Z')
		nap();
	SAY("tid %d", tid());
	SAY("boot_ns %lld", boot_ns());
	syscall(SYS_exit, 7);
	return NULL;
}

static void *exit_group_5(void *unused)
{
	SAY("tid %d", tid());
	_exit(5);
}

/* Forks a child that lives until its standard input ends, and exits: not the process. */
static void *leave_a_child(void *input)
{
	int child = fork();

	parent_tid = tid();
	if (!child) {
		char byte;

		close(((int *)input)[1]);
		_exit(read(((int *)input)[0], &byte, 1) ? 1 : 4);
	}
	SAY("tid %d", tid());
	SAY("child %d", child);
	return (void *)(long)child;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	pthread_t thread;
	int input[2];
	void *result;

	leader = getpid();
	SAY("pid %d", leader);
	if (!strcmp(mode, "exec")) {
		pthread_create(&thread, NULL, exec_true, NULL);
	} else if (!strcmp(mode, "leader-first")) {
		pthread_create(&thread, NULL, outlive_leader, NULL);
		syscall(SYS_exit, 3);
	} else if (!strcmp(mode, "exit-group")) {
		pthread_create(&thread, NULL, exit_group_5, NULL);
	} else if (!strcmp(mode, "child-of-thread")) {
		if (pipe(input))
			return 97;
		pthread_create(&thread, NULL, leave_a_child, input);
		pthread_join(thread, &result);
		while (thread_state(parent_tid)) /* joined is not gone: its children move later */
			nap();
		close(input[0]);
		close(input[1]);
		wait_for_child((long)result);
		return 0;
	} else {
		return 2;
	}
	pause_forever();
}
