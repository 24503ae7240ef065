/* What is read of a computer: its definition, an export, or a reference. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "definition.h"
#include "miosa_internal.h"

/* Tries of an export that bring nothing, in a row. */
#define TRIES_MAX 4

/*
 * An export has no ranges, no digest, and sometimes no length.  What breaks
 * off begins anew: what was given on is compared, and the rest goes on behind
 * it.  Where no answer says where it ends, it has ended when two of them end
 * at the same byte.
 */
struct export {
	struct fb_artifact base;
	struct fb_miosa *miosa;
	char *path;
	const struct fb_sink *sink;
	struct fb_digester *given;
	uint64_t at;
};

/* One time through it. */
struct pass {
	struct export *export;
	struct fb_digester *again; /* of what was given on before */
	uint64_t seen, before;
};

static int
differs(const struct export *export, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EFAILED, "E-MIOSA-EXPORT",
	    "'%s' broke off, and what came the next time is not what had come "
	    "before", export->path);
	return fb_hint(err, "run the command again; nothing of it is used");
}

/* Is the beginning what it was? */
static int
compare(struct pass *pass, struct fb_error *err)
{
	struct fb_digest was, is;

	fb_digester_peek(pass->export->given, &was);
	fb_digester_peek(pass->again, &is);
	return fb_digest_cmp(&was, &is) == 0 ? FB_OK
	                                     : differs(pass->export, err);
}

static int
take(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct pass *pass = arg;
	struct export *export = pass->export;
	uint64_t left =
	    pass->seen < pass->before ? pass->before - pass->seen : 0;
	struct fb_span known = { piece.ptr,
		piece.len < left ? piece.len : (size_t)left };
	int rc = FB_OK;

	pass->seen += piece.len;
	if (known.len > 0) {
		fb_digester_add(pass->again, known);
		if (known.len == left)
			rc = compare(pass, err);
	}
	piece.ptr += known.len;
	piece.len -= known.len;
	if (rc < 0 || piece.len == 0)
		return rc;
	rc = export->sink->data(
	    export->sink->arg, piece.ptr, piece.len, err);
	if (rc < 0)
		return rc;
	fb_digester_add(export->given, piece);
	export->at += piece.len;
	return FB_OK;
}

/* *ret_ended: all of it came, and it is known that it was all. */
static int
run_pass(struct export *export, bool *ret_ended, struct fb_error *err)
{
	struct pass pass = { export, fb_digester_new(), 0, export->at };
	struct fb_api_fetch fetch = { .path = export->path,
		.what = "export",
		.end = UINT64_MAX,
		.total = UINT64_MAX,
		.whole = true,
		.sink = take,
		.arg = &pass };
	int rc = fb_api_get_bytes(export->miosa->api, &fetch, err);

	fb_digester_free(pass.again);
	if (rc == FB_OK && pass.seen == 0)
		rc = fb_fail(err, FB_EPROTO, "'%s' is empty", export->path);
	if (rc == FB_OK && fetch.framed && pass.seen < pass.before)
		rc = differs(export, err);
	*ret_ended = rc == FB_OK &&
	    (fetch.framed || pass.seen == pass.before);
	return rc;
}

static bool
may_try_again(int rc)
{
	return rc == FB_OK || rc == FB_EUNREACH || rc == FB_EUNKNOWN ||
	    rc == FB_ETIMEOUT || rc == FB_ERETRY;
}

static int
export_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct export *export = (struct export *)artifact;
	unsigned tries = 0;

	export->sink = sink;
	fb_digester_free(export->given);
	export->given = fb_digester_new();
	export->at = 0;
	for (;;) {
		uint64_t before = export->at;
		struct fb_miosa_wait wait =
		    fb_miosa_wait_until(INT32_MAX, 0, NULL);
		bool ended = false;
		int rc = run_pass(export, &ended, err);

		if (ended || !may_try_again(rc))
			return rc;
		tries = export->at > before ? 1 : tries + 1;
		if (tries >= TRIES_MAX)
			return rc == FB_OK ? differs(export, err) : rc;
		*err = (struct fb_error){ 0 };
		for (unsigned i = 0; i < tries && rc != FB_OK; i++)
			if (fb_miosa_pause(&wait, export->path, err) < 0)
				return err->code;
	}
}

static void
export_close(struct fb_artifact *artifact)
{
	struct export *export = (struct export *)artifact;

	fb_digester_free(export->given);
	free(export->path);
	free(export);
}

static const struct fb_artifact_ops export_ops = {
	.produce = export_produce,
	.close = export_close,
};

static int
open_export(struct fb_miosa *miosa, const char *computer, const char *sid,
    struct fb_artifact **ret_artifact)
{
	struct export *export = fb_alloc(1, sizeof(*export));

	export->base.ops = &export_ops;
	export->miosa = miosa;
	export->path = fb_miosa_snapshot_path(
	    FB_MIOSA_CHECKPOINTS, computer, sid, "/export");
	*ret_artifact = &export->base;
	return FB_OK;
}

/* ------------------------------------------------------------ documents */

/* What names a snapshot, where nothing else of it can be had. */
struct reference {
	struct fb_artifact base;
	struct fb_buf bytes;
};

static int
reference_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	const struct reference *reference = (struct reference *)artifact;

	return sink->data(sink->arg, reference->bytes.data,
	    reference->bytes.len, err);
}

static void
reference_close(struct fb_artifact *artifact)
{
	struct reference *reference = (struct reference *)artifact;

	fb_buf_release(&reference->bytes);
	free(reference);
}

static const struct fb_artifact_ops reference_ops = {
	.produce = reference_produce,
	.close = reference_close,
};

static struct fb_artifact *
open_reference(const char *computer, const char *sid)
{
	struct reference *reference = fb_alloc(1, sizeof(*reference));
	FB_AUTO_JSON json_t *json = json_pack(
	    "{s:s,s:s}", "computer", computer, "snapshot", sid);

	reference->base.ops = &reference_ops;
	fb_json_add(&reference->bytes, json);
	fb_buf_add_str(&reference->bytes, "\n");
	return &reference->base;
}

static int
open_definition(struct fb_miosa *miosa, const char *id,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_JSON json_t *definition = NULL;
	int rc = fb_miosa_computer(miosa, id, &now, err);

	if (rc < 0)
		return rc;
	definition = fb_miosa_definition(miosa, now.json);
	return fb_definition_open(
	    miosa->spool, definition, ret_artifact, err);
}

int
fb_miosa_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	const char *root = fb_miosa_text(miosa->trees, volume->name);
	FB_AUTO_FREE char *sid = NULL;
	int rc;

	if (volume->kind == FB_VOLUME_DEFINITION)
		return open_definition(miosa, machine->id, ret_artifact, err);
	if (token == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "the bytes of MIOSA's snapshots only are read");
	rc = fb_miosa_find(miosa, machine->id, token, &sid, err);
	if (rc < 0)
		return rc;
	if (volume->kind == FB_VOLUME_TREE && root[0] != '\0')
		return fb_miosa_open_tree(
		    miosa, sid, root, ret_artifact, err);
	if (volume->kind == FB_VOLUME_OPAQUE &&
	    strcmp(volume->name, "export") == 0)
		return open_export(miosa, machine->id, sid, ret_artifact);
	if (volume->kind == FB_VOLUME_OPAQUE &&
	    strcmp(volume->name, "snapshot") == 0) {
		*ret_artifact = open_reference(machine->id, sid);
		return FB_OK;
	}
	return fb_fail(err, FB_ENOTFOUND,
	    "a computer of MIOSA has no volume '%s'", volume->name);
}
