/*
 * A download from other sources than the fleet's does not end what a download
 * of the fleet's has left.
 */
#include <string.h>

#include "download_impl.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/recover.h"

static int
refuse_alone(const char *run, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EBUSY, "E-IMPORT-WAITS",
	    "run %s of this fleet was cut off and is to be ended first", run);
	return fb_hint(err, "fleetbak download goes on with it; fleetbak "
			    "recover starts what it left stopped");
}

/* Is this run, which was cut off, the one that is being asked for? */
static int
check_alone(
    const struct download *download, const char *id, struct fb_error *err)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	char config[FB_DIGEST_HEX_SIZE];
	int rc = fb_run_replay(download->engine, download->repo, id, false,
	    &run, NULL, err);

	if (rc == FB_ENOTFOUND) /* it never began */
		return FB_OK;
	fb_run_config_digest(download->engine, config);
	return rc == FB_OK && strcmp(run->config_digest, config) == 0
	    ? FB_OK
	    : refuse_alone(id, err);
}

/* What others have left is theirs, and needs their sources.  What a restore
 * has left half done stays as it is. */
int
download_check_alone(const struct download *download, struct fb_error *err)
{
	struct fb_recover_report owed = { 0 };
	FB_AUTO_FREE void *owned = NULL;
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = fb_run_unfinished(download->engine, &ids, &count, err);

	owned = ids;
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		rc = check_alone(download, ids[i], err);
	if (rc == FB_OK)
		rc = fb_recover_list(download->engine, &owed, err);
	for (size_t i = 0; rc == FB_OK && i < owed.count; i++)
		if (owed.items[i].outcome != FB_RECOVERY_SUSPENDED)
			rc = refuse_alone(owed.items[i].run, err);
	fb_recover_report_release(&owed);
	return rc;
}
