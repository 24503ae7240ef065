/* What canic's documents are made of, and what they say of each other. */
#include "fleetbak/format/canic.h"

#include <stdlib.h>
#include <string.h>

#include "canic_fields.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

/* ---------------------------------------------------------- principals */

#define PRINCIPAL_MAX   29 /* bytes, behind a CRC of four */
#define PRINCIPAL_TEXT  63
#define PRINCIPAL_GROUP 5

/* ISO 3309, as zlib has it; of a few bytes, so no table. */
static uint32_t
crc32_of(const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static int
base32_digit(char c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

/* Base 32 of CRC and bytes, in groups of five with a dash between. */
bool
fb_canic_principal_ok(const char *text)
{
	uint8_t bytes[PRINCIPAL_MAX + 4 + 8];
	size_t length = strlen(text), used = 0;
	uint32_t bits = 0;
	unsigned held = 0;

	if (length > PRINCIPAL_TEXT)
		return false;
	for (size_t i = 0; i < length; i++) {
		int digit = base32_digit(text[i]);

		if (i % (PRINCIPAL_GROUP + 1) == PRINCIPAL_GROUP) {
			if (text[i] != '-' || i + 1 == length)
				return false;
			continue;
		}
		if (digit < 0)
			return false;
		bits = bits << 5 | (uint32_t)digit;
		held += 5;
		if (held >= 8) {
			held -= 8;
			bytes[used++] = (uint8_t)(bits >> held);
			bits &= (1u << held) - 1;
		}
	}
	return used >= 4 && used <= PRINCIPAL_MAX + 4 && held < 5 &&
	    bits == 0 &&
	    crc32_of(bytes + 4, used - 4) ==
	    ((uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
	        (uint32_t)bytes[2] << 8 | bytes[3]);
}

/* -------------------------------------------------------------- fields */

int
canic_settle(int rc, struct fb_error *err)
{
	if (rc == FB_ECORRUPT)
		err->id = "E-CANIC-FORMAT";
	return rc;
}

/* Canic refuses what is blank; we, what no terminal and no manifest of ours
 * should get. */
static const char *
text_fault(const char *text)
{
	if (text[strspn(text, " ")] == '\0')
		return "blank";
	if (strlen(text) > FB_CANIC_TEXT_MAX)
		return "too long";
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return "not printable";
	return NULL;
}

int
canic_text(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_settle(fb_json_str(object, key, what, ret, err), err);
	const char *fault = rc == FB_OK ? text_fault(*ret) : NULL;

	return fault == NULL
	    ? rc
	    : canic_fail(err, "%s: member '%s' is %s", what, key, fault);
}

int
canic_text_opt(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	const json_t *value = json_object_get(object, key);

	*ret = NULL;
	if (value == NULL || json_is_null(value))
		return FB_OK;
	return canic_text(object, key, what, ret, err);
}

static int
check_principal(const char *text, const char *key, const char *what,
    struct fb_error *err)
{
	if (fb_canic_principal_ok(text))
		return FB_OK;
	return canic_fail(err, "%s: member '%s' is no principal: '%.80s'",
	    what, key, text);
}

int
canic_principal(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_text(object, key, what, ret, err);

	return rc < 0 ? rc : check_principal(*ret, key, what, err);
}

int
canic_principal_opt(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_text_opt(object, key, what, ret, err);

	return rc < 0 || *ret == NULL
	    ? rc
	    : check_principal(*ret, key, what, err);
}

int
canic_hash_opt(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_text_opt(object, key, what, ret, err);

	if (rc < 0 || *ret == NULL)
		return rc;
	if (strlen(*ret) == 64 &&
	    strspn(*ret, "0123456789abcdefABCDEF") == 64)
		return FB_OK;
	return canic_fail(
	    err, "%s: member '%s' is not 64 hex digits", what, key);
}

int
canic_hash(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_hash_opt(object, key, what, ret, err);

	if (rc == FB_OK && *ret == NULL)
		rc = canic_fail(err, "%s: member '%s' is missing", what, key);
	return rc;
}

int
canic_sha256(const json_t *object, const char *key, const char *what,
    struct fb_error *err)
{
	const char *name;
	int rc = canic_text(object, key, what, &name, err);

	if (rc == FB_OK && strcmp(name, "sha256") != 0)
		rc = canic_fail(err, "%s: member '%s' is '%.32s', not sha256",
		    what, key, name);
	return rc;
}

int
canic_path(const json_t *object, const char *what, const char **ret,
    struct fb_error *err)
{
	int rc = canic_text(object, "artifact_path", what, ret, err);

	if (rc == FB_OK &&
	    fb_path_check_inside(what, *ret, strlen(*ret), FB_CANIC_TEXT_MAX,
	        err) < 0)
		rc = canic_fail(err,
		    "%s: 'artifact_path' does not stay in the directory: "
		    "'%.200s'",
		    what, *ret);
	return rc;
}

int
canic_list(const json_t *object, const char *key, const char *what, size_t min,
    size_t max, const json_t **ret, struct fb_error *err)
{
	json_t *list;
	int rc = canic_settle(fb_json_array(object, key, what, &list, err),
	    err);

	if (rc < 0)
		return rc;
	if (json_array_size(list) < min)
		return canic_fail(err, "%s: '%s' is empty", what, key);
	if (json_array_size(list) > max)
		return canic_fail(err, "%s: '%s' has %zu entries, at most %zu",
		    what, key, json_array_size(list), max);
	*ret = list;
	return FB_OK;
}

int
canic_version(const json_t *object, const char *key, const char *what,
    struct fb_error *err)
{
	uint64_t version;
	int rc = canic_settle(
	    fb_json_u64(object, key, what, UINT16_MAX, &version, err), err);

	if (rc == FB_OK && version != 1)
		rc = canic_fail(err, "%s: version %u, only 1 is known", what,
		    (unsigned)version);
	return rc;
}

int
canic_only(const json_t *object, bool strict, const char *what,
    const char *const *keys, struct fb_error *err)
{
	static const char *const any[] = { NULL };

	if (!json_is_object(object))
		return canic_settle(
		    fb_json_only(object, what, any, err), err);
	return strict ? canic_settle(fb_json_only(object, what, keys, err),
	                    err)
	              : FB_OK;
}

/* ----------------------------------------------------------- agreement */

static int
compare_row_key(const char *canister, const char *snapshot,
    const struct fb_canic_row *row)
{
	int order = strcmp(canister, row->canister);

	return order != 0 ? order : strcmp(snapshot, row->snapshot);
}

const struct fb_canic_row *
fb_canic_row_of(const struct fb_canic_journal *journal,
    const struct fb_canic_member *member)
{
	size_t low = 0, high = journal->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_row_key(member->canister,
		    member->snapshot, &journal->rows[middle]);

		if (order == 0)
			return &journal->rows[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static int
differ(struct fb_error *err, const char *what)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-MISMATCH",
	    "manifest and download journal have not the same %s", what);
}

static int
compare_member(const void *key, const void *item)
{
	const struct fb_canic_member *member = item;

	return strcmp(key, member->canister);
}

static int
check_declared(const struct fb_canic_manifest *manifest,
    const struct fb_canic_row *row, struct fb_error *err)
{
	const struct fb_canic_member *member =
	    bsearch(row->canister, manifest->members, manifest->count,
	        sizeof(*manifest->members), compare_member);

	if (member != NULL && strcmp(member->snapshot, row->snapshot) == 0)
		return FB_OK;
	return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-MISMATCH",
	    "the download journal has snapshot '%.80s' of canister '%s', "
	    "which the manifest has not",
	    row->snapshot, row->canister);
}

static int
check_member(const struct fb_canic_member *member,
    const struct fb_canic_row *row, struct fb_error *err)
{
	static const char *const states[] = { "Created", "Downloaded",
		"ChecksumVerified", "Durable" };

	if (row == NULL)
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-INCOMPLETE",
		    "canister '%s': the download journal does not have its "
		    "snapshot",
		    member->canister);
	if (row->state != FB_CANIC_DURABLE)
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-INCOMPLETE",
		    "canister '%s': its snapshot is %s, not Durable",
		    member->canister, states[row->state]);
	if (strcmp(member->path, row->path) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-MISMATCH",
		    "canister '%s': manifest and download journal name "
		    "different paths",
		    member->canister);
	if (member->checksum != NULL &&
	    strcmp(member->checksum, row->checksum) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-MISMATCH",
		    "canister '%s': manifest and download journal name "
		    "different checksums",
		    member->canister);
	return FB_OK;
}

static bool
same_hash(const char *in_journal, const char *in_manifest)
{
	return in_journal != NULL && strcmp(in_journal, in_manifest) == 0;
}

/* The order is that of canic's own `backup verify`. */
int
fb_canic_agree(const struct fb_canic_manifest *manifest,
    const struct fb_canic_journal *journal, struct fb_error *err)
{
	int rc = FB_OK;

	if (strcmp(manifest->backup, journal->backup) != 0)
		return differ(err, "backup id");
	if (!same_hash(journal->discovery, manifest->topology) ||
	    !same_hash(journal->before, manifest->topology))
		return differ(err, "topology");
	for (size_t i = 0; rc == FB_OK && i < journal->count; i++)
		rc = check_declared(manifest, &journal->rows[i], err);
	for (size_t i = 0; rc == FB_OK && i < manifest->count; i++)
		rc = check_member(&manifest->members[i],
		    fb_canic_row_of(journal, &manifest->members[i]), err);
	return rc;
}
