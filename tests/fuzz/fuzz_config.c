/* The configuration: what is accepted is whole, and its effective form, which
 * is YAML as well, means the same. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_whole(const struct fb_config *config)
{
	if (!fb_name_ok(config->fleet_name, strlen(config->fleet_name)) ||
	    config->state_dir[0] != '/' || config->repository_count == 0 ||
	    config->source_count == 0 || config->download.jobs < 1 ||
	    config->download.jobs > 256 || config->download.level < 1 ||
	    config->download.level > 19)
		abort();
	for (size_t i = 0; i < config->repository_count; i++)
		if (strncmp(config->repositories[i].url, "file:/", 6) != 0)
			abort();
	for (size_t i = 0; i < config->source_count; i++)
		if (!fb_name_ok(config->sources[i].name,
		        strlen(config->sources[i].name)))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err;
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	FB_AUTO_CONFIG struct fb_config *again = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	if (fb_config_parse((struct fb_span){ data, size }, "in.yaml", "/base",
	        NULL, NULL, &config, &err) < 0) {
		if (err.code != FB_ECONFIG || strncmp(err.id, "E-", 2) != 0)
			abort();
		return 0;
	}
	check_whole(config);
	fb_json_add(&text, config->effective);
	if (fb_config_parse(fb_buf_span(&text), "again.yaml", "/other", NULL,
	        NULL, &again, &err) < 0)
		abort();
	if (json_equal(config->effective, again->effective) == 0)
		abort();
	return 0;
}
