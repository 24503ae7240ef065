/* When the index in memory is full, what it holds goes into a file. */
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "packer_impl.h"

struct spilling {
	struct fb_packer *packer;
	uint32_t first;    /* packs before this one stay in memory */
	uint32_t *numbers; /* by pack: its number in the file, plus one */
	struct fb_index_entry *entries;
	size_t count;
};

/* What is not in a closed pack of these has to stay. */
static bool
stays(const struct spilling *spilling, const struct fb_index_entry *entry)
{
	return entry->pack < spilling->first ||
	    spilling->packer->packs[entry->pack].kind == PACK_OPEN;
}

static bool
is_lost(const struct spilling *spilling, const struct fb_index_entry *entry)
{
	enum pack_kind kind = spilling->packer->packs[entry->pack].kind;

	return kind == PACK_BAD || kind == PACK_DROPPED;
}

static int
write_packs(struct spilling *spilling, struct fb_segment_writer *writer,
    struct fb_error *err)
{
	uint32_t next = 1;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < spilling->count; i++) {
		const struct fb_index_entry *entry = &spilling->entries[i];
		const struct known_pack *pack =
		    &spilling->packer->packs[entry->pack];
		struct fb_hint_pack record = { pack->id, pack->table_digest,
			pack->table_offset, pack->table_length, 0 };

		if (stays(spilling, entry) || is_lost(spilling, entry) ||
		    spilling->numbers[entry->pack] != 0)
			continue;
		spilling->numbers[entry->pack] = next++;
		rc = fb_segment_add_pack(writer, &record, err);
	}
	return rc;
}

static int
write_entries(struct spilling *spilling, struct fb_segment_writer *writer,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < spilling->count; i++) {
		struct fb_index_entry entry = spilling->entries[i];

		if (stays(spilling, &entry) || is_lost(spilling, &entry))
			continue;
		entry.pack = spilling->numbers[entry.pack] - 1;
		rc = fb_segment_add(writer, &entry, err);
	}
	return rc;
}

static int
write_file(struct spilling *spilling, struct fb_index_files *files,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_index_files_path(files, files->next);
	struct fb_segment_writer *writer = NULL;
	int rc = fb_segment_begin(path, spilling->count, &writer, err);

	if (rc == FB_OK)
		rc = write_packs(spilling, writer, err);
	if (rc == FB_OK)
		rc = write_entries(spilling, writer, err);
	if (rc < 0) {
		fb_segment_abandon(writer);
		return rc;
	}
	rc = fb_segment_end(writer, files->sync, err);
	return rc < 0 ? rc : fb_index_files_add(files, files->next, err);
}

static void
keep_rest(struct spilling *spilling)
{
	struct fb_index *index = &spilling->packer->index;

	fb_index_clear(index);
	for (size_t i = 0; i < spilling->count; i++)
		if (stays(spilling, &spilling->entries[i]))
			fb_index_add(index, &spilling->entries[i], false);
}

bool
fb_packer_spill(
    struct fb_packer *packer, struct fb_index_files *files, uint32_t first)
{
	struct spilling spilling = { .packer = packer, .first = first };
	struct fb_error ignored = { 0 };
	bool done;

	if (files->dir == NULL || files->broken)
		return false;
	(void)pthread_rwlock_wrlock(&packer->files_lock);
	(void)pthread_mutex_lock(&packer->lock);
	spilling.count = packer->index.count;
	spilling.entries = fb_index_sorted(&packer->index);
	spilling.numbers =
	    fb_alloc(packer->pack_count + 1, sizeof(*spilling.numbers));
	done = write_file(&spilling, files, &ignored) == FB_OK;
	if (done)
		keep_rest(&spilling);
	files->broken = !done;
	(void)pthread_mutex_unlock(&packer->lock);
	(void)pthread_rwlock_unlock(&packer->files_lock);
	free(spilling.entries);
	free(spilling.numbers);
	return done;
}

void
fb_packer_settle(
    struct fb_packer *packer, struct fb_index_files *files, size_t from)
{
	struct fb_error ignored = { 0 };

	(void)pthread_rwlock_wrlock(&packer->files_lock);
	if (fb_index_files_settle(files, from, &ignored) < 0)
		files->broken = true;
	(void)pthread_rwlock_unlock(&packer->files_lock);
}

void
fb_packer_make_room(struct fb_packer *packer)
{
	if (fb_index_full(&packer->index) &&
	    fb_packer_spill(packer, &packer->own, 0))
		fb_packer_settle(packer, &packer->own, 0);
}
