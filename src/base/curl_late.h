/*
 * libcurl, loaded when it is first needed: it brings thirty more libraries,
 * and half of the time in which a command starts goes into binding them.  A
 * machine without it can still restore from a disk.
 *
 * What is declared by <curl/curl.h> is called as always; fb_curl_load() comes
 * first.
 */
#ifndef FB_BASE_CURL_LATE_H
#define FB_BASE_CURL_LATE_H

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#undef curl_easy_getinfo
#undef curl_easy_setopt

#define FB_CURL_FUNCTIONS(X)   \
	X(global_init)         \
	X(easy_init)           \
	X(easy_cleanup)        \
	X(easy_reset)          \
	X(easy_setopt)         \
	X(easy_getinfo)        \
	X(easy_strerror)       \
	X(multi_add_handle)    \
	X(multi_cleanup)       \
	X(multi_info_read)     \
	X(multi_init)          \
	X(multi_perform)       \
	X(multi_poll)          \
	X(multi_remove_handle) \
	X(slist_append)        \
	X(slist_free_all)

#define FB_CURL_MEMBER(name) __typeof__(curl_##name) *name;
struct fb_curl {
	FB_CURL_FUNCTIONS(FB_CURL_MEMBER)
};
extern struct fb_curl fb_curl;

#define curl_easy_init           fb_curl.easy_init
#define curl_easy_cleanup        fb_curl.easy_cleanup
#define curl_easy_reset          fb_curl.easy_reset
#define curl_easy_setopt         fb_curl.easy_setopt
#define curl_easy_getinfo        fb_curl.easy_getinfo
#define curl_easy_strerror       fb_curl.easy_strerror
#define curl_multi_add_handle    fb_curl.multi_add_handle
#define curl_multi_cleanup       fb_curl.multi_cleanup
#define curl_multi_info_read     fb_curl.multi_info_read
#define curl_multi_init          fb_curl.multi_init
#define curl_multi_perform       fb_curl.multi_perform
#define curl_multi_poll          fb_curl.multi_poll
#define curl_multi_remove_handle fb_curl.multi_remove_handle
#define curl_slist_append        fb_curl.slist_append
#define curl_slist_free_all      fb_curl.slist_free_all

/* NULL: it is there; else why it is not, in static memory.  Threads: any. */
const char *fb_curl_load(void);

#endif
