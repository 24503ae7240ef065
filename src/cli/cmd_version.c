#include "fleetbak/cli/cli.h"

static int
version_run(struct fb_cli *cli, struct fb_error *err)
{
	(void)err;
	cli->data = json_object();
	fb_json_put_str(cli->data, "version", FB_VERSION);
	(void)json_object_set_new(cli->data, "formats", json_pack("[i]", 1));
#ifdef FB_FAULTS
	(void)json_object_set_new(cli->data, "fault_points", json_true());
#else
	(void)json_object_set_new(cli->data, "fault_points", json_false());
#endif
	fb_buf_add_str(&cli->text, "fleetbak " FB_VERSION "\n");
	if (cli->verbose > 0)
		fb_buf_add_str(&cli->text, "repository format 1\n");
	return FB_OK;
}

const struct fb_command fb_cmd_version = {
	.name = "version",
	.group = "Help",
	.args = "",
	.help = "print the version",
	.examples = "fleetbak version\tthe version\n"
		    "fleetbak version --json\tand what it was built with\n",
	.about = "Prints the version of this program.  It never looks for "
		 "updates and never calls home.",
	.run = version_run,
};
