/*
 * The sections about what is kept.  The schema has judged every text.
 */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#include "schema.h"

static struct fb_retention
policy_of(const json_t *section, uint32_t min)
{
	const json_t *own_min = json_object_get(section, "min");
	const char *keep = json_string_value(json_object_get(section, "keep"));
	struct fb_retention policy = { 0 };
	struct fb_error judged;

	if (keep != NULL && fb_retention_parse(keep, &policy, &judged) < 0)
		/* uncovered: the schema has checked it */
		policy.rule_count = 0; /* keeps everything */
	policy.min = own_min != NULL ? (uint32_t)json_integer_value(own_min)
	                             : min;
	return policy;
}

/* The span behind what stands before it. */
static uint64_t
span_after(const json_t *value, const char *before)
{
	struct fb_error judged;
	uint64_t ms = 0;

	if (value == NULL ||
	    fb_text_span(json_string_value(value) + strlen(before), &ms,
	        &judged) < 0)
		return 0;
	return ms;
}

unsigned
fb_percent_of(const json_t *value)
{
	const char *text = json_string_value(value);
	unsigned percent = 0;

	for (; *text != '%'; text++)
		percent = percent * 10 + (unsigned)(*text - '0');
	return percent;
}

void
fb_config_fill_retention(struct fb_config *config, const json_t *values)
{
	const json_t *section = json_object_get(values, "retention");
	json_t *groups = json_object_get(values, "groups");
	const char *name;
	json_t *value;

	config->retention = (struct fb_config_retention){
		.keep = policy_of(section, FB_RETENTION_MIN),
		.max_remove_percent =
		    fb_percent_of(json_object_get(section, "max_remove")),
		.grace_ms = span_after(json_object_get(section, "grace"), ""),
		.orphans_ms =
		    span_after(json_object_get(section, "orphans"), "keep "),
	};
	config->groups =
	    fb_alloc(json_object_size(groups) + 1, sizeof(*config->groups));
	json_object_foreach(groups, name, value)
	{
		config->groups[config->group_count++] =
		    (struct fb_config_group){
			    .name = fb_strdup(name),
			    .select = fb_strdup(json_string_value(
			        json_object_get(value, "select"))),
			    .keep = policy_of(
			        value, config->retention.keep.min),
		    };
	}
}
