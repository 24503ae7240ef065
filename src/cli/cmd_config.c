#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/cli/timetable.h"

static int
config_check(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_config *config;
	json_t *limits;
	int rc = fb_cli_configure(cli, err);

	if (rc < 0)
		return rc;
	config = cli->config;
	cli->data = json_object();
	fb_json_put_str(cli->data, "path", config->path);
	fb_json_put_str(cli->data, "fleet", config->fleet_name);
	fb_json_put_u64(cli->data, "sources", config->source_count);
	fb_json_put_u64(cli->data, "repositories", config->repository_count);
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text,
		    "%s: ok: fleet %s, sources %zu, repositories %zu, "
		    "trusted signers %zu\n",
		    config->path, config->fleet_name, config->source_count,
		    config->repository_count, config->trusted_signer_count);
	limits = fb_cli_limits(cli);
	(void)json_object_set_new(cli->data, "limits", limits);
	if (cli->quiet)
		fb_buf_clear(&cli->text);
	return FB_OK;
}

struct rows {
	struct fb_cli *cli;
	struct fb_table *table;
	bool origin;
};

/* Of the setting, or of the nearest thing around it that has one. */
static const json_t *
find_origin(const json_t *origins, const char *path)
{
	FB_AUTO_FREE char *around = fb_strdup(path);
	const json_t *origin;
	char *dot;

	while ((origin = json_object_get(origins, around)) == NULL &&
	    (dot = strrchr(around, '.')) != NULL)
		*dot = '\0';
	return origin;
}

static void
add_value(struct rows *rows, const char *path, const json_t *value)
{
	FB_AUTO_FREE char *text = json_dumps(
	    value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
	const json_t *origin = find_origin(rows->cli->config->origins, path);

	fb_table_row(rows->table);
	fb_table_cell(rows->table, path, NULL);
	fb_table_cell(rows->table,
	    json_is_string(value) ? json_string_value(value) : text, NULL);
	if (rows->origin)
		fb_table_cell(rows->table,
		    json_is_string(origin) ? json_string_value(origin)
					   : "built-in",
		    NULL);
}

/* One row per scalar or list of the effective configuration. */
static void
add_values(struct rows *rows, const char *prefix, json_t *value)
{
	const char *key;
	json_t *member;

	if (!json_is_object(value) || json_object_size(value) == 0) {
		add_value(rows, prefix, value);
		return;
	}
	json_object_foreach(value, key, member) {
		FB_AUTO_FREE char *path = prefix[0] != '\0'
		    ? fb_format("%s.%s", prefix, key)
		    : fb_strdup(key);

		add_values(rows, path, member);
	}
}

static int
config_show(struct fb_cli *cli, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "SETTING", false },
		{ "VALUE", false }, { "ORIGIN", false } };
	bool origin = fb_arguments_on(&cli->args, FB_OPT_ORIGIN);
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = origin ? 3 : 2 };
	struct rows rows = { cli, &table, origin };
	int rc = fb_cli_configure(cli, err);

	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "path", cli->config->path);
	(void)json_object_set(
	    cli->data, "effective", cli->config->effective);
	if (origin)
		(void)json_object_set(
		    cli->data, "origins", cli->config->origins);
	add_values(&rows, "", cli->config->effective);
	fb_cli_add_table(cli, &table);
	return FB_OK;
}

static int
config_schema(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *text = NULL;

	(void)err;
	cli->data = fb_config_schema();
	text = json_dumps(cli->data, JSON_INDENT(2));
	if (text != NULL)
		fb_buf_add_fmt(&cli->text, "%s\n", text);
	return FB_OK;
}

static int
config_path(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	int rc = fb_cli_config_path(cli, &path, err);

	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "path", path);
	fb_buf_add_fmt(&cli->text, "%s\n", path);
	return FB_OK;
}

static int
make_spec(struct fb_cli *cli, struct fb_timetable_spec *spec, char **ret_program,
    struct fb_error *err)
{
	const char *prefix = fb_arguments_value(&cli->args, FB_OPT_PREFIX);
	const char *user = fb_arguments_value(&cli->args, FB_OPT_USER);
	int rc = fb_cli_configure(cli, err);

	if (rc < 0)
		return rc;
	if (user == NULL)
		user = "fleetbak";
	if (!fb_name_ok(user, strlen(user))) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '--user' cannot be '%s'", user);
		return fb_hint(err, "give the name of a user");
	}
	if (prefix != NULL && prefix[0] != '/') {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '--prefix' cannot be '%s'", prefix);
		return fb_hint(err, "give a path from the root, as /usr");
	}
	*ret_program = prefix != NULL
	    ? fb_format("%s/bin/fleetbak", strcmp(prefix, "/") ? prefix : "")
	    : realpath("/proc/self/exe", NULL);
	if (*ret_program == NULL) /* uncovered: /proc is there */
		*ret_program = fb_strdup("/usr/bin/fleetbak");
	*spec = (struct fb_timetable_spec){ cli->config, *ret_program, user };
	return FB_OK;
}

struct units {
	struct fb_cli *cli;
	const char *target;
};

static int
put_unit(const char *name, struct fb_span text, void *arg,
    struct fb_error *err)
{
	struct units *units = arg;
	FB_AUTO_FREE char *path = NULL;

	fb_json_put_str(
	    units->cli->data, name, (const char *)text.ptr);
	if (units->target == NULL) {
		fb_buf_add_fmt(&units->cli->text,
		    "# /etc/systemd/system/%s\n", name);
		fb_buf_add(&units->cli->text, text.ptr, text.len);
		fb_buf_add_str(&units->cli->text, "\n");
		return FB_OK;
	}
	path = fb_path_join(units->target, name);
	if (!units->cli->quiet)
		fb_buf_add_fmt(&units->cli->text, "%s\n", path);
	return units->cli->dry_run ? FB_OK
	                           : fb_io_replace(path, text, 0644, err);
}

/* The service of a user who does not exist fails before it begins. */
static void
advise_user(const struct fb_cli *cli, const char *user)
{
	FB_AUTO_FREE char *text = NULL;

	if (cli->quiet || getpwnam(user) != NULL)
		return;
	text = fb_format("there is no user '%s' here: make it with 'useradd "
	                 "--system %s'\n",
	    user, user);
	fb_log(FB_LOG_WARNING, text);
}

static int
config_units(struct fb_cli *cli, struct fb_error *err)
{
	struct units units = { cli,
		fb_arguments_value(&cli->args, FB_OPT_TARGET) };
	FB_AUTO_FREE char *program = NULL;
	struct fb_timetable_spec spec;
	int rc = make_spec(cli, &spec, &program, err);

	if (rc < 0)
		return rc;
	cli->data = json_object();
	rc = fb_timetable_units(&spec, put_unit, &units, err);
	if (rc == FB_OK)
		advise_user(cli, spec.user);
	return rc;
}

static int
config_cron(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *program = NULL;
	struct fb_timetable_spec spec;
	int rc = make_spec(cli, &spec, &program, err);

	if (rc < 0)
		return rc;
	fb_timetable_cron(&spec, &cli->text);
	cli->data = json_object();
	fb_json_put_str(cli->data, "crontab", fb_buf_str(&cli->text));
	return FB_OK;
}

static int
config_alerts(struct fb_cli *cli, struct fb_error *err)
{
	(void)err;
	fb_buf_add_str(&cli->text, fb_timetable_alerts());
	cli->data = json_object();
	fb_json_put_str(cli->data, "rules", fb_timetable_alerts());
	return FB_OK;
}

static const struct {
	const char *name;
	int (*run)(struct fb_cli *cli, struct fb_error *err);
} forms[] = {
	{ "check", config_check },
	{ "show", config_show },
	{ "schema", config_schema },
	{ "path", config_path },
	{ "units", config_units },
	{ "cron", config_cron },
	{ "alerts", config_alerts },
};

static int
config_run(struct fb_cli *cli, struct fb_error *err)
{
	const char *names[FB_COUNT(forms)];
	const char *what = cli->args.count > 0 ? cli->args.items[0] : "check";
	const char *near;

	for (size_t i = 0; i < FB_COUNT(forms); i++) {
		names[i] = forms[i].name;
		if (strcmp(forms[i].name, what) == 0)
			return forms[i].run(cli, err);
	}
	near = fb_name_nearest(what, names, FB_COUNT(names));
	(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
	    "'config' cannot '%s'", what);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err, "one of: check, show, schema, path, units, "
			    "cron, alerts");
}

const struct fb_command fb_cmd_config = {
	.name = "config",
	.group = "Set up",
	.args = "[check | show | schema | path | units | cron | alerts]",
	.args_max = 1,
	.help = "look at and check the configuration",
	.examples = "fleetbak config check\tis it right? (offline)\n"
		    "fleetbak config show --origin\tevery value and where it "
		    "comes from\n"
		    "fleetbak config schema\tJSON Schema for editors\n"
		    "fleetbak config path\twhich file is read\n"
		    "fleetbak config units\tto run every night, by systemd\n"
		    "fleetbak config cron\tthe same for cron\n",
	.about = "check reads the configuration and says what is wrong with "
		 "it, by line and column, without asking any source.  show "
		 "prints the effective settings, with --origin also where "
		 "each comes from.  schema prints a JSON Schema, path the "
		 "file that is read.  Secrets are shown as their reference."
		 "\n\n"
		 "units prints the services and timers of systemd with which "
		 "this configuration is carried out every night, cron a file "
		 "for /etc/cron.d, alerts rules for Prometheus.",
	.words = "check show schema path units cron alerts",
	.run = config_run,
};
