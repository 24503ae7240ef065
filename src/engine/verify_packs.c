/* Every pack, once, by several threads. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify_impl.h"

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"

#define WORKERS_MAX 16

struct crew {
	struct verify *verify;
	bool open; /* every chunk as well */
	pthread_mutex_t mutex;
	size_t next; /* slot to look at; under the mutex, as is the report */
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

static int
work(void *arg, struct fb_error *err)
{
	struct crew *crew = arg;
	struct fb_id_slot *slot;

	while ((slot = take_next(crew)) != NULL) {
		uint64_t bytes = 0;
		int rc = check_cancel(crew->verify, err);

		if (rc < 0)
			return rc;
		rc = fb_pack_verify(
		    crew->verify->repo, &slot->id, crew->open, &bytes, err);
		if (rc < 0 && !is_damage(err))
			return rc;
		report_pack(crew, slot, rc < 0 ? 0 : bytes, rc, err);
	}
	return FB_OK;
}

int
verify_packs(struct verify *verify, struct fb_error *err)
{
	struct crew crew = { .verify = verify,
		.open = verify->request->depth == FB_VERIFY_FULL &&
		    fb_vault_opens(verify->repo->vault),
		.mutex = PTHREAD_MUTEX_INITIALIZER };
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	long workers = processors < 2 ? 2
	    : processors > WORKERS_MAX ? WORKERS_MAX
	                               : processors;
	struct fb_group *group = fb_group_new();

	verify->report->opened = crew.open;
	for (long i = 0; i < workers; i++)
		fb_group_start(group, work, &crew);
	return fb_group_wait(group, err);
}
