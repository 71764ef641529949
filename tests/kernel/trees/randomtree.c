/*
 * randomtree: adversarial random process trees, whose members log what they see of their parent.
 *
 * The driver plans a whole tree (the plan follows from the seed alone) and forks its root. Every
 * process then does what its node of the plan says: spawn the nodes below it in one of many ways,
 * wait for its moment, and end in one of many ways. While it waits it polls getppid() and logs
 * every change. Half of a tree ends in three waves, in which parents, grandparents and reapers exit
 * at the same instant.
 *
 * The driver is a subreaper: nothing can leave its tree, and a round ends only when it has no child
 * left. It never signals anything but its own unreaped children. Every wait has a deadline, also
 * without a driver.
 *
 * The log (read by log.py): a struct log_header, then struct record, in no particular order.
 */
#include "randomtree.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct arena *arena;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	interrupted = signal;
}

/* The parents of all of the round's processes that are still there, as zombies too. */
static void snapshot(uint32_t size)
{
	struct proc_stat stat;
	struct record *r;
	char path[32];
	uint64_t lo_ns;
	uint32_t i;

	for (i = 0; i < size; i++) {
		struct node *n = &arena->nodes[i];

		if (!n->tgid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", n->tgid);
		lo_ns = now_ns();
		if (!read_proc_stat(path, &stat) || !stat.ppid)
			continue;
		r = new_record(n);
		if (!r)
			return;
		r->ppid = stat.ppid;
		r->detail = stat.state;
		r->lo_ns = lo_ns;
		r->hi_ns = now_ns();
		r->last_ns = stat.start_ticks;
		finish(r, SNAPSHOT);
	}
}

/* Returns false when there are no children any more. */
static bool reap(void)
{
	pid_t pid;

	do
		pid = waitpid(-1, NULL, WNOHANG | __WALL);
	while (pid > 0);
	return pid == 0;
}

/* Only children of the driver: as long as it does not reap them, their numbers are theirs. */
static void kill_children(uint32_t size, int driver_tgid)
{
	struct proc_stat stat;
	char path[32];
	uint32_t i;

	for (i = 0; i < size; i++) {
		struct node *n = &arena->nodes[i];

		snprintf(path, sizeof(path), "/proc/%d/stat", n->tgid);
		if (n->tgid && read_proc_stat(path, &stat) && stat.ppid == driver_tgid)
			kill(n->tgid, SIGKILL);
	}
}

static void wait_until_born(uint32_t size)
{
	uint32_t born = 0, idle_ms;

	/* Some never are: their creator may be killed first. */
	for (idle_ms = 0; idle_ms < 15 && born < size && !interrupted; idle_ms++) {
		sleep_us(1000);
		if (__atomic_load_n(&arena->born, __ATOMIC_RELAXED) != born)
			idle_ms = 0;
		born = __atomic_load_n(&arena->born, __ATOMIC_RELAXED);
	}
}

static bool run_round(const struct log_header *header, uint32_t round, int log_fd)
{
	struct node driver = {
		.id = UINT32_MAX, .tgid = header->driver_tgid, .pid = header->driver_pid};
	uint32_t size = plan_round(header->seed, round, header->size), wave, n_records;
	bool reaps_early = round % 2;
	uint64_t begin_ns = now_ns(), killing_ns, rng = round;
	uint32_t n_dropped;
	struct record *r;
	ssize_t n_bytes;

	arena->round = round;
	arena->born = arena->n_records = 0;
	arena->phase = NOW;
	arena->deadline_ns = begin_ns + ROUND_DEADLINE_NS;
	arena->nodes[0].creator = driver.id;

	spawn(&driver, &arena->nodes[0], NULL);
	wait_until_born(size);
	snapshot(size);
	for (wave = WAVE1; wave <= WAVE3 && !interrupted; wave++) {
		set_phase(wave);
		sleep_us(500 + roll(&rng, 6000));
		if (reaps_early)
			reap();
		snapshot(size);
	}
	set_phase(END);
	killing_ns = now_ns() + 4000000;
	while (reap()) {
		if (now_ns() > killing_ns)
			kill_children(size, header->driver_tgid);
		sleep_us(200);
	}

	n_records = smaller(arena->n_records, MAX_RECORDS - 1);
	n_dropped = arena->n_records - n_records;
	arena->n_records = n_records; /* the record of the round always has a place */
	r = new_record(&driver);
	r->last_ns = n_dropped;
	r->creator = size;
	r->detail = arena->born;
	r->lo_ns = begin_ns;
	r->hi_ns = now_ns();
	finish(r, ROUND);
	n_bytes = sizeof(*r) * (n_records + 1);
	if (write(log_fd, arena->records, n_bytes) != n_bytes) {
		perror("randomtree: cannot write the log");
		return false;
	}
	memset(arena->records, 0, n_bytes);
	return true;
}

static void map_arena(int fd)
{
	arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena == MAP_FAILED) {
		perror("randomtree: cannot map the arena");
		exit(1);
	}
}

static void make_arena(void)
{
	int fd = memfd_create("randomtree", 0); /* open across exec */
	ssize_t n;

	if (fd < 0 || ftruncate(fd, sizeof(*arena))) {
		perror("randomtree: cannot make the arena");
		exit(1);
	}
	map_arena(fd);
	arena->fd = fd;
	n = readlink("/proc/self/exe", arena->exe, sizeof(arena->exe) - 1);
	arena->exe[n > 0 ? n : 0] = '\0';
}

static void resume(int fd, uint32_t id)
{
	struct node *n;

	map_arena(fd);
	n = &arena->nodes[id];
	log_event(n, EXECED, !!(n->traits & EXEC_BY_THREAD), now_ns(), 0);
	/* Only once, at the stage at which it was. */
	n->traits &= ~(EXEC_EARLY | EXEC_LATE);
	live(n);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"log", required_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"rounds", required_argument, NULL, 'r'},
		{"processes-per-round", required_argument, NULL, 'p'},
		{"timeout", required_argument, NULL, 't'},
		{0},
	};
	struct log_header header = {
		.magic = "RTREE01", .record_bytes = sizeof(struct record), .begin_ns = now_ns()};
	struct proc_stat stat;
	struct sigaction on_interrupt = {.sa_handler = interrupt};
	uint32_t rounds = 10, size = 180, timeout_s = 900;
	const char *log = NULL;
	int option, log_fd;

	if (argc == 4 && !strcmp(argv[1], "--resume"))
		resume(atoi(argv[2]), strtoul(argv[3], NULL, 10));

	header.seed = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			log = optarg;
			break;
		case 's':
			header.seed = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			rounds = strtoul(optarg, NULL, 10);
			break;
		case 'p':
			size = strtoul(optarg, NULL, 10);
			break;
		case 't':
			timeout_s = strtoul(optarg, NULL, 10);
			break;
		default:
			log = NULL;
			optind = argc + 1;
			break;
		}
	}
	if (!log || optind != argc || size < 1 || size > MAX_NODES / 2) {
		fprintf(stderr,
			"usage: randomtree --log FILE [--seed N] [--rounds N] [--processes-per-round 1..%d] "
			"[--timeout SECONDS]\n",
			MAX_NODES / 2);
		return 2;
	}
	log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (log_fd < 0) {
		perror(log);
		return 1;
	}

	make_arena();
	header.rounds = rounds;
	header.size = size;
	header.driver_tgid = host_tgid();
	header.driver_pid = getpid();
	header.ticks_per_second = sysconf(_SC_CLK_TCK);
	if (read_proc_stat("/proc/self/stat", &stat))
		header.driver_start_ticks = stat.start_ticks;
	if (header.driver_tgid != header.driver_pid) {
		fprintf(stderr,
			"randomtree: /proc is of another pid namespace: it would kill by wrong numbers; "
			"run it where /proc is its own\n");
		return 1;
	}
	if (write(log_fd, &header, sizeof(header)) != sizeof(header) ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) {
		perror("randomtree: cannot begin");
		return 1;
	}
	sigaction(SIGINT, &on_interrupt, NULL);
	sigaction(SIGTERM, &on_interrupt, NULL);
	sigaction(SIGHUP, &on_interrupt, NULL);

	for (uint32_t round = 0; round < rounds && !interrupted; round++) {
		if (now_ns() > header.begin_ns + timeout_s * 1000000000ull) {
			fprintf(stderr, "randomtree: stopped at round %u of %u after %u s\n", round,
				rounds, timeout_s);
			return 1;
		}
		if (!run_round(&header, round, log_fd))
			return 1;
	}
	return interrupted ? 128 + interrupted : 0;
}
