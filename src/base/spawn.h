/*
 * The half of a child process that runs between fork and exec, where only
 * async-signal-safe calls are allowed: everything is laid out before.
 */
#ifndef FB_SRC_BASE_SPAWN_H
#define FB_SRC_BASE_SPAWN_H

#include <signal.h>
#include <sys/types.h>

struct fb_child_spec;

/* What went wrong before the exec, as it comes through the status pipe. */
struct fb_spawn_fault {
	int at_dir; /* in chdir, else in exec */
	int sys;
};

/*
 * Start the child with `std` as its descriptors 0, 1 and 2 (each above 2),
 * with the signal mask empty and all dispositions default, as leader of its
 * own process group.  `status_fd`, close-on-exec, gets a fb_spawn_fault when
 * it cannot be started.  Returns the pid, or -1 and errno.
 */
pid_t fb_spawn(
    const struct fb_child_spec *spec, const int std[3], int status_fd);

#endif
