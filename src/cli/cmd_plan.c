#include <stdint.h>

#include "fleetbak/cli/download.h"

const struct fb_command fb_cmd_plan = {
	.name = "plan",
	.group = "Every day",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "what a download would do (download -n)",
	.examples = "fleetbak plan\tevery machine\n"
		    "fleetbak plan web-01\tone\n"
		    "fleetbak plan --exit-code\texit 4 when something "
		    "changed\n",
	.about = "Shows every machine with each step in order, how its "
		 "snapshots are taken, how much is read, how long it will be "
		 "down and what changed since the last run.  Nothing is "
		 "written anywhere.  The plan id at the end can be given to "
		 "fleetbak download --plan.",
	.cancels = true,
	.reads_state = true,
	.run = fb_cli_plan,
};
