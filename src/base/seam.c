#include "fleetbak/base/seam.h"

#ifdef FB_FAULTS

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/attr.h"

/* Files with unsynced bytes, and their size when they last had none. */
static struct dirty_file {
	int fd; /* our own duplicate */
	dev_t device;
	ino_t inode;
	off_t synced_size;
} dirty_files[64];
static size_t dirty_count;

static _Thread_local char next_label[256];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all of the above */
static unsigned long steps;

static const char *const step_names[] = {
	[FB_STEP_WRITE] = "write",
	[FB_STEP_SYNC] = "sync",
	[FB_STEP_RENAME] = "rename",
	[FB_STEP_STORE] = "store",
	[FB_STEP_DRIVER] = "driver",
	[FB_STEP_CHILD] = "child",
	[FB_STEP_READ] = "read",
	[FB_STEP_CLOCK] = "clock",
};

static const char *
crash_mode(const char *plan)
{
	const char *colon = plan != NULL ? strchr(plan, ':') : NULL;

	return colon != NULL ? colon + 1 : "kill";
}

static void
log_step(unsigned long number, enum fb_step step, const char *what)
{
	const char *path = getenv("FLEETBAK_CRASH_LOG");
	char line[1024];
	int fd, len;

	if (path == NULL)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd == -1)
		return;
	len = snprintf(line, sizeof(line), "%lu %s %s%s%s\n", number,
	    step_names[step], what, next_label[0] != '\0' ? " " : "",
	    next_label);
	if (len > 0)
		(void)!write(fd, line,
		    len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
	(void)close(fd);
}

/* With the lock held; does not return. */
static void
crash_now(const char *plan)
{
	if (strcmp(crash_mode(plan), "lost") == 0)
		for (size_t i = 0; i < dirty_count; i++)
			(void)!ftruncate(
			    dirty_files[i].fd, dirty_files[i].synced_size);
	_exit(FB_EXIT_CRASH);
}

enum fb_fault
fb_seam(enum fb_step step, const char *what)
{
	const char *plan = getenv("FLEETBAK_CRASH");
	enum fb_fault fault = FB_FAULT_NONE;

	if (step == FB_STEP_READ || step == FB_STEP_CLOCK)
		return FB_FAULT_NONE;
	(void)pthread_mutex_lock(&lock);
	steps++;
	log_step(steps, step, what);
	next_label[0] = '\0';
	if (plan != NULL && steps == strtoul(plan, NULL, 10)) {
		if (step != FB_STEP_WRITE ||
		    strcmp(crash_mode(plan), "torn") != 0)
			crash_now(plan);
		fault = FB_FAULT_TORN;
	}
	(void)pthread_mutex_unlock(&lock);
	return fault;
}

void
fb_seam_label(const char *label)
{
	(void)snprintf(next_label, sizeof(next_label), "%s", label);
}

static struct dirty_file *
find_dirty(const struct stat *st)
{
	for (size_t i = 0; i < dirty_count; i++)
		if (dirty_files[i].device == st->st_dev &&
		    dirty_files[i].inode == st->st_ino)
			return &dirty_files[i];
	return NULL;
}

void
fb_seam_dirty(int fd)
{
	struct stat st;

	if (getenv("FLEETBAK_CRASH") == NULL)
		return;
	(void)pthread_mutex_lock(&lock);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    find_dirty(&st) == NULL && dirty_count < FB_COUNT(dirty_files))
		dirty_files[dirty_count++] =
		    (struct dirty_file){ fcntl(fd, F_DUPFD_CLOEXEC, 0),
			    st.st_dev, st.st_ino, st.st_size };
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_clean(int fd)
{
	struct dirty_file *file;
	struct stat st;

	(void)pthread_mutex_lock(&lock);
	if (fstat(fd, &st) == 0 && (file = find_dirty(&st)) != NULL) {
		(void)close(file->fd);
		*file = dirty_files[--dirty_count];
	}
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_clean_all(int fd)
{
	struct stat st;
	size_t kept = 0;

	(void)pthread_mutex_lock(&lock);
	if (fstat(fd, &st) == 0) {
		for (size_t i = 0; i < dirty_count; i++)
			if (dirty_files[i].device == st.st_dev)
				(void)close(dirty_files[i].fd);
			else
				dirty_files[kept++] = dirty_files[i];
		dirty_count = kept;
	}
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_crash(void)
{
	(void)pthread_mutex_lock(&lock);
	crash_now(getenv("FLEETBAK_CRASH"));
}

#endif

/* ISO C wants one declaration even when the module is built out. */
typedef int fb_seam_unit_is_not_empty;
