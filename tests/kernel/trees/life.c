/* What a process of the tree does: be born, spawn, linger and watch, die. */
#include "randomtree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* ---- the ways to make a task ---- */

static int start_thread(int (*run)(void *), void *arg)
{
	const int flags =
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	char *stack = mmap(NULL, THREAD_STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED)
		return -1;
	return clone(run, stack + THREAD_STACK_BYTES, flags, arg);
}

static int vfork_on_stack(int (*run)(void *), void *arg)
{
	char *stack = mmap(NULL, THREAD_STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED)
		return -1;
	return clone(run, stack + THREAD_STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, arg);
}

static int live_vforked(void *node)
{
	live(node);
}

static int fork_node(struct node *child, uint64_t flags, uint64_t exit_signal, int *pidfd)
{
	struct clone_args args = {
		.flags = flags | (pidfd ? CLONE_PIDFD : 0),
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = exit_signal,
	};
	int pid = syscall(SYS_clone3, &args, sizeof(args));

	if (!pid)
		live(child);
	return pid;
}

void spawn(struct node *n, struct node *child, int *pidfd)
{
	struct record *r;
	int pid = -1;

	child->pidns = n->pidns;
	child->start_lo_ns = now_ns();
	switch ((enum birth)child->birth) {
	case FORK_NO_SIGNAL:
		pid = fork_node(child, 0, 0, pidfd);
		break;
	case FORK_SIBLING:
		pid = fork_node(child, CLONE_PARENT, 0, pidfd);
		break;
	case FORK_PIDNS:
		pid = fork_node(child, CLONE_NEWPID, SIGCHLD, pidfd);
		break;
	case VFORK:
		pid = vfork_on_stack(live_vforked, child);
		break;
	case FORK:
	case FORK_INJECT:
		pid = fork_node(child, 0, SIGCHLD, pidfd);
		break;
	}
	/* A namespace's init cannot have siblings. Without privileges there are no namespaces. */
	if (pid < 0 && (child->birth == FORK_SIBLING || child->birth == FORK_PIDNS)) {
		child->birth = FORK;
		child->start_lo_ns = now_ns();
		pid = fork_node(child, 0, SIGCHLD, pidfd);
	}

	r = new_record(n);
	if (!r)
		return;
	r->how = child->birth;
	r->node = child->id;
	r->creator = n->id;
	r->traits = child->traits;
	r->tgid = 0;
	r->pid = pid < 0 ? -errno : pid;
	r->lo_ns = child->start_lo_ns;
	r->hi_ns = now_ns();
	finish(r, SPAWN);
}

/* A child enters the namespace of which an earlier one is the init. Their parent stays outside. */
static void spawn_inside(struct node *n, struct node *child, int init_fd)
{
	int own_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

	if (own_fd >= 0 && !setns(init_fd, CLONE_NEWPID)) {
		spawn(n, child, NULL);
		if (setns(own_fd, CLONE_NEWPID))
			syscall(SYS_exit_group, 98);
	} else {
		child->birth = FORK;
		spawn(n, child, NULL);
	}
	close(own_fd);
}

/* ---- the life of a process ---- */

static bool is_due(const struct node *n, enum moment moment)
{
	if (moment == NOW)
		return true;
	if (moment == SOON)
		return now_ns() >= n->start_lo_ns + n->delay_us * 1000ull || phase() == END;
	return phase() >= moment;
}

/* Spawns the children that the plan gives to this thread, in the order of the plan. */
static void spawn_share(struct node *n, unsigned int thread)
{
	struct node *child, *end = n + n->size;
	int fd, init_fd = -1;
	bool keeps_fd;

	for (child = n + 1; child < end; child += child->size) {
		if (child->thread != thread)
			continue;
		if (child->birth == FORK_INJECT) {
			spawn_inside(n, child, init_fd);
			continue;
		}
		fd = -1;
		keeps_fd = child->traits & VICTIM && !thread && n->n_victims < MAX_VICTIMS;
		spawn(n, child, keeps_fd || child->birth == FORK_PIDNS ? &fd : NULL);
		init_fd = child->birth == FORK_PIDNS ? fd : -1;
		if (keeps_fd && fd >= 0) {
			n->victims[n->n_victims] = child->id;
			n->victim_fds[n->n_victims++] = fd;
		}
	}
}

static int run_spawner(void *arg)
{
	struct node *n = &arena->nodes[(uintptr_t)arg / (MAX_THREADS + 1)];
	unsigned int thread = (uintptr_t)arg % (MAX_THREADS + 1);

	spawn_share(n, thread);
	__atomic_fetch_add(&n->threads_done, 1, __ATOMIC_RELEASE);
	while (!is_due(n, n->thread_moments[thread])) {
		wait_phase(phase(), n->thread_moments[thread] == SOON ? 300 : 100000);
		exit_if_overdue();
	}
	log_event(n, THREAD_EXIT, thread, now_ns(), 0);
	return 0;
}

static void spawn_all(struct node *n)
{
	unsigned int thread, started = 0;

	for (thread = 1; thread <= n->threads; thread++)
		if (start_thread(run_spawner,
				 (void *)(uintptr_t)(n->id * (MAX_THREADS + 1) + thread)) >= 0)
			started++;
	spawn_share(n, 0);
	/* The plan is kept: neither an exec nor an exit cuts the threads short. */
	while (__atomic_load_n(&n->threads_done, __ATOMIC_ACQUIRE) < started) {
		sleep_us(100);
		exit_if_overdue();
	}
}

static void set_subreaper(struct node *n, bool on)
{
	uint64_t lo_ns = now_ns();

	prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0);
	log_event(n, SUBREAPER, on, lo_ns, now_ns());
}

static void set_up(struct node *n)
{
	/* Each for itself: what a process ignores its children would ignore, too. */
	struct sigaction on_sigterm = {.sa_handler =
					       n->traits & SIGTERM_IGNORED ? SIG_IGN : SIG_DFL};
	struct sigaction on_sigchld = {
		.sa_handler = n->traits & SIGCHLD_IGNORED ? SIG_IGN : SIG_DFL,
		.sa_flags = n->traits & SIGCHLD_NOCLDWAIT ? SA_NOCLDWAIT : 0};

	if (n->traits & PGROUP)
		setpgid(0, 0);
	sigaction(SIGTERM, &on_sigterm, NULL);
	sigaction(SIGCHLD, &on_sigchld, NULL);
	if (n->traits & PDEATH_SIGKILL)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (n->traits & PDEATH_SIGTERM)
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	if (n->traits & SUBREAPER_EARLY)
		set_subreaper(n, true);
}

static int run_exec(void *node)
{
	struct node *n = node;
	char fd[16], id[16];
	char *argv[] = {"randomtree", "--resume", fd, id, NULL};

	snprintf(fd, sizeof(fd), "%d", arena->fd);
	snprintf(id, sizeof(id), "%u", n->id);
	n->n_victims = 0; /* their descriptors close */
	execv(arena->exe, argv);
	return syscall(SYS_exit_group, 97);
}

/* Continues in main() with the stage that the node says. */
static _Noreturn void exec_again(struct node *n)
{
	if (!(n->traits & EXEC_BY_THREAD) || start_thread(run_exec, n) < 0)
		run_exec(n);
	for (;;) {
		sleep_us(10000);
		exit_if_overdue();
	}
}

static void kill_victims(struct node *n)
{
	struct record *r;
	uint32_t i;

	for (i = 0; i < n->n_victims; i++) {
		if (n->victim_fds[i] < 0 || !is_due(n, arena->nodes[n->victims[i]].moment))
			continue;
		r = new_record(n);
		if (r) {
			r->detail = n->victims[i];
			r->lo_ns = now_ns();
			finish(r, KILL);
		}
		syscall(SYS_pidfd_send_signal, n->victim_fds[i], SIGKILL, NULL, 0);
		close(n->victim_fds[i]);
		n->victim_fds[i] = -1;
	}
}

static void linger(struct node *n)
{
	uint32_t polls;

	for (polls = 0; !is_due(n, n->moment); polls++) {
		observe(n);
		kill_victims(n);
		if (n->traits & REAPS && polls % 8 == 0)
			while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
				;
		if (n->traits & SUBREAPER_CLEARED && phase() >= WAVE1) {
			set_subreaper(n, false);
			n->traits &= ~SUBREAPER_CLEARED;
		}
		if (n->pace_us)
			wait_phase(phase(), n->pace_us);
		else if (polls % 16 == 0)
			sched_yield();
		exit_if_overdue();
	}
	observe(n);
	kill_victims(n);
}

static int run_exit_group(void *node)
{
	(void)node;
	return syscall(SYS_exit_group, 3);
}

static _Noreturn void die(struct node *n)
{
	log_event(n, EXIT, n->death, now_ns(), 0);
	switch ((enum death)n->death) {
	case EXIT_GROUP:
		break;
	case EXIT_GROUP_BY_THREAD:
		if (start_thread(run_exit_group, n) >= 0)
			sleep_us(1000000);
		break;
	case EXIT_LEADER_FIRST:
		syscall(SYS_exit, 4); /* the group ends with its last thread */
		break;
	case SIGKILL_SELF:
		kill(getpid(), SIGKILL);
		break;
	case SIGTERM_SELF:
		kill(getpid(), SIGTERM);
		break;
	case SIGKILL_PGROUP:
		if (getpgrp() == getpid())
			kill(0, SIGKILL);
		break;
	}
	/* A namespace's init cannot kill itself, and SIGTERM may be ignored. */
	for (;;)
		syscall(SYS_exit_group, 5);
}

static int run_rest_of_life(void *node)
{
	linger(node);
	die(node);
}

static void log_birth(struct node *n)
{
	uint64_t hi_ns = now_ns();
	struct record *r;

	n->stage = TO_SPAWN;
	n->pid = getpid();
	n->tgid = host_tgid();
	if (n->birth == FORK_PIDNS || n->birth == FORK_INJECT)
		n->pidns = n->init;
	r = new_record(n);
	if (r) {
		r->how = n->birth;
		r->detail = n->moment;
		r->lo_ns = n->start_lo_ns;
		r->hi_ns = hi_ns;
		finish(r, BIRTH);
	}
	__atomic_fetch_add(&arena->born, 1, __ATOMIC_RELAXED);
	observe(n);
}

_Noreturn void live(struct node *n)
{
	if (n->stage == TO_BE_BORN) {
		log_birth(n);
		set_up(n);
		if (n->traits & EXEC_EARLY)
			exec_again(n);
	}
	if (n->stage == TO_SPAWN) {
		spawn_all(n);
		n->stage = TO_LINGER;
		if (n->traits & SUBREAPER_LATE)
			set_subreaper(n, true);
		if (n->traits & EXEC_LATE)
			exec_again(n);
	}
	if (n->death == EXIT_LEADER_FIRST && start_thread(run_rest_of_life, n) >= 0) {
		log_event(n, THREAD_EXIT, 0, now_ns(), 0);
		syscall(SYS_exit, 6);
	}
	linger(n);
	die(n);
}
