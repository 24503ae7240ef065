#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

/* A path in the walk's directory; the last sixteen stay valid. */
char *
path_of(const char *format, ...)
{
	static char paths[16][700];
	static unsigned next;
	char *path = paths[next++ % 16];
	va_list args;
	int len = snprintf(path, 700, "%s/", walk.dir);

	va_start(args, format);
	(void)vsnprintf(path + len, 700 - (size_t)len, format, args);
	va_end(args);
	return path;
}

void
put_file(const char *path, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd == -1 || write(fd, bytes, size) != (ssize_t)size)
		fail("cannot write %s: %s", path, strerror(errno));
	(void)close(fd);
}

char *
read_file(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *bytes;
	size_t size = 0;
	ssize_t got;

	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == -1)
		fail("fstat");
	bytes = calloc(1, (size_t)st.st_size + 1);
	if (bytes == NULL)
		fail("no memory");
	while (size < (size_t)st.st_size &&
	    (got = read(fd, bytes + size, (size_t)st.st_size - size)) > 0)
		size += (size_t)got;
	(void)close(fd);
	if (ret_size != NULL)
		*ret_size = size;
	return bytes;
}

bool
exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

void
remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
shell(const char *format, ...)
{
	char command[2000];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	/* NOLINTNEXTLINE: paths are our own */
	if (system(command) != 0)
		fail("this failed: %s", command);
}

void
copy_tree(const char *from, const char *to)
{
	shell("cp -a '%s' '%s'", from, to);
}
