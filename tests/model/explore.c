#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How a state was reached first. */
struct origin {
	uint32_t from;
	uint16_t label; /* in `labels` */
	uint8_t who, what;
};

#define LABELS_MAX 256
#define NONE       UINT32_MAX

struct explorer {
	struct packed *states;
	struct origin *origins;
	size_t count, cap, limit;
	uint32_t *slots; /* states by hash; NONE: free */
	size_t slot_count;
	uint32_t at; /* whose steps are being taken */
	bool full;
	const char *labels[LABELS_MAX];
	size_t label_count;
};

static void *
grow(void *old, size_t count, size_t size)
{
	void *fresh = realloc(old, count * size);

	if (fresh == NULL) {
		fprintf(stderr, "model: out of memory\n");
		exit(71);
	}
	return fresh;
}

static uint64_t
hash(struct packed state)
{
	uint64_t h = state.word[0] * UINT64_C(0x9E3779B97F4A7C15);

	h ^= state.word[1] + UINT64_C(0x7F4A7C159E3779B9) + (h << 6) +
	    (h >> 2);
	h *= UINT64_C(0xBF58476D1CE4E5B9);
	return h ^ (h >> 31);
}

static bool
same(struct packed a, struct packed b)
{
	return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

static uint32_t *
probe(struct explorer *e, struct packed state)
{
	size_t at = (size_t)hash(state) & (e->slot_count - 1);

	while (e->slots[at] != NONE && !same(e->states[e->slots[at]], state))
		at = (at + 1) & (e->slot_count - 1);
	return &e->slots[at];
}

static void
rehash(struct explorer *e)
{
	e->slot_count = e->slot_count == 0 ? 1u << 16 : 2 * e->slot_count;
	free(e->slots);
	e->slots = grow(NULL, e->slot_count, sizeof(*e->slots));
	memset(e->slots, 0xff, e->slot_count * sizeof(*e->slots));
	for (size_t i = 0; i < e->count; i++)
		*probe(e, e->states[i]) = (uint32_t)i;
}

static uint16_t
number_label(struct explorer *e, const char *label)
{
	for (size_t i = 0; i < e->label_count; i++)
		if (e->labels[i] == label)
			return (uint16_t)i;
	if (e->label_count == LABELS_MAX)
		abort();
	e->labels[e->label_count] = label;
	return (uint16_t)e->label_count++;
}

void
explore_step(struct explorer *e, struct packed next, const char *label,
    unsigned who, unsigned what)
{
	uint32_t *slot = probe(e, next);

	if (*slot != NONE)
		return;
	if (e->count == e->limit) {
		e->full = true;
		return;
	}
	if (e->count == e->cap) {
		e->cap = e->cap * 2 + 1024;
		e->states = grow(e->states, e->cap, sizeof(*e->states));
		e->origins = grow(e->origins, e->cap, sizeof(*e->origins));
	}
	e->states[e->count] = next;
	e->origins[e->count] = (struct origin){ e->at, number_label(e, label),
		(uint8_t)who, (uint8_t)what };
	*slot = (uint32_t)e->count++;
	if (2 * e->count > e->slot_count)
		rehash(e);
}

static size_t
trace(const struct explorer *e, uint32_t last, bool verbose)
{
	uint32_t *path = NULL;
	size_t depth = 0;

	for (uint32_t at = last; at != 0; at = e->origins[at].from) {
		path = grow(path, depth + 1, sizeof(*path));
		path[depth++] = at;
	}
	for (size_t i = depth; verbose && i-- > 0;) {
		const struct origin *origin = &e->origins[path[i]];

		printf("  %2zu  ", depth - i);
		printf("%s  (%u, %u)\n", e->labels[origin->label],
		    origin->who, origin->what);
	}
	free(path);
	return depth;
}

struct outcome
explore(const struct model *model, size_t limit, bool verbose)
{
	struct explorer e = { .limit = limit, .at = NONE };
	struct outcome outcome = { 0 };

	rehash(&e);
	explore_step(&e, model->first(), "begin", 0, 0);
	for (size_t i = 0; i < e.count && outcome.broken == NULL; i++) {
		struct packed state = e.states[i];

		outcome.broken = model->judge(state);
		outcome.reached |= model->reaches(state);
		e.at = (uint32_t)i;
		if (outcome.broken != NULL)
			outcome.depth = trace(&e, e.at, verbose);
		else
			model->steps(&e, state);
	}
	outcome.states = e.count;
	outcome.full = e.full;
	free(e.states);
	free(e.origins);
	free(e.slots);
	return outcome;
}
