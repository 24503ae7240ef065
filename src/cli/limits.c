/*
 * The configured limits, and what they are now.
 */
#include "fleetbak/cli/cli.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/limits.h"

static void
add_limit(struct fb_cli *cli, json_t *list, const char *setting,
    const struct fb_limits *limits)
{
	FB_AUTO_BUF struct fb_buf rule = { 0 };
	struct fb_limits_view view;
	char utc[FB_TIME_SIZE] = "", until[FB_CLI_TEXT];
	json_t *item = json_object();

	if (limits->count == 0) {
		json_decref(item);
		return;
	}
	fb_limits_look(limits, fb_clock_wall_ns(), &view);
	fb_limits_add_text(&rule, limits);
	if (json_array_size(list) == 0)
		fb_buf_add_str(&cli->text, "\nlimits\n");
	fb_buf_add_fmt(&cli->text, "  %s: %s now", setting, view.rate);
	if (view.then != NULL) {
		fb_time_format(view.until_ns, utc);
		fb_buf_add_fmt(&cli->text, ", %s from %s", view.then,
		    fb_cli_time(cli, utc, until));
	}
	fb_buf_add_str(&cli->text, "\n");
	fb_json_put_str(item, "setting", setting);
	fb_json_put_str(item, "windows", fb_buf_str(&rule));
	fb_json_put_str(item, "now", view.rate);
	fb_json_put_str(item, "until", view.then != NULL ? utc : NULL);
	fb_json_put_str(item, "then", view.then);
	(void)json_array_append_new(list, item);
}

json_t *
fb_cli_limits(struct fb_cli *cli)
{
	const struct fb_config *config = cli->config;
	json_t *list = json_array();

	add_limit(
	    cli, list, "download.limit_read", &config->download.limit_read);
	add_limit(
	    cli, list, "download.limit_upload", &config->download.limit_upload);
	for (size_t s = 0; s < config->source_count; s++) {
		FB_AUTO_FREE char *setting =
		    fb_format("sources.%s.limit_read", config->sources[s].name);

		add_limit(cli, list, setting, &config->sources[s].limit_read);
	}
	return list;
}
