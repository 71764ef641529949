/* The plan of a tree: drawn before its root is born, so that it follows from the seed alone. */
#include "randomtree.h"

#include <string.h>

struct growth {
	uint32_t chain; /* levels of only children to come */
	uint32_t crowd; /* leaves to come below the next node that has a choice */
	enum moment moment; /* of the parent: often the child's, too, so that they end together */
};

static enum moment plan_moment(uint64_t *rng, bool is_leaf)
{
	/* NOW, SOON, WAVE1, WAVE2, WAVE3, END. Leaves are there to see what happens above. */
	static const uint8_t leaf[] = {15, 10, 8, 10, 12, 45};
	static const uint8_t other[] = {18, 14, 23, 21, 16, 8};

	return draw(rng, is_leaf ? leaf : other);
}

static enum death plan_death(uint64_t *rng)
{
	/* EXIT_GROUP, EXIT_GROUP_BY_THREAD, EXIT_LEADER_FIRST, SIGKILL_SELF, SIGTERM_SELF */
	static const uint8_t percents[] = {60, 10, 12, 11, 7};

	return draw(rng, percents);
}

static uint32_t plan_pace_us(uint64_t *rng, enum birth birth)
{
	/* 0 spins. Few are fast: they take the time in which others could do something. */
	static const uint32_t paces_us[] = {0, 50, 200, 1000, 3000, 10000};
	static const uint8_t percents[] = {1, 2, 3, 14, 30, 50};
	uint32_t pace_us = paces_us[draw(rng, percents)];

	/* Parents outside of the namespace are only seen in /proc, which is slow. */
	if ((birth == FORK_PIDNS || birth == FORK_INJECT) && pace_us < 1000)
		pace_us = 1000;
	return pace_us;
}

static uint32_t plan_traits(uint64_t *rng, bool is_leaf)
{
	uint32_t traits = 0;

	traits |= chance(rng, 6) ? PDEATH_SIGKILL : chance(rng, 6) ? PDEATH_SIGTERM : 0;
	traits |= chance(rng, 8) ? SIGTERM_IGNORED : 0;
	traits |= chance(rng, 5) ? VICTIM : 0;
	traits |= chance(rng, 2) ? EXEC_EARLY : 0;
	if (is_leaf)
		return traits | (traits & EXEC_EARLY && chance(rng, 60) ? EXEC_BY_THREAD : 0);

	traits |= chance(rng, 35) ? REAPS : 0;
	traits |= chance(rng, 7) ? SIGCHLD_IGNORED : chance(rng, 7) ? SIGCHLD_NOCLDWAIT : 0;
	traits |= chance(rng, 14) ? SUBREAPER_EARLY : chance(rng, 8) ? SUBREAPER_LATE : 0;
	traits |= traits & (SUBREAPER_EARLY | SUBREAPER_LATE) && chance(rng, 30) ? SUBREAPER_CLEARED
										 : 0;
	traits |= chance(rng, 5) ? PGROUP : 0;
	traits |= chance(rng, 5) ? EXEC_LATE : 0;
	traits |= traits & (EXEC_EARLY | EXEC_LATE) && chance(rng, 60) ? EXEC_BY_THREAD : 0;
	return traits;
}

static enum birth plan_birth(uint64_t *rng, const struct node *parent, const struct node *sibling)
{
	uint32_t dice = roll(rng, 100);

	/* The init must be there when others enter its namespace. */
	if (sibling && (sibling->birth == FORK_PIDNS || sibling->birth == FORK_INJECT) &&
	    chance(rng, 50))
		return FORK_INJECT;
	if (dice < 8 && parent->level < MAX_LEVEL)
		return FORK_PIDNS;
	return dice < 14 ? FORK_NO_SIGNAL : dice < 24 ? FORK_SIBLING : dice < 31 ? VFORK : FORK;
}

static void plan(uint64_t *rng, struct node *n, uint32_t size, struct growth growth);

static void plan_child(uint64_t *rng, struct node *n, struct node *child,
		       const struct node *sibling, uint32_t size, struct growth growth)
{
	child->creator = n->id;
	child->birth = plan_birth(rng, n, sibling);
	/* Inode numbers of namespaces are reused at once: a namespace is named by its init. */
	child->init = child->birth == FORK_PIDNS ? child - arena->nodes
		      : sibling			 ? sibling->init
						 : 0;
	child->level = n->level + (child->birth == FORK_PIDNS || child->birth == FORK_INJECT);
	if (n->threads && child->birth != FORK_PIDNS && child->birth != FORK_INJECT)
		child->thread = roll(rng, n->threads + 1);
	plan(rng, child, size, growth);
	if (child->birth == FORK_PIDNS) {
		if (child->moment < WAVE1)
			child->moment = WAVE1 + roll(rng, 3);
		if (chance(rng, 50))
			child->traits |= REAPS;
	}
	/* A vforked child that does not exec can neither have threads nor stay for long. */
	if (child->birth == VFORK) {
		child->traits &= ~(EXEC_BY_THREAD | EXEC_LATE);
		if (chance(rng, 50)) {
			child->traits |= EXEC_EARLY;
		} else {
			child->traits &= ~EXEC_EARLY;
			child->moment = NOW;
			child->death = child->death == SIGKILL_SELF ? SIGKILL_SELF : EXIT_GROUP;
			child->threads = 0;
			for (struct node *below = child + 1; below < child + size;
			     below += below->size)
				below->thread = 0;
		}
	}
}

static void plan(uint64_t *rng, struct node *n, uint32_t size, struct growth growth)
{
	uint32_t children, left = size - 1, part, i;
	struct node *child = n + 1, *sibling = NULL;

	n->id = n - arena->nodes;
	n->size = size;
	n->run_getppid = n->run_proc = NO_RUN;
	n->traits = plan_traits(rng, size == 1);
	n->death = n->traits & PGROUP && chance(rng, 70) ? SIGKILL_PGROUP : plan_death(rng);
	n->moment = n->id && chance(rng, growth.chain ? 85 : 35) ? growth.moment
								 : plan_moment(rng, size == 1);
	n->delay_us = roll(rng, 4000);
	n->pace_us = plan_pace_us(rng, n->birth);
	if (left && chance(rng, 30)) {
		n->threads = 1 + roll(rng, MAX_THREADS);
		for (i = 1; i <= n->threads; i++)
			n->thread_moments[i] = plan_moment(rng, false);
	}

	growth.moment = n->moment;
	if (growth.chain) {
		growth.chain--;
		n->traits |= CHAIN;
		children = smaller(left, 1);
	} else if (growth.crowd && left >= growth.crowd && (n->id || left == growth.crowd)) {
		n->traits |= CROWD;
		children = growth.crowd;
		growth.crowd = 0;
	} else if (left >= 12 && chance(rng, 25)) {
		growth.chain =
			smaller(left - 4, chance(rng, 30) ? 40 + roll(rng, 40) : 4 + roll(rng, 12));
		children = 1;
	} else {
		children = smaller(left, 1 + roll(rng, 7));
	}

	for (i = 0; i < children; i++) {
		part = i == children - 1 ? left : 1 + roll(rng, 2 * (left / (children - i)));
		part = smaller(part, left - (children - i - 1));
		/* A crowd are leaves, but for the last. It is below the first child of the root. */
		if (n->traits & CROWD && i < children - 1)
			part = smaller(part, 1);
		if (growth.crowd && i == 0)
			part = left - (children - 1);
		plan_child(rng, n, child, sibling, part, growth);
		growth.crowd = 0;
		sibling = child->thread ? NULL : child;
		left -= part;
		child += part;
	}
}

/* Returns the number of processes. */
uint32_t plan_round(uint64_t seed, uint32_t round, uint32_t size)
{
	uint64_t rng = seed * 1000003 + round;
	struct growth growth = {.moment = END};

	next_random(&rng);
	memset(arena->nodes, 0, sizeof(arena->nodes));
	/* Some have more children than the tracer can look at when their parent exits (128). */
	if (round % 8 == 5)
		growth.crowd = 100 + roll(&rng, 300);
	size = smaller(size + growth.crowd, MAX_NODES);
	plan(&rng, arena->nodes, size, growth);
	arena->nodes[0].birth = FORK;
	return size;
}
