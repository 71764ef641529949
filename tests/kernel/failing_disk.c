/*
 * Preloaded into the recorder: what a network file system or a dying disk answers.
 *
 * FAIL_CALL is pwrite, fsync or close, FAIL_ERRNO the error; files whose name ends in FAIL_NAME fail,
 * from the FAIL_AFTER-th call on.
 */
#include "tester.h"
#include <dlfcn.h>

static int fails(int fd, const char *call)
{
	static int calls;
	char link[64], name[4096];
	const char *wanted = getenv("FAIL_CALL"), *end = getenv("FAIL_NAME");
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, name, sizeof(name) - 1);
	if (!wanted || strcmp(wanted, call) || length < (ssize_t)strlen(end))
		return 0;
	name[length] = 0;
	if (strcmp(name + length - strlen(end), end))
		return 0;
	if (++calls < atoi(getenv("FAIL_AFTER")))
		return 0;
	return atoi(getenv("FAIL_ERRNO"));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
	int error = fails(fd, "pwrite");

	if (!error)
		return real(fd, data, size, offset);
	/* As NFS: a part of it is written. */
	if (size > 100)
		real(fd, data, 100, offset);
	errno = error;
	return -1;
}

int fsync(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
	int error = fails(fd, "fsync");

	if (!error)
		return real(fd);
	errno = error;
	return -1;
}

int close(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "close");
	int error = fails(fd, "close"), result = real(fd);

	if (!error)
		return result;
	errno = error;
	return -1;
}
