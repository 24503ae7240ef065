/* The signed part: format, registers, checksums, manifests. */
#include <stdio.h>
#include <string.h>

#include "verify_impl.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"

#define RESCUE_MAX (1u << 20)

int
open_manifest(struct verify *verify, const struct verify_run *run,
    struct fb_manifest **ret_manifest, struct fb_error *err)
{
	return fb_manifest_open(
	    verify->repo, &run->ref, true, NULL, ret_manifest, err);
}

int
verify_format(struct verify *verify, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, signature = { 0 };
	struct fb_format_doc doc;
	int rc = fb_store_get(verify->repo->store, "format/1.json",
	    FB_FORMAT_DOC_MAX, &text, NULL, err);

	if (rc == FB_OK)
		rc = fb_format_doc_decode(fb_buf_span(&text), &doc, err);
	if (rc < 0 && !is_damage(err))
		return rc;
	if (rc < 0) {
		(void)add_damage(verify, "format/1.json", err);
		return FB_OK;
	}
	rc = fb_store_get(verify->repo->store, "format/1.json.sig",
	    FB_SIGNATURE_LEN, &signature, NULL, err);
	if (rc == FB_OK)
		rc = fb_trust_verify(&verify->repo->trust,
		    fb_buf_span(&text), fb_buf_span(&signature), NULL, err);
	if (rc < 0 && !is_damage(err))
		return rc;
	if (rc < 0)
		(void)add_damage(verify, "format/1.json.sig", err);
	return FB_OK;
}

/* The run as a whole is harmed by this object. */
static void
damage_run(struct verify *verify, struct verify_run *run, const char *object,
    const struct fb_error *cause)
{
	size_t number = add_damage(verify, object, cause);

	run->damaged = true;
	if (run->damage_count < VERIFY_RUN_OBJECTS)
		run->damages[run->damage_count++] = number;
}

static void
harm_volume(struct verify *verify, const struct verify_run *run,
    const struct fb_manifest_machine *machine, const char *volume)
{
	for (size_t i = 0; i < run->damage_count; i++)
		add_harm(verify, run->damages[i], run->ref.run, machine,
		    volume);
}

struct harming {
	struct verify *verify;
	const struct verify_run *run;
};

static int
harm_machine(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	const struct harming *harming = arg;

	(void)err;
	if (!wants_machine(harming->verify, machine))
		return FB_OK;
	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].captured)
			harm_volume(harming->verify, harming->run, machine,
			    machine->volumes[i].name);
	return FB_OK;
}

/* A line of VOLUMES, which may be as damaged as anything. */
static bool
harm_line(struct verify *verify, const struct verify_run *run, char *line)
{
	struct fb_manifest_machine machine = { 0 };
	char *volume;

	if (!fb_volumes_line(line, &machine.source, &machine.id, &volume))
		return false;
	if (wants_machine(verify, &machine))
		harm_volume(verify, run, &machine, volume);
	return true;
}

static bool
harm_by_list(struct verify *verify, const struct verify_run *run)
{
	FB_AUTO_FREE char *key = fb_format("runs/%s/VOLUMES", run->ref.run);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	bool any = false;
	char *line, *rest;

	if (fb_store_get_text(verify->repo->store, key, FB_SUMS_MAX, &text,
	        &ignored) < 0 ||
	    text.len == 0)
		return false;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n")) != NULL)
		any = harm_line(verify, run, line) || any;
	return any;
}

/* What a damaged run held: by its manifest, else by VOLUMES. */
static void
harm_run(struct verify *verify, struct verify_run *run)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct harming harming = { verify, run };
	struct fb_error ignored = { 0 };

	if (run->unreadable == NULL &&
	    open_manifest(verify, run, &manifest, &ignored) == FB_OK &&
	    fb_manifest_machines(
	        manifest, harm_machine, &harming, &ignored) == FB_OK)
		return;
	if (!harm_by_list(verify, run))
		for (size_t i = 0; i < run->damage_count; i++)
			add_harm(verify, run->damages[i], run->ref.run, NULL,
			    NULL);
}

/* The lists of the register are those of SHA256SUMS. */
static int
compare_lists(const struct verify_run *run, struct fb_span sums,
    struct fb_error *err)
{
	struct fb_buf expected = { 0 };
	char hex[FB_DIGEST_HEX_SIZE], key[FB_OBJECT_KEY_SIZE];
	const struct fb_register *reg = &run->reg;
	const char *begin, *end, *text;
	FB_AUTO_FREE char *copy = fb_format(
	    "%.*s", (int)sums.len, sums.len > 0 ? (const char *)sums.ptr : "");
	bool same;

	for (size_t i = 0; i < reg->packs.count; i++) {
		fb_digest_hex(&reg->packs.ids[i], hex);
		fb_pack_key(&reg->packs.ids[i], key);
		fb_buf_add_fmt(&expected, "%s  %s\n", hex, key);
	}
	for (size_t i = 0; i < reg->recipes.count; i++) {
		fb_digest_hex(&reg->recipes.ids[i], hex);
		fb_recipe_key(&reg->recipes.ids[i], key);
		fb_buf_add_fmt(&expected, "%s  %s\n", hex, key);
	}
	/* Sorted by path: after format/1.json, before restore.sh. */
	text = copy;
	begin = strstr(text, "  format/1.json\n");
	end = strstr(text, "  restore.sh\n");
	if (begin != NULL)
		begin += strlen("  format/1.json\n");
	if (end != NULL)
		end -= FB_DIGEST_HEX_SIZE - 1;
	same = begin != NULL && end != NULL && end >= begin &&
	    (size_t)(end - begin) == expected.len &&
	    memcmp(begin, fb_buf_str(&expected), expected.len) == 0;
	fb_buf_release(&expected);
	return same ? FB_OK
	            : fb_fail(err, FB_ECORRUPT,
	                  "its packs and recipes are not those of the run's "
	                  "SHA256SUMS");
}

/* An object of the run that SHA256SUMS gives a digest for. */
static int
check_object(struct verify *verify, struct verify_run *run,
    struct fb_span sums, const char *key, size_t max, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest want, have;
	int rc = fb_sums_find(sums, key, &want, err);

	if (rc == FB_OK)
		rc = fb_store_get_text(
		    verify->repo->store, key, max, &bytes, err);
	if (rc == FB_OK) {
		fb_digest_of(fb_buf_span(&bytes), &have);
		if (fb_digest_cmp(&want, &have) != 0)
			rc = fb_fail(err, FB_ECORRUPT,
			    "it is not what SHA256SUMS says");
	}
	if (rc < 0 && is_damage(err)) {
		damage_run(verify, run, key, err);
		return FB_OK;
	}
	return rc;
}

static int
check_register(
    struct verify *verify, struct verify_run *run, struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format("commits/%s", run->ref.session);
	int rc;

	if (run->unreadable != NULL) {
		damage_run(verify, run, key, run->unreadable);
		return FB_OK;
	}
	rc = fb_repo_register(verify->repo, run->ref.session, &run->reg, err);
	if (rc < 0 && is_damage(err)) {
		damage_run(verify, run, key, err);
		return FB_OK;
	}
	return rc;
}

/* Anybody can open a run without its .sig, but openssl cannot.  It is made
 * after the register and from it: where it is missing, its writer is about to
 * make it, or died before; then we do, as anybody may. */
static int
check_signature_object(
    struct verify *verify, struct verify_run *run, struct fb_error *err)
{
	FB_AUTO_FREE char *key =
	    fb_format("runs/%s/SHA256SUMS.sig", run->ref.run);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_error ignored = { 0 };
	int rc = fb_store_get(verify->repo->store, key, FB_SIGNATURE_LEN,
	    &bytes, NULL, err);

	if (rc == FB_ENOTFOUND && !run->damaged &&
	    fb_repo_complete(verify->repo, &run->ref, &ignored) == FB_OK)
		return FB_OK;
	if (rc == FB_OK &&
	    (bytes.len != FB_SIGNATURE_LEN ||
	        memcmp(bytes.data, run->ref.signature, FB_SIGNATURE_LEN) !=
	            0))
		rc = fb_fail(err, FB_ECORRUPT,
		    "it is not the signature that the register has");
	if (rc < 0 && is_damage(err)) {
		damage_run(verify, run, key, err);
		return FB_OK;
	}
	return rc;
}

static int
compare_manifest(struct fb_manifest *manifest, const struct verify_run *run,
    struct fb_span sums, struct fb_error *err)
{
	const struct fb_manifest_head *head = fb_manifest_get_head(manifest);
	FB_AUTO_FREE char *key = fb_format("runs/%s/VOLUMES", run->ref.run);
	struct fb_digest listed, made;
	int rc;

	if (!fb_predecessors_same(head->predecessors, head->predecessor_count,
	        run->reg.predecessors, run->reg.predecessor_count))
		return fb_fail_id(err, FB_EUNTRUSTED, "E-ROLLBACK",
		    "its predecessors are not those of the register");
	if ((rc = fb_sums_find(sums, key, &listed, err)) < 0 ||
	    (rc = fb_manifest_volumes_digest(manifest, &made, err)) < 0)
		return rc;
	if (fb_digest_cmp(&listed, &made) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "it does not tell of the volumes that VOLUMES lists");
	return FB_OK;
}

static int
check_manifest(struct verify *verify, struct verify_run *run,
    struct fb_span sums, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	FB_AUTO_FREE char *key =
	    fb_format("runs/%s/manifest.json", run->ref.run);
	int rc = open_manifest(verify, run, &manifest, err);

	if (rc == FB_OK)
		rc = compare_manifest(manifest, run, sums, err);
	if (rc < 0 && is_damage(err)) {
		damage_run(verify, run, key, err);
		return FB_OK;
	}
	return rc;
}

static int
check_sums(struct verify *verify, struct verify_run *run, struct fb_buf *sums,
    struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", run->ref.run);
	FB_AUTO_FREE char *commit = fb_format("commits/%s", run->ref.session);
	int rc = fb_repo_run_sums(verify->repo, &run->ref, sums, err);

	if (rc < 0 && is_damage(err)) {
		damage_run(verify, run, key, err);
		rc = FB_OK;
	}
	if (rc < 0 || sums->len == 0)
		return rc;
	rc = compare_lists(run, fb_buf_span(sums), err);
	if (rc < 0)
		damage_run(verify, run, commit, err);
	return FB_OK;
}

static int
check_run(struct verify *verify, struct verify_run *run, struct fb_error *err)
{
	FB_AUTO_FREE char *volumes = fb_format("runs/%s/VOLUMES", run->ref.run);
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	int rc = check_register(verify, run, err);

	if (rc < 0 || run->damaged)
		return rc;
	if ((rc = check_sums(verify, run, &sums, err)) < 0 ||
	    (rc = check_signature_object(verify, run, err)) < 0 ||
	    sums.len == 0)
		return rc;
	if ((rc = check_object(verify, run, fb_buf_span(&sums),
	         "format/1.json", FB_FORMAT_DOC_MAX, err)) < 0 ||
	    (rc = check_object(verify, run, fb_buf_span(&sums), "restore.sh",
	         RESCUE_MAX, err)) < 0 ||
	    (rc = check_object(verify, run, fb_buf_span(&sums), volumes,
	         FB_SUMS_MAX, err)) < 0)
		return rc;
	return check_manifest(verify, run, fb_buf_span(&sums), err);
}

int
verify_run_head(
    struct verify *verify, struct verify_run *run, struct fb_error *err)
{
	int rc = check_run(verify, run, err);

	if (rc == FB_OK && run->damaged)
		harm_run(verify, run);
	return rc;
}
