/* Every pack, once, by several threads. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify_impl.h"

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/err.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/attest.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"

#define WORKERS_MAX 16

/* Where the store is far away, some wait while others work. */
#define WORKERS_FAR 4

/* A pack that one of the crew reads, and others may help with. */
struct bench {
	struct fb_pack_check *check; /* NULL: none */
	unsigned helpers;
	bool exhausted; /* nothing is left to help with */
};

struct crew {
	struct verify *verify;
	bool open; /* every chunk as well */
	struct fb_attester *attester; /* NULL: nothing is attested */
	pthread_mutex_t mutex; /* all below, and the report */
	pthread_cond_t changed;
	size_t next;      /* slot to look at */
	unsigned opening; /* packs that are taken and not on a bench yet */
	struct bench benches[WORKERS_MAX];
};

/* The next pack that is not known to be damaged. */
static struct fb_id_slot *
take_next(struct crew *crew)
{
	struct fb_id_set *packs = &crew->verify->packs;
	struct fb_id_slot *slot = NULL;

	(void)pthread_mutex_lock(&crew->mutex);
	while (crew->next < packs->cap && slot == NULL) {
		slot = &packs->slots[crew->next++];
		if (!slot->used || slot->mark != 0)
			slot = NULL;
	}
	crew->opening += slot != NULL;
	(void)pthread_mutex_unlock(&crew->mutex);
	return slot;
}

static void
report_pack(struct crew *crew, struct fb_id_slot *slot, uint64_t bytes, int rc,
    const struct fb_error *cause)
{
	struct verify *verify = crew->verify;
	char key[FB_OBJECT_KEY_SIZE];

	(void)pthread_mutex_lock(&crew->mutex);
	verify->report->bytes += bytes;
	if (rc < 0) {
		slot->mark = rc == FB_ENOTFOUND ? 1 : VERIFY_BODY;
		verify->damaged_packs++;
		fb_pack_key(&slot->id, key);
		(void)add_damage(verify, key, cause);
	}
	(void)pthread_mutex_unlock(&crew->mutex);
}

/* Put the check on a free bench; NULL: it could not be opened. */
static struct bench *
put_up(struct crew *crew, struct fb_pack_check *check)
{
	struct bench *bench = crew->benches;

	(void)pthread_mutex_lock(&crew->mutex);
	crew->opening--;
	while (bench->check != NULL)
		bench++;
	*bench = (struct bench){ .check = check };
	(void)pthread_cond_broadcast(&crew->changed);
	(void)pthread_mutex_unlock(&crew->mutex);
	return check != NULL ? bench : NULL;
}

static void
take_down(struct crew *crew, struct bench *bench)
{
	struct fb_pack_check *check = bench->check;

	(void)pthread_mutex_lock(&crew->mutex);
	bench->exhausted = true;
	while (bench->helpers > 0)
		(void)pthread_cond_wait(&crew->changed, &crew->mutex);
	bench->check = NULL;
	(void)pthread_mutex_unlock(&crew->mutex);
	fb_pack_check_close(check);
}

static int
verify_pack(struct crew *crew, const struct fb_digest *id, uint64_t *ret_bytes,
    struct fb_error *err)
{
	struct fb_pack_check *check = NULL;
	int rc = fb_pack_check_open(
	    crew->verify->repo, id, crew->open, &check, err);
	struct bench *bench;

	if (rc == FB_OK && crew->attester != NULL) {
		rc = fb_attester_prepare(crew->attester, check, err);
		if (rc < 0) {
			fb_pack_check_close(check);
			check = NULL;
		}
	}
	bench = put_up(crew, check);
	if (bench == NULL)
		return rc;
	rc = fb_pack_check_run(check, ret_bytes, err);
	if (rc == FB_OK && crew->attester != NULL)
		rc = fb_attester_add(crew->attester, check, err);
	take_down(crew, bench);
	return rc;
}

static struct bench *
find_bench(struct crew *crew)
{
	for (size_t i = 0; i < WORKERS_MAX; i++)
		if (crew->benches[i].check != NULL &&
		    !crew->benches[i].exhausted)
			return &crew->benches[i];
	return NULL;
}

/* No pack is left to take: help with those that others took. */
static void
help(struct crew *crew)
{
	struct bench *bench;

	(void)pthread_mutex_lock(&crew->mutex);
	while ((bench = find_bench(crew)) != NULL || crew->opening > 0) {
		bool any;

		if (bench == NULL) {
			(void)pthread_cond_wait(&crew->changed, &crew->mutex);
			continue;
		}
		bench->helpers++;
		(void)pthread_mutex_unlock(&crew->mutex);
		any = fb_pack_check_help(bench->check);
		(void)pthread_mutex_lock(&crew->mutex);
		bench->helpers--;
		if (!any)
			bench->exhausted = true;
		(void)pthread_cond_broadcast(&crew->changed);
	}
	(void)pthread_mutex_unlock(&crew->mutex);
}

static int
work(void *arg, struct fb_error *err)
{
	struct crew *crew = arg;
	struct fb_id_slot *slot;

	while ((slot = take_next(crew)) != NULL) {
		uint64_t bytes = 0;
		int rc = verify_pack(crew, &slot->id, &bytes, err);

		if (rc < 0 && !is_damage(err))
			return rc;
		report_pack(crew, slot, rc < 0 ? 0 : bytes, rc, err);
		rc = check_cancel(crew->verify, err);
		if (rc < 0)
			return rc;
	}
	if (crew->open)
		help(crew);
	return FB_OK;
}

/* FB_EKEY: nobody who cannot open them can attest packs. */
static int
open_attester(struct crew *crew, struct fb_sign_key **ret_key,
    struct fb_error *err)
{
	struct verify *verify = crew->verify;
	int rc;

	if (!verify->request->attest)
		return FB_OK;
	if (verify->repo->vault == NULL) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-ATTEST-CLEAR",
		    "the repository is not encrypted: its packs are used "
		    "again by everybody");
		return fb_hint(err, "verify --full checks them");
	}
	rc = fb_engine_sign_key(verify->engine, ret_key, err);
	return rc < 0 ? rc
	              : fb_attester_open(
	                    verify->repo, *ret_key, &crew->attester, err);
}

static int
run_crew(struct crew *crew, struct fb_error *err)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	long least = fb_store_is_far(crew->verify->repo->store)
	    ? WORKERS_FAR
	    : 2;
	long workers = processors < least  ? least
	    : processors > WORKERS_MAX ? WORKERS_MAX
	                               : processors;
	struct fb_group *group = fb_group_new();

	for (long i = 0; i < workers; i++)
		fb_group_start(group, work, crew);
	return fb_group_wait(group, err);
}

int
verify_packs(struct verify *verify, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct crew crew = { .verify = verify,
		.open = verify->request->depth == FB_VERIFY_FULL &&
		    fb_vault_opens(verify->repo->vault),
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	int rc = open_attester(&crew, &key, err);

	verify->report->opened = crew.open;
	if (rc == FB_OK)
		rc = run_crew(&crew, err);
	if (rc == FB_OK && crew.attester != NULL)
		rc = fb_attester_finish(
		    crew.attester, &verify->report->attest, err);
	fb_attester_close(crew.attester);
	return rc;
}
