/* A daemon that takes connections and never says a word: NAME -H unix://PATH. */
#include "tester.h"

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 3 || strncmp(argv[2], "unix://", 7))
		return 2;
	strncpy(address.sun_path, argv[2] + 7, sizeof(address.sun_path) - 1);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 64))
		return 1;
	SAY("pid %d", getpid());
	pause_forever();
}
