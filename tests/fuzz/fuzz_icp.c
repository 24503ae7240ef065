/* What the icp command says: its version, a registry, a status, snapshots.
 * Whatever comes, an id that is taken is a good name, and every error is the
 * command's. */
#include "../../src/driver/icp_internal.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/canic.h"
#include "fuzz.h"

static void
check_registry(struct fb_span said)
{
	FB_AUTO_ICP_REGISTRY struct fb_icp_registry registry = { 0 };
	struct fb_error err = { 0 };
	int rc = fb_icp_parse_registry(said, &registry, &err);

	must(rc == FB_OK || (rc == FB_EPROTO && err.msg[0] != '\0'));
	for (size_t i = 0; i < registry.count; i++) {
		const struct fb_icp_row *row = &registry.rows[i];

		must(fb_name_ok(row->id, strlen(row->id)));
		must(row->parent == NULL ||
		    fb_canic_principal_ok(row->parent));
		must(strspn(row->module, "0123456789abcdef") ==
		    strlen(row->module));
	}
}

static void
check_status(struct fb_span said)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	struct fb_error err = { 0 };
	int rc = fb_icp_parse_status(said, "aaaaa-aa", &status, &err);

	must(rc == FB_OK || rc == FB_EPROTO || rc == FB_EDENIED);
	must(rc == FB_OK || err.msg[0] != '\0');
	must(strlen(fb_icp_state_name(status.state)) > 0);
}

static void
check_snapshots(struct fb_span said)
{
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	struct fb_icp_snapshot made = { 0 };
	const struct fb_icp_snapshot *one;
	struct fb_error err = { 0 };
	FB_AUTO_JSON json_t *ids = NULL;
	bool lost;

	if (fb_icp_parse_made(said, &made, &err) == FB_OK)
		must(fb_name_ok(made.id, strlen(made.id)));
	if (fb_icp_parse_inventory(said, &now, &err) < 0)
		return;
	ids = fb_icp_ids(&now);
	must(fb_icp_new_ones(ids, &now, &one, &lost) == 0 && !lost);
	for (size_t i = 0; i < now.count; i++)
		must(fb_name_ok(now.items[i].id, strlen(now.items[i].id)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span said = { data, size };
	struct fb_error err = { 0 };
	int rc = fb_icp_check_version(said, &err);

	must(rc == FB_OK || rc == FB_EUNSUP);
	check_registry(said);
	check_status(said);
	check_snapshots(said);
	return 0;
}
