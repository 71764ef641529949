/* Uses more and more memory, up to the given number of MiB. */
#include "tester.h"

int main(int argc, char **argv)
{
	long left = argc > 1 ? atol(argv[1]) : 0;

	SAY("pid %d", getpid());
	for (; left > 0; left--) {
		char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			return 1;
		memset(memory, 1, 1 << 20);
	}
	return 0;
}
