/* In the place of the drivers that need libvirt or libnbd, where their headers
 * were not there when fleetbak was built. */
#include "fleetbak/base/err.h"
#include "libvirt_ops.h"
#include "morpheus_ops.h"

static int
absent_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	(void)source;
	(void)ret_driver;
	(void)fb_fail_id(err, FB_EUNSUP, "E-DRIVER-ABSENT",
	    "this fleetbak was built without libvirt");
	return fb_hint(err, "install libvirt-dev, libnbd-dev and libxml2-dev, "
	                    "and build it again");
}

const struct fb_driver_ops fb_libvirt_ops = {
	.name = "libvirt",
	.takes = FB_TAKES(FB_VOLUME_DISK),
	.open = absent_open,
};

const struct fb_driver_ops fb_morpheus_ops = {
	.name = "morpheus",
	.open = absent_open,
};
