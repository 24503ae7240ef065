/* The `morpheus` driver, for the registry: the real one, or the one that says
 * that it is not there. */
#ifndef DRIVER_MORPHEUS_OPS_H
#define DRIVER_MORPHEUS_OPS_H

#include "fleetbak/driver/driver.h"

extern const struct fb_driver_ops fb_morpheus_ops;

#endif
