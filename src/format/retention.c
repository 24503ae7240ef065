#include "fleetbak/format/retention.h"

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"

#define DIGITS "0123456789"

/* A century: the sum of a time and a span stays far from 64 bits. */
#define SPAN_MAX_MS (UINT64_C(36525) * 86400 * 1000)

/* Units by their number, and behind them the other words there are. */
static const char *const words[] = { "all", "last", "hourly", "daily",
	"weekly", "monthly", "yearly", "within" };

#define UNIT_COUNT (FB_COUNT(words) - 1)

struct reader {
	const char *text;
	const char *at;
	struct fb_span word; /* the last one read; empty before , and the end */
};

const char *
fb_retention_unit_name(enum fb_retention_unit unit)
{
	return words[unit];
}

static void
next_word(struct reader *in)
{
	in->at += strspn(in->at, " ");
	in->word = (struct fb_span){ (const uint8_t *)in->at,
		strcspn(in->at, " ,") };
	in->at += in->word.len;
}

static bool
word_is(const struct reader *in, const char *text)
{
	return in->word.len == strlen(text) &&
	    memcmp(in->word.ptr, text, in->word.len) == 0;
}

static int
fail_word(const struct reader *in, const char *id, const char *why,
    struct fb_error *err)
{
	size_t place = (size_t)((const char *)in->word.ptr - in->text) + 1;

	if (in->word.len == 0)
		(void)fb_fail_id(err, FB_ECONFIG, id, "at character %zu: %s",
		    place, why);
	else
		(void)fb_fail_id(err, FB_ECONFIG, id,
		    "'%.*s' at character %zu: %s",
		    (int)(in->word.len < 40 ? in->word.len : 40),
		    (const char *)in->word.ptr, place, why);
	return FB_ECONFIG;
}

static int
fail_unknown(const struct reader *in, const char *why, struct fb_error *err)
{
	FB_AUTO_FREE char *word =
	    fb_format("%.*s", (int)(in->word.len < 40 ? in->word.len : 40),
	        (const char *)in->word.ptr);
	const char *near = fb_name_nearest(word, words, FB_COUNT(words));

	(void)fail_word(in, "E-CFG-REFERENCE", why, err);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err,
	    "write rules like: all within 48h, last 3, 14 daily, weekly within "
	    "90d");
}

static int
read_unit(
    struct reader *in, enum fb_retention_unit *ret_unit, struct fb_error *err)
{
	next_word(in);
	for (size_t i = 0; i < UNIT_COUNT; i++)
		if (word_is(in, words[i])) {
			*ret_unit = (enum fb_retention_unit)i;
			return FB_OK;
		}
	return fail_unknown(in,
	    in->word.len == 0 ? "a word is missing: all, last, hourly, daily, "
	                        "weekly, monthly or yearly"
	                      : "not one of all, last, hourly, daily, weekly, "
	                        "monthly, yearly",
	    err);
}

/* The word that was read is how many. */
static int
take_count(const struct reader *in, uint32_t *ret_count, struct fb_error *err)
{
	struct fb_error why;
	uint64_t count;

	if (in->word.len == 0)
		return fail_word(in, "E-CFG-TYPE", "a number is missing", err);
	if (strspn((const char *)in->word.ptr, DIGITS) < in->word.len)
		return fail_word(
		    in, "E-CFG-TYPE", "not a whole number", err);
	if (fb_text_u64(in->word, FB_RETENTION_COUNT_MAX, &count, &why) < 0 ||
	    count == 0)
		return fail_word(
		    in, "E-CFG-RANGE", "must be 1 to 100000", err);
	*ret_count = (uint32_t)count;
	return FB_OK;
}

static int
read_span(
    struct reader *in, struct fb_retention_rule *rule, struct fb_error *err)
{
	struct fb_error why;

	next_word(in);
	if (in->word.len == 0)
		return fail_word(in, "E-CFG-UNIT",
		    "a span is missing: 48h, 30d, 8w, 6mo, 3y", err);
	if (in->word.len >= sizeof(rule->span))
		return fail_word(in, "E-CFG-UNIT", "not a span of time", err);
	memcpy(rule->span, in->word.ptr, in->word.len);
	rule->span[in->word.len] = '\0';
	if (fb_text_span(rule->span, &rule->within_ms, &why) < 0)
		return fail_word(in, "E-CFG-UNIT",
		    "not a span of time: write 48h, 30d, 8w, 6mo, 3y", err);
	if (rule->within_ms == 0 || rule->within_ms > SPAN_MAX_MS)
		return fail_word(in, "E-CFG-RANGE",
		    "must be more than nothing and at most 100 years", err);
	return FB_OK;
}

/* After a unit without a number. */
static int
read_window(
    struct reader *in, struct fb_retention_rule *rule, struct fb_error *err)
{
	next_word(in);
	if (in->word.len == 0 && rule->unit == FB_RETENTION_ALL)
		return FB_OK;
	if (!word_is(in, "within"))
		return fail_unknown(in,
		    in->word.len == 0
		        ? "'within SPAN' is missing, or a number before the "
		          "unit"
		        : "'within' belongs here",
		    err);
	return read_span(in, rule, err);
}

static int
read_rule(
    struct reader *in, struct fb_retention_rule *rule, struct fb_error *err)
{
	const char *start = in->at + strspn(in->at, " ");
	int rc;

	if (*start >= '0' && *start <= '9') {
		next_word(in);
		rc = take_count(in, &rule->count, err);
		if (rc == FB_OK)
			rc = read_unit(in, &rule->unit, err);
		if (rc == FB_OK && rule->unit == FB_RETENTION_ALL)
			rc = fail_word(in, "E-CFG-TYPE",
			    "goes without a number: all within 48h, or last 3",
			    err);
	} else {
		rc = read_unit(in, &rule->unit, err);
		if (rc == FB_OK && rule->unit == FB_RETENTION_LAST) {
			next_word(in);
			rc = take_count(in, &rule->count, err);
		} else if (rc == FB_OK) {
			rc = read_window(in, rule, err);
		}
	}
	if (rc < 0)
		return rc;
	if (in->word.len > 0)
		next_word(in);
	if (in->word.len == 0)
		return FB_OK;
	return fail_word(in, "E-CFG-TYPE",
	    rule->count > 0 && word_is(in, "within")
	        ? "a rule has a number or a span, not both"
	        : "the rule ends before this: put a comma between rules",
	    err);
}

static bool
is_doubled(
    const struct fb_retention *policy, const struct fb_retention_rule *rule)
{
	for (size_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].unit == rule->unit &&
		    (policy->rules[i].count == 0) == (rule->count == 0))
			return true;
	return false;
}

int
fb_retention_parse(
    const char *text, struct fb_retention *ret, struct fb_error *err)
{
	struct fb_retention policy = { .min = FB_RETENTION_MIN };
	struct reader in = { .text = text, .at = text };

	for (;;) {
		struct fb_retention_rule rule = { 0 };
		const char *start = in.at + strspn(in.at, " ");
		int rc = read_rule(&in, &rule, err);

		if (rc < 0)
			return rc;
		if (is_doubled(&policy, &rule)) {
			in.word = (struct fb_span){ (const uint8_t *)start,
				strcspn(start, ",") };
			return fail_word(&in, "E-CFG-DUPLICATE",
			    "a rule of this kind is given twice", err);
		}
		policy.rules[policy.rule_count++] = rule;
		if (*in.at == '\0')
			break;
		in.at++; /* the comma */
	}
	*ret = policy;
	return FB_OK;
}

void
fb_retention_add_text(struct fb_buf *dst, const struct fb_retention *policy)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct fb_retention_rule *rule = &policy->rules[i];
		const char *unit = words[rule->unit];

		if (i > 0)
			fb_buf_add_str(dst, ", ");
		if (rule->within_ms > 0)
			fb_buf_add_fmt(dst, "%s within %s", unit, rule->span);
		else if (rule->unit == FB_RETENTION_LAST)
			fb_buf_add_fmt(dst, "last %u", rule->count);
		else if (rule->count > 0)
			fb_buf_add_fmt(dst, "%u %s", rule->count, unit);
		else
			fb_buf_add_str(dst, unit);
	}
}
