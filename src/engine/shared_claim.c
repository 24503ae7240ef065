/*
 * Who does which shard of a shared run: leases.
 *
 * A lease is made once, by conditional create; its epoch is its place in the
 * line.  Whoever takes a shard over fences the session before it first: from
 * then on that can commit nothing, whatever it still does.  Only how long
 * one waits before that is told by a clock, the waiting one's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "shared.h"

#define POLL_FIRST_MS 100
#define POLL_MAX_MS   5000
#define SAY_AFTER_MS  800
#define SESSION       "session "

/*
 * Looking.
 */

struct survey {
	const char *prefix;
	uint32_t number; /* the epoch that is being listed */
	struct shared_lease now, newest;
	bool leased, ended, kept; /* it, so far */
	uint32_t left, all_kept;  /* of those that are behind */
};

/* An epoch without a lease is what somebody said too late. */
static void
close_epoch(struct survey *survey)
{
	if (survey->leased) {
		survey->newest = survey->now;
		survey->left += !survey->ended;
		survey->all_kept += !survey->ended && survey->kept;
	}
	survey->now = (struct shared_lease){ .epoch = survey->number };
	survey->leased = survey->ended = survey->kept = false;
}

static int
visit_object(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct survey *survey = arg;
	const char *rest = key + strlen(survey->prefix);
	struct fb_error ignored = { 0 };
	uint64_t epoch;

	(void)size;
	(void)err;
	if (strlen(rest) < 7 || rest[6] != '/' ||
	    fb_text_u64(
	        (struct fb_span){ (const uint8_t *)rest + strspn(rest, "0"),
	            6 - strspn(rest, "0") },
	        FB_LEASE_MAX, &epoch, &ignored) < 0)
		return FB_OK;
	if (epoch > survey->number) { /* they come in order */
		survey->number = (uint32_t)epoch;
		close_epoch(survey);
	}
	rest += 7;
	survey->now.told++;
	survey->now.heirs += strncmp(rest, "heir-", 5) == 0;
	survey->leased |= strcmp(rest, "lease") == 0;
	survey->ended |= strcmp(rest, SHARED_END) == 0;
	survey->kept |= strcmp(rest, SHARED_KEPT) == 0;
	return FB_OK;
}

int
shared_lease_session(const struct shared *shared, uint32_t shard,
    uint32_t epoch, char session[FB_RUN_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf body = { 0 };
	char key[SHARED_KEY_SIZE];
	int rc;

	shared_key(shared->name, shard, epoch, "lease", key);
	rc = shared_get(shared->repo, key, &body, err);
	if (rc < 0)
		return rc;
	if (body.len != sizeof(SESSION) - 1 + FB_RUN_ID_LEN + 1 ||
	    memcmp(body.data, SESSION, sizeof(SESSION) - 1) != 0 ||
	    !fb_run_id_ok(
	        (const char *)body.data + sizeof(SESSION) - 1, FB_RUN_ID_LEN))
		return fb_fail(err, FB_ECORRUPT, "'%s' is no lease", key);
	memcpy(session, body.data + sizeof(SESSION) - 1, FB_RUN_ID_LEN);
	session[FB_RUN_ID_LEN] = '\0';
	return FB_OK;
}

int
shared_look(const struct shared *shared, uint32_t shard,
    struct shared_lease *ret_lease, struct fb_error *err)
{
	FB_AUTO_FREE char *prefix =
	    fb_format("shared/%s/%04u/", shared->name, shard);
	struct survey survey = { .prefix = prefix };
	struct fb_register reg = { 0 };
	int rc = fb_store_list(
	    shared->repo->store, prefix, visit_object, &survey, err);

	close_epoch(&survey);
	*ret_lease = survey.newest;
	ret_lease->left = survey.left;
	ret_lease->kept = survey.left > 0 && survey.all_kept == survey.left;
	if (rc < 0 || ret_lease->epoch == 0)
		return rc;
	rc = shared_lease_session(
	    shared, shard, ret_lease->epoch, ret_lease->session, err);
	if (rc == FB_ENOTFOUND) { /* taken away since it was listed */
		*err = (struct fb_error){ 0 };
		*ret_lease = (struct shared_lease){ .epoch = 0 };
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	rc = fb_repo_register(shared->repo, ret_lease->session, &reg, err);
	ret_lease->committed = rc == FB_OK && !reg.fence;
	ret_lease->fenced = rc == FB_OK && reg.fence;
	fb_register_release(&reg);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/*
 * Claiming.
 */

/* Since when nothing more was told. */
struct watch {
	uint32_t epoch;
	size_t told;
	int64_t since_ns;
	uint64_t poll_ms;
	bool said;
};

static void
say_waiting(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease)
{
	struct fb_error why = { 0 };

	(void)fb_fail_id(&why, FB_EBUSY, "E-SHARD-HELD",
	    "shard %u of '%s' is %s session %s: it is taken over when "
	    "that gives no sign of life for %llu s",
	    shard, shared->name,
	    lease->committed ? "committed and not left yet by" : "done by",
	    lease->session, (unsigned long long)shared->dead_after_ms / 1000);
	(void)fb_hint(&why, "if it is known to be dead: --take-over");
	fb_observe(&shared->engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = &why });
}

/* Look often at first: most are nearly through. */
static int64_t
next_look(const struct shared *shared, struct watch *watch, int64_t now)
{
	uint64_t most = shared->dead_after_ms / 8;

	most = most < POLL_MAX_MS ? most : POLL_MAX_MS;
	watch->poll_ms =
	    watch->poll_ms > 0 ? 2 * watch->poll_ms : POLL_FIRST_MS;
	if (watch->poll_ms > most)
		watch->poll_ms = most;
	return now + (int64_t)watch->poll_ms * 1000000;
}

/* Look again in a while; *ret_dead: it has been silent for too long. */
static int
wait_for(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease, struct watch *watch, bool *ret_dead,
    struct fb_error *err)
{
	int64_t now = fb_clock_mono_ns(), until;

	if (lease->epoch != watch->epoch || lease->told != watch->told) {
		watch->epoch = lease->epoch;
		watch->told = lease->told;
		watch->since_ns = now;
	}
	*ret_dead = (uint64_t)(now - watch->since_ns) / 1000000 >=
	    shared->dead_after_ms;
	if (*ret_dead)
		return FB_OK;
	if (!watch->said &&
	    (!lease->committed || watch->poll_ms >= SAY_AFTER_MS)) {
		say_waiting(shared, shard, lease);
		watch->said = true;
	}
	until = next_look(shared, watch, now);
	while (fb_clock_mono_ns() < until) {
		if (shared->engine->cancel != NULL &&
		    atomic_load(shared->engine->cancel))
			return fb_fail_id(err, FB_ECANCELED, "E-INTERRUPTED",
			    "interrupted while waiting for shard %u", shard);
		fb_clock_wait(until);
	}
	return FB_OK;
}

/* FB_EEXISTS: somebody else was faster. */
static int
take_lease(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct download_part *part, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE], body[sizeof(SESSION) + FB_RUN_ID_SIZE];

	if (epoch > FB_LEASE_MAX)
		return fb_fail(err, FB_EREFUSED,
		    "shard %u has been taken "
		    "over too often",
		    shard);
	fb_random_run_id(part->session);
	part->lease = epoch;
	(void)snprintf(body, sizeof(body), SESSION "%s\n", part->session);
	shared_key(shared->name, shard, epoch, "lease", key);
	return shared_put(shared->engine, shared->repo, key,
	    (struct fb_span){ (const uint8_t *)body, strlen(body) }, err);
}

static bool
is_ours(const struct shared *shared, const struct shared_lease *lease)
{
	return lease->epoch > 0 && !lease->fenced &&
	    shared_is_here(shared, lease->session);
}

/* One look, and what follows from it.  *ret_taken: the lease is ours. */
static int
try_claim(const struct shared *shared, uint32_t shard, bool take_over,
    struct watch *watch, struct download_part *part, bool *ret_taken,
    bool *ret_committed, struct fb_error *err)
{
	struct shared_lease lease;
	bool dead = take_over;
	int rc = shared_look(shared, shard, &lease, err);

	*ret_taken = false;
	if (rc < 0)
		return rc;
	if (lease.committed) {
		*ret_committed = true;
		return FB_OK;
	}
	if (is_ours(shared, &lease)) { /* cut off: it goes on */
		memcpy(part->session, lease.session, sizeof(part->session));
		part->lease = lease.epoch;
		*ret_taken = true;
		return FB_OK;
	}
	if (lease.epoch > 0 && !lease.fenced && !dead)
		rc = wait_for(shared, shard, &lease, watch, &dead, err);
	if (rc < 0)
		return rc;
	if (lease.epoch > 0 && !lease.fenced && !dead)
		return FB_OK;
	if (lease.epoch > 0 && !lease.fenced)
		rc = fb_repo_fence(shared->repo, lease.session,
		    "its shard was taken over", ret_committed, err);
	if (rc < 0 || *ret_committed)
		return rc;
	rc = take_lease(shared, shard, lease.epoch + 1, part, err);
	*ret_taken = rc == FB_OK;
	return rc == FB_EEXISTS ? FB_OK : rc;
}

/* Who seals takes the leases away: one that is taken after that is of a shard
 * that was committed. */
static int
give_up_closed(const struct shared *shared, uint32_t shard,
    const struct download_part *part, bool *ret_closed, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	struct fb_error ignored = { 0 };
	int rc = shared_is_closed(shared, ret_closed, err);

	if (rc < 0 || !*ret_closed)
		return rc;
	shared_key(shared->name, shard, part->lease, "lease", key);
	(void)!fb_store_remove(shared->repo->store, key, &ignored);
	return FB_OK;
}

int
shared_claim(const struct shared *shared, uint32_t shard, bool take_over,
    struct download_part *ret_part, bool *ret_committed, struct fb_error *err)
{
	struct download_part part = { .lease = 0 };
	struct watch watch = { 0 };
	bool taken = false;
	int rc = FB_OK;

	*ret_committed = false;
	while (rc == FB_OK && !taken && !*ret_committed)
		rc = try_claim(shared, shard, take_over, &watch, &part, &taken,
		    ret_committed, err);
	if (rc == FB_OK && taken)
		rc = give_up_closed(shared, shard, &part, ret_committed, err);
	if (*ret_committed)
		taken = false;
	if (rc == FB_OK && taken)
		rc = shared_adopt(shared, shard, part.lease - 1, err);
	if (rc < 0 || *ret_committed)
		return rc < 0
		    ? fb_wrap(err, "shard %u of '%s'", shard, shared->name)
		    : FB_OK;
	memcpy(part.shard.of, shared->run, sizeof(part.shard.of));
	memcpy(part.shared, shared->name, sizeof(part.shared));
	part.shard.number = shard;
	part.shard.count = shared->shards;
	part.predecessors = shared->predecessors;
	part.predecessor_count = shared->predecessor_count;
	*ret_part = part;
	return FB_OK;
}

/*
 * What is left by those who had it, when nobody has it any more.
 */

/* FB_EEXISTS: somebody else was faster. */
static int
be_heir(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE], rest[24], body[FB_RUN_ID_SIZE + 1];

	fb_random_run_id(body);
	body[FB_RUN_ID_LEN] = '\n';
	(void)snprintf(rest, sizeof(rest), "heir-%06u", lease->heirs + 1);
	shared_key(shared->name, shard, lease->epoch, rest, key);
	return shared_put(shared->engine, shared->repo, key,
	    (struct fb_span){ (const uint8_t *)body, FB_RUN_ID_LEN + 1 }, err);
}

static void
say_kept(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease)
{
	struct fb_error why = { 0 };

	(void)fb_fail_id(&why, FB_EBUSY, "E-SHARD-KEPT",
	    "session %s of shard %u of '%s' could not start a machine or "
	    "remove a snapshot; its node remembers, and tries again",
	    lease->session, shard, shared->name);
	(void)fb_hint(&why,
	    "if that node is lost: fleetbak seal --run %s --take-over",
	    shared->name);
	fb_observe(&shared->engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = &why });
}

/* In a run that is closed nobody does a shard: a lease that is neither
 * committed nor fenced was taken too late. */
static int
is_behind(const struct shared *shared, const struct shared_lease *lease,
    bool *ret_behind, struct fb_error *err)
{
	if (lease->committed || lease->fenced) {
		*ret_behind = true;
		return FB_OK;
	}
	return shared_is_closed(shared, ret_behind, err);
}

/* One look, and what follows from it.  *ret_over: there is nothing to do for
 * us; ret_left->epoch > 0: it is ours to do. */
static int
try_left(const struct shared *shared, uint32_t shard, bool take_over,
    struct watch *watch, struct shared_left *ret_left, bool *ret_over,
    struct fb_error *err)
{
	struct shared_lease lease;
	bool dead = take_over, behind = false, ignored;
	int rc = shared_look(shared, shard, &lease, err);

	if (rc == FB_OK && lease.left > 0)
		rc = is_behind(shared, &lease, &behind, err);
	*ret_over = !behind;
	if (rc < 0 || !behind)
		return rc;
	ret_left->ours = shared_is_here(shared, lease.session);
	if (!ret_left->ours && !dead && lease.kept) {
		say_kept(shared, shard, &lease);
		*ret_over = true;
		return FB_OK;
	}
	if (!ret_left->ours && !dead) {
		rc = wait_for(shared, shard, &lease, watch, &dead, err);
		if (rc < 0 || !dead)
			return rc;
	}
	if (!lease.committed && !lease.fenced)
		rc = fb_repo_fence(shared->repo, lease.session,
		    "its shared run was closed", &ignored, err);
	if (rc == FB_OK && !ret_left->ours)
		rc = be_heir(shared, shard, &lease, err);
	if (rc == FB_OK) {
		ret_left->epoch = lease.epoch;
		*ret_over = true;
	}
	return rc == FB_EEXISTS ? FB_OK : rc;
}

int
shared_claim_left(const struct shared *shared, uint32_t shard, bool take_over,
    struct shared_left *ret_left, struct fb_error *err)
{
	struct watch watch = { 0 };
	bool over = false;
	int rc = FB_OK;

	*ret_left = (struct shared_left){ .epoch = 0 };
	while (rc == FB_OK && !over) {
		rc = try_left(
		    shared, shard, take_over, &watch, ret_left, &over, err);
		take_over = false; /* who is there now has come after us */
	}
	if (rc == FB_OK && ret_left->epoch > 0)
		rc = shared_adopt(shared, shard, ret_left->epoch, err);
	return rc < 0 ? fb_wrap(err, "shard %u of '%s'", shard, shared->name)
	              : FB_OK;
}
