/*
 * Holds unix sockets: NAME ROLE:PATH..., one after the other. `@` in front of a path: abstract.
 *
 *   listen:PATH   and accepts whoever comes
 *   deaf:PATH     listens, and accepts nobody
 *   connect:PATH
 *
 * A copy of it under a daemon's name is that daemon, as far as sockets go.
 */
#include <poll.h>
#include <stddef.h>

#include "tester.h"

static socklen_t name(struct sockaddr_un *address, const char *path)
{
	size_t length = strlen(path);

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (length >= sizeof(address->sun_path))
		_exit(2);
	memcpy(address->sun_path, path, length);
	if (*path != '@')
		return sizeof(*address);
	address->sun_path[0] = 0;
	return offsetof(struct sockaddr_un, sun_path) + length;
}

int main(int argc, char **argv)
{
	static struct pollfd listeners[16];
	int count = 0, i;

	for (i = 1; i < argc && count < 16; i++) {
		const char *path = strchr(argv[i], ':');
		struct sockaddr_un address;
		socklen_t length;
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		if (!path) /* what a daemon's own command line would have */
			continue;
		length = name(&address, path + 1);
		if (*argv[i] == 'c') {
			while (connect(fd, (struct sockaddr *)&address, length))
				nap();
			continue;
		}
		if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 16))
			return 1;
		if (*argv[i] == 'l')
			listeners[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	SAY("pid %d", getpid());
	for (;;) {
		poll(listeners, count, -1);
		for (i = 0; i < count; i++)
			if (listeners[i].revents)
				accept(listeners[i].fd, NULL, NULL);
	}
}
