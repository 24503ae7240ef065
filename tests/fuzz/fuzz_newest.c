/* The memory of the newest run: what is believed is remembered as the same
 * bytes; anything else is refused, and never taken for an empty one. */
#include "fleetbak/manifest/manifest.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_repo repo = { 0 };
	FB_AUTO_FREE char *path = fb_format("%s/newest", scratch_dir());
	bool known = false;
	struct fb_error err;
	int rc;

	put_file(path, (struct fb_span){ data, size });
	must(fb_store_open("mem:", true, NULL, &repo.store, &err) == FB_OK);
	(void)snprintf(repo.format.repository, sizeof(repo.format.repository),
	    "%s", "0123456789abcdef0123456789abcdef");
	rc = fb_history_check(&repo, "demo", path, false, &known, &err);
	/* The repository is empty: a run that was seen in it is gone. */
	if (rc == FB_OK)
		must(!known);
	else
		must(known ? rc == FB_EUNTRUSTED : rc == FB_ECORRUPT);
	fb_store_close(repo.store);
	return 0;
}
