#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/engine.h"

/* One source being asked, on a thread of its own. */
struct question {
	const struct fb_config_source *source;
	const atomic_bool *cancel;
	struct fb_driver *driver;
	struct fb_fleet found;
	struct fb_error err;
};

static int
ask_source(void *arg, struct fb_error *err)
{
	struct question *question = arg;
	int rc =
	    fb_driver_open(question->source, &question->driver, &question->err);

	(void)err;
	if (rc == FB_OK) {
		question->driver->cancel = question->cancel;
		rc = fb_driver_discover(
		    question->driver, &question->found, &question->err);
	}
	question->err.code = rc < 0 ? (enum fb_code)rc : FB_OK;
	return FB_OK; /* a source that fails does not stop the others */
}

static void
add_label(struct fb_labels *labels, const struct fb_label *label)
{
	size_t at = labels->count;

	labels->items = fb_realloc(
	    labels->items, labels->count + 1, sizeof(*labels->items));
	while (at > 0 && strcmp(labels->items[at - 1].key, label->key) > 0) {
		labels->items[at] = labels->items[at - 1];
		at--;
	}
	labels->items[at] = (struct fb_label){ fb_strdup(label->key),
		fb_strdup(label->value) };
	labels->count++;
}

static void
set_str(char **str, const char *value)
{
	free(*str);
	*str = fb_strdup(value);
}

/* Move what a source answered into the fleet, under its configured name. */
static void
take_machines(struct question *question, struct fb_fleet *fleet)
{
	const struct fb_config_source *source = question->source;

	for (size_t i = 0; i < question->found.count; i++) {
		struct fb_machine *machine = fb_fleet_add(fleet);

		*machine = question->found.machines[i];
		set_str(&machine->source, source->name);
		set_str(&machine->driver, source->driver);
		for (size_t l = 0; l < source->labels.count; l++)
			if (fb_labels_get(&machine->labels,
			        source->labels.items[l].key) == NULL)
				add_label(&machine->labels,
				    &source->labels.items[l]);
	}
	question->found.count = 0; /* they have moved */
}

static void
take_failure(const struct question *question, struct fb_fleet *fleet)
{
	struct fb_source_failure *failure = fb_fleet_add_failure(fleet);

	failure->source = fb_strdup(question->source->name);
	failure->err = question->err;
	if (failure->err.code == FB_EUNREACH &&
	    strcmp(failure->err.id, fb_code_id(FB_EUNREACH)) == 0)
		failure->err.id = "E-SRC-UNREACHABLE";
}

static void
take_answers(struct question *questions, const struct fb_config *config,
    const bool *wanted, struct fb_drivers *drivers, struct fb_fleet *fleet)
{
	for (size_t i = 0; i < config->source_count; i++) {
		struct question *question = &questions[i];

		drivers->items[i] = question->driver;
		if (wanted != NULL && !wanted[i])
			continue;
		if (question->err.code == FB_OK)
			take_machines(question, fleet);
		else
			take_failure(question, fleet);
		fb_fleet_release(&question->found);
	}
}

int
fb_engine_discover_only(const struct fb_engine *engine, const bool *wanted,
    struct fb_drivers *ret_drivers, struct fb_fleet *ret_fleet,
    struct fb_error *err)
{
	const struct fb_config *config = engine->config;
	FB_AUTO_FREE struct question *questions =
	    fb_alloc(config->source_count, sizeof(*questions));
	struct fb_group *group;
	int rc;

	*ret_drivers = (struct fb_drivers){ 0 };
	*ret_fleet = (struct fb_fleet){ 0 };
	if (engine->cancel != NULL && atomic_load(engine->cancel))
		return fb_fail(err, FB_ECANCELED, "stopped on request");
	group = fb_group_new();
	for (size_t i = 0; i < config->source_count; i++) {
		questions[i].source = &config->sources[i];
		questions[i].cancel = engine->cancel;
		if (wanted == NULL || wanted[i])
			fb_group_start(group, ask_source, &questions[i]);
	}
	rc = fb_group_wait(group, err);

	ret_drivers->items =
	    fb_alloc(config->source_count, sizeof(*ret_drivers->items));
	ret_drivers->count = config->source_count;
	ret_fleet->name = fb_strdup(config->fleet_name);
	take_answers(questions, config, wanted, ret_drivers, ret_fleet);
	fb_fleet_settle(ret_fleet);
	if (rc < 0) {
		fb_fleet_release(ret_fleet);
		fb_drivers_close(ret_drivers);
	}
	return rc;
}

int
fb_engine_discover(const struct fb_engine *engine,
    struct fb_drivers *ret_drivers, struct fb_fleet *ret_fleet,
    struct fb_error *err)
{
	return fb_engine_discover_only(
	    engine, NULL, ret_drivers, ret_fleet, err);
}

struct fb_driver *
fb_engine_driver(const struct fb_engine *engine,
    const struct fb_drivers *drivers, const char *source)
{
	for (size_t i = 0;
	     i < engine->config->source_count && i < drivers->count; i++)
		if (strcmp(engine->config->sources[i].name, source) == 0)
			return drivers->items[i];
	return NULL;
}

void
fb_drivers_close(struct fb_drivers *drivers)
{
	for (size_t i = 0; i < drivers->count; i++)
		if (drivers->items[i] != NULL)
			fb_driver_close(drivers->items[i]);
	free(drivers->items);
	*drivers = (struct fb_drivers){ 0 };
}
