#include "fleetbak/base/seam.h"

#ifdef FB_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

/* Files with unsynced bytes, and what they held when they last had none. */
static struct dirty_file {
	int fd; /* our own */
	dev_t device;
	ino_t inode;
	off_t synced_size;
	uint8_t *synced; /* NULL: of that size, it is not overwritten */
} dirty_files[64];
static size_t dirty_count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long crash_steps;                  /* durable ones */
static unsigned long all_steps;                    /* all but "mono" */
static unsigned long kind_steps[FB_STEP_MONO + 1]; /* each kind's own */
static int64_t clock_off_ns[FB_STEP_MONO + 1];

static _Thread_local int fault_errno;
static _Thread_local bool hangs;
static _Thread_local char next_label[256];

static const char *const step_names[] = {
	[FB_STEP_WRITE] = "write",
	[FB_STEP_SYNC] = "sync",
	[FB_STEP_RENAME] = "rename",
	[FB_STEP_STORE] = "store",
	[FB_STEP_DRIVER] = "driver",
	[FB_STEP_CHILD] = "child",
	[FB_STEP_ASK] = "ask",
	[FB_STEP_READ] = "read",
	[FB_STEP_LOOK] = "look",
	[FB_STEP_OPEN] = "open",
	[FB_STEP_ALLOC] = "alloc",
	[FB_STEP_CLOCK] = "clock",
	[FB_STEP_MONO] = "mono",
};

static const struct {
	const char *name;
	int sys;
	enum fb_fault fault;
} whats[] = {
	{ "EIO", EIO, FB_FAULT_FAIL },
	{ "ENOSPC", ENOSPC, FB_FAULT_FAIL },
	{ "EDQUOT", EDQUOT, FB_FAULT_FAIL },
	{ "EROFS", EROFS, FB_FAULT_FAIL },
	{ "EACCES", EACCES, FB_FAULT_FAIL },
	{ "EMFILE", EMFILE, FB_FAULT_FAIL },
	{ "ENOMEM", ENOMEM, FB_FAULT_FAIL },
	{ "EAGAIN", EAGAIN, FB_FAULT_FAIL },
	{ "ESTALE", ESTALE, FB_FAULT_FAIL },
	{ "EINTR", EINTR, FB_FAULT_FAIL },
	{ "timeout", ETIMEDOUT, FB_FAULT_FAIL },
	{ "short", 0, FB_FAULT_SHORT },
	{ "lost", 0, FB_FAULT_LOST },
	{ "late", 0, FB_FAULT_LATE },
};

static const char *
crash_mode(const char *plan)
{
	const char *colon = plan != NULL ? strchr(plan, ':') : NULL;

	return colon != NULL ? colon + 1 : "kill";
}

static void
log_step(const char *variable, unsigned long number, enum fb_step step,
    const char *what)
{
	const char *path = getenv(variable);
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

/* Power loss for real: the file system goes down with all that is in memory,
 * its log too ("power") or not ("log").  XFS and ext4 know this call. */
static void
shut_down(const char *path, uint32_t how)
{
	int fd = path != NULL ? open(path, O_RDONLY | O_DIRECTORY) : -1;

	if (fd == -1 || ioctl(fd, _IOR('X', 125, uint32_t), &how) == -1)
		_exit(FB_EXIT_CRASH + 1); /* a test must not go on */
}

static void
lose_bytes(const struct dirty_file *file)
{
	(void)!ftruncate(file->fd, file->synced_size);
	if (file->synced != NULL)
		(void)!pwrite(file->fd, file->synced,
		    (size_t)file->synced_size, 0);
}

/* With the lock held; does not return. */
static void
crash_now(const char *plan)
{
	const char *place = getenv("FLEETBAK_CRASH_PLACE");

	if (strcmp(crash_mode(plan), "power") == 0)
		shut_down(place, 2);
	if (strcmp(crash_mode(plan), "log") == 0)
		shut_down(place, 1);
	if (strcmp(crash_mode(plan), "lost") == 0) {
		for (size_t i = 0; i < dirty_count; i++)
			lose_bytes(&dirty_files[i]);
		fb_seam_names_lost();
	}
	_exit(FB_EXIT_CRASH);
}

/* A signal, and the step is taken: the same each time, which one that is sent
 * from outside is not. */
static bool
signal_now(const char *plan)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = { { "SIGINT", SIGINT }, { "SIGTERM", SIGTERM },
		{ "SIGHUP", SIGHUP }, { "SIGKILL", SIGKILL } };

	for (size_t i = 0; i < FB_COUNT(signals); i++)
		if (strcmp(crash_mode(plan), signals[i].name) == 0) {
			(void)raise(signals[i].number);
			return true;
		}
	return false;
}

static enum fb_fault
count_durable(enum fb_step step, const char *what)
{
	const char *plan = getenv("FLEETBAK_CRASH");

	crash_steps++;
	log_step("FLEETBAK_CRASH_LOG", crash_steps, step, what);
	if (plan == NULL || crash_steps != strtoul(plan, NULL, 10))
		return FB_FAULT_NONE;
	if (signal_now(plan))
		return FB_FAULT_NONE;
	if (step != FB_STEP_WRITE || strcmp(crash_mode(plan), "torn") != 0)
		crash_now(plan);
	return FB_FAULT_TORN;
}

static bool
is_clock(enum fb_step step)
{
	return step == FB_STEP_CLOCK || step == FB_STEP_MONO;
}

/* Does it make sense for the step? */
static bool
can_have(enum fb_step step, enum fb_fault fault)
{
	switch (fault) {
	case FB_FAULT_SHORT:
		return step == FB_STEP_WRITE || step == FB_STEP_READ;
	case FB_FAULT_LOST:
	case FB_FAULT_LATE:
		return step == FB_STEP_STORE || step == FB_STEP_DRIVER ||
		    step == FB_STEP_CHILD || step == FB_STEP_ASK;
	case FB_FAULT_NONE:
	case FB_FAULT_TORN:
	case FB_FAULT_FAIL:
	case FB_FAULT_HALF:
		break;
	}
	return !is_clock(step);
}

/* `text` is what stands behind the colon, up to the next comma. */
static enum fb_fault
fault_of(enum fb_step step, const char *text)
{
	size_t len = strcspn(text, ",");

	if (len == strlen("stop") && strncmp(text, "stop", len) == 0)
		(void)raise(SIGSTOP); /* this thread, before it goes on */
	hangs |= len == strlen("hang") && strncmp(text, "hang", len) == 0;
	if (is_clock(step) && (*text == '+' || *text == '-'))
		clock_off_ns[step] += strtoll(text, NULL, 10) * 1000000000;
	for (size_t i = 0; i < FB_COUNT(whats); i++) {
		if (strncmp(whats[i].name, text, len) != 0 ||
		    whats[i].name[len] != '\0')
			continue;
		if (!can_have(step, whats[i].fault))
			return FB_FAULT_NONE;
		fault_errno = whats[i].sys;
		if (step == FB_STEP_WRITE &&
		    (fault_errno == ENOSPC || fault_errno == EDQUOT))
			return FB_FAULT_HALF;
		return whats[i].fault;
	}
	return FB_FAULT_NONE;
}

/* What one <fault> of the plan says about this step. */
static enum fb_fault
judge(enum fb_step step, const char *text)
{
	unsigned long now = all_steps, number;
	size_t len = strlen(step_names[step]);
	bool onward;
	char *end;

	if (strncmp(text, step_names[step], len) == 0 && text[len] == '.') {
		now = kind_steps[step];
		text += len + 1;
	} else if (step == FB_STEP_MONO) {
		return FB_FAULT_NONE;
	}
	number = strtoul(text, &end, 10);
	if (number == 0)
		return FB_FAULT_NONE; /* another kind's */
	onward = *end == '+' && now > number;
	end += *end == '+';
	if (*end != ':' || (now != number && !onward))
		return FB_FAULT_NONE;
	return fault_of(step, end + 1);
}

/* Crashes of the form <kind>.<n>:<how>. */
static void
crash_at_kind(enum fb_step step)
{
	const char *plan = getenv("FLEETBAK_CRASH");
	size_t len = strlen(step_names[step]);

	if (plan != NULL && strncmp(plan, step_names[step], len) == 0 &&
	    plan[len] == '.' &&
	    strtoul(plan + len + 1, NULL, 10) == kind_steps[step])
		crash_now(plan);
}

static enum fb_fault
count_any(enum fb_step step, const char *what)
{
	const char *plan = getenv("FLEETBAK_FAULT");
	enum fb_fault fault = FB_FAULT_NONE;

	kind_steps[step]++;
	crash_at_kind(step);
	if (step != FB_STEP_MONO)
		log_step("FLEETBAK_FAULT_LOG", ++all_steps, step, what);
	while (plan != NULL && fault == FB_FAULT_NONE) {
		fault = judge(step, plan);
		plan = strchr(plan, ',');
		plan += plan != NULL;
	}
	return fault;
}

enum fb_fault
fb_seam(enum fb_step step, const char *what)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int sys = errno;

	(void)pthread_mutex_lock(&lock);
	if (step <= FB_STEP_CHILD)
		fault = count_durable(step, what);
	if (fault == FB_FAULT_NONE)
		fault = count_any(step, what);
	next_label[0] = '\0';
	(void)pthread_mutex_unlock(&lock);
	while (hangs)
		(void)pause();
	errno = sys;
	return fault;
}

void
fb_seam_label(const char *label)
{
	(void)snprintf(next_label, sizeof(next_label), "%s", label);
}

bool
fb_seam_fails(enum fb_step step, const char *what)
{
	enum fb_fault fault = fb_seam(step, what);

	if (fault == FB_FAULT_TORN) /* there are no bytes to tear */
		fb_seam_crash();
	if (fault != FB_FAULT_FAIL && fault != FB_FAULT_HALF)
		return false;
	fb_seam_errno();
	return true;
}

bool
fb_seam_read_fails(const char *what, size_t *len)
{
	enum fb_fault fault = fb_seam(FB_STEP_READ, what);

	if (fault == FB_FAULT_SHORT && *len > 1)
		*len /= 2;
	if (fault != FB_FAULT_FAIL)
		return false;
	fb_seam_errno();
	return true;
}

int
fb_seam_refuse(enum fb_fault fault, struct fb_error *err)
{
	if (fault != FB_FAULT_FAIL)
		return FB_OK;
	if (fault_errno == ETIMEDOUT)
		return fb_fail(
		    err, FB_ETIMEOUT, "no answer in time (scripted)");
	fb_seam_errno();
	return fb_fail_sys(err, "no answer (scripted)");
}

int
fb_seam_answer(enum fb_fault fault, int rc, struct fb_error *err)
{
	if (rc < 0 || (fault != FB_FAULT_LOST && fault != FB_FAULT_LATE))
		return rc;
	return fault == FB_FAULT_LOST
	    ? fb_fail(err, FB_EUNKNOWN, "the answer is lost (scripted)")
	    : fb_fail(err, FB_ETIMEOUT, "the answer is late (scripted)");
}

void
fb_seam_errno(void)
{
	errno = fault_errno;
}

int64_t
fb_seam_clock(enum fb_step clock)
{
	int64_t off;

	(void)!fb_seam(clock, clock == FB_STEP_MONO ? "mono" : "wall");
	(void)pthread_mutex_lock(&lock);
	off = clock_off_ns[clock];
	(void)pthread_mutex_unlock(&lock);
	return off;
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

static struct dirty_file
remember_bytes(int fd, const struct stat *st)
{
	struct dirty_file file = { -1, st->st_dev, st->st_ino, st->st_size,
		NULL };
	char path[64];

	/* Not a duplicate: that may be for appending, or not for reading. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file.fd = open(path, O_RDWR | O_CLOEXEC);
	if (file.fd == -1 || st->st_size == 0)
		return file;
	file.synced = fb_alloc((size_t)st->st_size, 1);
	if (pread(file.fd, file.synced, (size_t)st->st_size, 0) !=
	    st->st_size) {
		free(file.synced);
		file.synced = NULL;
	}
	return file;
}

static void
forget_bytes(struct dirty_file *file)
{
	(void)close(file->fd);
	free(file->synced);
}

void
fb_seam_dirty(int fd)
{
	const char *plan = getenv("FLEETBAK_CRASH");
	struct stat st;

	if (plan == NULL || strcmp(crash_mode(plan), "lost") != 0)
		return;
	(void)pthread_mutex_lock(&lock);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    find_dirty(&st) == NULL && dirty_count < FB_COUNT(dirty_files))
		dirty_files[dirty_count++] = remember_bytes(fd, &st);
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_clean(int fd)
{
	struct dirty_file *file;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return;
	if (S_ISDIR(st.st_mode))
		fb_seam_names_kept(&st, false);
	(void)pthread_mutex_lock(&lock);
	if ((file = find_dirty(&st)) != NULL) {
		forget_bytes(file);
		*file = dirty_files[--dirty_count];
	}
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_clean_all(int fd)
{
	struct stat st;
	size_t kept = 0;

	if (fstat(fd, &st) == -1)
		return;
	fb_seam_names_kept(&st, true);
	(void)pthread_mutex_lock(&lock);
	for (size_t i = 0; i < dirty_count; i++)
		if (dirty_files[i].device == st.st_dev)
			forget_bytes(&dirty_files[i]);
		else
			dirty_files[kept++] = dirty_files[i];
	dirty_count = kept;
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_crash(void)
{
	(void)pthread_mutex_lock(&lock);
	crash_now(getenv("FLEETBAK_CRASH"));
}

void
fb_seam_forget(void)
{
	(void)unsetenv("FLEETBAK_CRASH");
	(void)unsetenv("FLEETBAK_FAULT");
}

#endif

#ifdef FB_COVERAGE
/* Who leaves without a farewell, or becomes another program, would take along
 * which lines were run: in the cov variant the linker sends them here. */
void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
int __real_execve(
    const char *path, char *const argv[], char *const environment[]);
int __wrap_execve(
    const char *path, char *const argv[], char *const environment[]);
int __real_execv(const char *path, char *const argv[]);
int __wrap_execv(const char *path, char *const argv[]);

_Noreturn void
__wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}

int
__wrap_execve(
    const char *path, char *const argv[], char *const environment[])
{
	int rc;

	__gcov_dump();
	rc = __real_execve(path, argv, environment);
	__gcov_reset(); /* it is still this program */
	return rc;
}

int
__wrap_execv(const char *path, char *const argv[])
{
	int rc;

	__gcov_dump();
	rc = __real_execv(path, argv);
	__gcov_reset();
	return rc;
}
#endif

/* ISO C wants one declaration even when the module is built out. */
typedef int fb_seam_unit_is_not_empty;
