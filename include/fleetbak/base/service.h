/*
 * Words to whoever supervises this process: systemd's notification protocol,
 * sd_notify(3).  It is one datagram of text to the socket that $NOTIFY_SOCKET
 * names, documented as stable and meant to be spoken without libsystemd.
 *
 * Threads: any.
 */
#ifndef FB_BASE_SERVICE_H
#define FB_BASE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

/* Does anybody listen? */
bool fb_service_listens(void);

/* "READY=1\nSTATUS=18 of 31 machines".  Nobody to tell, or a supervisor that
 * does not answer, is no error: the work does not depend on it. */
void fb_service_notify(const char *text);

/* How often "WATCHDOG=1" is due at least, in nanoseconds; 0: never. */
int64_t fb_service_watchdog_ns(void);

#endif
