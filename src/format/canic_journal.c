/* download-journal.json of canic's. */
#include <stdlib.h>
#include <string.h>

#include "canic_fields.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

static const char what[] = FB_CANIC_JOURNAL;

void
fb_canic_journal_free(struct fb_canic_journal *journal)
{
	if (journal == NULL)
		return;
	json_decref(journal->document);
	free(journal->rows);
	free(journal);
}

void
fb_canic_journal_freep(struct fb_canic_journal **journal)
{
	fb_canic_journal_free(*journal);
	*journal = NULL;
}

static int
take_state(const json_t *item, enum fb_canic_state *ret, struct fb_error *err)
{
	static const char *const names[] = { "Created", "Downloaded",
		"ChecksumVerified", "Durable" };
	const char *name;
	int rc = canic_text(item, "state", what, &name, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < FB_COUNT(names); i++)
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum fb_canic_state)i;
			return FB_OK;
		}
	return canic_fail(
	    err, "%s: there is no state '%.32s'", what, name);
}

/* A state brings members with it, and, later, allows no others. */
static int
check_state(const struct fb_canic_row *row, const char *temp, bool strict,
    struct fb_error *err)
{
	bool wants_temp = row->state == FB_CANIC_DOWNLOADED ||
	    row->state == FB_CANIC_VERIFIED;
	bool wants_sum = row->state >= FB_CANIC_VERIFIED;
	const char *missing = wants_temp && temp == NULL ? "temp_path"
	    : wants_sum && row->checksum == NULL         ? "checksum"
	                                                 : NULL;

	if (missing != NULL)
		return canic_fail(err,
		    "%s: canister '%s': its state needs '%s'", what,
		    row->canister, missing);
	if (strict && ((!wants_temp && temp != NULL) ||
	                  (!wants_sum && row->checksum != NULL)))
		return canic_fail(err,
		    "%s: canister '%s' has what its state does not allow",
		    what, row->canister);
	return FB_OK;
}

static int
take_row(const json_t *item, bool strict, struct fb_canic_row *row,
    struct fb_error *err)
{
	static const char *const keys[] = { "artifact_path", "canister_id",
		"checksum", "checksum_algorithm", "snapshot_id",
		"snapshot_taken_at_timestamp", "snapshot_total_size_bytes",
		"state", "temp_path", "updated_at", NULL };
	const char *temp = NULL, *updated;
	int rc = canic_only(item, strict, what, keys, err);

	if (rc == FB_OK)
		rc = canic_principal(
		    item, "canister_id", what, &row->canister, err);
	if (rc == FB_OK)
		rc = canic_text(
		    item, "snapshot_id", what, &row->snapshot, err);
	if (rc == FB_OK)
		rc = take_state(item, &row->state, err);
	if (rc == FB_OK)
		rc = canic_text_opt(item, "temp_path", what, &temp, err);
	if (rc == FB_OK)
		rc = canic_path(item, what, &row->path, err);
	if (rc == FB_OK)
		rc = canic_sha256(item, "checksum_algorithm", what, err);
	if (rc == FB_OK)
		rc = canic_hash_opt(
		    item, "checksum", what, &row->checksum, err);
	if (rc == FB_OK)
		rc = canic_text(item, "updated_at", what, &updated, err);
	return rc < 0 ? rc : check_state(row, temp, strict, err);
}

static int
compare_rows(const void *a, const void *b)
{
	const struct fb_canic_row *x = a, *y = b;
	int order = strcmp(x->canister, y->canister);

	return order != 0 ? order : strcmp(x->snapshot, y->snapshot);
}

static int
take_rows(struct fb_canic_journal *journal, bool strict, struct fb_error *err)
{
	const json_t *list, *item;
	size_t i;
	int rc = canic_list(journal->document, "artifacts", what, 1,
	    FB_CANIC_MEMBERS_MAX, &list, err);

	if (rc < 0)
		return rc;
	journal->rows =
	    fb_alloc(json_array_size(list), sizeof(*journal->rows));
	json_array_foreach(list, i, item) {
		rc = take_row(
		    item, strict, &journal->rows[journal->count++], err);
		if (rc < 0)
			return rc;
	}
	qsort(journal->rows, journal->count, sizeof(*journal->rows),
	    compare_rows);
	for (i = 1; i < journal->count; i++)
		if (compare_rows(
		        &journal->rows[i - 1], &journal->rows[i]) == 0)
			return canic_fail(err,
			    "%s: two rows are of one snapshot of canister "
			    "'%s'",
			    what, journal->rows[i].canister);
	return FB_OK;
}

static int
take_all(struct fb_canic_journal *journal, bool strict, struct fb_error *err)
{
	static const char *const keys[] = { "artifacts", "backup_id",
		"discovery_topology_hash", "journal_version",
		"operation_metrics", "pre_snapshot_topology_hash", NULL };
	const json_t *document = journal->document;
	int rc = canic_only(document, strict, what, keys, err);

	if (rc == FB_OK)
		rc = canic_version(document, "journal_version", what, err);
	if (rc == FB_OK)
		rc = canic_text(
		    document, "backup_id", what, &journal->backup, err);
	if (rc == FB_OK)
		rc = canic_hash_opt(document, "discovery_topology_hash", what,
		    &journal->discovery, err);
	if (rc == FB_OK)
		rc = canic_hash_opt(document, "pre_snapshot_topology_hash",
		    what, &journal->before, err);
	return rc < 0 ? rc : take_rows(journal, strict, err);
}

int
fb_canic_journal_parse(struct fb_span text, bool strict,
    struct fb_canic_journal **ret_journal, struct fb_error *err)
{
	FB_AUTO_CANIC_JOURNAL struct fb_canic_journal *journal =
	    fb_alloc(1, sizeof(*journal));
	int rc = canic_settle(fb_json_parse(text, FB_CANIC_DOC_MAX, what,
	                          &journal->document, err),
	    err);

	if (rc == FB_OK)
		rc = take_all(journal, strict, err);
	if (rc == FB_OK)
		*ret_journal = FB_STEAL(journal);
	return rc;
}
