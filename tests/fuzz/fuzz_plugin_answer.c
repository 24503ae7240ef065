/* What a plugin says: to hello and one verb.  Whatever comes, an answer has
 * one of the codes, a machine that is taken has good names, and every error is
 * of the plugin. */
#include "../../src/driver/plugin_answer.h"
#include "fleetbak/base/name.h"
#include "fuzz.h"

static int
visit(void *arg, const json_t *item, struct fb_error *err)
{
	struct fb_fleet *fleet = arg;
	const struct fb_labels none = { 0 };
	struct fb_machine *machine = fb_fleet_add(fleet);
	int rc = fb_plugin_machine(item, "s", &none, machine, err);

	must(rc == FB_OK || (rc == FB_EPROTO && err->msg[0] != '\0'));
	if (rc < 0)
		return rc;
	must(fb_name_ok(machine->id, strlen(machine->id)));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		must(fb_name_ok(volume->name, strlen(volume->name)));
		must(volume->method != NULL && volume->size <= INT64_MAX);
	}
	return FB_OK;
}

static void
warn(void *arg, const char *path, const char *what)
{
	(void)arg;
	must(what != NULL);
	(void)path;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_fleet fleet = { 0 };
	const struct fb_plugin_listener listener = { visit, &fleet, warn };
	struct fb_span said = { data, size };

	for (int verb = 0; verb < 2; verb++) {
		struct fb_plugin_hello hello;
		struct fb_plugin_reply reply;
		struct fb_error err = { 0 };
		int rc = fb_plugin_decode(
		    said, verb == 1, &listener, &hello, &reply, &err);

		if (rc < 0) {
			must(rc == FB_EPROTO && err.msg[0] != '\0');
			must(strcmp(err.id, "E-PLUGIN-ANSWER") == 0);
			continue;
		}
		must(reply.answer != NULL);
		must(reply.code == FB_OK || reply.code == FB_PENDING ||
		    reply.code < 0);
		must(strlen(reply.text) < sizeof(reply.text));
		must(strlen(hello.name) < sizeof(hello.name));
		fb_plugin_reply_release(&reply);
	}
	fb_fleet_settle(&fleet);
	fb_fleet_release(&fleet);
	return 0;
}
