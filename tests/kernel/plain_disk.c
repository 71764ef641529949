/*
 * Preloaded into a command: a file system that knows no files without names and no flags of
 * renameat2(2), as NFS; with NO_LINKS no hard links either, as vfat.
 */
#include "tester.h"
#include <dlfcn.h>
#include <stdarg.h>

int openat64(int directory, const char *path, int flags, ...)
{
	int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, "openat64");
	va_list more;
	int mode;

	va_start(more, flags);
	mode = va_arg(more, int);
	va_end(more);
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return real(directory, path, flags, mode);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned int flags)
{
	if (flags) {
		errno = EINVAL;
		return -1;
	}
	return renameat(from, old, to, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
	int (*real)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");

	if (getenv("NO_LINKS")) {
		errno = EPERM;
		return -1;
	}
	return real(from, old, to, new, flags);
}
