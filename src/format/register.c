/* Commit registers and fences. */
#include <inttypes.h>
#include <string.h>

#include "lines.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/register.h"

#define COMMIT "fleetbak-commit"
#define FENCE  "fleetbak-fence"
#define SHARD  "fleetbak-shard"

static void
add_predecessors(struct fb_buf *dst, const struct fb_register *reg)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_buf_add_fmt(dst, "predecessors %zu\n", reg->predecessor_count);
	for (size_t i = 0; i < reg->predecessor_count; i++) {
		fb_digest_hex(&reg->predecessors[i].manifest, hex);
		fb_buf_add_fmt(dst, "%s %s\n", reg->predecessors[i].run, hex);
	}
}

void
fb_register_encode(const struct fb_register *reg, struct fb_buf *dst)
{
	if (reg->fence) {
		const char *reason =
		    reg->reason[0] != '\0' ? reg->reason : "none given";

		fb_buf_add_fmt(dst, FENCE " 1\nsession %s\nreason ",
		    reg->session);
		fb_text_add_escaped(dst,
		    (struct fb_span){
		        (const uint8_t *)reason, strlen(reason) });
		fb_buf_add_str(dst, "\nend\n");
		return;
	}
	if (reg->shard.of[0] != '\0')
		fb_buf_add_fmt(dst, SHARD " 1\nof %s\nnumber %u\ncount %u\n",
		    reg->shard.of, reg->shard.number, reg->shard.count);
	else
		fb_buf_add_str(dst, COMMIT " 1\n");
	fb_buf_add_fmt(dst, "session %s\nrun %s\nfleet %s\ntime %s\n",
	    reg->session, reg->run, reg->fleet, reg->time);
	fb_lines_add_digest(dst, "sums", &reg->sums);
	fb_buf_add_fmt(dst, "signer %s\n", reg->signer);
	fb_lines_add_signature(dst, reg->signature);
	add_predecessors(dst, reg);
	fb_lines_add_ids(dst, "recipes", &reg->recipes);
	fb_lines_add_ids(dst, "packs", &reg->packs);
	fb_buf_add_str(dst, "end\n");
}

static int
decode_fence(struct fb_lines *lines, struct fb_register *reg,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf reason = { 0 };
	struct fb_span value;
	int rc;

	reg->fence = true;
	if ((rc = fb_lines_run_id(lines, "session", reg->session, err)) < 0 ||
	    (rc = fb_lines_value(lines, "reason", &value, err)) < 0)
		return rc;
	if (fb_text_unescape(value, &reason, err) < 0 ||
	    reason.len >= sizeof(reg->reason) ||
	    memchr(reason.data, '\0', reason.len) != NULL)
		return fb_lines_fail(lines, err, "reason: not escaped text");
	memcpy(reg->reason, reason.data, reason.len);
	return fb_lines_exactly(lines, "end", err);
}

static int
decode_predecessor(struct fb_lines *lines, struct fb_predecessor *ret,
    struct fb_error *err)
{
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	if (rc < 0)
		return rc;
	if (line.len != FB_RUN_ID_LEN + FB_DIGEST_HEX_SIZE ||
	    !fb_run_id_ok((const char *)line.ptr, FB_RUN_ID_LEN) ||
	    line.ptr[FB_RUN_ID_LEN] != ' ')
		return fb_lines_fail(lines, err, "not a predecessor");
	memcpy(ret->run, line.ptr, FB_RUN_ID_LEN);
	ret->run[FB_RUN_ID_LEN] = '\0';
	line.ptr += FB_RUN_ID_SIZE;
	line.len -= FB_RUN_ID_SIZE;
	if (fb_digest_parse(line, &ret->manifest, err) < 0)
		return fb_lines_fail(lines, err, "not a predecessor");
	return FB_OK;
}

static int
decode_predecessors(struct fb_lines *lines, struct fb_register *reg,
    struct fb_error *err)
{
	uint64_t count;
	int rc = fb_lines_u64(
	    lines, "predecessors", FB_PREDECESSORS_MAX, &count, err);

	if (rc < 0)
		return rc;
	if (count > 0)
		reg->predecessors =
		    fb_alloc((size_t)count, sizeof(*reg->predecessors));
	for (uint64_t i = 0; i < count; i++) {
		struct fb_predecessor *one = &reg->predecessors[i];

		rc = decode_predecessor(lines, one, err);
		if (rc < 0)
			return rc;
		if (i > 0 && strcmp((one - 1)->run, one->run) >= 0)
			return fb_lines_fail(
			    lines, err, "predecessors: not in order");
		if (strcmp(one->run, reg->run) == 0)
			return fb_lines_fail(
			    lines, err, "a run is its own predecessor");
		reg->predecessor_count = (size_t)i + 1;
	}
	return FB_OK;
}

static int
decode_shard(
    struct fb_lines *lines, struct fb_shard_ref *shard, struct fb_error *err)
{
	uint64_t number, count;
	int rc;

	if ((rc = fb_lines_run_id(lines, "of", shard->of, err)) < 0 ||
	    (rc = fb_lines_u64(lines, "number", FB_SHARDS_MAX, &number, err)) <
	        0 ||
	    (rc = fb_lines_u64(lines, "count", FB_SHARDS_MAX, &count, err)) < 0)
		return rc;
	if (number == 0 || number > count)
		return fb_lines_fail(lines, err, "no such shard");
	shard->number = (uint32_t)number;
	shard->count = (uint32_t)count;
	return FB_OK;
}

static bool
begins(struct fb_span line, const char *word)
{
	size_t len = strlen(word);

	return line.len > len && line.ptr[len] == ' ' &&
	    memcmp(line.ptr, word, len) == 0;
}

/* The lines up to the recipes. */
static int
decode_head(struct fb_lines *lines, struct fb_register *reg,
    struct fb_error *err)
{
	int rc;

	if ((rc = fb_lines_run_id(lines, "session", reg->session, err)) < 0 ||
	    (rc = fb_lines_run_id(lines, "run", reg->run, err)) < 0 ||
	    (rc = fb_lines_name(lines, "fleet", reg->fleet, err)) < 0 ||
	    (rc = fb_lines_time(lines, "time", reg->time, err)) < 0 ||
	    (rc = fb_lines_digest(lines, "sums", &reg->sums, err)) < 0 ||
	    (rc = fb_lines_signer(lines, reg->signer, err)) < 0 ||
	    (rc = fb_lines_signature(lines, reg->signature, err)) < 0)
		return rc;
	return decode_predecessors(lines, reg, err);
}

static int
decode(struct fb_lines *lines, bool head_only, struct fb_register *reg,
    struct fb_error *err)
{
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	if (rc < 0)
		return rc;
	if (begins(line, FENCE)) {
		rc = fb_lines_version(lines, line, FENCE, 1, err);
		if (rc < 0)
			return rc;
		rc = decode_fence(lines, reg, err);
		return rc < 0 ? rc : fb_lines_end(lines, err);
	}
	if (begins(line, SHARD)) {
		rc = fb_lines_version(lines, line, SHARD, 1, err);
		if (rc == FB_OK)
			rc = decode_shard(lines, &reg->shard, err);
	} else {
		rc = fb_lines_version(lines, line, COMMIT, 1, err);
	}
	if (rc < 0 || (rc = decode_head(lines, reg, err)) < 0 || head_only)
		return rc;
	if ((rc = fb_lines_ids(lines, "recipes", &reg->recipes, err)) < 0 ||
	    (rc = fb_lines_ids(lines, "packs", &reg->packs, err)) < 0 ||
	    (rc = fb_lines_exactly(lines, "end", err)) < 0)
		return rc;
	return fb_lines_end(lines, err);
}

int
fb_register_decode(
    struct fb_span text, struct fb_register *ret_reg, struct fb_error *err)
{
	struct fb_lines lines = { .what = "commit register", .rest = text };
	struct fb_register reg = { 0 };
	int rc = decode(&lines, false, &reg, err);

	if (rc < 0) {
		fb_register_release(&reg);
		return rc;
	}
	*ret_reg = reg;
	return FB_OK;
}

int
fb_register_decode_head(
    struct fb_span text, struct fb_register *ret_reg, struct fb_error *err)
{
	struct fb_lines lines = { .what = "commit register", .rest = text };
	struct fb_register reg = { 0 };
	int rc = decode(&lines, true, &reg, err);

	if (rc < 0) {
		fb_register_release(&reg);
		return lines.cut
		    ? fb_fail(err, FB_ERETRY, "%s: more of it is needed",
		          lines.what)
		    : rc;
	}
	*ret_reg = reg;
	return FB_OK;
}

void
fb_register_release(struct fb_register *reg)
{
	fb_freep(&reg->predecessors);
	reg->predecessors = NULL;
	reg->predecessor_count = 0;
	fb_id_list_release(&reg->recipes);
	fb_id_list_release(&reg->packs);
}
