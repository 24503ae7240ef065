/*
 * The end of a process whose cryptography does not work.  Like memory that
 * runs out (base/mem.h), there is nothing to decide for a caller, and the
 * journal resumes the run.
 */
#ifndef FB_SRC_CRYPTO_BROKEN_H
#define FB_SRC_CRYPTO_BROKEN_H

#include "fleetbak/base/attr.h"

FB_NORETURN void fb_crypto_broken(const char *why);

#endif
