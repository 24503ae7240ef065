#include "fleetbak/cli/command.h"

int
main(int argc, char **argv)
{
	return fb_cli_main(argc, (const char *const *)argv);
}
