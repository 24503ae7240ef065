#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "restore_parts.h"

#define PATH_BYTES_MAX 4096
#define SPEC           "restore journal"

/* Of a machine, as people call it. */
#define NAME_BYTES_MAX 255

static const char *const kinds[] = {
	[FB_RESTORE_TO_MACHINE] = FB_RST_IN_PLACE,
	[FB_RESTORE_TO_NEW] = "as-new",
	[FB_RESTORE_TO_DIR] = "directory",
};

/* Names are wider than ids: a guest's may have spaces. */
static int
check_machine(const char *name, size_t len, struct fb_error *err)
{
	if (len == 0 || len > NAME_BYTES_MAX)
		return fb_name_check("machine id", name, len, err);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f ||
		    name[i] == '/')
			return fb_name_check("machine id", name, len, err);
	return FB_OK;
}

int
fb_rst_parse(const char *argument, char **ret_source, char **ret_id,
    char **ret_run, struct fb_error *err)
{
	const char *at = strchr(argument, '@');
	size_t len = at ? (size_t)(at - argument) : strlen(argument);
	const char *slash = memchr(argument, '/', len);
	size_t skip = slash ? (size_t)(slash - argument) + 1 : 0;
	int rc = FB_OK;

	*ret_source = *ret_id = *ret_run = NULL;
	if (slash)
		rc = fb_name_check("source name", argument, skip - 1, err);
	if (rc >= 0)
		rc = check_machine(argument + skip, len - skip, err);
	if (rc < 0)
		return fb_hint(
		    err, "write MACHINE, SOURCE/MACHINE or MACHINE@RUN");
	if (at && strcmp(at + 1, "latest") != 0 &&
	    !fb_run_id_ok(at + 1, strlen(at + 1))) {
		rc = fb_fail_id(err, FB_ECONFIG, "E-RST-RUN",
		    "'%s' is not the id of a run", at + 1);
		return fb_hint(err, "`fleetbak list` shows the runs");
	}
	if (slash)
		*ret_source = fb_format("%.*s", (int)skip - 1, argument);
	*ret_id = fb_format("%.*s", (int)(len - skip), argument + skip);
	*ret_run = at ? fb_strdup(at + 1) : NULL;
	return FB_OK;
}

/* File names are bytes, JSON is text. */
static json_t *
escaped(const char *bytes)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_text_add_escaped(
	    &text, (struct fb_span){ (const uint8_t *)bytes, strlen(bytes) });
	return json_string(fb_buf_str(&text));
}

static int
unescaped(const char *text, char **ret_bytes, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_text_unescape(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, &bytes,
	    err);

	if (rc < 0)
		return fb_wrap(err, SPEC);
	fb_buf_add(&bytes, "", 0);
	if (bytes.len == 0 || memchr(bytes.data, '\0', bytes.len) != NULL)
		return fb_fail(err, FB_ECORRUPT, SPEC ": a name is empty");
	*ret_bytes = (char *)fb_buf_steal(&bytes);
	return FB_OK;
}

/* "./etc/ssh/" and "/etc/ssh" are "etc/ssh". */
static int
add_path(json_t *list, const char *path, struct fb_error *err)
{
	FB_AUTO_FREE char *inside = NULL;
	size_t len;
	int rc;

	for (;;) {
		if (path[0] == '/')
			path++;
		else if (path[0] == '.' && path[1] == '/')
			path += 2;
		else
			break;
	}
	len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	rc = fb_path_check_inside("path", path, len, PATH_BYTES_MAX, err);
	if (rc < 0)
		return rc;
	inside = fb_format("%.*s", (int)len, path);
	json_array_append_new(list, escaped(inside));
	return FB_OK;
}

static int
check_options(const struct fb_restore_options *o, struct fb_error *err)
{
	if (o->all && (o->machine_count > 0 || o->selector_count > 0))
		return fb_fail(err, FB_ECONFIG,
		    "--all means every machine; leave out the machines");
	if (o->machine_count > 0 && o->selector_count > 0)
		return fb_fail(err, FB_ECONFIG,
		    "machines and a selection are named; leave one out");
	if (!o->all && o->machine_count == 0 && o->selector_count == 0)
		return fb_fail(err, FB_ECONFIG,
		    "no machine is named; name one, or say --run RUN --all");
	if (o->all && o->run == NULL)
		return fb_fail(
		    err, FB_ECONFIG, "--all needs --run RUN (or --run latest)");
	if (o->kind == FB_RESTORE_TO_NEW && o->new_id == NULL)
		return fb_fail(err, FB_ECONFIG, "the new machine has no id");
	if (o->kind == FB_RESTORE_TO_DIR &&
	    (o->directory == NULL || o->directory[0] == '\0'))
		return fb_fail(err, FB_ECONFIG, "no target directory is named");
	if (o->kind == FB_RESTORE_TO_NEW &&
	    (o->volume_count > 0 || o->path_count > 0))
		return fb_fail(err, FB_ECONFIG,
		    "a new machine needs all its volumes; --volume and "
		    "--path go with --in-place or --target");
	if (o->start && o->no_start)
		return fb_fail(err, FB_ECONFIG,
		    "--start and --no-start contradict each other");
	if (o->kind == FB_RESTORE_TO_NEW)
		return fb_name_check(
		    "new machine id", o->new_id, strlen(o->new_id), err);
	return FB_OK;
}

static char *
absolute(const char *directory)
{
	FB_AUTO_FREE char *cwd = NULL;

	if (directory[0] == '/')
		return fb_strdup(directory);
	cwd = getcwd(NULL, 0);
	return fb_path_join(cwd ? cwd : "/", directory);
}

int
fb_rst_spec_from(struct fb_restore *restore, const struct fb_restore_options *o,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *spec = json_object();
	json_t *volumes = json_array(), *paths = json_array();
	int rc = FB_OK;

	json_object_set_new(spec, "version", json_integer(1));
	json_object_set_new(spec, "kind", json_string(kinds[o->kind]));
	json_object_set_new(spec, "volumes", volumes);
	json_object_set_new(spec, "paths", paths);
	json_object_set_new(spec, "start", json_boolean(o->start));
	json_object_set_new(spec, "no_start", json_boolean(o->no_start));
	json_object_set_new(spec, "untrusted", json_boolean(o->untrusted));
	json_object_set_new(spec, "rollback", json_boolean(o->rollback));
	rc = check_options(o, err);
	if (rc >= 0)
		rc = fb_rst_maps_write(spec, o, err);
	if (rc < 0)
		return rc;
	if (o->kind == FB_RESTORE_TO_NEW)
		json_object_set_new(spec, "new", json_string(o->new_id));
	if (o->kind == FB_RESTORE_TO_DIR) {
		FB_AUTO_FREE char *directory = absolute(o->directory);

		json_object_set_new(spec, "directory", escaped(directory));
	}
	for (size_t i = 0; i < o->volume_count && rc >= 0; i++) {
		rc = fb_name_check(
		    "volume name", o->volumes[i], strlen(o->volumes[i]), err);
		if (rc >= 0)
			json_array_append_new(
			    volumes, json_string(o->volumes[i]));
	}
	for (size_t i = 0; i < o->path_count && rc >= 0; i++)
		rc = add_path(paths, o->paths[i], err);
	if (rc < 0)
		return rc;
	restore->spec = FB_STEAL(spec);
	return fb_rst_spec_read(restore, err);
}

typedef int check_fn(const char *text, struct fb_error *err);

static int
check_volume(const char *name, struct fb_error *err)
{
	return fb_name_check("volume name", name, strlen(name), err);
}

static int
check_path(const char *path, struct fb_error *err)
{
	return fb_path_check_inside(
	    "path", path, strlen(path), PATH_BYTES_MAX, err);
}

/* Each is checked as if it had been asked for now: a journal may be damaged. */
static int
read_strings(const json_t *spec, const char *key, check_fn *check,
    char ***ret_items, size_t *ret_count, struct fb_error *err)
{
	json_t *list, *item;
	size_t i;
	int rc = fb_json_array(spec, key, SPEC, &list, err);

	if (rc < 0)
		return rc;
	*ret_items = fb_alloc(json_array_size(list) + 1, sizeof(**ret_items));
	json_array_foreach(list, i, item)
	{
		if (!json_is_string(item))
			return fb_fail(err, FB_ECORRUPT,
			    SPEC ": '%s' holds something else", key);
		rc = unescaped(json_string_value(item), &(*ret_items)[i], err);
		if (rc < 0)
			return rc;
		*ret_count = i + 1;
		rc = check((*ret_items)[i], err);
		if (rc < 0)
			return fb_wrap(err, SPEC);
	}
	return FB_OK;
}

static int
read_target(struct fb_restore *r, struct fb_error *err)
{
	const char *directory;
	int rc;

	if (r->kind == FB_RESTORE_TO_NEW) {
		rc = fb_json_str(r->spec, "new", SPEC, &r->new_id, err);
		if (rc < 0)
			return rc;
		return fb_name_check(
		    "new machine id", r->new_id, strlen(r->new_id), err);
	}
	if (r->kind != FB_RESTORE_TO_DIR)
		return FB_OK;
	rc = fb_json_str(r->spec, "directory", SPEC, &directory, err);
	if (rc == FB_OK)
		rc = unescaped(directory, &r->directory, err);
	if (rc == FB_OK && r->directory[0] != '/')
		rc = fb_fail(err, FB_ECORRUPT,
		    SPEC ": the directory '%s' is not absolute", directory);
	return rc;
}

int
fb_rst_spec_read(struct fb_restore *r, struct fb_error *err)
{
	const char *kind;
	uint64_t version;
	int rc =
	    fb_json_u64(r->spec, "version", SPEC, UINT64_MAX, &version, err);

	if (rc < 0)
		return rc;
	if (version < 1 || version > FB_RST_SPEC_MAX)
		return fb_fail(err, FB_ETOONEW,
		    "this restore was begun by a newer fleetbak");
	rc = fb_json_str(r->spec, "kind", SPEC, &kind, err);
	if (rc < 0)
		return rc;
	for (r->kind = 0; strcmp(kind, kinds[r->kind]) != 0; r->kind++)
		if (r->kind + 1 == FB_COUNT(kinds))
			return fb_fail(
			    err, FB_ECORRUPT, SPEC ": no kind '%s'", kind);
	rc = read_target(r, err);
	if (rc >= 0)
		rc = read_strings(r->spec, "volumes", check_volume, &r->volumes,
		    &r->volume_count, err);
	if (rc >= 0)
		rc = read_strings(r->spec, "paths", check_path, &r->paths,
		    &r->path_count, err);
	if (rc >= 0)
		rc = fb_json_bool(r->spec, "start", SPEC, &r->start, err);
	if (rc >= 0)
		rc = fb_json_bool(r->spec, "no_start", SPEC, &r->no_start, err);
	if (rc >= 0)
		rc = fb_json_bool(
		    r->spec, "untrusted", SPEC, &r->untrusted, err);
	if (rc >= 0)
		rc = fb_json_bool(r->spec, "rollback", SPEC, &r->rollback, err);
	return rc < 0 ? rc : fb_rst_maps_read(r, err);
}

void
fb_rst_spec_pin(struct fb_restore *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->count; i++) {
		const struct fb_rst_machine *m = &r->machines[i];
		char manifest[FB_DIGEST_HEX_SIZE];
		json_t *item;

		fb_digest_hex(&m->manifest, manifest);
		item = json_pack("{s:s,s:s,s:s,s:s}", "machine", m->key, "run",
		    m->run, "manifest", manifest, "as", m->as);
		json_array_append_new(list, item);
		if (!m->across)
			continue;
		fb_rst_across_pin(m, item);
		json_object_set_new(r->spec, "version",
		    json_integer(FB_RST_SPEC_ACROSS));
	}
	json_object_set_new(r->spec, "machines", list);
}
