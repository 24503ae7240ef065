/*
 * Giving up a run, every interleaving of it: two who forget, one who undoes,
 * one who holds, two collectors that make it final and tidy up.  One run,
 * two pending records at most; each store call is one step.  The names of
 * the steps stand in src/repo/forget.c too.
 *
 * Promised:  a run is not forgotten after an undo that succeeded, unless it
 *            was forgotten anew; nor while it is held.
 *
 * Each mutation leaves one rule out and must break a promise.  That who
 * forgets looks for a hold as well is not among them: the collector does, and
 * it spares people a forget that waits for the hold to go.
 */
#include <stdio.h>
#include <stdlib.h>

#include "explore.h"

#define RECORDS    2
#define STATES_MAX ((size_t)50000000)

enum mutation {
	NOTHING,
	UNDO_BY_PLAIN_PUT,
	ONE_WAY_BY_PLAIN_PUT,
	UNDO_ASKS_NOT_AGAIN,
	HOLD_UNDOES_FIRST,
	HOLDS_IGNORED,
	FORGET_BEFORE_END,
	TIDIES_TOO_EARLY,
	NUMBERS_USED_AGAIN,
	MUTATIONS,
};

static const char *const names[MUTATIONS] = {
	[NOTHING] = "the protocol",
	[UNDO_BY_PLAIN_PUT] = "undo by plain put",
	[ONE_WAY_BY_PLAIN_PUT] = "one-way by plain put",
	[UNDO_ASKS_NOT_AGAIN] = "undo does not look for forgets/",
	[HOLD_UNDOES_FIRST] = "hold undoes before it holds",
	[HOLDS_IGNORED] = "collector looks for no hold",
	[FORGET_BEFORE_END] = "forgets/ before the end of the record",
	[TIDIES_TOO_EARLY] = "records tidied before forgets/",
	[NUMBERS_USED_AGAIN] = "undone records removed",
};

static enum mutation mutation;

enum end { NO_END, UNDO, FORGET };

enum forgetter_pc { F_NEW, F_CREATE, F_CHECK, F_UNDO, F_DONE };
enum undoer_pc { U_NEW, U_END, U_CHECK, U_DONE };
enum holder_pc { H_NEW, H_HELD, H_UNDO, H_CHECK, H_DONE };
enum collector_pc { C_LOOK, C_HOLD, C_END, C_FORGET, C_TIDY, C_TIDY_END,
	C_DONE };

struct actor {
	unsigned pc, number; /* the record at hand, or RECORDS */
};

struct state {
	unsigned record[RECORDS], end[RECORDS];
	unsigned forgotten, held;
	unsigned kept;     /* an undo succeeded, and no forget came since */
	unsigned promised; /* the hold succeeded */
	struct actor forgetter[2], undoer, holder, collector[2];
};

typedef void field(void *arg, unsigned *value, unsigned bits);

static inline __attribute__((always_inline)) void
each_actor(struct actor *actor, field *visit, void *arg)
{
	visit(arg, &actor->pc, 3);
	visit(arg, &actor->number, 2);
}

static inline __attribute__((always_inline)) void
each_field(struct state *s, field *visit, void *arg)
{
	for (unsigned i = 0; i < RECORDS; i++) {
		visit(arg, &s->record[i], 1);
		visit(arg, &s->end[i], 2);
	}
	visit(arg, &s->forgotten, 1);
	visit(arg, &s->held, 1);
	visit(arg, &s->kept, 1);
	visit(arg, &s->promised, 1);
	for (unsigned i = 0; i < 2; i++) {
		each_actor(&s->forgetter[i], visit, arg);
		each_actor(&s->collector[i], visit, arg);
	}
	each_actor(&s->undoer, visit, arg);
	each_actor(&s->holder, visit, arg);
}

struct packing {
	struct packed packed;
	unsigned at;
};

static inline void
put_field(void *arg, unsigned *value, unsigned bits)
{
	struct packing *packing = arg;

	if (*value >> bits != 0 || packing->at + bits > 64)
		abort();
	packing->packed.word[0] |= (uint64_t)*value << packing->at;
	packing->at += bits;
}

static inline void
get_field(void *arg, unsigned *value, unsigned bits)
{
	struct packing *packing = arg;

	*value = (unsigned)(packing->packed.word[0] >> packing->at &
	    ((UINT64_C(1) << bits) - 1));
	packing->at += bits;
}

static struct packed
pack(struct state s)
{
	struct packing packing = { 0 };

	each_field(&s, put_field, &packing);
	return packing.packed;
}

static struct state
unpack(struct packed packed)
{
	struct packing packing = { .packed = packed };
	struct state s = { 0 };

	each_field(&s, get_field, &packing);
	return s;
}

static struct packed
first(void)
{
	return pack((struct state){ 0 });
}

static const char *
judge(struct packed packed)
{
	struct state s = unpack(packed);

	if (s.forgotten && s.kept)
		return "what was undone is forgotten";
	if (s.forgotten && s.promised)
		return "what is held is forgotten";
	return NULL;
}

enum reached { UNDONE = 1, FORGOTTEN = 2, HELD = 4, LATE = 8, TWICE = 16,
	TIDIED = 32, ALL_REACHED = 63 };

static unsigned
reaches(struct packed packed)
{
	struct state s = unpack(packed);

	return (s.kept ? UNDONE : 0) | (s.forgotten ? FORGOTTEN : 0) |
	    (s.promised ? HELD : 0) |
	    (s.undoer.pc == U_DONE && s.forgotten && !s.kept ? LATE : 0) |
	    (s.record[1] && s.end[0] == UNDO ? TWICE : 0) |
	    (s.forgotten && !s.record[0] && s.end[0] == NO_END ? TIDIED : 0);
}

static void
step(struct explorer *e, struct state s, const char *label, unsigned who)
{
	explore_step(e, pack(s), label, who, 0);
}

/* The first record that is open; RECORDS: none. */
static unsigned
find_open(const struct state *s)
{
	for (unsigned i = 0; i < RECORDS; i++)
		if (s->record[i] && s->end[i] == NO_END)
			return i;
	return RECORDS;
}

static bool
any_one_way(const struct state *s)
{
	for (unsigned i = 0; i < RECORDS; i++)
		if (s->record[i] && s->end[i] == FORGET)
			return true;
	return false;
}

/* U1: the end is made once; whoever finds it made goes by what it says. */
static void
put_undo(struct state *s, unsigned number)
{
	if (s->end[number] == NO_END || mutation == UNDO_BY_PLAIN_PUT)
		s->end[number] = UNDO;
}

static void
forgetter_steps(struct explorer *e, struct state s, unsigned who)
{
	struct actor *me = &s.forgetter[who];
	unsigned next = 0;

	switch ((enum forgetter_pc)me->pc) {
	case F_NEW:
		while (next < RECORDS && s.record[next])
			next++;
		me->number = next;
		me->pc = find_open(&s) < RECORDS || any_one_way(&s)
		    ? F_CHECK
		    : next == RECORDS ? F_DONE : F_CREATE;
		step(e, s, "F1 looks for the next number", who);
		return;
	case F_CREATE:
		if (!s.record[me->number]) {
			s.record[me->number] = 1;
			s.kept = 0;
			me->pc = F_CHECK;
		} else {
			me->pc = F_NEW; /* somebody took it */
		}
		step(e, s, "F1 creates the record", who);
		return;
	case F_CHECK:
		me->pc = s.held ? F_UNDO : F_DONE;
		me->number = 0;
		step(e, s, "H2 looks for a hold", who);
		return;
	case F_UNDO:
		next = find_open(&s);
		if (next < RECORDS)
			put_undo(&s, next);
		else
			me->pc = F_DONE;
		step(e, s, "H2 undoes", who);
		return;
	case F_DONE:
		return;
	}
}

/* Undo every open record; then all is well if none is one-way, and forgets/
 * is not there. */
static void
undoer_steps(struct explorer *e, struct state s)
{
	struct actor *me = &s.undoer;
	unsigned open = find_open(&s);

	switch ((enum undoer_pc)me->pc) {
	case U_NEW:
		me->number = open;
		me->pc = any_one_way(&s) || open == RECORDS ? U_DONE : U_END;
		step(e, s, "U1 looks for records", 0);
		return;
	case U_END:
		put_undo(&s, me->number);
		/* What it wrote, or found, decides. */
		me->pc = s.end[me->number] == UNDO ? U_CHECK : U_DONE;
		step(e, s, "U1 ends a record", 0);
		return;
	case U_CHECK:
		if (!s.forgotten || mutation == UNDO_ASKS_NOT_AGAIN)
			/* A record made since is another forget. */
			s.kept = find_open(&s) == RECORDS && !any_one_way(&s);
		me->pc = U_DONE;
		step(e, s, "U2 looks for forgets/", 0);
		return;
	case U_DONE:
		return;
	}
}

static void
holder_steps(struct explorer *e, struct state s)
{
	struct actor *me = &s.holder;
	unsigned open = find_open(&s);
	bool late = mutation == HOLD_UNDOES_FIRST;

	switch ((enum holder_pc)me->pc) {
	case H_NEW:
		s.held = !late;
		me->pc = H_UNDO;
		step(e, s, "H1 holds", 0);
		return;
	case H_UNDO:
		if (any_one_way(&s)) {
			me->pc = H_DONE; /* too late */
			s.held = 0;
		} else if (open < RECORDS) {
			me->number = open;
			me->pc = H_HELD;
		} else {
			me->pc = H_CHECK;
		}
		step(e, s, "H1 looks for records", 0);
		return;
	case H_HELD:
		put_undo(&s, me->number);
		me->pc = H_UNDO;
		step(e, s, "H1 ends a record", 0);
		return;
	case H_CHECK:
		s.promised = !s.forgotten;
		s.held = s.promised;
		me->pc = H_DONE;
		step(e, s, "H1 looks for forgets/", 0);
		return;
	case H_DONE:
		return;
	}
}

static void
collector_steps(struct explorer *e, struct state s, unsigned who)
{
	struct actor *me = &s.collector[who];

	switch ((enum collector_pc)me->pc) {
	case C_LOOK:
		for (unsigned i = 0; i < RECORDS; i++) {
			struct state t = s;

			if (!s.record[i])
				continue;
			t.collector[who].number = i;
			if (s.end[i] == NO_END)
				t.collector[who].pc = C_HOLD;
			else if (s.end[i] == FORGET)
				t.collector[who].pc = C_FORGET;
			else if (mutation == NUMBERS_USED_AGAIN)
				t.record[i] = t.end[i] = 0;
			step(e, t, "F2 finds a record", who);
		}
		if (s.forgotten) {
			me->pc = C_TIDY;
			step(e, s, "finds it forgotten", who);
		}
		return;
	case C_HOLD:
		me->pc = s.held && mutation != HOLDS_IGNORED ? C_LOOK : C_END;
		if (mutation == FORGET_BEFORE_END && me->pc == C_END)
			s.forgotten = 1;
		step(e, s, "F2 looks for a hold", who);
		return;
	case C_END:
		if (s.end[me->number] == NO_END ||
		    mutation == ONE_WAY_BY_PLAIN_PUT)
			s.end[me->number] = FORGET;
		me->pc = s.end[me->number] == FORGET ? C_FORGET : C_LOOK;
		if (mutation == TIDIES_TOO_EARLY && me->pc == C_FORGET) {
			me->pc = C_TIDY;
		}
		step(e, s, "F2 makes it one-way, if it may", who);
		return;
	case C_FORGET:
		s.forgotten = 1;
		me->pc = C_TIDY;
		step(e, s, "F3 forgets", who);
		return;
	case C_TIDY:
		s.record[0] = s.record[1] = 0;
		me->pc = C_TIDY_END;
		step(e, s, "tidies the records", who);
		return;
	case C_TIDY_END:
		s.end[0] = s.end[1] = NO_END;
		me->pc = mutation == TIDIES_TOO_EARLY && !s.forgotten
		    ? C_FORGET
		    : C_DONE;
		step(e, s, "tidies their ends", who);
		return;
	case C_DONE:
		return;
	}
}

static void
steps(struct explorer *e, struct packed from)
{
	struct state s = unpack(from);

	for (unsigned i = 0; i < 2; i++) {
		forgetter_steps(e, s, i);
		collector_steps(e, s, i);
	}
	undoer_steps(e, s);
	holder_steps(e, s);
}

static size_t states;

static bool
run(enum mutation which)
{
	struct model model = { first, steps, judge, reaches };
	struct outcome outcome;
	bool good;

	mutation = which;
	outcome = explore(&model, STATES_MAX, which == NOTHING);
	good = which != NOTHING
	    ? outcome.broken != NULL
	    : outcome.broken == NULL && !outcome.full &&
	        outcome.reached == ALL_REACHED;
	states += outcome.states;
	printf("%s  forgetting: %-39s %8zu states  ", good ? "ok  " : "FAIL",
	    names[which], outcome.states);
	if (outcome.broken != NULL)
		printf("%s in %zu steps\n", outcome.broken, outcome.depth);
	else
		printf("all are well (reached %x)\n", outcome.reached);
	(void)fflush(stdout);
	return good;
}

int
main(void)
{
	bool good = true;

	for (unsigned i = NOTHING; i < MUTATIONS; i++)
		good = run((enum mutation)i) && good;
	printf("%zu states, %d mutations\n", states, MUTATIONS - 1);
	return good ? 0 : 1;
}
