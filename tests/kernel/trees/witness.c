/* The log, and what a process sees of itself. */
#include "randomtree.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A record, to be filled and finished. NULL when the arena is full: the round's record says so. */
struct record *new_record(const struct node *n)
{
	uint32_t i = __atomic_fetch_add(&arena->n_records, 1, __ATOMIC_RELAXED);
	struct record *r = &arena->records[i];

	if (i >= MAX_RECORDS)
		return NULL;
	r->round = arena->round;
	r->node = n->id;
	r->creator = n->creator;
	r->pidns = n->pidns;
	r->tgid = n->tgid;
	r->pid = n->pid;
	r->traits = n->traits;
	return r;
}

uint32_t finish(struct record *r, enum kind kind)
{
	__atomic_store_n(&r->kind, kind, __ATOMIC_RELEASE);
	return r - arena->records;
}

void log_event(const struct node *n, enum kind kind, uint16_t how, uint64_t lo_ns, uint64_t hi_ns)
{
	struct record *r = new_record(n);

	if (!r)
		return;
	r->how = how;
	r->lo_ns = lo_ns;
	r->hi_ns = hi_ns;
	finish(r, kind);
}

bool read_proc_stat(const char *path, struct proc_stat *stat)
{
	char text[1024], *end_of_comm;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	end_of_comm = strrchr(text, ')');
	return end_of_comm &&
	       sscanf(end_of_comm + 1,
		      " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
		      &stat->state, &stat->ppid, &stat->start_ticks) == 3;
}

/* The number in the pid namespace of the /proc mount, whatever namespace the caller is in. */
int host_tgid(void)
{
	char text[16];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return atoi(text);
}

/* Goes on with the run of records that says who the parent is, or begins another one. */
static bool see(struct node *n, enum kind witness, int ppid, uint64_t lo_ns)
{
	uint32_t *run = witness == SEEN_PROC ? &n->run_proc : &n->run_getppid;
	uint64_t hi_ns = now_ns();
	struct record *r;

	if (*run != NO_RUN && arena->records[*run].ppid == ppid) {
		arena->records[*run].last_ns = lo_ns;
		return false;
	}
	r = new_record(n);
	if (!r)
		return false;
	r->ppid = ppid;
	r->lo_ns = r->last_ns = lo_ns;
	r->hi_ns = hi_ns;
	*run = finish(r, witness);
	return true;
}

void observe(struct node *n)
{
	uint64_t lo_ns = now_ns();
	int ppid = getppid();
	struct proc_stat stat;
	bool changed = false;

	/*
	 * 0 is a parent outside of the namespace. Nobody moves there: 0 after another number means
	 * that the parent was freed while getppid() looked at it.
	 */
	if (ppid || n->run_getppid == NO_RUN)
		changed = see(n, SEEN_GETPPID, ppid, lo_ns);

	/* The host's number of the parent is another witness. Outside parents have no other. */
	if (changed || !ppid) {
		lo_ns = now_ns();
		if (read_proc_stat("/proc/self/stat", &stat) && stat.ppid)
			see(n, SEEN_PROC, stat.ppid, lo_ns);
	}
}
