#include "keys_reseal.h"

#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"
#include "fleetbak/repo/vault.h"

/* The one whom the argument names: a file, or an id of those configured. */
static int
read_whom(const char *whom, struct fb_recipients **ret_one,
    struct fb_error *err)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *one = fb_recipients_new();
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	int rc = fb_io_read_file(whom, FB_SECRET_MAX, &pem, err);

	if (rc == FB_OK)
		rc = fb_recipients_add(one, fb_buf_span(&pem), err);
	if (rc < 0)
		return fb_wrap(err, "'%s'", whom);
	*ret_one = FB_STEAL(one);
	return FB_OK;
}

static int
read_configured(const struct fb_cli *cli,
    const struct fb_config_repository *config, const char *without,
    struct fb_recipients *to, struct fb_error *err)
{
	for (size_t i = 0; i < config->encrypt_to_count; i++) {
		FB_AUTO_RECIPIENTS struct fb_recipients *one =
		    fb_recipients_new();
		FB_AUTO_BUF struct fb_buf pem = { 0 };
		int rc = fb_secret_read(config->encrypt_to[i],
		    cli->config->base_dir, false, &pem, err);

		if (rc == FB_OK)
			rc = fb_recipients_add(one, fb_buf_span(&pem), err);
		if (rc == FB_OK &&
		    (without == NULL ||
		        strcmp(fb_recipients_id(one, 0), without) != 0))
			rc = fb_recipients_add(to, fb_buf_span(&pem), err);
		if (rc < 0)
			return fb_wrap(
			    err, "encrypt_to '%s'", config->encrypt_to[i]);
	}
	return FB_OK;
}

/* To whom it is to be sealed from now on. */
static int
choose(struct fb_cli *cli, const char *what, const char *whom,
    struct fb_recipients *to, struct fb_error *err)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(&cli->engine);
	FB_AUTO_RECIPIENTS struct fb_recipients *one = NULL;
	const char *without = NULL;
	int rc = FB_OK;

	if (strcmp(what, "add") == 0) {
		FB_AUTO_BUF struct fb_buf pem = { 0 };

		rc = fb_io_read_file(whom, FB_SECRET_MAX, &pem, err);
		if (rc == FB_OK)
			rc = fb_recipients_add(to, fb_buf_span(&pem), err);
		if (rc < 0)
			return fb_wrap(err, "'%s'", whom);
	} else if (strcmp(what, "remove") == 0) {
		if (strlen(whom) == FB_RECIPIENT_ID_SIZE - 1 &&
		    strspn(whom, "0123456789abcdef") == strlen(whom)) {
			without = whom;
		} else {
			rc = read_whom(whom, &one, err);
			if (rc < 0)
				return rc;
			without = fb_recipients_id(one, 0);
		}
	}
	rc = read_configured(cli, config, without, to, err);
	if (rc == FB_OK && fb_recipients_count(to) == 0) {
		(void)fb_fail_id(err, FB_EKEY, "E-ENCRYPT-TO",
		    "nobody could open the repository then");
		return fb_hint(err, "put another one into encrypt_to first");
	}
	return rc;
}

static void
put_result(struct fb_cli *cli, const char *what,
    const struct fb_recipients *to, const struct fb_reseal_report *report)
{
	json_t *list = json_array();

	cli->data = json_object();
	for (size_t i = 0; i < fb_recipients_count(to); i++) {
		(void)json_array_append_new(
		    list, json_string(fb_recipients_id(to, i)));
		fb_buf_add_fmt(&cli->text, "%s to  %s  %s\n",
		    cli->dry_run ? "would seal" : "sealed",
		    fb_recipients_id(to, i), fb_recipients_name(to, i));
	}
	(void)json_object_set_new(cli->data, "recipients", list);
	fb_json_put_u64(cli->data, "sessions", report->sessions);
	fb_json_put_u64(cli->data, "sealed", report->sealed);
	fb_json_put_u64(cli->data, "removed", report->removed);
	fb_json_put_u64(cli->data, "left", report->left);
	fb_json_put_u64(cli->data, "kept_versions", report->kept);
	if (cli->dry_run)
		return;
	fb_buf_add_fmt(&cli->text,
	    "%llu sessions: %llu objects written, %llu removed\n",
	    (unsigned long long)report->sessions,
	    (unsigned long long)report->sealed,
	    (unsigned long long)report->removed);
	if (report->left > 0) {
		fb_buf_add_fmt(&cli->summary,
		    "%llu objects that decrypt_with does not open were left: "
		    "do it again with the key that opens them.\n",
		    (unsigned long long)report->left);
		fb_cli_status(cli, FB_EXIT_WRONG_KEY);
	}
	if (report->kept > 0)
		fb_buf_add_fmt(&cli->summary,
		    "%llu of those removed are locked: the bucket keeps them "
		    "as older versions, and who may read these still opens "
		    "them.  Delete the versions below keys/ that are not the "
		    "newest when their locks are over.\n",
		    (unsigned long long)report->kept);
	if (strcmp(what, "remove") == 0)
		fb_buf_add_str(&cli->summary,
		    "Who has a copy of the repository, or of its keys/, opens "
		    "what was stored until now as before.  Take it out of "
		    "encrypt_to on every host.\n");
	else
		fb_buf_add_str(&cli->summary,
		    "Who could open it before still can: fleetbak keys remove "
		    "takes that away.  What is written from now on is sealed "
		    "to encrypt_to alone, on each host.\n");
}

int
fb_keys_reseal(struct fb_cli *cli, const char *what, const char *whom,
    struct fb_error *err)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_reseal_report report = { 0 };
	int rc = fb_engine_repo(&cli->engine, &repo, err);

	if (rc == FB_OK && repo->vault == NULL)
		rc = fb_fail_id(err, FB_EREFUSED, "E-NOT-ENCRYPTED",
		    "the repository is not encrypted");
	if (rc == FB_OK)
		rc = choose(cli, what, whom, to, err);
	if (rc == FB_OK && !cli->dry_run)
		rc = fb_vault_reseal(repo->vault, to,
		    strcmp(what, "remove") == 0, &report, err);
	if (rc == FB_OK)
		put_result(cli, what, to, &report);
	return rc;
}
