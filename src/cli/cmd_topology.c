#include <stdint.h>
#include <string.h>

#include "fleetbak/cli/cli.h"
#include "fleetbak/fleet/selector.h"
#include "fleetbak/fleet/topology.h"

static void
report_failures(struct fb_cli *cli, const struct fb_fleet *fleet)
{
	struct fb_tally tally = { 0 };

	for (size_t i = 0; i < fleet->failure_count; i++) {
		fb_cli_warn(cli, fleet->failures[i].source,
		    &fleet->failures[i].err);
		fb_tally_bad(&tally, fleet->failures[i].err.code);
	}
	for (size_t i = 0; i < fleet->count; i++) {
		if (fleet->machines[i].problem == NULL) {
			fb_tally_good(&tally);
			continue;
		}
		fb_cli_warn(cli, fleet->machines[i].id,
		    fleet->machines[i].problem);
		fb_tally_bad(&tally, fleet->machines[i].problem->code);
	}
	if (fb_tally_exit(&tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&tally));
}

static void
put_topology(struct fb_cli *cli, const struct fb_fleet *fleet)
{
	bool selected = fb_arguments_on(&cli->args, FB_OPT_SELECTION);
	struct fb_digest all, some;

	fb_topology_add(&cli->text, fleet, selected);
	fb_topology_digest(fleet, false, &all);
	fb_topology_digest(fleet, true, &some);
	cli->data = json_object();
	fb_json_put_digest(cli->data, "topology_hash", &all);
	fb_json_put_digest(cli->data, "topology_hash_selection", &some);
	fb_json_put_u64(cli->data, "machines", fleet->count);
	if (fb_cli_json(cli))
		fb_json_put_str(
		    cli->data, "canonical", fb_buf_str(&cli->text));
}

static int
topology_run(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_option_value *select =
	    &cli->args.options[FB_OPT_SELECT];
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	int rc;

	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_discover(&cli->engine, &drivers, &fleet, err);
	if (rc == FB_OK)
		rc = fb_select(&fleet, select->values, select->count,
		    cli->args.items, cli->args.count, err);
	if (rc == FB_OK) {
		put_topology(cli, &fleet);
		report_failures(cli, &fleet);
	}
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
	return rc;
}

const struct fb_command fb_cmd_topology = {
	.name = "topology",
	.group = "Every day",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "the fleet's shape, in the bytes that are hashed",
	.examples = "fleetbak topology | sha256sum\tthe topology hash\n"
		    "fleetbak topology --selection -s env=prod\tof some "
		    "machines\n",
	.about = "Prints the canonical bytes of the whole fleet as it is "
		 "now.  Their SHA-256 is the topology hash that a manifest "
		 "records and that a download checks before it touches "
		 "anything.  With --selection only the chosen machines.",
	.cancels = true,
	.run = topology_run,
};
