/* Children without end, for so many milliseconds: storm vfork|fork MILLISECONDS; counts them. */
#include "tester.h"

int main(int argc, char **argv)
{
	int by_vfork = argc > 1 && !strcmp(argv[1], "vfork");
	long long end = boot_ns() + (argc > 2 ? atoll(argv[2]) : 0) * 1000000;
	long count = 0;

	while (boot_ns() < end) {
		int child = by_vfork ? vfork() : fork();

		if (!child)
			_exit(0);
		if (child < 0)
			return 1;
		count++;
		wait_for_child(child);
	}
	SAY("pid %d", getpid());
	SAY("count %ld", count);
	return 0;
}
