/*
 * libmicrohttpd, loaded when something is to be served: only a restore to a
 * computer-host needs it, and a machine without it can do all else.
 *
 * What is declared by <microhttpd.h> is called as always, by these names;
 * fb_httpd_load() comes first.
 */
#ifndef FB_DRIVER_HTTPD_LATE_H
#define FB_DRIVER_HTTPD_LATE_H

#include <microhttpd.h>

#define FB_HTTPD_FUNCTIONS(X)           \
	X(start_daemon)                 \
	X(stop_daemon)                  \
	X(get_daemon_info)              \
	X(create_response_from_fd64)    \
	X(create_response_from_buffer)  \
	X(queue_response)               \
	X(destroy_response)

#define FB_HTTPD_MEMBER(name) __typeof__(MHD_##name) *name;
struct fb_httpd {
	FB_HTTPD_FUNCTIONS(FB_HTTPD_MEMBER)
};
extern struct fb_httpd fb_httpd;

/* NULL: it is there; else why it is not, in static memory.  Threads: any. */
const char *fb_httpd_load(void);

#endif
