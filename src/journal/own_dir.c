#include "own_dir.h"

#include <fcntl.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

/* What base/lock.h writes; a lock that was never taken is empty. */
#define LOCK_TEXT "pid "
#define LOCK_MAX  4096

/* Of one who died before there was a journal. */
static bool
is_our_lock(const char *path)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored;

	return fb_io_read_file(path, LOCK_MAX, &text, &ignored) == FB_OK &&
	    (text.len == 0 ||
	        strncmp(fb_buf_str(&text), LOCK_TEXT, strlen(LOCK_TEXT)) == 0);
}

static int
check_names(const char *dir, char *const *names, struct fb_error *err)
{
	const char *foreign = NULL;

	for (char *const *name = names; *name != NULL; name++) {
		FB_AUTO_FREE char *path = fb_path_join(dir, *name);

		if (strcmp(*name, "journal") == 0)
			return FB_OK;
		if (strcmp(*name, "journal.new") != 0 &&
		    (strcmp(*name, "lock") != 0 || !is_our_lock(path)))
			foreign = *name;
	}
	if (foreign == NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-SCRIPT-DIR",
	    "'%s' holds no journal, but '%s'", dir, foreign);
	return fb_hint(err, "choose a directory that is empty or new");
}

int
own_dir_take(const char *dir, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_mkdirs(dir, 0700, err);

	if (rc == FB_OK)
		rc = fb_io_list(dir, &names, err);
	return rc < 0 ? rc : check_names(dir, names, err);
}

int
own_dir_read(
    const char *path, fb_journal_visit *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = -1;
	int rc = fb_journal_read(path, visit, arg, err);

	if (rc < 0)
		return rc;
	/* Who appends may not have come to that yet. */
	fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	if (fd < 0)
		return fd;
	rc = fb_io_sync(fd, path, err);
	return rc == FB_EDENIED ? FB_OK : rc; /* where nobody writes */
}
