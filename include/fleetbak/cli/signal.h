/*
 * Signals: the first one asks the work to stop in order, the second ends the
 * program.  Either way it dies by that signal, so that the shell, the loop
 * around us and systemd see what happened.
 */
#ifndef FB_CLI_SIGNAL_H
#define FB_CLI_SIGNAL_H

#include <stdatomic.h>

/* SIGPIPE becomes an error of the write; open descriptors 0 to 2 are given
 * something harmless if they are closed. */
void fb_signal_prepare(void);

/* From now on SIGINT, SIGTERM and SIGHUP set `cancel`. */
void fb_signal_catch(atomic_bool *cancel);

/* From now on SIGHUP opens the log file anew, and ends nothing. */
void fb_signal_reopens_log(void);

/* The signal that was caught, or 0. */
int fb_signal_caught(void);

/* Die by `signal_number`. */
void fb_signal_die(int signal_number);

#endif
