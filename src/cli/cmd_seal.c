#include "fleetbak/cli/download.h"
#include "fleetbak/cli/prune.h"
#include "fleetbak/engine/shard.h"

static int
seal_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	const char *name = fb_arguments_value(&cli->args, FB_OPT_RUN);
	struct fb_shared_status status = { .shards = 0 };
	int rc;

	if (name == NULL) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "which shared run must be said");
		return fb_hint(err, "fleetbak seal --run NAME");
	}
	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK)
		rc = fb_seal(&cli->engine, repo, name, &status, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "shared", status.name);
	fb_json_put_str(cli->data, "sealed", status.run);
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text, "run %s is sealed\n", status.run);
	return status.left > 0 ? fb_cli_look_after(cli, name, err) : FB_OK;
}

const struct fb_command fb_cmd_seal = {
	.name = "seal",
	.group = "Every day",
	.args = "--run NAME",
	.help = "join the shards of a shared run into one signed run",
	.examples = "fleetbak seal --run 4711\twhen all its shards are there\n",
	.about =
	    "Workers that share a run (download --shard K/N --run NAME) commit "
	    "records of their shards.  When every shard is there, and all saw "
	    "the same topology, they are joined into one manifest, which is "
	    "signed and committed as any run is.  The worker that finishes "
	    "last does that by itself; to do it again does no harm.",
	.cancels = true,
	.reads_state = true,
	.run = seal_run,
};
