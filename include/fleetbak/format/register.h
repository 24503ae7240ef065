/*
 * The small documents of the repository: format, sessions, registers,
 * forgets, and what is being deleted.
 *
 * format/1.json     canonical JSON, one line; format/1.json.sig: raw Ed25519
 * sessions/<sid>    canonical JSON, one line; sessions/<sid>.end: empty
 * gc/current        canonical JSON, one line; gc/sets/<sha256>: text
 * commits/<sid>     text:
 *
 *	fleetbak-commit 1            or   fleetbak-fence 1
 *	session <sid>                     session <sid>
 *	run <run id>                      reason <escaped text>
 *	fleet <name>                      end
 *	time <RFC 3339, UTC>
 *	sums <SHA-256 of SHA256SUMS>
 *	signer <key id>
 *	signature <Ed25519 over SHA256SUMS, 128 hex>
 *	predecessors <count>
 *	<run id> <SHA-256 of its manifest.json> ...   sorted, one a line
 *	recipes <count>
 *	<recipe id> ...              sorted, one a line
 *	packs <count>
 *	<pack id> ...                sorted, one a line
 *	end
 *
 *
 * The register of a shard begins with "fleetbak-shard 1", and with the lines
 * "of <run id>", "number <its own>" and "count <of all>" before "session".
 *
 * forgets/<sid>     text; the signature is over the lines before it:
 *
 *	fleetbak-forget 1
 *	session <sid>
 *	run <run id>
 *	fleet <name>
 *	sums <SHA-256 of the run's SHA256SUMS>
 *	time <RFC 3339, UTC>
 *	signer <key id>
 *	signature <Ed25519, 128 hex>
 *
 * Every decoder accepts exactly what the encoder writes.
 * Spec: fleetbak-format(5).
 */
#ifndef FB_FORMAT_REGISTER_H
#define FB_FORMAT_REGISTER_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/sign.h"

struct fb_error;

#define FB_FORMAT_VERSION   1
#define FB_FORMAT_DOC_MAX   65536
#define FB_SESSION_DOC_MAX  65536
#define FB_FORGET_MAX       4096
#define FB_REGISTER_MAX     (64u << 20)
#define FB_PREDECESSORS_MAX 1024

/* A register's lines up to its recipes fit in this. */
#define FB_REGISTER_HEAD_MAX 131072

#define FB_MODE_CLEAR     "clear"
#define FB_MODE_ENCRYPTED "encrypted"
#define FB_CHUNKING_RULE  "shift-add-32"

struct fb_format_doc {
	char repository[33]; /* 32 hex digits */
	char domain[33];
	char created[32];
	char mode[16]; /* "clear" or "encrypted" */
	char domain_check[65]; /* of "encrypted" only, else "" */
	uint32_t chunk_min, chunk_average, chunk_max;
	bool one_writer; /* its store knows no conditional writes */
	bool leased;     /* the same, and a lease service decides */
};
void fb_format_doc_encode(const struct fb_format_doc *doc, struct fb_buf *dst);
/* Errors: FB_ECORRUPT; FB_ETOONEW for a higher version, an unknown mode or
 * chunking rule. */
FB_MUST_USE int fb_format_doc_decode(
    struct fb_span text, struct fb_format_doc *ret_doc, struct fb_error *err);

struct fb_id_list { /* sorted, unique */
	struct fb_digest *ids;
	size_t count;
};

/* A run that was the newest when its successor was written. */
struct fb_predecessor {
	char run[FB_RUN_ID_SIZE];
	struct fb_digest manifest; /* digest of its manifest.json */
};

/* Which part of a run that several workers share; of[0] == 0: it is whole. */
#define FB_SHARDS_MAX 1000
struct fb_shard_ref {
	char of[FB_RUN_ID_SIZE];
	uint32_t number, count; /* 1 to count */
};

struct fb_register {
	bool fence;
	struct fb_shard_ref shard;
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	char time[32];
	struct fb_digest sums;
	char signer[FB_KEY_ID_SIZE];
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_predecessor *predecessors; /* sorted; as in the manifest */
	size_t predecessor_count;
	struct fb_id_list recipes, packs;
	char reason[256]; /* of a fence */
};
void fb_register_encode(const struct fb_register *reg, struct fb_buf *dst);

/* Errors: FB_ECORRUPT with the line's number; FB_ETOONEW. */
FB_MUST_USE int fb_register_decode(
    struct fb_span text, struct fb_register *ret_reg, struct fb_error *err);

/* The same of a prefix that reaches at least to the line "recipes": the
 * lists stay empty.  FB_ERETRY: the prefix is too short. */
FB_MUST_USE int fb_register_decode_head(
    struct fb_span text, struct fb_register *ret_reg, struct fb_error *err);
void fb_register_release(struct fb_register *reg);

/* The signed, permanent record that a committed run is given up. */
struct fb_forget {
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	struct fb_digest sums;
	char time[32];
	char signer[FB_KEY_ID_SIZE];
	uint8_t signature[FB_SIGNATURE_LEN];
};
/* Append the lines that are signed; then the line of the signature. */
void fb_forget_encode_signed(
    const struct fb_forget *forget, struct fb_buf *dst);
void fb_forget_encode_signature(
    const struct fb_forget *forget, struct fb_buf *dst);
/* *ret_signed is the part of `text` that the signature covers. */
FB_MUST_USE int fb_forget_decode(struct fb_span text,
    struct fb_forget *ret_forget, struct fb_span *ret_signed,
    struct fb_error *err);

/* The announcement of a writer or reader. */
struct fb_session_doc {
	char kind[16];
	char fleet[FB_NAME_MAX + 1];
	char host[256];
	char started[32];
	char tool[64]; /* "fleetbak 0.1.0" */
	uint64_t pid;
};
void fb_session_doc_encode(
    const struct fb_session_doc *doc, struct fb_buf *dst);
FB_MUST_USE int fb_session_doc_decode(
    struct fb_span text, struct fb_session_doc *ret_doc, struct fb_error *err);

/*
 * The seal of a session's hints: who wrote them, and which bytes they are.
 * Hints are believed by their seal alone, for what they say about a pack's
 * table goes into recipes.  The last line is the signature of the lines
 * before it.
 */
#define FB_HINT_SEAL_MAX 1024
struct fb_hint_seal {
	char session[FB_RUN_ID_SIZE];
	uint64_t size;           /* of the hints ... */
	struct fb_digest digest; /* ... and their SHA-256 */
	bool keyed;              /* in an encrypted repository: */
	struct fb_digest domain; /* the domain's MAC of the lines before */
	uint8_t signature[FB_SIGNATURE_LEN];
};
/* The lines that the domain's MAC is of. */
void fb_hint_seal_encode_body(
    const struct fb_hint_seal *seal, struct fb_buf *dst);
/* All lines that the signature is of. */
void fb_hint_seal_encode_signed(
    const struct fb_hint_seal *seal, struct fb_buf *dst);
void fb_hint_seal_encode_signature(
    const struct fb_hint_seal *seal, struct fb_buf *dst);
/* *ret_signed is what the signature is of, borrowed from `text`. */
FB_MUST_USE int fb_hint_seal_decode(struct fb_span text,
    struct fb_hint_seal *ret_seal, struct fb_span *ret_signed,
    struct fb_error *err);

/* What is being deleted. */
enum fb_gc_phase { FB_GC_IDLE, FB_GC_CONDEMNED, FB_GC_DELETE };
struct fb_gc_doc {
	uint64_t generation;
	enum fb_gc_phase phase;
	struct fb_digest set; /* of gc/sets/<sha256>; not when idle */
};
void fb_gc_doc_encode(const struct fb_gc_doc *doc, struct fb_buf *dst);
FB_MUST_USE int fb_gc_doc_decode(
    struct fb_span text, struct fb_gc_doc *ret_doc, struct fb_error *err);

struct fb_run_ids { /* sorted, unique; of runs or sessions */
	char (*ids)[FB_RUN_ID_SIZE];
	size_t count;
};
bool fb_run_ids_have(const struct fb_run_ids *list, const char *id);
void fb_run_ids_add(struct fb_run_ids *list, const char *id);
void fb_run_ids_release(struct fb_run_ids *list);

/* A set: what one generation condemns, or deletes.  `forgotten` are the
 * sessions whose registers do not keep anything in this generation. */
struct fb_gc_set {
	uint64_t generation;
	struct fb_run_ids forgotten;
	struct fb_id_list packs, recipes;
};
void fb_gc_set_encode(const struct fb_gc_set *set, struct fb_buf *dst);
FB_MUST_USE int fb_gc_set_decode(
    struct fb_span text, struct fb_gc_set *ret_set, struct fb_error *err);
void fb_gc_set_release(struct fb_gc_set *set);

/* Is the id in the list?  Add it, keeping the list sorted and unique. */
bool fb_id_list_has(const struct fb_id_list *list, const struct fb_digest *id);
void fb_id_list_add(struct fb_id_list *list, const struct fb_digest *id);
/* Make of ids in any order, any of them twice, a list. */
void fb_id_list_settle(struct fb_id_list *list);
void fb_id_list_release(struct fb_id_list *list);

#endif
