/*
 * A table of settings applied to a tree of YAML: typed values, defaults,
 * overrides, and where each of them came from.
 */
#ifndef FB_FORMAT_SCHEMA_H
#define FB_FORMAT_SCHEMA_H

#include "fleetbak/format/config.h"

#include "yaml_tree.h"

/* A value from outside the file. */
struct fb_override {
	char *path;   /* "download.jobs" */
	char *text;
	char *origin; /* "environment FLEETBAK_DOWNLOAD_JOBS", "--set" */
};

struct fb_schema {
	const struct fb_setting *rows;
	size_t row_count;
	const char *file;     /* for messages */
	const char *base_dir; /* relative paths start here; may be NULL when no
	                       * row is an FB_SETTING_PATH or URL */
	const struct fb_override *overrides; /* in ascending authority */
	size_t override_count;
	json_t *values;  /* the result, nested as the file */
	json_t *places;  /* path -> "file:line:column", for messages */
	json_t *origins; /* path -> "file:line", for people */
};

/*
 * Read `root` by the table: file, overrides, defaults, required settings.
 * Fills values, places and origins (new references of the caller's, also on
 * failure).  Errors: FB_ECONFIG.
 */
FB_MUST_USE int fb_schema_read(struct fb_schema *schema,
    const struct fb_yaml_node *root, struct fb_error *err);
void fb_schema_release(struct fb_schema *schema);

/* Where the value of a path stands, for a message. */
const char *fb_schema_place(const struct fb_schema *schema, const char *path);

/* "<place>: <path> '<value>': <why>". */
int fb_schema_fail(const struct fb_schema *schema, const char *path,
    const char *value, const char *id, struct fb_error *err,
    const char *fmt, ...) FB_PRINTF(6, 7);

/* Does a row's path stand for this one?  A star stands for any name. */
bool fb_schema_matches(const char *pattern, const char *path);

/*
 * Check one scalar's text against a row; *ret_value is a new reference.
 * `path` and `place` are for the message.
 */
struct fb_scalar {
	const struct fb_setting *row;
	const char *place; /* "f.yaml:3:5" */
	const char *what;  /* "download.jobs" */
	const char *text;
	const char *base_dir;
};
FB_MUST_USE int fb_scalar_check(const struct fb_scalar *scalar,
    json_t **ret_value, struct fb_error *err);

/* Raise "<place>: <what> '<text>': <why>". */
int fb_scalar_fail(const struct fb_scalar *in, const char *id,
    struct fb_error *err, const char *fmt, ...) FB_PRINTF(4, 5);

/* Of object storage: "s3://bucket/prefix", a server, where keys are found. */
FB_MUST_USE int fb_scalar_check_bucket(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err);
FB_MUST_USE int fb_scalar_check_server(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err);
FB_MUST_USE int fb_scalar_check_credentials(
    const struct fb_scalar *in, struct fb_error *err);
FB_MUST_USE int fb_config_check_s3(
    const struct fb_schema *schema, struct fb_error *err);
void fb_config_fill_s3(
    struct fb_config_repository *repository, const json_t *value);
void fb_config_free_s3(struct fb_config_repository *repository);

/* Of a text that the schema has judged. */
unsigned fb_percent_of(const json_t *value);
/* Fill config->retention and config->groups from the checked values. */
void fb_config_fill_retention(struct fb_config *config, const json_t *values);
/* What is a copy is one of another repository. */
FB_MUST_USE int fb_config_check_copies(
    const struct fb_schema *schema, struct fb_error *err);
/* Each notifier has what its type needs; then notify, metrics and log. */
FB_MUST_USE int fb_config_check_notify(
    const struct fb_schema *schema, struct fb_error *err);
void fb_config_fill_unattended(struct fb_config *config, const json_t *values);
void fb_config_free_unattended(struct fb_config *config);

/* Fill labels from {"key": "value"}, sorted by key. */
void fb_labels_fill(struct fb_labels *labels, const json_t *object);

#endif
