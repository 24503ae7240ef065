/*
 * An explicit-state model checker: every state that can be reached, breadth
 * first, so that what it finds is found in the fewest steps.
 */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A state in 16 bytes, as the model packs it. */
struct packed {
	uint64_t word[2];
};

struct explorer;

/* A step of the model leads here; `label` is static.  `who` and `what` stand
 * in the trace. */
void explore_step(struct explorer *explorer, struct packed next,
    const char *label, unsigned who, unsigned what);

struct model {
	struct packed (*first)(void);
	void (*steps)(struct explorer *explorer, struct packed from);
	/* NULL: all is well; else which promise is broken. */
	const char *(*judge)(struct packed state);
	/* What has to be reached at least once, as bits; judge() says nothing
	 * of it, but a model in which nothing happens proves nothing. */
	unsigned (*reaches)(struct packed state);
};

struct outcome {
	size_t states, depth; /* depth: of the trace, when broken */
	const char *broken;   /* NULL: every state is well */
	bool full;            /* there were more than `limit` */
	unsigned reached;
};

/* Look at all states, at most `limit`; prints the trace of what is broken
 * with `verbose`. */
struct outcome explore(
    const struct model *model, size_t limit, bool verbose);

#endif
