#include "fleetbak/cli/cli.h"

static int
init_run(struct fb_cli *cli, struct fb_error *err)
{
	struct fb_init_report report = { 0 };
	const struct fb_config_repository *chosen;
	int rc;

	rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	chosen = fb_engine_repo_config(&cli->engine);
	if (cli->dry_run) {
		fb_buf_add_fmt(&cli->text,
		    "would make or complete the repository %s, %s\n",
		    chosen->name, chosen->url);
		(void)json_object_set_new(
		    cli->members, "dry_run", json_true());
		return FB_OK;
	}
	rc = fb_engine_init(&cli->engine, &report, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "name", chosen->name);
	fb_json_put_str(cli->data, "url", chosen->url);
	fb_json_put_str(cli->data, "repository", report.repository);
	fb_json_put_str(cli->data, "signing_key", report.key_id);
	(void)json_object_set_new(cli->data, "made_repository",
	    json_boolean(report.made_repository));
	(void)json_object_set_new(
	    cli->data, "made_key", json_boolean(report.made_key));
	(void)json_object_set_new(cli->data, "made_public_key",
	    json_boolean(report.made_public));

	fb_buf_add_fmt(&cli->text, "%s repository %s  %s  (%s)\n",
	    report.made_repository ? "made the" : "there is the", chosen->name,
	    chosen->url, report.repository);
	fb_buf_add_fmt(&cli->text, "%s signing key %s  %s\n",
	    report.made_key ? "made the" : "there is the", report.key_id,
	    chosen->sign_with != NULL ? chosen->sign_with : "-");
	if (report.made_key)
		fb_buf_add_str(&cli->summary,
		    "Keep a copy of the public key elsewhere: it proves that "
		    "a backup is yours.\n");
	if (report.made_repository)
		fb_buf_add_str(
		    &cli->summary, "Next: fleetbak download -n\n");
	if (cli->quiet)
		fb_buf_clear(&cli->text);
	return FB_OK;
}

const struct fb_command fb_cmd_init = {
	.name = "init",
	.group = "Set up",
	.args = "",
	.help = "make the repository and its signing key",
	.examples = "fleetbak init\tthe first repository\n"
		    "fleetbak init -r vault\tanother one\n",
	.about = "Makes the repository that the configuration names and, "
		 "where they do not exist yet, the signing key and its "
		 "public half at the first trusted signer.  On a repository "
		 "that exists it says so, completes what is missing and "
		 "exits 0; in a directory that holds something else it "
		 "refuses (20).",
	.run = init_run,
};
