/*
 * Which configuration, and the engine that stands on it.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/unattended.h"
#include "fleetbak/engine/recover.h"

#define SYSTEM_CONFIG "/etc/fleetbak/fleetbak.yaml"

extern char **environ;

/* FLEETBAK_* variables that are not settings of the configuration. */
static bool
is_setting(const char *variable)
{
	static const char *const others[] = { "FLEETBAK_CONFIG",
		"FLEETBAK_PAGER", FB_SEAM_VARIABLES };
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < FB_COUNT(others); i++)
		if (strlen(others[i]) == len &&
		    memcmp(others[i], variable, len) == 0)
			return false;
	return true;
}

const char **
fb_cli_environment(void)
{
	size_t count = 0, used = 0;
	const char **settings;

	while (environ != NULL && environ[count] != NULL)
		count++;
	settings = fb_alloc(count + 1, sizeof(*settings));
	for (size_t i = 0; i < count; i++)
		if (is_setting(environ[i]))
			settings[used++] = environ[i];
	return settings;
}

static char *
user_config(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		return NULL;
	if (xdg != NULL && xdg[0] == '/')
		return fb_format("%s/fleetbak/fleetbak.yaml", xdg);
	if (home != NULL && home[0] == '/')
		return fb_format("%s/.config/fleetbak/fleetbak.yaml", home);
	return NULL;
}

static int
fail_absent(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-FILE",
	    "there is no configuration '%s'", path);
	return fb_hint(err,
	    "name it with --config FILE; fleetbak help config shows one");
}

int
fb_cli_config_path(
    const struct fb_cli *cli, char **ret_path, struct fb_error *err)
{
	const char *given = fb_arguments_value(&cli->args, FB_OPT_CONFIG);
	FB_AUTO_FREE char *own = user_config();
	char *path;

	if (given == NULL)
		given = getenv("FLEETBAK_CONFIG");
	if (given == NULL || given[0] == '\0')
		given = own != NULL && access(own, F_OK) == 0
		    ? own
		    : SYSTEM_CONFIG;
	path = realpath(given, NULL);
	if (path == NULL && errno == ENOENT)
		return fail_absent(given, err);
	if (path == NULL) {
		(void)fb_fail_sys(
		    err, "cannot find the configuration '%s'", given);
		err->code = FB_ECONFIG;
		err->id = "E-CFG-FILE";
		return FB_ECONFIG;
	}
	*ret_path = path;
	return FB_OK;
}

static void
warn_variables(struct fb_cli *cli, const char *const *variables)
{
	FB_AUTO_BUF struct fb_buf lines = { 0 };
	struct fb_error warning = { 0 };
	char *line, *rest;

	fb_config_unknown_variables(variables, &lines);
	rest = lines.len > 0 ? (char *)lines.data : NULL;
	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		if (line[0] == '\0')
			continue;
		(void)fb_fail_id(&warning, FB_ECONFIG, "E-ENV-UNKNOWN",
		    "no setting belongs to the variable %s", line);
		fb_cli_warn(cli, NULL, &warning);
	}
}

/* Options that are settings under a shorter name. */
static const struct {
	enum fb_option_id option;
	const char *setting;
	bool path; /* relative to where we are, not to the configuration */
} shorthands[] = {
	{ FB_OPT_LIMIT_READ, "download.limit_read", false },
	{ FB_OPT_LIMIT_UPLOAD, "download.limit_upload", false },
	{ FB_OPT_LOG_FILE, "log.file", true },
};

/* "SETTING=VALUE"; NULL when the option was not given. */
static char *
shorthand(const struct fb_cli *cli, size_t i)
{
	const char *value =
	    fb_arguments_value(&cli->args, shorthands[i].option);
	FB_AUTO_FREE char *here = NULL;

	if (value == NULL)
		return NULL;
	if (shorthands[i].path && value[0] != '/')
		here = realpath(".", NULL);
	return fb_format("%s=%s%s%s", shorthands[i].setting,
	    here != NULL ? here : "", here != NULL ? "/" : "", value);
}

static int
parse_config(struct fb_cli *cli, const char *path, const char *base,
    struct fb_span bytes, const char *const *variables, struct fb_error *err)
{
	const struct fb_option_value *set = &cli->args.options[FB_OPT_SET];
	char *owned[FB_COUNT(shorthands)] = { NULL };
	FB_AUTO_FREE const char **sets = fb_alloc(
	    set->count + FB_COUNT(shorthands) + 1, sizeof(*sets));
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < set->count; i++)
		sets[count++] = set->values[i];
	for (size_t i = 0; i < FB_COUNT(shorthands); i++) {
		owned[i] = shorthand(cli, i);
		if (owned[i] != NULL)
			sets[count++] = owned[i];
	}
	rc = fb_config_parse(
	    bytes, path, base, variables, sets, &cli->config, err);
	for (size_t i = 0; i < FB_COUNT(owned); i++)
		free(owned[i]);
	return rc;
}

static int
read_config(struct fb_cli *cli, const char *path, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_FREE char *base = fb_strdup(path);
	FB_AUTO_FREE const char **variables = fb_cli_environment();
	char *slash = strrchr(base, '/');
	int rc;

	if (slash != NULL)
		slash[slash == base ? 1 : 0] = '\0';
	rc = fb_io_read_file(path, FB_CONFIG_MAX, &bytes, err);
	if (rc < 0) {
		err->code = FB_ECONFIG;
		err->id = "E-CFG-FILE";
		return FB_ECONFIG;
	}
	rc = parse_config(
	    cli, path, base, fb_buf_span(&bytes), variables, err);
	if (rc < 0)
		return rc;
	warn_variables(cli, variables);
	return FB_OK;
}

static int
check_repository(struct fb_cli *cli, struct fb_error *err)
{
	const char *name = cli->engine.repository;
	const struct fb_config *config = cli->config;
	FB_AUTO_FREE const char **names =
	    fb_alloc(config->repository_count + 1, sizeof(*names));
	const char *near;

	if (name == NULL)
		return FB_OK;
	for (size_t i = 0; i < config->repository_count; i++) {
		names[i] = config->repositories[i].name;
		if (strcmp(names[i], name) == 0)
			return FB_OK;
	}
	near = fb_name_nearest(name, names, config->repository_count);
	(void)fb_fail_id(err, FB_ECONFIG, "E-REPO-NAME",
	    "the configuration has no repository '%s'", name);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err, "they are under repositories: in %s", config->path);
}

/* What the guardian executes when we die: ourselves, by our own path. */
static void
set_guardian(struct fb_cli *cli, const char *config)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len <= 0)
		return;
	self[len] = '\0';
	cli->guardian_argv[0] = fb_strdup(self);
	cli->guardian_argv[1] = fb_strdup("-c");
	cli->guardian_argv[2] = fb_strdup(config);
	cli->guardian_argv[3] = fb_strdup("recover");
	cli->guardian_argv[4] = fb_strdup("--guardian");
	cli->engine.guardian_argv = (const char *const *)cli->guardian_argv;
}

int
fb_cli_configure(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	int rc;

	rc = fb_cli_config_path(cli, &path, err);
	if (rc == FB_OK)
		rc = read_config(cli, path, err);
	/* Times are shown in the fleet's zone. */
	if (rc == FB_OK && cli->config->timezone != NULL)
		rc = fb_clock_set_zone(cli->config->timezone, err);
	if (rc < 0)
		return rc;
	cli->engine.config = cli->config;
	cli->engine.cancel = &cli->cancel;
	cli->engine.repository = fb_arguments_value(&cli->args, FB_OPT_REPO);
	cli->engine.lock_wait_ms = cli->args.options[FB_OPT_LOCK_WAIT].number;
	cli->engine.assume_yes = fb_arguments_on(&cli->args, FB_OPT_YES);
	set_guardian(cli, path);
	rc = check_repository(cli, err);
	if (rc < 0)
		return rc;
	if (cli->command->reads_state)
		fb_cli_warn_half_restored(cli);
	return fb_unattended_begin(cli, err);
}

void
fb_cli_warn_half_restored(struct fb_cli *cli)
{
	struct fb_recover_report report = { 0 };
	struct fb_error err = { 0 }, warning = { 0 };

	if (fb_recover_list(&cli->engine, &report, &err) < 0)
		fb_cli_warn(cli, NULL, &err);
	for (size_t i = 0; i < report.count; i++) {
		const struct fb_recover_item *item = &report.items[i];

		if (item->outcome != FB_RECOVERY_SUSPENDED)
			continue;
		(void)fb_fail_id(&warning, FB_EREFUSED, "E-HALF-RESTORED",
		    "half restored by %s and kept down", item->run);
		(void)fb_hint(&warning, "finish it: fleetbak restore "
		    "--resume %s", item->run);
		fb_cli_warn(cli, item->machine, &warning);
	}
	fb_recover_report_release(&report);
}
