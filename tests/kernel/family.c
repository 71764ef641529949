/* Ways to be born, to become an orphan and to be waited for. */
#include "tester.h"

/* A child that exits when its creator has gone and it has a new parent. */
static int fork_orphan(int exit_status)
{
	int parent = getpid(), pid = fork();

	if (!pid) {
		while (getppid() == parent)
			nap();
		SAY("adopted_by %d", getppid());
		_exit(exit_status);
	}
	return pid;
}

static void become_subreaper(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	SAY("subreaper %d", getpid());
}

/* Forks a process that forks an orphan, and exits; waits for all that are then its children. */
static int orphan(void)
{
	int middle = fork();

	if (!middle) {
		SAY("middle %d", getpid());
		SAY("orphan %d", fork_orphan(6));
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 0;
}

/* As orphan(), but what is left behind is a zombie. */
static int zombie(void)
{
	int middle = fork();

	if (!middle) {
		siginfo_t info;
		int child = fork();

		if (!child)
			_exit(8);
		waitid(P_PID, child, &info, WEXITED | WNOWAIT);
		SAY("middle %d", getpid());
		SAY("zombie %d", child);
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 0;
}

/* A child that is waited for late. */
static int late_wait(void)
{
	siginfo_t info;
	int child = fork();

	if (!child)
		_exit(2);
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	usleep(100000);
	SAY("child %d", child);
	SAY("wait_ns %lld", boot_ns());
	wait_for_child(child);
	return 0;
}

static int autoreap(void)
{
	int child;

	signal(SIGCHLD, SIG_IGN);
	child = fork();
	if (!child)
		_exit(2);
	SAY("child %d", child);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 0;
}

/* The child of a middle process whose parent is this one. */
static int clone_parent(void)
{
	int middle = fork();

	if (!middle) {
		int child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		if (!child)
			_exit(0);
		SAY("middle %d", getpid());
		SAY("child %d", child);
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 0;
}

static int vfork_child(void)
{
	int child = vfork();

	if (!child)
		_exit(9);
	SAY("child %d", child);
	wait_for_child(child);
	return 0;
}

/* Many children that all lose their parent at once, and then end. */
static int many(int count)
{
	int end[2], middle, i;
	char byte;

	if (pipe(end))
		return 97;
	middle = fork();
	if (!middle) {
		SAY("middle %d", getpid());
		for (i = 0; i < count; i++) {
			if (fork())
				continue;
			close(end[1]);
			_exit(read(end[0], &byte, 1) != 0);
		}
		_exit(0);
	}
	wait_for_child(middle);
	close(end[1]);
	for (i = 0; wait(NULL) > 0; i++)
		;
	SAY("waited_for %d", i);
	return 0;
}

static void *rename_thread(void *unused)
{
	prctl(PR_SET_NAME, "a-thread");
	return NULL;
}

/* The process's comm, then that of a thread of its. */
static int rename_to(const char *comm)
{
	pthread_t thread;

	prctl(PR_SET_NAME, comm);
	pthread_create(&thread, NULL, rename_thread, NULL);
	pthread_join(thread, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	SAY("pid %d", getpid());
	SAY("parent %d", getppid());
	if (!strcmp(mode, "orphan"))
		return orphan();
	if (!strcmp(mode, "subreaper")) {
		become_subreaper();
		return orphan();
	}
	if (!strcmp(mode, "subreaper-zombie")) {
		become_subreaper();
		return zombie();
	}
	if (!strcmp(mode, "many")) {
		become_subreaper();
		return many(atoi(argv[2]));
	}
	if (!strcmp(mode, "late-wait"))
		return late_wait();
	if (!strcmp(mode, "autoreap"))
		return autoreap();
	if (!strcmp(mode, "clone-parent"))
		return clone_parent();
	if (!strcmp(mode, "vfork"))
		return vfork_child();
	if (!strcmp(mode, "rename"))
		return rename_to(argv[2]);
	return 2;
}
