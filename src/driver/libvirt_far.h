/*
 * The host of a hypervisor that is reached by ssh, as libvirt reaches it: the
 * same program, user, port and key, by the URI.  What has to be done there is
 * done by POSIX sh; nobody is asked for a password.
 */
#ifndef DRIVER_LIBVIRT_FAR_H
#define DRIVER_LIBVIRT_FAR_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/buf.h"

struct fb_error;

/* Of a URI of the form SCHEME+ssh://...; NULL: of another one, or of one that
 * says nothing that could be given to ssh.  `mark` tells what this host has
 * there from what others have. */
struct fb_libvirt_far;
struct fb_libvirt_far *fb_libvirt_far_new(const char *uri, const char *mark);
/* Of a host as ssh knows it, by this file of its configuration or, with NULL,
 * its usual ones.  NULL: that is no name of a host. */
struct fb_libvirt_far *fb_libvirt_far_to_host(
    const char *host, const char *ssh_config, const char *mark);
/* Such a mark; the caller frees. */
char *fb_libvirt_far_mark(void);
void fb_libvirt_far_free(struct fb_libvirt_far *far);

/* The words that run a script there, whose arguments end with NULL.  They are
 * the caller's: fb_libvirt_far_words_free(). */
char **fb_libvirt_far_words(const struct fb_libvirt_far *far,
    const char *script, const char *const *args);
void fb_libvirt_far_words_free(char ***words);
#define FB_AUTO_WORDS FB_CLEANUP(fb_libvirt_far_words_free)

/*
 * Run it, with this on its standard input, to its end.  `what` is for messages:
 * "look at '/vm/a.qcow2'".
 *
 * Owner:  what it writes is added to `dst`, at most `max` bytes.
 * Errors: FB_EUNREACH (E-SRC-UNREACHABLE): it is not known whether it ran;
 *         FB_ENOTFOUND: it ended with FB_FAR_NOTHING; FB_ENOSPACE; FB_EFAILED,
 *         with what it says; FB_ETIMEOUT.
 */
#define FB_FAR_NOTHING 44
FB_MUST_USE int fb_libvirt_far_run(const struct fb_libvirt_far *far,
    const char *what, const char *script, const char *const *args,
    struct fb_span input, size_t max, struct fb_buf *dst,
    struct fb_error *err);

/*
 * Words for libnbd, whose standard streams are an NBD server's there: the one
 * at a Unix socket; or one of an image's own, which ends with them, with a
 * bitmap that it has, or NULL.
 */
char **fb_libvirt_far_to_socket(
    const struct fb_libvirt_far *far, const char *socket);
char **fb_libvirt_far_to_image(const struct fb_libvirt_far *far,
    const char *path, const char *format, bool write, const char *bitmap);
/* End what this host has left of such servers of an image there, whoever of it:
 * one does not notice that its connection was cut.  Nobody may need it. */
FB_MUST_USE int fb_libvirt_far_end_image(const struct fb_libvirt_far *far,
    const char *path, struct fb_error *err);

#endif
