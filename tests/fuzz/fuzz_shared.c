/*
 * Documents of a shared run, which any writer of the repository may have made:
 * lines "KEY TEXT" become objects shared/n/KEY, signed, with \n for the ends
 * of their own lines; "raw KEY TEXT" ones that are not.  Then the run is
 * opened, its shards are looked at, and what was told becomes a journal.
 */
#include <sys/stat.h>

#include "../../src/engine/shared.h"
#include "fuzz.h"

#define REPOSITORY "0123456789abcdef0123456789abcdef"
#define TEXT_MAX   65536

static struct fb_repo repo;
static struct fb_config config;
static struct fb_config_repository configured;
static struct fb_engine engine = { .config = &config };

static void
make_keys(void)
{
	FB_AUTO_BUF struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	FB_AUTO_FREE char *path = NULL;
	struct fb_verify_key *key = NULL;
	struct fb_error err = { 0 };

	if (config.fleet_name != NULL)
		return;
	must(fb_sign_generate(&private_pem, &public_pem, &err) == FB_OK);
	must(
	    fb_verify_key_parse(fb_buf_span(&public_pem), &key, &err) == FB_OK);
	fb_trust_add(&repo.trust, key);
	path = fb_format("%s/key", scratch_dir());
	put_file(path, fb_buf_span(&private_pem));
	must(chmod(path, 0600) == 0);
	(void)snprintf(repo.format.repository, sizeof(repo.format.repository),
	    "%s", REPOSITORY);
	configured.name = fb_strdup("main");
	configured.url = fb_strdup("mem:");
	configured.sign_with = fb_format("file:%s", path);
	config.repositories = &configured;
	config.repository_count = 1;
	config.base_dir = fb_strdup(scratch_dir());
	config.state_dir = fb_strdup(scratch_dir());
	config.fleet_name = fb_strdup("demo");
}

/* The text of a line, its own ends of lines put back. */
static void
add_text(struct fb_buf *dst, struct fb_span text)
{
	for (size_t i = 0; i < text.len; i++) {
		bool end = text.ptr[i] == '\\' && i + 1 < text.len &&
		    text.ptr[i + 1] == 'n';

		if (end)
			i++;
		fb_buf_add(dst, end ? (const uint8_t *)"\n" : text.ptr + i, 1);
	}
}

static void
put_object(struct fb_span line)
{
	bool raw = line.len > 4 && memcmp(line.ptr, "raw ", 4) == 0;
	struct fb_span rest = { line.ptr + (raw ? 4 : 0),
		line.len - (raw ? 4 : 0) };
	const uint8_t *space =
	    rest.len > 0 ? memchr(rest.ptr, ' ', rest.len) : NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *key = NULL;
	struct fb_error err = { 0 };

	if (space == NULL || rest.len > TEXT_MAX ||
	    memchr(rest.ptr, '\0', rest.len) != NULL)
		return;
	key = fb_format(
	    "shared/n/%.*s", (int)(space - rest.ptr), (const char *)rest.ptr);
	if (strlen(key) >= SHARED_KEY_SIZE)
		return;
	add_text(&text,
	    (struct fb_span){
	        space + 1, rest.len - (size_t)(space + 1 - rest.ptr) });
	if (raw)
		(void)!fb_store_create(
		    repo.store, key, fb_buf_span(&text), &err);
	else
		(void)!shared_put(
		    &engine, &repo, key, fb_buf_span(&text), &err);
}

static void
check_document(const struct shared *shared)
{
	AUTO_SHARED struct shared again = { .engine = &engine, .repo = &repo };
	FB_AUTO_BUF struct fb_buf once = { 0 }, twice = { 0 };
	struct fb_error err = { 0 };

	must(shared->shards >= 1 && shared->shards <= FB_SHARDS_MAX);
	must(strcmp(shared->fleet, "demo") == 0);
	shared_encode(shared, &once);
	must(shared_decode(fb_buf_span(&once), &again, &err) == FB_OK);
	shared_encode(&again, &twice);
	must(same_bytes(fb_buf_span(&once), fb_buf_span(&twice)));
}

static void
look(const struct shared *shared)
{
	FB_AUTO_FREE char *dir = fb_format("%s/told", scratch_dir());
	struct shared_lease lease = { 0 };
	struct fb_error err = { 0 };
	bool closed;

	check_document(shared);
	(void)!shared_is_closed(shared, &closed, &err);
	for (uint32_t shard = 1; shard <= 2; shard++)
		if (shared_look(shared, shard, &lease, &err) == FB_OK &&
		    lease.epoch > 0)
			must(strlen(lease.session) == FB_RUN_ID_LEN);
	(void)!fb_io_remove_tree(dir, &err);
	(void)!shared_write_told(shared, 1, 1, dir, &err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_SHARED struct shared shared = { 0 };
	struct fb_span rest = { data, size };
	struct fb_error err = { 0 };

	make_keys();
	must(fb_store_open("mem:", true, NULL, &repo.store, &err) == FB_OK);
	while (rest.len > 0)
		put_object(take_line(&rest));
	if (shared_open(&engine, &repo, "n", &shared, &err) == FB_OK)
		look(&shared);
	else
		must(err.code < 0 && err.msg[0] != '\0');
	fb_store_close(repo.store);
	return 0;
}
