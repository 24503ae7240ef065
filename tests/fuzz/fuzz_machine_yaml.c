/* machine.yaml: what is accepted can be given another id in place. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/config.h"

#define NEW_ID "another-id"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_renamed(const struct fb_local_machine *machine, const uint8_t *data,
    size_t size)
{
	size_t end = machine->id_offset + machine->id_length;
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *renamed = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err;

	if (machine->id_offset > size || end > size)
		abort();
	fb_buf_add(&text, data, machine->id_offset);
	fb_buf_add_str(&text, "\"" NEW_ID "\"");
	fb_buf_add(&text, data + end, size - end);
	if (fb_local_machine_parse(
	        fb_buf_span(&text), "renamed.yaml", &renamed, &err) < 0)
		abort();
	if (strcmp(renamed->id, NEW_ID) != 0 ||
	    renamed->volume_count != machine->volume_count)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err;
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *machine = NULL;

	/* With the new id the file may be too long for the reader. */
	if (size > FB_CONFIG_MAX / 2 ||
	    fb_local_machine_parse((struct fb_span){ data, size }, "m.yaml",
	        &machine, &err) < 0)
		return 0;
	if (!fb_name_ok(machine->id, strlen(machine->id)) ||
	    (machine->start == NULL) != (machine->stop == NULL) ||
	    (machine->start == NULL) != (machine->status == NULL))
		abort();
	if (machine->parent == NULL || strcmp(machine->parent, NEW_ID) != 0)
		check_renamed(machine, data, size);
	return 0;
}
