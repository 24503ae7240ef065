/* canic's documents: the manifest is the first line, the download journal the
 * second.  Whatever comes, what is taken names only what may be a machine, a
 * role and a path inside, and each fault is one of canic's. */
#include "fleetbak/base/name.h"
#include "fleetbak/format/canic.h"
#include "fuzz.h"

static void
is_refused(int rc, const struct fb_error *err)
{
	must(rc == FB_ECORRUPT && err->code == FB_ECORRUPT);
	must(strncmp(err->id, "E-CANIC-", 8) == 0 && err->msg[0] != '\0');
}

static bool
is_inside(const char *path)
{
	struct fb_error ignored;

	return fb_path_check_inside(
	           "path", path, strlen(path), FB_CANIC_TEXT_MAX, &ignored) ==
	    FB_OK;
}

static void
check_members(const struct fb_canic_manifest *manifest)
{
	must(manifest->count > 0);
	for (size_t i = 0; i < manifest->count; i++) {
		const struct fb_canic_member *member = &manifest->members[i];
		size_t at = i, steps = 0;

		must(i == 0 || strcmp(member[-1].canister,
		                   member->canister) < 0);
		must(fb_name_ok(
		    member->canister, strlen(member->canister)));
		must(fb_name_ok(member->role, strlen(member->role)));
		must(is_inside(member->path) && member->snapshot != NULL);
		while (at != SIZE_MAX && steps++ <= manifest->count)
			at = manifest->members[at].parent_at;
		must(at == SIZE_MAX);
	}
}

static void
check_pair(struct fb_span first, struct fb_span second, bool deployment)
{
	FB_AUTO_CANIC_MANIFEST struct fb_canic_manifest *manifest = NULL;
	FB_AUTO_CANIC_JOURNAL struct fb_canic_journal *journal = NULL;
	struct fb_error err = { 0 };
	int rc = fb_canic_manifest_parse(first, deployment, &manifest, &err);

	if (rc < 0)
		is_refused(rc, &err);
	else
		check_members(manifest);
	rc = fb_canic_journal_parse(second, deployment, &journal, &err);
	if (rc < 0)
		is_refused(rc, &err);
	for (size_t i = 0; rc == FB_OK && i < journal->count; i++)
		must(is_inside(journal->rows[i].path));
	if (manifest == NULL || journal == NULL)
		return;
	rc = fb_canic_agree(manifest, journal, &err);
	if (rc < 0) {
		is_refused(rc, &err);
		return;
	}
	for (size_t i = 0; i < manifest->count; i++)
		must(fb_canic_row_of(journal, &manifest->members[i])
		        ->checksum != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span rest = { data, size };
	struct fb_span first = take_line(&rest);

	check_pair(first, rest, false);
	check_pair(first, rest, true);
	return 0;
}
