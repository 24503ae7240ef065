#include "fleetbak/cli/cli.h"

/* Signatures stop being good at 15 minutes. */
#define CLOCK_APART_MS 60000

static json_t *
trait_value(enum fb_trait trait)
{
	return trait == FB_TRAIT_UNKNOWN ? json_null()
	                                 : json_boolean(trait == FB_TRAIT_YES);
}

/* What was found out about the store: in text, only what is worth knowing. */
static void
show_store(struct fb_cli *cli, const struct fb_init_report *report)
{
	const struct fb_store_traits *traits = &report->traits;
	uint64_t apart = (uint64_t)(traits->clock_ms < 0 ? -traits->clock_ms
	                                                 : traits->clock_ms);

	(void)json_object_set_new(cli->data, "store",
	    json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:b, s:b}",
	        "conditional_create", trait_value(traits->create_if),
	        "conditional_replace", trait_value(traits->replace_if),
	        "read_after_write", trait_value(traits->read_after_write),
	        "list_after_write", trait_value(traits->list_after_write),
	        "versioning", trait_value(traits->versioning), "object_lock",
	        trait_value(traits->object_lock), "lock_days",
	        (json_int_t)traits->lock_days, "clock_ms",
	        (json_int_t)traits->clock_ms, "one_writer",
	        (int)report->one_writer, "lease_service",
	        (int)report->leased));
	if (traits->versioning == FB_TRAIT_YES)
		fb_buf_add_fmt(&cli->text, "the bucket keeps versions%s\n",
		    traits->object_lock == FB_TRAIT_YES
		        ? " and can lock objects"
		        : "");
	if (traits->lock_days > 0)
		fb_buf_add_fmt(&cli->text,
		    "the bucket locks each object for %llu days\n",
		    (unsigned long long)traits->lock_days);
	if (apart > CLOCK_APART_MS)
		fb_buf_add_fmt(&cli->summary,
		    "The server's clock and this host's are %llu s apart.\n",
		    (unsigned long long)apart / 1000);
	if (report->one_writer)
		fb_buf_add_str(&cli->summary,
		    "The server refuses conditional writes: only one host may "
		    "write to this repository at a time, unless a lease "
		    "service (etcd) is configured before init.\n");
	if (report->leased)
		fb_buf_add_str(&cli->summary,
		    "The server refuses conditional writes: etcd decides, and "
		    "whoever writes to this repository needs it.\n");
}

/* Who can open it. */
static void
show_encryption(struct fb_cli *cli, const struct fb_config_repository *chosen,
    const struct fb_init_report *report)
{
	(void)json_object_set_new(
	    cli->data, "encrypted", json_boolean(report->encrypted));
	(void)json_object_set_new(
	    cli->data, "made_recovery_key", json_boolean(report->made_recovery));
	if (report->encrypted)
		fb_buf_add_fmt(&cli->text, "%s recovery key  %s\n",
		    report->made_recovery ? "made the" : "encrypted to the",
		    report->made_recovery ? chosen->decrypt_with
		                         : chosen->encrypt_to[0]);
	if (report->made_recovery)
		fb_buf_add_str(&cli->summary,
		    "Without the recovery key nothing can be restored: move it "
		    "to a safe place, off this host, and take decrypt_with "
		    "away.  fleetbak keys sheet prints how to restore.\n");
}

static int
init_run(struct fb_cli *cli, struct fb_error *err)
{
	struct fb_init_report report = { 0 };
	const struct fb_config_repository *chosen;
	char span[FB_CLI_TEXT];
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
	show_store(cli, &report);
	if (chosen->object_lock != NULL)
		fb_buf_add_fmt(&cli->text,
		    "what is put there is locked (%s) for %s at least\n",
		    chosen->object_lock,
		    fb_cli_span(chosen->lock_ms, span));
	show_encryption(cli, chosen, &report);
	if (report.made_key)
		fb_buf_add_str(&cli->summary,
		    "Keep a copy of the public key elsewhere: it proves that "
		    "a backup is yours.\n");
	if (report.made_repository)
		fb_buf_add_str(
		    &cli->summary, "Next: fleetbak download -n\n");
	if (cli->quiet)
		fb_cli_clear_text(cli);
	return FB_OK;
}

const struct fb_command fb_cmd_init = {
	.name = "init",
	.group = "Set up",
	.args = "",
	.help = "make the repository and its keys",
	.examples = "fleetbak init\tthe first repository\n"
		    "fleetbak init -r vault\tanother one\n",
	.about = "Makes the repository that the configuration names and, "
	         "where they do not exist yet, the signing key and its "
	         "public half at the first trusted signer.  On a repository "
	         "that exists it says so, completes what is missing and "
	         "exits 0; in a directory that holds something else it "
	         "refuses (20).  With encrypt_to the repository is encrypted; "
	         "where there is no certificate at the first of encrypt_to, "
	         "the private key at decrypt_with and its certificate are "
	         "made.",
	.run = init_run,
};
