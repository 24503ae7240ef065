/* Selectors: a failure selects nothing, a success selects something, and
 * what is chosen is chosen again. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add(struct fb_fleet *fleet, const char *source, const char *id,
    const char *parent, const char *role)
{
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->source = fb_strdup(source);
	machine->id = fb_strdup(id);
	machine->role = fb_strdup(role);
	machine->parent = parent != NULL ? fb_strdup(parent) : NULL;
	machine->labels.items = fb_alloc(1, sizeof(*machine->labels.items));
	machine->labels.items[0] = (struct fb_label){ fb_strdup("tier"),
		fb_strdup(parent != NULL ? "gold" : "silver") };
	machine->labels.count = 1;
}

static void
make_fleet(struct fb_fleet *fleet)
{
	add(fleet, "lab", "db-01", NULL, "db");
	add(fleet, "lab", "web-01", "db-01", "web");
	add(fleet, "lab", "web-02", "web-01", "web");
	add(fleet, "kvm", "web-01", NULL, "web");
	add(fleet, "kvm", "loop-a", "loop-b", "");
	add(fleet, "kvm", "loop-b", "loop-a", "");
	fb_fleet_settle(fleet);
}

static unsigned
selected(const struct fb_fleet *fleet)
{
	unsigned set = 0;

	for (size_t i = 0; i < fleet->count; i++)
		set |= (unsigned)fleet->machines[i].selected << i;
	return set;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_fleet fleet = { 0 };
	struct fb_error err;
	FB_AUTO_FREE char *text = NULL;
	const char *expression;
	unsigned set;
	int rc;

	if (size > 4096)
		return 0;
	text = fb_alloc(size + 1, 1);
	if (size > 0)
		memcpy(text, data, size);
	expression = text;
	make_fleet(&fleet);
	rc = fb_select(&fleet, &expression, 1, NULL, 0, &err);
	set = selected(&fleet);
	if ((rc == FB_OK) != (set != 0))
		abort();
	if (rc != FB_OK && rc != FB_ECONFIG)
		abort();
	if (fb_select(&fleet, &expression, 1, NULL, 0, &err) != rc ||
	    selected(&fleet) != set)
		abort();
	fb_fleet_release(&fleet);
	return 0;
}
