/*
 * Something fails at each of its steps in turn.
 *
 *	unsigned long at;
 *
 *	for (at = faults_begin(); faults_arm(at, "EIO"); at++) {
 *		rc = what_is_tried();
 *		faults_disarm();
 *		...
 *	}
 *
 * The loop ends behind the first try that was over before its step came.
 */
#ifndef UNIT_FAULTS_H
#define UNIT_FAULTS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/seam.h"

static unsigned long faults_ahead;

/* How many steps this process has taken, one more now. */
static inline unsigned long
faults_steps(void)
{
	char path[] = "/tmp/fb-steps-XXXXXX";
	unsigned long steps = 0;
	int fd = mkstemp(path);
	FILE *file;

	(void)setenv("FLEETBAK_FAULT_LOG", path, 1);
	(void)!fb_seam_fails(FB_STEP_LOOK, "how far we are");
	(void)unsetenv("FLEETBAK_FAULT_LOG");
	file = fdopen(fd, "r");
	if (file == NULL || fscanf(file, "%lu", &steps) != 1)
		abort();
	(void)fclose(file);
	(void)unlink(path);
	return steps;
}

static inline unsigned long
faults_begin(void)
{
	faults_ahead = 0;
	return 1;
}

/* The `at`-th step from here fails; false: there is none. */
static inline bool
faults_arm(unsigned long at, const char *how)
{
	unsigned long steps = faults_steps();
	char plan[64];

	/* All but the first: did the last try come as far as its fault? */
	if (at > 1 && faults_ahead >= steps)
		return false;
	faults_ahead = steps + at;
	(void)snprintf(plan, sizeof(plan), "%lu:%s", faults_ahead, how);
	(void)setenv("FLEETBAK_FAULT", plan, 1);
	return true;
}

static inline void
faults_disarm(void)
{
	(void)unsetenv("FLEETBAK_FAULT");
}

#endif
