/* FLEETBAK_* variables and --set, a line each: what they make of a small file
 * is whole, and its effective form needs them no more. */
#include "fleetbak/base/name.h"
#include "fleetbak/format/config.h"
#include "fuzz.h"

#define LINES_MAX 64

static const char file[] =
    "fleet: {name: demo}\n"
    "state_dir: ./state\n"
    "repositories: {main: {url: \"file:./repo\"}}\n"
    "trusted_signers: [\"file:./sign.pub.pem\"]\n"
    "sources: {lab: {driver: local, root: ./machines}}\n";

static void
check_again(const struct fb_config *config)
{
	FB_AUTO_CONFIG struct fb_config *again = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err;

	must(fb_name_ok(config->fleet_name, strlen(config->fleet_name)));
	must(config->state_dir[0] == '/' && config->repository_count > 0);
	fb_json_add(&text, config->effective);
	must(fb_config_parse(fb_buf_span(&text), "again.yaml", "/other", NULL,
	         NULL, &again, &err) == FB_OK);
	must(json_equal(config->effective, again->effective) == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span rest = { data, size };
	char *sets[LINES_MAX + 1] = { NULL };
	char *variables[LINES_MAX + 1] = { NULL };
	size_t set_count = 0, variable_count = 0;
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	FB_AUTO_BUF struct fb_buf unknown = { 0 };
	struct fb_error err;

	while (rest.len > 0 && set_count + variable_count < LINES_MAX) {
		struct fb_span line = take_line(&rest);
		char *text = fb_alloc(line.len + 1, 1);

		if (line.len > 0)
			memcpy(text, line.ptr, line.len);
		if (strncmp(text, "FLEETBAK_", 9) == 0)
			variables[variable_count++] = text;
		else
			sets[set_count++] = text;
	}
	fb_config_unknown_variables((const char *const *)variables, &unknown);
	if (fb_config_parse(
	        (struct fb_span){ (const uint8_t *)file, sizeof(file) - 1 },
	        "in.yaml", "/base", (const char *const *)variables,
	        (const char *const *)sets, &config, &err) == FB_OK)
		check_again(config);
	else
		must(err.code == FB_ECONFIG);
	for (size_t i = 0; i < LINES_MAX; i++) {
		free(sets[i]);
		free(variables[i]);
	}
	return 0;
}
