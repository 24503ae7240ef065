/*
 * A cut-off restore: lines "TYPE JSON" make its journal.  What was asked for
 * is read from it, checked, and how far it came is taken over, twice alike.
 */
#include <sys/stat.h>

#include "../../src/engine/restore_parts.h"
#include "fleetbak/base/name.h"
#include "fleetbak/journal/record.h"
#include "fuzz.h"

#define RESTORE "20261121-013205123-3fa92c17"

static char *journal;
static struct fb_config config;
static struct fb_engine engine = { .config = &config };

static void
make_state(void)
{
	FB_AUTO_FREE char *dir = NULL;
	struct fb_error err;

	if (journal != NULL)
		return;
	config.fleet_name = fb_strdup("demo");
	config.state_dir = fb_strdup(scratch_dir());
	dir = fb_format("%s/restores/" RESTORE, config.state_dir);
	must(fb_io_mkdirs_later(dir, 0700, &err) == FB_OK);
	journal = fb_format("%s/journal", dir);
}

static void
add(struct fb_buf *text, uint64_t *sequence, struct fb_digest *chain,
    const char *type, const json_t *body)
{
	struct fb_digest next = *chain;
	struct fb_error ignored;

	if (fb_journal_line_add(
	        text, *sequence + 1, &next, type, body, &ignored) < 0)
		return;
	*chain = next;
	++*sequence;
}

static void
write_journal(struct fb_span input)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *first = json_pack("{s:i}", "format", 1);
	struct fb_digest chain;
	uint64_t sequence = 0;

	fb_journal_seed(&chain);
	add(&text, &sequence, &chain, "journal", first);
	while (input.len > 0) {
		struct fb_span line = take_line(&input);
		const uint8_t *space =
		    line.len > 0 ? memchr(line.ptr, ' ', line.len) : NULL;
		FB_AUTO_JSON json_t *body = NULL;
		FB_AUTO_FREE char *type = NULL;
		struct fb_error ignored;
		size_t len;

		if (space == NULL)
			continue;
		len = (size_t)(space - line.ptr);
		type = fb_format("%.*s", (int)len, (const char *)line.ptr);
		if (fb_json_parse((struct fb_span){ space + 1,
		                      line.len - len - 1 },
		        65536, "input", &body, &ignored) == FB_OK)
			add(&text, &sequence, &chain, type, body);
	}
	put_file(journal, fb_buf_span(&text));
}

static void
check_spec(void)
{
	struct fb_restore restore = { .engine = &engine };
	struct fb_error err;

	if (fb_rst_journal_spec(&engine, RESTORE, &restore.spec, &err) < 0)
		return;
	if (fb_rst_spec_read(&restore, &err) == FB_OK) {
		must(restore.kind <= FB_RESTORE_TO_DIR);
		if (restore.kind == FB_RESTORE_TO_NEW)
			must(fb_name_ok(
			    restore.new_id, strlen(restore.new_id)));
		if (restore.kind == FB_RESTORE_TO_DIR)
			must(restore.directory[0] == '/');
		for (size_t i = 0; i < restore.volume_count; i++)
			must(fb_name_ok(restore.volumes[i],
			    strlen(restore.volumes[i])));
		for (size_t i = 0; i < restore.path_count; i++)
			must(fb_path_check_inside("path", restore.paths[i],
			         strlen(restore.paths[i]), 4096,
			         &err) == FB_OK);
	}
	for (size_t i = 0; i < restore.volume_count; i++)
		free(restore.volumes[i]);
	for (size_t i = 0; i < restore.path_count; i++)
		free(restore.paths[i]);
	free(restore.volumes);
	free(restore.paths);
	free(restore.directory);
	fb_rst_maps_free(&restore);
	json_decref(restore.spec);
}

/* Two machines of the restore, with a disk each. */
struct world {
	struct fb_manifest_volume records[2];
	struct fb_rst_volume volumes[2];
	struct fb_rst_machine machines[2];
	struct fb_restore restore;
};

static void
peek(struct world *world)
{
	static const char *const keys[] = { "lab/m1", "lab/m2" };
	struct fb_error err;

	memset(world, 0, sizeof(*world));
	for (size_t i = 0; i < 2; i++) {
		world->records[i].name = (char *)(uintptr_t) "root";
		world->volumes[i].record = &world->records[i];
		world->machines[i].key = (char *)(uintptr_t)keys[i];
		world->machines[i].record.volumes = &world->records[i];
		world->machines[i].record.volume_count = 1;
		world->machines[i].volumes = &world->volumes[i];
	}
	world->restore.engine = &engine;
	world->restore.machines = world->machines;
	world->restore.count = 2;
	memcpy(world->restore.id, RESTORE, sizeof(RESTORE));
	must(fb_rst_journal_peek(&world->restore, &err) == FB_OK);
}

static void
check_peek(void)
{
	struct world one, two;

	peek(&one);
	peek(&two);
	for (size_t i = 0; i < 2; i++) {
		const struct fb_rst_machine *a = &one.machines[i];
		const struct fb_rst_machine *b = &two.machines[i];

		must(a->noted == b->noted && a->owed == b->owed &&
		    a->suspended == b->suspended && a->closed == b->closed &&
		    a->finishing == b->finishing &&
		    one.volumes[i].offset == two.volumes[i].offset);
		must(one.volumes[i].offset == 0 || one.volumes[i].begun);
	}
}

static void
check_lists(void)
{
	struct fb_recover_report report;
	struct fb_error err;
	char **ids = NULL;
	size_t count = 0;

	must(fb_restore_unfinished(&engine, &ids, &count, &err) == FB_OK);
	must(count <= 1);
	for (size_t i = 0; i < count; i++)
		free(ids[i]);
	free(ids);
	must(fb_recover_list(&engine, &report, &err) == FB_OK);
	fb_recover_report_release(&report);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	make_state();
	write_journal((struct fb_span){ data, size });
	check_spec();
	check_peek();
	check_lists();
	return 0;
}
