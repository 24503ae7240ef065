/*
 * The files of a machine's trees, from their catalogues: line by line, and
 * said in portions, so that a tree of any size needs little memory.  Only
 * --json, which is one document, holds all that matches.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/show.h"
#include "fleetbak/format/catalogue.h"
#include "fleetbak/repo/volume.h"

#define PORTION 4096 /* rows; columns are as wide as a portion needs */

struct lister {
	struct fb_cli *cli;
	struct fb_table *table;
	const char *volume;
	const char *glob; /* NULL: all */
	struct fb_buf line, scratch;
	bool headed;
};

void
fb_cli_mode(char type, unsigned mode, char text[11])
{
	static const char letters[] = "rwxrwxrwx";

	text[0] = type == 'f' || type == 'h' ? '-' : type;
	for (unsigned i = 0; i < 9; i++)
		text[i + 1] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & 04000)
		text[3] = text[3] == 'x' ? 's' : 'S';
	if (mode & 02000)
		text[6] = text[6] == 'x' ? 's' : 'S';
	if (mode & 01000)
		text[9] = text[9] == 'x' ? 't' : 'T';
	text[10] = '\0';
}

static bool
matches(const char *glob, const char *path)
{
	const char *name = strrchr(path, '/');

	if (glob == NULL)
		return true;
	if (strchr(glob, '/') != NULL || name == NULL)
		return fnmatch(glob, path, 0) == 0;
	return fnmatch(glob, name + 1, 0) == 0;
}

/* What is known so far goes out, and is forgotten. */
static void
flush_rows(struct lister *lister)
{
	struct fb_cli *cli = lister->cli;

	fb_cli_add_table(cli, lister->table);
	fb_table_release(lister->table);
	cli->no_header = true;
	errno = 0;
	fb_cli_print_text(cli);
	fb_cli_flush(cli);
}

static void
put_row(struct lister *lister, const struct fb_entry *entry,
    const char *path)
{
	char time[FB_TIME_SIZE], shown[FB_CLI_TEXT], mode[11], number[32];
	struct fb_table *table = lister->table;

	fb_time_format(entry->mtime_s * 1000000000, time);
	fb_cli_mode((char)entry->type, entry->mode, mode);
	fb_table_row(table);
	fb_table_cell(table, mode, NULL);
	(void)snprintf(number, sizeof(number), "%u:%u", entry->uid,
	    entry->gid);
	fb_table_cell(table, number, NULL);
	(void)snprintf(number, sizeof(number), "%llu",
	    (unsigned long long)entry->size);
	fb_table_cell(table,
	    fb_cli_size(lister->cli, entry->size, shown), number);
	fb_table_cell(table, fb_cli_time(lister->cli, time, shown), time);
	fb_table_cell(table, lister->volume, NULL);
	fb_table_cell(table, path, NULL);
	if (table->row_count >= PORTION)
		flush_rows(lister);
}

static json_t *
entry_json(const struct lister *lister, const struct fb_entry *entry,
    const char *path)
{
	json_t *item = json_object();
	FB_AUTO_BUF struct fb_buf escaped = { 0 };
	char time[FB_TIME_SIZE], mode[11];

	fb_time_format(entry->mtime_s * 1000000000, time);
	fb_cli_mode((char)entry->type, entry->mode, mode);
	fb_json_put_str(item, "volume", lister->volume);
	fb_json_put_str(item, "path", path);
	fb_text_add_escaped(&escaped, entry->path);
	fb_json_put_str(item, "path_escaped", fb_buf_str(&escaped));
	fb_json_put_str(item, "mode", mode);
	fb_json_put_u64(item, "uid", entry->uid);
	fb_json_put_u64(item, "gid", entry->gid);
	fb_json_put_u64(item, "size_bytes", entry->size);
	fb_json_put_str(item, "mtime", time);
	return item;
}

static void
put_entry(struct lister *lister, const struct fb_entry *entry,
    const char *path)
{
	struct fb_cli *cli = lister->cli;

	if (cli->output == FB_OUTPUT_JSON)
		fb_cli_add_item(cli, entry_json(lister, entry, path));
	else if (cli->output == FB_OUTPUT_NDJSON)
		fb_cli_event(cli, "file", entry_json(lister, entry, path));
	else
		put_row(lister, entry, path);
}

static int
read_line(struct lister *lister, struct fb_error *err)
{
	struct fb_entry entry;
	int rc;

	if (!lister->headed) {
		lister->headed = true;
		if (strcmp(fb_buf_str(&lister->line), FB_CATALOGUE_HEAD) == 0)
			return FB_OK;
		return fb_fail_id(err, FB_ECORRUPT, "E-CATALOGUE",
		    "the catalogue of volume '%s' begins wrongly",
		    lister->volume);
	}
	lister->line.len--; /* its newline */
	fb_buf_clear(&lister->scratch);
	rc = fb_catalogue_decode(
	    fb_buf_span(&lister->line), &lister->scratch, &entry, err);
	if (rc < 0)
		return fb_wrap(err, "volume '%s'", lister->volume);
	FB_AUTO_FREE char *path = fb_alloc(entry.path.len + 1, 1);

	memcpy(path, entry.path.ptr, entry.path.len);
	if (matches(lister->glob, path))
		put_entry(lister, &entry, path);
	return FB_OK;
}

static int
on_bytes(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	struct lister *lister = arg;
	const char *at = bytes;
	uint64_t left = length;

	(void)offset;
	while (left > 0) {
		const char *end =
		    at != NULL ? memchr(at, '\n', (size_t)left) : NULL;
		size_t len = end != NULL ? (size_t)(end - at) + 1
					 : (size_t)left;
		int rc;

		if (at == NULL ||
		    lister->line.len + len > FB_CATALOGUE_LINE_MAX)
			return fb_fail_id(err, FB_ECORRUPT, "E-CATALOGUE",
			    "the catalogue of volume '%s' has a line without "
			    "an end",
			    lister->volume);
		fb_buf_add(&lister->line, at, len);
		at += len;
		left -= len;
		if (end == NULL)
			break;
		rc = read_line(lister, err);
		if (rc < 0)
			return rc;
		fb_buf_clear(&lister->line);
	}
	return FB_OK;
}

static int
list_volume(struct lister *lister, struct fb_repo *repo,
    const struct fb_manifest_volume *volume, struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	int rc;

	lister->volume = volume->name;
	lister->headed = false;
	fb_buf_clear(&lister->line);
	rc = fb_volume_open(repo, &volume->catalogue_recipe, &reader, err);
	if (rc == FB_OK)
		rc = fb_volume_read(reader, 0, volume->catalogue_size, 1,
		    &lister->cli->cancel, on_bytes, lister, err);
	return rc < 0 ? fb_wrap(err, "volume '%s'", volume->name) : rc;
}

int
fb_cli_show_files(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "MODE", false },
		{ "OWNER", false }, { "SIZE", true }, { "MODIFIED", false },
		{ "VOLUME", false }, { "PATH", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	struct lister lister = { .cli = cli, .table = &table };
	size_t trees = 0;
	int rc = FB_OK;

	if (cli->args.count > 1)
		lister.glob = cli->args.items[1];
	cli->data = fb_cli_new_list(cli);
	for (size_t i = 0; rc == FB_OK && i < machine->volume_count; i++) {
		if (!machine->volumes[i].has_catalogue)
			continue;
		trees++;
		rc = list_volume(&lister, repo, &machine->volumes[i], err);
	}
	fb_buf_release(&lister.line);
	fb_buf_release(&lister.scratch);
	if (rc < 0)
		return rc;
	if (!fb_cli_json(cli))
		flush_rows(&lister);
	if (trees == 0)
		fb_buf_add_str(&cli->summary,
		    "it has no tree volume: nothing to list\n");
	return FB_OK;
}
