/*
 * A bad docker daemon: NAME -H unix://PATH, and in the environment DAEMON says what is bad.
 *
 *   deaf     takes connections and never says a word
 *   full     has as many connections waiting as may wait, and takes none
 *   drip     answers one byte a second
 *   flood    has no end of an answer
 *   hangup   closes at once
 *   garbage  says what is no HTTP
 */
#include "tester.h"

static const char head[] = "HTTP/1.0 200 OK\r\n\r\n";

static int client_of(const struct sockaddr_un *address)
{
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	return connect(client, (const struct sockaddr *)address, sizeof(*address));
}

static void answer(int connection, const char *how)
{
	static char page[65536];
	size_t i;

	if (!strcmp(how, "drip"))
		for (i = 0;; i++) {
			char byte = i < sizeof(head) - 1 ? head[i] : ' ';

			if (write(connection, &byte, 1) != 1)
				return;
			sleep(1);
		}
	if (!strcmp(how, "flood")) {
		memset(page, '[', sizeof(page));
		if (write(connection, head, sizeof(head) - 1) < 0)
			return;
		while (write(connection, page, sizeof(page)) > 0)
			;
	}
	if (!strcmp(how, "garbage") &&
	    (read(connection, page, sizeof(page)) < 0 || write(connection, "\1\2\3\n", 4) < 0))
		return;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	const char *how = getenv("DAEMON");

	if (argc != 3 || strncmp(argv[2], "unix://", 7) || !how)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	strncpy(address.sun_path, argv[2] + 7, sizeof(address.sun_path) - 1);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, strcmp(how, "full") ? 64 : 0))
		return 1;
	if (!strcmp(how, "full"))
		while (!client_of(&address))
			;
	SAY("pid %d", getpid());
	while (strcmp(how, "deaf") && strcmp(how, "full")) {
		int connection = accept(listener, NULL, NULL);

		answer(connection, how);
		close(connection);
	}
	pause_forever();
}
