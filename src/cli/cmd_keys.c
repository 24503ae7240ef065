#include <string.h>

#include "fleetbak/cli/cli.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"
#include "keys_reseal.h"

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

/* A recipient, or what opens. */
static int
read_crypt_key(const struct fb_cli *cli, const char *reference, bool opens,
    char id[FB_KEY_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf pem = { 0 };
	FB_AUTO_OPENER struct fb_opener *opener = NULL;
	FB_AUTO_RECIPIENTS struct fb_recipients *one = fb_recipients_new();
	int rc = fb_secret_read(
	    reference, cli->config->base_dir, opens, &pem, err);

	if (rc == FB_OK)
		rc = opens ? fb_opener_parse(fb_buf_span(&pem), &opener, err)
		           : fb_recipients_add(one, fb_buf_span(&pem), err);
	if (rc == FB_OK)
		(void)snprintf(id, FB_KEY_ID_SIZE, "%s",
		    opens ? fb_opener_id(opener) : fb_recipients_id(one, 0));
	return rc;
}

static void
put_crypt_key(struct fb_cli *cli, struct fb_table *table,
    struct fb_tally *tally, const char *reference, bool opens)
{
	char id[FB_KEY_ID_SIZE] = "";
	struct fb_error problem = { 0 };

	if (read_crypt_key(cli, reference, opens, id, &problem) < 0)
		fb_tally_bad(tally, problem.code);
	else
		fb_tally_good(tally);
	put_key(cli, table, opens ? "opens" : "recipient", reference, id,
	    &problem);
}

static void
put_encryption(
    struct fb_cli *cli, struct fb_table *table, struct fb_tally *tally)
{
	for (size_t i = 0; i < cli->config->repository_count; i++) {
		const struct fb_config_repository *repository =
		    &cli->config->repositories[i];

		/* Defaults are no promise that there is something. */
		if (!repository->encrypt_given)
			continue;
		for (size_t k = 0; k < repository->encrypt_to_count; k++)
			put_crypt_key(cli, table, tally,
			    repository->encrypt_to[k], false);
		if (repository->decrypt_with != NULL)
			put_crypt_key(cli, table, tally,
			    repository->decrypt_with, true);
	}
}

/* add and remove name somebody, the others nobody. */
static int
check_words(const struct fb_cli *cli, const char *what, struct fb_error *err)
{
	static const char *const words[] = { "list", "check", "sheet",
		"rotate", "add", "remove" };
	size_t wanted = 1;
	bool known = false;

	for (size_t i = 0; i < FB_COUNT(words); i++)
		if (strcmp(what, words[i]) == 0) {
			known = true;
			wanted = i < 4 ? 1 : 2;
		}
	if (known && (cli->args.count == wanted || cli->args.count == 0))
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
	    known ? "'keys %s' with %zu words more" : "'keys' cannot '%s'",
	    what, cli->args.count - 1);
	return fb_hint(err, "fleetbak keys list, check, sheet, rotate, "
	                    "add FILE, or remove FILE");
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

	rc = check_words(cli, what, err);
	if (rc == FB_OK)
		rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	if (strcmp(what, "sheet") == 0)
		return fb_keys_sheet(cli, err);
	if (strcmp(what, "list") != 0 && strcmp(what, "check") != 0)
		return fb_keys_reseal(cli, what,
		    cli->args.count > 1 ? cli->args.items[1] : NULL, err);
	cli->data = json_array();
	put_trusted(cli, &table, &tally, &trusted);
	put_signers(cli, &table, &tally, &trusted);
	put_encryption(cli, &table, &tally);
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
	.args = "[list | check | sheet | rotate | add FILE | remove FILE]",
	.args_max = 2,
	.help = "the keys that sign, are trusted, and open",
	.examples = "fleetbak keys list\tid, role and place of each\n"
		    "fleetbak keys check\texit 12 or 13 when one is wrong\n"
		    "fleetbak keys sheet\tprint it and keep it with the "
		    "private key\n"
		    "fleetbak keys add second.crt\tlet another one open what "
		    "is stored\n",
	.about = "Lists the signing keys of the repositories and the trusted "
		 "signers, as the configuration names them.  check also says "
		 "by its exit status whether each one can be read and whether "
		 "what we sign would be trusted.  Secrets are never shown.  "
		 "sheet prints a page with which a stranger restores with "
		 "stock tools.  Of an encrypted repository, rotate seals the "
		 "keys of all that is stored to encrypt_to as it is now, add "
		 "to the certificate or public key in FILE as well, and "
		 "remove to all but that, taking away what was sealed "
		 "before; each needs decrypt_with.  Nothing is encrypted "
		 "anew.",
	.words = "list check sheet rotate add remove",
	.run = keys_run,
};
