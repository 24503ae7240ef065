/* Topology bytes: what parses does not differ from itself. */
#include <stdlib.h>

#include "fleetbak/fleet/topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char empty[] = "fleetbak-topology 1\n";
	struct fb_span none = { (const uint8_t *)empty, sizeof(empty) - 1 };
	struct fb_span bytes = { data, size };
	FB_AUTO_BUF struct fb_buf diff = { 0 };
	struct fb_error err;

	if (fb_topology_diff(bytes, bytes, &diff, &err) < 0)
		return 0;
	if (diff.len != 0)
		abort();
	if (fb_topology_diff(none, bytes, &diff, &err) < 0 ||
	    fb_topology_diff(bytes, none, &diff, &err) < 0)
		abort();
	return 0;
}
