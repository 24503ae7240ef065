/* What a Morpheus appliance says of servers and snapshots: two JSON objects, a
 * line each. */
#include "../../src/driver/morpheus_internal.h"
#include "fleetbak/base/name.h"
#include "fuzz.h"

static void
read_server(const json_t *json)
{
	struct fb_morpheus m = { .name = (char[]){ "lab" },
		.removable = (char *[]){ (char[]){ "tools*" }, NULL } };
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	struct fb_fleet fleet = { 0 };
	struct fb_error err = { 0 };
	struct fb_machine *machine;

	if (fb_morpheus_server_read(
	        (json_t *)(uintptr_t)json, &server, &err) < 0)
		return;
	machine = fb_fleet_add(&fleet);
	machine->source = fb_strdup("lab");
	machine->id = fb_strdup("1");
	if (fb_morpheus_describe(&m, &server, machine, &err) == FB_OK)
		for (size_t i = 0; i < machine->volume_count; i++)
			must(fb_name_ok(machine->volumes[i].name,
			    strlen(machine->volumes[i].name)));
	fb_fleet_settle(&fleet);
	fb_fleet_release(&fleet);
}

static void
read_snapshot(json_t *json)
{
	struct fb_morpheus_snapshot snapshot = { .json = json,
		.name = fb_morpheus_text(json, "name"),
		.status = fb_morpheus_text(json, "status") };
	struct fb_morpheus_server server = { .host = "" };
	const char *host = fb_morpheus_host_of(&snapshot, &server);
	const char *owner,
	    *token = fb_morpheus_token_of(snapshot.name, "12", &owner);
	struct fb_error err = { 0 };
	struct fb_morpheus_file file;

	must(host[0] == '\0' || fb_name_ok(host, strlen(host)));
	must(token == NULL || fb_name_ok(token, strlen(token)));
	if (fb_morpheus_file_of(&snapshot, 3, &file, &err) == FB_OK)
		must(file.path[0] == '/' && strcmp(file.path, file.live) != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span rest = { data, size };
	FB_AUTO_JSON json_t *server = NULL, *snapshot = NULL;
	struct fb_error err = { 0 };

	if (fb_json_parse(take_line(&rest), 1 << 20, "it", &server, &err) ==
	        FB_OK &&
	    json_is_object(server))
		read_server(server);
	if (fb_json_parse(take_line(&rest), 1 << 20, "it", &snapshot, &err) ==
	        FB_OK &&
	    json_is_object(snapshot))
		read_snapshot(snapshot);
	return 0;
}
