/*
 * The documents of a backup directory of canic's, 0.35 and later: its manifest
 * and its download journal.
 *
 * They are canic's and may be anybody's: everything is checked as canic checks
 * it, in its order, and what names something of ours (canisters, roles, paths)
 * besides.  Strings are borrowed from the document.
 */
#ifndef FB_FORMAT_CANIC_H
#define FB_FORMAT_CANIC_H

#include <stdbool.h>

#include "fleetbak/crypto/digest.h"
#include "fleetbak/format/json.h"

struct fb_error;

/* The two names that the manifest has had; the later one is strict. */
#define FB_CANIC_MANIFEST_FLEET      "fleet-backup-manifest.json"
#define FB_CANIC_MANIFEST_DEPLOYMENT "deployment-backup-manifest.json"
#define FB_CANIC_JOURNAL             "download-journal.json"

/* Largest document; most members, and groups of them, in one. */
#define FB_CANIC_DOC_MAX     (32u << 20)
#define FB_CANIC_MEMBERS_MAX 25000
#define FB_CANIC_UNITS_MAX   4096

/* Bytes of any text in them. */
#define FB_CANIC_TEXT_MAX 1024

struct fb_canic_member {
	const char *canister;    /* a principal: a good machine id */
	const char *role;        /* a name */
	const char *parent;      /* a principal, a member or not; or NULL */
	const char *snapshot;
	const char *module_hash; /* or NULL */
	const char *code_version; /* or NULL */
	const char *path;        /* relative, stays inside */
	const char *checksum;    /* 64 hex digits, or NULL */
	bool fixed;              /* it is restored as itself, or not at all */
	const json_t *facts;     /* the member as it stands there */
	size_t parent_at; /* index of the parent; SIZE_MAX: no member */
};

struct fb_canic_manifest {
	json_t *document;
	bool deployment; /* by the later names */
	const char *backup, *created;
	const char *tool, *tool_version;
	const char *environment, *root;
	const char *topology; /* 64 hex digits */
	struct fb_canic_member *members; /* sorted by canister */
	size_t count;
};

enum fb_canic_state { FB_CANIC_CREATED, FB_CANIC_DOWNLOADED,
	FB_CANIC_VERIFIED, FB_CANIC_DURABLE };

struct fb_canic_row {
	const char *canister, *snapshot, *path;
	const char *checksum; /* NULL in the first states */
	enum fb_canic_state state;
};

struct fb_canic_journal {
	json_t *document;
	const char *backup;
	const char *discovery, *before; /* topology hashes, or NULL */
	struct fb_canic_row *rows; /* sorted by canister, snapshot */
	size_t count;
};

/* `deployment`: it has the later file name, and so must be its members. */
FB_MUST_USE int fb_canic_manifest_parse(struct fb_span text, bool deployment,
    struct fb_canic_manifest **ret_manifest, struct fb_error *err);
/* `strict`: beside a manifest of the later name. */
FB_MUST_USE int fb_canic_journal_parse(struct fb_span text, bool strict,
    struct fb_canic_journal **ret_journal, struct fb_error *err);
/* Errors of both: FB_ECORRUPT, id E-CANIC-FORMAT. */

/*
 * Do they agree, and is every member downloaded to the end?
 * Errors: FB_ECORRUPT, ids E-CANIC-MISMATCH and E-CANIC-INCOMPLETE.
 */
FB_MUST_USE int fb_canic_agree(const struct fb_canic_manifest *manifest,
    const struct fb_canic_journal *journal, struct fb_error *err);

/* The journal's row of a member, or NULL. */
const struct fb_canic_row *fb_canic_row_of(
    const struct fb_canic_journal *journal,
    const struct fb_canic_member *member);

/* The text of a principal, in its one right form. */
bool fb_canic_principal_ok(const char *text);

void fb_canic_manifest_free(struct fb_canic_manifest *manifest);
void fb_canic_journal_free(struct fb_canic_journal *journal);
void fb_canic_manifest_freep(struct fb_canic_manifest **manifest);
void fb_canic_journal_freep(struct fb_canic_journal **journal);
#define FB_AUTO_CANIC_MANIFEST FB_CLEANUP(fb_canic_manifest_freep)
#define FB_AUTO_CANIC_JOURNAL  FB_CLEANUP(fb_canic_journal_freep)

#endif
