/*
 * Make runs that a trusted key signs and that no honest program would write.
 *
 * forge CONFIG store SESSION KIND FILE
 *	the bytes of FILE as a volume: packs and a recipe; prints its recipe,
 *	its root and its size
 * forge CONFIG commit RUN RECIPE...
 *	sign and commit runs/RUN, whose manifest.json and VOLUMES are there;
 *	the session has the run's name
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/engine.h"
#include "fleetbak/format/recipe.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/format/pack.h"

#define OBJECT_MAX (256u << 20)

static struct fb_engine engine;
static struct fb_error err;

static void
must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "forge: %s: %s\n", what, err.msg);
	exit(1);
}

static void
open_config(const char *path)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_config *config;
	FB_AUTO_FREE char *dir = fb_strdup(path);

	*strrchr(dir, '/') = '\0';
	must(fb_io_read_file(path, 1u << 20, &text, &err), path);
	must(fb_config_parse(
	         fb_buf_span(&text), path, dir, NULL, NULL, &config, &err),
	    path);
	engine.config = config;
}

static int
note_nothing(void *arg, const json_t *state, struct fb_error *ignored)
{
	(void)arg;
	(void)state;
	(void)ignored;
	return FB_OK;
}

/* ---------------------------------------------------------------- store */

static void
feed(struct fb_copy *copy, const char *path)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY, 0, &err);

	must(fd, path);
	for (;;) {
		void *room;
		size_t len;
		ssize_t got;

		must(fb_copy_room(copy, &room, &len, &err), path);
		got = read(fd, room, len);
		must(got < 0 ? FB_ESYS : FB_OK, path);
		if (got == 0)
			break;
		must(fb_copy_filled(copy, (size_t)got, &err), path);
	}
}

static void
store(struct fb_repo *repo, const char *id, const char *kind, const char *path)
{
	FB_AUTO_FREE char *spool = fb_format("%s.spool", path);
	struct fb_session session = { 0 };
	struct fb_copier_spec spec = { .repo = repo, .session = &session,
		.spool_dir = spool, .level = 1, .checkpoint = note_nothing };
	struct fb_copy_result result;
	struct fb_copier *copier;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	struct fb_copy *copy;
	char hex[2][FB_DIGEST_HEX_SIZE];
	uint64_t offset;

	must(fb_session_begin(repo, id, "download", "demo", &session, &err),
	    "session");
	must(fb_io_mkdirs(spool, 0700, &err), spool);
	must(fb_copier_open(&spec, NULL, &copier, &err), "copier");
	must(fb_copy_begin(
	         copier, "m0", kind, false, false, &copy, &offset, &err),
	    "copy");
	feed(copy, path);
	must(fb_copy_finish(copy, &result, &err), "copy");
	must(fb_copier_flush(copier, &err), "pack");
	must(fb_copier_recipe(copier, "m0", &recipe, &packs, &err), "recipe");
	fb_copier_close(copier);
	must(fb_io_remove_tree(spool, &err), spool);
	fb_digest_hex(&recipe, hex[0]);
	fb_digest_hex(&result.root, hex[1]);
	printf("%s %s %" PRIu64 "\n", hex[0], hex[1], result.size);
	fb_id_list_release(&packs);
	fb_session_release(&session);
}

/* --------------------------------------------------------------- commit */

/* The packs that a recipe names, however wrong the rest of it is. */
static void
add_packs(struct fb_repo *repo, const struct fb_digest *recipe,
    struct fb_id_list *packs)
{
	struct fb_recipe_decoder decoder = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored;
	enum fb_recipe_step step;
	char key[FB_OBJECT_KEY_SIZE];

	fb_recipe_key(recipe, key);
	must(fb_store_get(repo->store, key, OBJECT_MAX, &text, NULL, &err), key);
	for (size_t at = 0; at < text.len;) {
		const uint8_t *end =
		    memchr(text.data + at, '\n', text.len - at);
		size_t len = end != NULL
		    ? (size_t)(end - text.data) - at
		    : text.len - at;

		if (fb_recipe_decode_line(&decoder,
		        (struct fb_span){ text.data + at, len }, &step,
		        &ignored) < 0)
			break;
		if (step == FB_RECIPE_PACK)
			fb_id_list_add(packs, &decoder.pack.id);
		at += len + 1;
	}
}

static void
get_object(struct fb_repo *repo, const char *run, const char *name,
    struct fb_buf *bytes, struct fb_digest *ret_digest)
{
	FB_AUTO_FREE char *key = fb_format("runs/%s/%s", run, name);

	must(fb_store_get(repo->store, key, OBJECT_MAX, bytes, NULL, &err),
	    key);
	fb_digest_of(fb_buf_span(bytes), ret_digest);
}

/* When the manifest, which may be no JSON, says that it was finished. */
static void
take_time(struct fb_buf *manifest, struct fb_register *reg)
{
	static const char key[] = "\"finished\":\"";
	const char *found = strstr(fb_buf_str(manifest), key);

	if (found != NULL)
		(void)sscanf(found + strlen(key), "%31[^\"]", reg->time);
}

static void
commit(struct fb_repo *repo, const char *run, char **recipes)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	FB_AUTO_FREE char *place = fb_format("runs/%s/SHA256SUMS", run);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_register reg = { .fleet = "demo" };
	struct fb_digest manifest, volumes, recipe;

	for (; *recipes != NULL; recipes++) {
		must(fb_digest_parse((struct fb_span){ (uint8_t *)*recipes,
		                         strlen(*recipes) },
		         &recipe, &err),
		    *recipes);
		fb_id_list_add(&reg.recipes, &recipe);
		add_packs(repo, &recipe, &reg.packs);
	}
	(void)snprintf(reg.run, sizeof(reg.run), "%s", run);
	(void)snprintf(reg.session, sizeof(reg.session), "%s", run);
	get_object(repo, run, "VOLUMES", &bytes, &volumes);
	fb_buf_clear(&bytes);
	get_object(repo, run, "manifest.json", &bytes, &manifest);
	take_time(&bytes, &reg);
	must(fb_engine_sign_key(&engine, &key, &err), "key");
	must(fb_sums_write(repo, run, &manifest, &volumes, &reg.recipes,
	         &reg.packs, &sums, &err),
	    run);
	must(fb_store_create(repo->store, place, fb_buf_span(&sums), &err),
	    place);
	fb_digest_of(fb_buf_span(&sums), &reg.sums);
	must(fb_sign(key, fb_buf_span(&sums), reg.signature, &err), "sign");
	memcpy(reg.signer, fb_sign_key_id(key), FB_KEY_ID_SIZE);
	must(fb_repo_commit(repo, &reg, &err), "commit");
	fb_register_release(&reg);
}

int
main(int argc, char **argv)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;

	if (argc < 4) {
		fputs("usage: forge CONFIG store SESSION KIND FILE\n"
		      "       forge CONFIG commit RUN RECIPE...\n", stderr);
		return 2;
	}
	open_config(argv[1]);
	must(fb_engine_repo(&engine, &repo, &err), "repository");
	if (strcmp(argv[2], "store") == 0 && argc == 6)
		store(repo, argv[3], argv[4], argv[5]);
	else if (strcmp(argv[2], "commit") == 0)
		commit(repo, argv[3], argv + 4);
	else
		return 2;
	return 0;
}
