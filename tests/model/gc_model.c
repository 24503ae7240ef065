/*
 * The protocol of deletion, every interleaving of it.
 *
 * Two writers (W), two collectors (G), who forgets and undoes (F, U), and a
 * reader (R), over an old run of session 0 that has pack 0 and recipe 0.
 * Each store call is one step, a listing one step per key; whoever stops for
 * ever, or sleeps and wakes up late, is among the interleavings.  The names
 * of the steps stand in src/repo/gc.c, forget.c and session.c too.
 *
 * Promised:  a committed run that is not forgotten has its pack and recipe;
 *            what was undone is not forgotten;
 *            a reader that was not fenced has what it reads.
 *
 * Each mutation leaves one rule out and must break a promise; a rule whose
 * absence is not noticed is not proved by this model.  "No seal" leaves out
 * two of them: a set that names the sessions it counts as forgotten makes all
 * collectors delete the same, sealed or not, and either rule alone suffices
 * for the writers.
 *
 * A list shows here all that was put before it began, but for a scope in
 * which that of the registers lags until a set is sealed: then G1 and G5 may
 * miss a commit, and what keeps its run whole is that G7 looks once more at
 * what it is about to remove, and seals the set anew without what is needed
 * (G9).  A list that lags for longer is no part of this: src/repo/
 * gc_unlisted.c asks for registers by name before G1, G5 and G7 list them, and
 * stops the collector there, which is a collector that stops for ever; what
 * that relies on stands in fleetbak-format(5).
 *
 * All of it at once has too many states for every build; what is explored is
 * in the table of scopes.  MODEL_SCOPE="WRITERS READER UNDO ROUNDS LAG"
 * explores another one, as "2 1 1 1 0".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"

#define SESSIONS 3 /* 0: the old run's; 1 and 2: the writers' */
#define READER   3 /* the reader's bit among the sessions */
#define OBJECTS  6 /* packs 0 to 2, recipes 3 to 5 */
#define PACKS    7u

#define STATES_MAX ((size_t)400000000)

#define FORGETTABLE 3u /* runs that may be forgotten: of sessions 0 and 1 */

enum mutation {
	NOTHING,
	NO_SEAL,
	GC_BEFORE_SESSION,
	SESSIONS_BEFORE_PUBLISH,
	NO_WAIT,
	SKIP_FENCE,
	NO_REMARK,
	IGNORE_CONDEMNED,
	NO_EXISTENCE_CHECK,
	CONTENT_NAMED_PACKS,
	CONTENT_NAMED_RECIPES,
	PLAIN_PUT_COMMIT,
	COMMIT_BEFORE_RECIPE,
	FORGET_DELETES_REGISTER,
	UNDO_IN_ONE_WAY,
	READER_WITHOUT_SESSION,
	READER_LOOKS_FIRST,
	REMARK_FORGETS_MORE,
	REPLACE_UNCONDITIONALLY,
	TAKEOVER_DELETES_CONDEMNED,
	REMOVES_UNSEEN,
	ANEW_BY_PLAIN_PUT,
	ANEW_FORGETS_MORE,
	MUTATIONS,
};

/* How much of the world is looked at. */
struct scope {
	unsigned writers, reader, undo, rounds; /* of each collector */
	unsigned lag; /* of the list of registers, until a set is sealed */
};

static const struct scope whole[] = {
	{ 2, 0, 0, 1, 0 },
	{ 1, 1, 1, 1, 0 },
	{ 1, 1, 0, 2, 0 },
	{ 1, 0, 0, 2, 1 },
	{ 2, 0, 0, 1, 1 },
};

/* Each mutation in a scope in which it is soon found. */
static const struct {
	const char *name;
	struct scope scope;
} mutations[MUTATIONS] = {
	[NO_SEAL] = { "no seal", { 2, 0, 0, 1, 0 } },
	[GC_BEFORE_SESSION] = { "gc/current read before the session",
	    { 1, 0, 0, 2, 0 } },
	[SESSIONS_BEFORE_PUBLISH] = { "sessions listed before publishing",
	    { 1, 0, 0, 2, 0 } },
	[NO_WAIT] = { "no waiting", { 1, 0, 0, 2, 0 } },
	[SKIP_FENCE] = { "no fence", { 1, 0, 0, 2, 0 } },
	[NO_REMARK] = { "no second marking", { 1, 0, 0, 2, 0 } },
	[IGNORE_CONDEMNED] = { "condemned packs used again", { 1, 0, 0, 2, 0 } },
	[NO_EXISTENCE_CHECK] = { "existence not checked", { 1, 0, 0, 2, 0 } },
	[CONTENT_NAMED_PACKS] = { "packs named by content", { 1, 0, 0, 2, 0 } },
	[CONTENT_NAMED_RECIPES] = { "recipes named by content",
	    { 1, 0, 0, 2, 0 } },
	[PLAIN_PUT_COMMIT] = { "commit by plain put", { 1, 0, 0, 2, 0 } },
	[COMMIT_BEFORE_RECIPE] = { "commit before the recipe",
	    { 1, 0, 0, 1, 0 } },
	[FORGET_DELETES_REGISTER] = { "registers deleted", { 1, 0, 0, 2, 0 } },
	[UNDO_IN_ONE_WAY] = { "undo inside the one-way step",
	    { 1, 0, 1, 1, 0 } },
	[READER_WITHOUT_SESSION] = { "reader without a session",
	    { 1, 1, 0, 1, 0 } },
	[READER_LOOKS_FIRST] = { "reader looks before its session",
	    { 1, 1, 0, 1, 0 } },
	[REMARK_FORGETS_MORE] = { "second marking forgets more",
	    { 1, 1, 0, 1, 0 } },
	[REPLACE_UNCONDITIONALLY] = { "gc/current replaced unconditionally",
	    { 2, 0, 0, 1, 0 } },
	[TAKEOVER_DELETES_CONDEMNED] = { "takeover deletes what is condemned",
	    { 1, 0, 0, 1, 0 } },
	[REMOVES_UNSEEN] = { "set not looked at before it is removed",
	    { 1, 0, 0, 1, 1 } },
	[ANEW_BY_PLAIN_PUT] = { "set sealed anew by plain put",
	    { 2, 0, 0, 1, 1 } },
	[ANEW_FORGETS_MORE] = { "sealed anew with more that is forgotten",
	    { 1, 1, 0, 1, 1 } },
};

static enum mutation mutation;
static struct scope scope;

enum pending { NEVER, OPEN, UNDONE, ONE_WAY };
enum phase { IDLE, CONDEMNED, DELETE };
enum writer_pc { W_NEW, W_LOOK, W_PACK, W_RECIPE, W_COMMIT, W_DONE };
enum reader_pc { R_NEW, R_FIND, R_READ, R_DONE };
enum gc_pc { G_LOOK, G_FORGETS, G_MARK, G_LIST, G_PUBLISH, G_SESSIONS,
	G_RESOLVE, G_REMARK, G_SEAL, G_CHECK, G_ANEW, G_REMOVE, G_CLOSE };

/* Registers: 0 none, 1 a fence, 2 + n a commit that names pack n and the
 * session's own recipe. */
#define FENCE 1

struct writer {
	unsigned pc, seen, pack;
};

struct collector {
	unsigned pc, generation, set, forgotten, at, marked, left;
};

struct state {
	unsigned objects, reg[SESSIONS], sessions, ended, forgets;
	unsigned hidden; /* registers that are not listed yet */
	unsigned pending[SESSIONS], undoer;
	unsigned generation, phase, set, forgotten; /* gc/current */
	struct writer writer[2];
	unsigned reader, reads;
	struct collector gc[2];
};

static inline void
put(struct packed *packed, unsigned *at, unsigned value, unsigned bits)
{
	if (value >> bits != 0)
		abort(); /* the state does not fit its packing */
	if (*at < 64 && *at + bits > 64)
		*at = 64;
	if (*at + bits > 128)
		abort();
	packed->word[*at / 64] |= (uint64_t)value << (*at % 64);
	*at += bits;
}

static inline unsigned
get(struct packed packed, unsigned *at, unsigned bits)
{
	uint64_t value;

	if (*at < 64 && *at + bits > 64)
		*at = 64;
	value = packed.word[*at / 64] >> (*at % 64);
	*at += bits;
	return (unsigned)(value & ((UINT64_C(1) << bits) - 1));
}

/* Both directions by one list of fields, so that they cannot differ. */
typedef void field(void *arg, unsigned *value, unsigned bits);

static inline __attribute__((always_inline)) void
each_field(struct state *s, field *visit, void *arg)
{
	for (unsigned g = 0; g < 2; g++) {
		struct collector *gc = &s->gc[g];

		visit(arg, &gc->pc, 4);
		visit(arg, &gc->generation, 3);
		visit(arg, &gc->set, 6);
		visit(arg, &gc->forgotten, 3);
		visit(arg, &gc->at, 3);
		visit(arg, &gc->marked, 6);
		visit(arg, &gc->left, 2);
	}
	visit(arg, &s->objects, 6);
	visit(arg, &s->undoer, 2);
	for (unsigned i = 0; i < SESSIONS; i++)
		visit(arg, &s->reg[i], 3);
	visit(arg, &s->hidden, 3);
	visit(arg, &s->sessions, 4);
	visit(arg, &s->ended, 1);
	visit(arg, &s->forgets, 3);
	for (unsigned i = 0; i < SESSIONS - 1; i++)
		visit(arg, &s->pending[i], 2);
	visit(arg, &s->generation, 3);
	visit(arg, &s->phase, 2);
	visit(arg, &s->set, 6);
	visit(arg, &s->forgotten, 3);
	for (unsigned w = 0; w < 2; w++) {
		visit(arg, &s->writer[w].pc, 3);
		visit(arg, &s->writer[w].seen, 3);
		visit(arg, &s->writer[w].pack, 2);
	}
	visit(arg, &s->reader, 2);
	visit(arg, &s->reads, 2);
}

struct packing {
	struct packed packed;
	unsigned at;
};

static inline void
put_field(void *arg, unsigned *value, unsigned bits)
{
	struct packing *packing = arg;

	put(&packing->packed, &packing->at, *value, bits);
}

static inline void
get_field(void *arg, unsigned *value, unsigned bits)
{
	struct packing *packing = arg;

	*value = get(packing->packed, &packing->at, bits);
}

static int
order(const struct collector *a, const struct collector *b)
{
	return memcmp(a, b, sizeof(*a));
}

/* The two collectors are alike: which of them is which does not matter. */
static struct packed
pack(struct state s)
{
	struct packing packing = { 0 };

	if (order(&s.gc[0], &s.gc[1]) > 0) {
		struct collector first = s.gc[0];

		s.gc[0] = s.gc[1];
		s.gc[1] = first;
	}
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
	struct state s = { .objects = 1u | 1u << 3,
		.reg = { 2 },
		.sessions = 1 };

	s.gc[0].left = s.gc[1].left = scope.rounds;
	return pack(s);
}

static bool
is_commit(unsigned reg)
{
	return reg > FENCE;
}

/* What a register names: its pack and the session's recipe. */
static unsigned
needs(const struct state *s, unsigned session)
{
	unsigned recipe =
	    mutation == CONTENT_NAMED_RECIPES ? 0 : session;

	return is_commit(s->reg[session])
	    ? 1u << (s->reg[session] - 2) | 1u << (3 + recipe)
	    : 0;
}

static const char *
judge(struct packed packed)
{
	struct state s = unpack(packed);

	for (unsigned i = 0; i < SESSIONS; i++)
		if ((s.forgets >> i & 1) == 0 &&
		    (needs(&s, i) & ~s.objects) != 0)
			return "a committed run lacks an object";
	for (unsigned i = 0; i < SESSIONS; i++)
		if (s.pending[i] == UNDONE && (s.forgets >> i & 1) != 0)
			return "what was undone is forgotten";
	if (s.reader == R_READ && !s.ended &&
	    (needs(&s, s.reads) & ~s.objects) != 0)
		return "a reader lacks an object";
	return NULL;
}

/* What the model has to come by, or it would prove nothing. */
enum reached {
	PACK_DELETED = 1, RECIPE_DELETED = 2, RESCUED = 4, FENCED = 8,
	UNDID = 16, READ_FORGOTTEN = 32, CLOSED = 64, READER_FENCED = 128,
	SEALED_NEEDED = 256, FREED_BESIDE = 512,
};

static unsigned
reaches(struct packed packed)
{
	struct state s = unpack(packed);

	return ((s.objects & 1) == 0 ? PACK_DELETED : 0) |
	    ((s.objects & 8) == 0 ? RECIPE_DELETED : 0) |
	    ((s.forgets & 1) != 0 && s.reg[1] == 2 && s.phase == DELETE
	            ? RESCUED : 0) |
	    (s.reg[1] == FENCE ? FENCED : 0) |
	    (s.pending[0] == UNDONE ? UNDID : 0) |
	    (s.reader == R_READ && (s.forgets >> s.reads & 1) != 0
	            ? READ_FORGOTTEN : 0) |
	    (s.generation > 0 && s.phase == IDLE ? CLOSED : 0) |
	    (s.ended && s.reader == R_READ ? READER_FENCED : 0) |
	    (s.phase == DELETE && (s.set & needs(&s, 1)) != 0
	            ? SEALED_NEEDED : 0) |
	    (s.phase == IDLE && s.generation > 0 && is_commit(s.reg[1]) &&
	            (s.objects & 8) == 0 && (s.objects & 1) != 0 &&
	            s.reg[1] == 2
	            ? FREED_BESIDE : 0);
}

static void
step(struct explorer *e, struct state s, const char *label, unsigned who,
    unsigned what)
{
	explore_step(e, pack(s), label, who, what);
}

/* F1 to F3 and U1: see also forget_model.c, which looks closer. */
static void
forget_steps(struct explorer *e, struct state s)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct state t = s;

		if ((FORGETTABLE >> i & 1) == 0)
			continue;
		if (!scope.undo && is_commit(s.reg[i]) &&
		    (s.forgets >> i & 1) == 0) {
			t.forgets |= 1u << i;
			step(e, t, "F forgotten", i, 0);
		}
		t = s;
		if (scope.undo && is_commit(s.reg[i]) &&
		    s.pending[i] == NEVER) {
			t.pending[i] = OPEN;
			step(e, t, "F1 pending", i, 0);
		}
		t = s;
		if (s.pending[i] == OPEN) {
			t.pending[i] = ONE_WAY;
			step(e, t, "F2 one-way", i, 0);
		}
		t = s;
		if (s.pending[i] == ONE_WAY && (s.forgets >> i & 1) == 0) {
			t.forgets |= 1u << i;
			step(e, t, "F3 forgotten", i, 0);
		}
		t = s;
		if (mutation == FORGET_DELETES_REGISTER &&
		    ((s.forgets >> i & 1) != 0 || s.reg[i] == FENCE)) {
			t.reg[i] = 0;
			step(e, t, "register deleted", i, 0);
		}
		t = s;
		if (scope.undo && s.pending[i] == OPEN &&
		    mutation != UNDO_IN_ONE_WAY) {
			t.pending[i] = UNDONE;
			step(e, t, "U1 undone", i, 0);
		}
	}
	if (mutation != UNDO_IN_ONE_WAY)
		return;
	if (s.undoer == 0 && s.pending[0] == OPEN) {
		s.undoer = 1;
		step(e, s, "U1 undo looks", 0, 0);
	} else if (s.undoer == 1) {
		s.undoer = 2;
		s.pending[0] = NEVER;
		s.forgets &= ~1u;
		step(e, s, "U1 undo writes", 0, 0);
	}
}

/* W3: a pack that is there and not condemned, or one of its own. */
static void
pack_steps(struct explorer *e, struct state s, unsigned w)
{
	unsigned own = mutation == CONTENT_NAMED_PACKS ? 0 : w + 1;

	for (unsigned p = 0; p < SESSIONS; p++) {
		struct state t = s;

		if ((s.writer[w].seen >> p & 1) != 0 &&
		    mutation != IGNORE_CONDEMNED)
			continue;
		if ((s.objects >> p & 1) == 0 &&
		    (mutation != NO_EXISTENCE_CHECK || p != 0))
			continue;
		t.writer[w].pc = W_RECIPE;
		t.writer[w].pack = p;
		step(e, t, "W3 uses a pack again", w + 1, p);
	}
	s.objects |= 1u << own;
	s.writer[w].pc = W_RECIPE;
	s.writer[w].pack = own;
	step(e, s, "W3 puts a pack", w + 1, own);
}

static void
writer_steps(struct explorer *e, struct state s, unsigned w)
{
	struct writer *writer = &s.writer[w];
	unsigned session = w + 1;
	bool late = mutation == GC_BEFORE_SESSION;

	switch ((enum writer_pc)writer->pc) {
	case W_NEW:
	case W_LOOK:
		/* W1 announces, W2 reads gc/current. */
		if ((writer->pc == W_NEW) != late) {
			s.sessions |= 1u << session;
			writer->pc = late ? W_PACK : W_LOOK;
			step(e, s, "W1 announces", session, 0);
		} else {
			writer->seen = s.set & PACKS;
			writer->pc = late ? W_LOOK : W_PACK;
			step(e, s, "W2 reads gc/current", session, s.set);
		}
		return;
	case W_PACK:
		pack_steps(e, s, w);
		return;
	case W_RECIPE:
	case W_COMMIT:
		if ((writer->pc == W_RECIPE) ==
		    (mutation != COMMIT_BEFORE_RECIPE)) {
			s.objects |= 1u << (3 +
			    (mutation == CONTENT_NAMED_RECIPES ? 0 : session));
			writer->pc++;
			step(e, s, "W3 puts a recipe", session, 0);
			return;
		}
		if (s.reg[session] == 0 || mutation == PLAIN_PUT_COMMIT)
			s.reg[session] = 2 + writer->pack;
		writer->pc = writer->pc == W_RECIPE ? W_COMMIT : W_DONE;
		writer->seen = 0;
		writer->pack = writer->pc == W_DONE ? 0 : writer->pack;
		if (scope.lag && s.phase != DELETE &&
		    is_commit(s.reg[session])) {
			struct state t = s;

			t.hidden |= 1u << session;
			step(e, t, "W4 commits, and is not listed", session, 0);
		}
		step(e, s, "W4 commits, if it may", session, s.reg[session]);
		return;
	case W_DONE:
		return;
	}
}

static void
reader_steps(struct explorer *e, struct state s)
{
	bool late = mutation == READER_LOOKS_FIRST;

	switch ((enum reader_pc)s.reader) {
	case R_NEW:
	case R_FIND:
		if ((s.reader == R_NEW) != late) {
			if (mutation != READER_WITHOUT_SESSION)
				s.sessions |= 1u << READER;
			s.reader = late ? R_READ : R_FIND;
			step(e, s, "R1 announces", READER, 0);
			return;
		}
		for (unsigned i = 0; i < SESSIONS; i++)
			if (is_commit(s.reg[i]) &&
			    (s.forgets >> i & 1) == 0) {
				s.reader = late ? R_FIND : R_READ;
				s.reads = i;
				step(e, s, "R2 finds a run", READER, i);
				s.reader = late ? R_NEW : R_FIND;
			}
		return;
	case R_READ:
		s.reader = R_DONE;
		s.ended = 1;
		s.reads = 0;
		step(e, s, "R3 ends", READER, 0);
		return;
	case R_DONE:
		return;
	}
}

static bool
is_open(const struct state *s, unsigned session)
{
	if ((s->sessions >> session & 1) == 0)
		return false;
	return session == READER ? !s->ended : s->reg[session] == 0;
}

static void
go_look(struct collector *gc)
{
	*gc = (struct collector){ .left = gc->left };
}

/* Where no list lags, what is sealed is never needed, and looking at it would
 * only make more states. */
static unsigned
before_removal(void)
{
	return scope.lag && mutation != REMOVES_UNSEEN ? G_CHECK : G_REMOVE;
}

/* Where a collector goes on: by gc/current. */
static void
look(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];

	gc->generation = s.generation;
	if (s.phase == IDLE) {
		if (gc->left == 0)
			return;
		gc->left--;
		gc->pc = mutation == SESSIONS_BEFORE_PUBLISH ? G_SESSIONS
		                                             : G_FORGETS;
		step(e, s, "begins to collect", g, 0);
		return;
	}
	gc->set = s.set;
	gc->forgotten = s.forgotten;
	gc->pc = s.phase == DELETE || mutation == TAKEOVER_DELETES_CONDEMNED
	    ? before_removal()
	    : G_SESSIONS;
	if (mutation == NO_WAIT && gc->pc == G_SESSIONS)
		gc->pc = G_REMARK;
	if (mutation == SESSIONS_BEFORE_PUBLISH && gc->pc == G_SESSIONS)
		gc->pc = G_REMARK;
	step(e, s, "takes gc/current up", g, s.phase);
}

static void
mark_steps(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];
	unsigned forgotten = gc->forgotten;

	if (gc->pc == G_REMARK &&
	    (mutation == REMARK_FORGETS_MORE || mutation == NO_SEAL))
		forgotten |= s.forgets;
	if (gc->pc == G_CHECK && mutation == ANEW_FORGETS_MORE)
		forgotten |= s.forgets;
	if (((forgotten | s.hidden) >> gc->at & 1) == 0)
		gc->marked |= needs(&s, gc->at);
	if (++gc->at < SESSIONS) {
		step(e, s, "G1/G5/G7 reads a register", g, gc->at - 1);
		return;
	}
	gc->at = 0;
	if (gc->pc == G_MARK) {
		gc->pc = G_LIST;
	} else if (gc->pc == G_CHECK) {
		gc->marked &= gc->set;
		gc->pc = gc->marked != 0 ? G_ANEW : G_REMOVE;
	} else {
		gc->set &= ~gc->marked;
		gc->marked = 0;
		gc->pc = G_SEAL;
		if (mutation == NO_SEAL)
			gc->pc = before_removal();
	}
	step(e, s, "G1/G5 has marked", g, gc->set);
}

/* Once every session is resolved. */
static unsigned
after_sessions(void)
{
	return mutation == SESSIONS_BEFORE_PUBLISH ? G_FORGETS
	    : mutation == NO_REMARK                ? G_SEAL
	                                           : G_REMARK;
}

static void
session_steps(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];

	if (is_open(&s, gc->at + 1))
		gc->marked |= 1u << (gc->at + 1);
	if (++gc->at < SESSIONS) {
		step(e, s, "G3 lists a session", g, gc->at);
		return;
	}
	gc->at = 0;
	gc->pc = gc->marked == 0 ? after_sessions() : G_RESOLVE;
	step(e, s, "G3 has listed", g, gc->marked);
}

static void
resolve_steps(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];
	unsigned session = 1;

	while ((gc->marked >> session & 1) == 0)
		session++;
	gc->marked &= ~(1u << session);
	if (gc->marked == 0)
		gc->pc = after_sessions();
	if (!is_open(&s, session)) {
		step(e, s, "G4 is resolved", g, session);
		return;
	}
	if (mutation != SKIP_FENCE) {
		if (session == READER)
			s.ended = 1;
		else
			s.reg[session] = FENCE;
	}
	step(e, s, "G4 fences", g, session);
}

static bool
is_current(const struct state *s, const struct collector *gc, unsigned phase)
{
	return mutation == REPLACE_UNCONDITIONALLY ||
	    (s->generation == gc->generation && s->phase == phase);
}

static void
remove_steps(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];
	unsigned object = 0;

	while (gc->set != 0 && (gc->set >> object & 1) == 0)
		object++;
	s.objects &= ~(gc->set & 1u << object);
	gc->set &= ~(1u << object);
	if (gc->set == 0)
		gc->pc = G_CLOSE;
	step(e, s, "G7 removes", g, object);
}

static void
collector_steps(struct explorer *e, struct state s, unsigned g)
{
	struct collector *gc = &s.gc[g];

	switch ((enum gc_pc)gc->pc) {
	case G_LOOK:
		look(e, s, g);
		return;
	case G_FORGETS:
		/* One key at a time: later ones may be newer. */
		gc->forgotten |= s.forgets & 1u << gc->at;
		if (++gc->at == SESSIONS - 1) {
			gc->at = 0;
			gc->pc = G_MARK;
		}
		step(e, s, "G1 reads forgets", g, gc->forgotten);
		return;
	case G_MARK:
	case G_REMARK:
	case G_CHECK:
		mark_steps(e, s, g);
		return;
	case G_LIST:
		gc->set = s.objects & ~gc->marked;
		gc->marked = 0;
		gc->pc = G_PUBLISH;
		if (gc->set == 0)
			go_look(gc);
		step(e, s, "G1 lists what nothing names", g, gc->set);
		return;
	case G_PUBLISH:
		if (is_current(&s, gc, IDLE)) {
			s.generation = gc->generation + 1;
			s.phase = CONDEMNED;
			s.set = gc->set;
			s.forgotten = gc->forgotten;
		}
		go_look(gc);
		step(e, s, "G2 publishes, if it may", g, s.set);
		return;
	case G_SESSIONS:
		session_steps(e, s, g);
		return;
	case G_RESOLVE:
		resolve_steps(e, s, g);
		return;
	case G_SEAL:
		if (is_current(&s, gc, CONDEMNED)) {
			s.phase = DELETE;
			s.set = gc->set;
			s.hidden = 0;
		}
		go_look(gc);
		step(e, s, "G6 seals, if it may", g, s.set);
		return;
	case G_ANEW:
		if (mutation == ANEW_BY_PLAIN_PUT) {
			s.generation = gc->generation;
			s.phase = DELETE;
			s.forgotten = gc->forgotten;
			s.set = gc->set & ~gc->marked;
		} else if (is_current(&s, gc, DELETE) && s.set == gc->set) {
			s.set &= ~gc->marked;
		}
		go_look(gc);
		step(e, s, "G9 seals anew, if it may", g, s.set);
		return;
	case G_REMOVE:
		remove_steps(e, s, g);
		return;
	case G_CLOSE:
		if (is_current(
		        &s, gc, mutation == NO_SEAL ? CONDEMNED : DELETE)) {
			s.phase = IDLE;
			s.set = s.forgotten = 0;
		}
		go_look(gc);
		step(e, s, "G8 closes, if it may", g, 0);
		return;
	}
}

static void
steps(struct explorer *e, struct packed from)
{
	struct state s = unpack(from);

	forget_steps(e, s);
	for (unsigned w = 0; w < scope.writers; w++)
		writer_steps(e, s, w);
	if (scope.reader)
		reader_steps(e, s);
	for (unsigned g = 0; g < 2; g++)
		collector_steps(e, s, g);
}

static double
seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What must have happened in a scope, or it proves nothing. */
static unsigned
must_reach(void)
{
	return PACK_DELETED | RECIPE_DELETED | RESCUED | FENCED | CLOSED |
	    (scope.undo ? UNDID : 0) |
	    (scope.lag ? SEALED_NEEDED | FREED_BESIDE : 0) |
	    (scope.reader ? READ_FORGOTTEN | READER_FENCED : 0);
}

static size_t states;

static bool
run(enum mutation which, struct scope in, bool verbose)
{
	struct model model = { first, steps, judge, reaches };
	double began = seconds();
	struct outcome outcome;
	bool good;

	mutation = which;
	scope = in;
	outcome = explore(&model, STATES_MAX, verbose);
	good = which != NOTHING ? outcome.broken != NULL
	                        : outcome.broken == NULL && !outcome.full &&
	        (outcome.reached & must_reach()) == must_reach();
	states += outcome.states;
	printf("%s  %u writers, %u readers, %s, %u rounds%s: %-35s %8zu states "
	       "%5.1f s  ",
	    good ? "ok  " : "FAIL", in.writers, in.reader,
	    in.undo ? "undo" : "no undo", in.rounds,
	    in.lag ? ", a list that lags" : "",
	    which == NOTHING ? "the protocol" : mutations[which].name,
	    outcome.states, seconds() - began);
	if (outcome.broken != NULL)
		printf("%s in %zu steps\n", outcome.broken, outcome.depth);
	else
		printf("%s (reached %x)\n",
		    outcome.full ? "too many to say" : "all are well",
		    outcome.reached);
	(void)fflush(stdout);
	return good;
}

static bool
run_all(void)
{
	bool good = true;

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		good = run(NOTHING, whole[i], true) && good;
	for (unsigned i = NOTHING + 1; i < MUTATIONS; i++)
		good = run((enum mutation)i, mutations[i].scope, false) &&
		    good;
	printf("%zu states, %d mutations\n", states, MUTATIONS - 1);
	return good;
}

int
main(void)
{
	const char *wanted = getenv("MODEL_SCOPE");
	struct scope in;

	if (wanted == NULL)
		return run_all() ? 0 : 1;
	if (sscanf(wanted, "%u %u %u %u %u", &in.writers, &in.reader,
	        &in.undo, &in.rounds, &in.lag) != 5 ||
	    in.writers > 2 || in.reader > 1 || in.undo > 1 || in.rounds > 3 ||
	    in.lag > 1) {
		fprintf(stderr, "MODEL_SCOPE: five small numbers\n");
		return 2;
	}
	return run(NOTHING, in, true) ? 0 : 1;
}
