/*
 * What writing and reading a manifest share.  Private to src/manifest.
 */
#ifndef FB_MANIFEST_MODEL_H
#define FB_MANIFEST_MODEL_H

#include <jansson.h>

#include "fleetbak/base/err.h"
#include "fleetbak/manifest/manifest.h"

#define MANIFEST_VERSION  1
#define MANIFEST_TEXT_MAX 1024 /* bytes of a free text */
#define VOLUMES_HEAD      "fleetbak-volumes 1\n"

/* The first and the last line hold the head, units included: some hundred
 * thousand of them.  It is parsed as one document, in memory. */
#define MANIFEST_HEAD_LINE_MAX (16u << 20)

/* Where the machines stand in the head's canonical form. */
#define MACHINES_MARK "\"machines\":[]"

/* Structs as JSON, a new reference. */
json_t *head_to_json(const struct fb_manifest_head *head);
json_t *machine_to_json(const struct fb_manifest_machine *machine);

/* JSON as structs; the caller releases *ret, set only on FB_OK. */
int head_from_json(const json_t *value, struct fb_manifest_head *ret,
    struct fb_error *err);
int machine_from_json(const json_t *value, struct fb_manifest_machine *ret,
    struct fb_error *err);

/* The lines of VOLUMES that a machine gives. */
void add_volume_lines(
    struct fb_buf *dst, const struct fb_manifest_machine *machine);

/*
 * The rules.  One checker goes over a whole manifest: the head, then each
 * machine in order, then the end.
 */
struct member {
	const char *machine; /* "source/id", of the head */
	size_t unit;
	bool seen;
};
struct checker {
	enum fb_code code; /* of a broken rule */
	const struct fb_manifest_head *head;
	struct member *members; /* of all units, sorted */
	size_t member_count;
	char *last_source, *last_id;
	bool any_failed;
};
int check_head(struct checker *checker, enum fb_code code,
    const struct fb_manifest_head *head, struct fb_error *err);
int check_machine(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err);
int check_end(struct checker *checker, struct fb_error *err);
void release_checker(struct checker *checker);

/* Raise "manifest rule <rule>: ...". */
int break_rule(enum fb_code code, struct fb_error *err, const char *rule,
    const char *fmt, ...) FB_PRINTF(4, 5);

/* An error id that lives for ever, however it came to us. */
const char *keep_id(const char *id);

#endif
