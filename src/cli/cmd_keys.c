#include <string.h>

#include "fleetbak/cli/cli.h"
#include "fleetbak/crypto/sign.h"

static const struct fb_column columns[] = { { "ID", false },
	{ "ROLE", false }, { "WHERE", false }, { "STATE", false } };

/* Read one key; its id into `id`. */
static int
read_key(const struct fb_cli *cli, const char *reference, bool private_key,
    char id[FB_KEY_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf pem = { 0 };
	FB_AUTO_SIGN_KEY struct fb_sign_key *signer = NULL;
	FB_AUTO_VERIFY_KEY struct fb_verify_key *verifier = NULL;
	const char *found;
	int rc;

	rc = fb_secret_read(
	    reference, cli->config->base_dir, private_key, &pem, err);
	if (rc == FB_OK)
		rc = private_key
		    ? fb_sign_key_parse(fb_buf_span(&pem), &signer, err)
		    : fb_verify_key_parse(fb_buf_span(&pem), &verifier, err);
	if (rc < 0)
		return rc;
	found = private_key ? fb_sign_key_id(signer)
			    : fb_verify_key_id(verifier);
	(void)snprintf(id, FB_KEY_ID_SIZE, "%s", found);
	return FB_OK;
}

static void
put_key(struct fb_cli *cli, struct fb_table *table, const char *role,
    const char *reference, const char *id, const struct fb_error *problem)
{
	json_t *item = json_object();
	const char *state = problem->code < 0 ? problem->id : "ok";

	fb_table_row(table);
	fb_table_cell(table, id[0] != '\0' ? id : "-", id);
	fb_table_cell(table, role, NULL);
	fb_table_cell(table, reference, NULL);
	fb_table_cell(table, state, NULL);
	fb_json_put_str(item, "id", id[0] != '\0' ? id : NULL);
	fb_json_put_str(item, "role", role);
	fb_json_put_str(item, "where", reference);
	(void)json_object_set_new(
	    item, "ok", json_boolean(problem->code == FB_OK));
	(void)json_array_append_new(cli->data, item);
	if (problem->code == FB_OK)
		return;
	fb_cli_add_error(cli, NULL, problem);
	fb_buf_add_fmt(&cli->summary, "%s  ", reference);
	fb_cli_add_failure(&cli->summary, problem);
}

/* Ids of the trusted signers, one each; "" where it cannot be read. */
static void
put_trusted(struct fb_cli *cli, struct fb_table *table,
    struct fb_tally *tally, struct fb_buf *ids)
{
	for (size_t i = 0; i < cli->config->trusted_signer_count; i++) {
		const char *reference = cli->config->trusted_signers[i];
		char id[FB_KEY_ID_SIZE] = "";
		struct fb_error problem = { 0 };

		if (read_key(cli, reference, false, id, &problem) < 0)
			fb_tally_bad(tally, problem.code);
		else
			fb_tally_good(tally);
		fb_buf_add_fmt(ids, "%s ", id);
		put_key(cli, table, "trusted", reference, id, &problem);
	}
}

static void
put_signers(struct fb_cli *cli, struct fb_table *table,
    struct fb_tally *tally, const struct fb_buf *trusted)
{
	for (size_t i = 0; i < cli->config->repository_count; i++) {
		const char *reference =
		    cli->config->repositories[i].sign_with;
		char id[FB_KEY_ID_SIZE] = "";
		struct fb_error problem = { 0 };

		if (reference == NULL)
			continue;
		if (read_key(cli, reference, true, id, &problem) == FB_OK &&
		    strstr(fb_buf_str(trusted), id) == NULL) {
			(void)fb_fail_id(&problem, FB_EUNTRUSTED,
			    "E-KEY-MISMATCH",
			    "the signing key %s is not among the trusted "
			    "signers",
			    id);
			(void)fb_hint(&problem,
			    "add its public half to trusted_signers");
		}
		if (problem.code < 0)
			fb_tally_bad(tally, problem.code);
		else
			fb_tally_good(tally);
		put_key(cli, table, "signing", reference, id, &problem);
	}
}

static int
keys_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	FB_AUTO_BUF struct fb_buf trusted = { 0 };
	const char *what = cli->args.count > 0 ? cli->args.items[0] : "list";
	struct fb_tally tally = { 0 };
	int rc;

	if (strcmp(what, "list") != 0 && strcmp(what, "check") != 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
		    "'keys' cannot '%s'", what);
		return fb_hint(err, "fleetbak keys list, or keys check");
	}
	rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	cli->data = json_array();
	put_trusted(cli, &table, &tally, &trusted);
	put_signers(cli, &table, &tally, &trusted);
	fb_cli_add_table(cli, &table);
	if (strcmp(what, "check") == 0 && tally.bad > 0)
		/* A key that is good does not make up for one that is not. */
		fb_cli_status(cli,
		    tally.worst != 0 ? tally.worst : tally.common);
	return FB_OK;
}

const struct fb_command fb_cmd_keys = {
	.name = "keys",
	.group = "Set up",
	.args = "[list | check]",
	.args_max = 1,
	.help = "the keys that sign and the keys that are trusted",
	.examples = "fleetbak keys list\tid, role and place of each\n"
		    "fleetbak keys check\texit 12 or 13 when one is wrong\n",
	.about = "Lists the signing keys of the repositories and the trusted "
		 "signers, as the configuration names them.  check also says "
		 "by its exit status whether each one can be read and whether "
		 "what we sign would be trusted.  Secrets are never shown.",
	.words = "list check",
	.run = keys_run,
};
