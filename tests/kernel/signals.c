/* Signals that a process gets from itself, from its thread, from the kernel. */
#include "tester.h"

static void *wait_in_thread(void *ready)
{
	*(int *)ready = tid();
	pause_forever();
}

static int segfault(void)
{
	*(volatile int *)16 = 1;
	return 0;
}

static int alarm_clock(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 1000}};

	setitimer(ITIMER_REAL, &soon, NULL);
	pause_forever();
}

/* SIGUSR1, ignored, to one thread. */
static int to_thread(void)
{
	volatile int thread_tid = 0;
	pthread_t thread;

	signal(SIGUSR1, SIG_IGN);
	pthread_create(&thread, NULL, wait_in_thread, (void *)&thread_tid);
	while (!thread_tid)
		nap();
	SAY("tid %d", thread_tid);
	syscall(SYS_tgkill, getpid(), thread_tid, SIGUSR1);
	return 0;
}

/* SIGUSR2 three times: taken, then twice pending already. */
static int pending(void)
{
	sigset_t set;
	int i;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < 3; i++)
		kill(getpid(), SIGUSR2);
	return 0;
}

/* A child that gets SIGTERM when its parent exits. */
static int parent_death(void)
{
	int middle;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	middle = fork();
	if (!middle) {
		int ready[2], child;
		char byte;

		if (pipe(ready))
			_exit(97);
		child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			if (write(ready[1], "x", 1) != 1)
				_exit(97);
			pause_forever();
		}
		if (read(ready[0], &byte, 1) != 1)
			_exit(97);
		SAY("middle %d", getpid());
		SAY("child %d", child);
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	union sigval value = {.sival_int = 42};

	SAY("pid %d", getpid());
	if (!strcmp(mode, "segfault"))
		return segfault();
	if (!strcmp(mode, "alarm"))
		return alarm_clock();
	if (!strcmp(mode, "abort"))
		abort();
	if (!strcmp(mode, "to-thread"))
		return to_thread();
	if (!strcmp(mode, "pending"))
		return pending();
	if (!strcmp(mode, "parent-death"))
		return parent_death();
	if (!strcmp(mode, "queue"))
		return sigqueue(atoi(argv[2]), SIGRTMIN + 3, value);
	if (!strcmp(mode, "kill"))
		return kill(atoi(argv[2]), atoi(argv[3]));
	return 2;
}
