/* What all tester programs need: they say what they do, in lines of "name value". */
#ifndef TESTER_H
#define TESTER_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One write, so that processes do not mix their lines. */
#define SAY(format, ...)                                                                           \
	do {                                                                                       \
		char line[128];                                                                    \
		int length = snprintf(line, sizeof(line), format "\n", ##__VA_ARGS__);             \
		if (write(1, line, length) != length)                                              \
			_exit(99);                                                                 \
	} while (0)

static inline long long boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline int tid(void)
{
	return syscall(SYS_gettid);
}

static inline void nap(void)
{
	usleep(2000);
}

static inline void __attribute__((noreturn)) pause_forever(void)
{
	for (;;)
		pause();
}

/* The state letter of a thread of this process. */
static inline char thread_state(int thread)
{
	char path[64], text[512], *end;
	int fd, length;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = 0;
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}

static inline void wait_for_child(int pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

#endif
