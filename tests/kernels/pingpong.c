/* Two processes on one CPU that wake each other up: pingpong ROUND_TRIPS; prints nanoseconds. */
#include "tester.h"

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 0, i;
	int there[2], back[2], child;
	long long begin;
	cpu_set_t cpu;
	char byte = 0;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) || pipe(there) || pipe(back))
		return 1;
	child = fork();
	if (!child) {
		for (i = 0; i < rounds; i++)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	begin = boot_ns();
	for (i = 0; i < rounds; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			return 1;
	SAY("%lld", boot_ns() - begin);
	wait_for_child(child);
	return 0;
}
