/*
 * What the yardstick keeps between its runs, and what its parts share.
 */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
limit_die(const char *what)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
	exit(1);
}

void *
limit_memory(size_t size)
{
	void *memory = calloc(1, size + 1);

	if (memory == NULL)
		limit_die("memory");
	return memory;
}

int
limit_open(const char *repo, const char *what, unsigned n, int flags)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s.%u", repo, what, n);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0 && errno != ENOENT)
		limit_die(path);
	return fd;
}

void
limit_write(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t done = write(fd, at, len);

		if (done <= 0)
			limit_die("write");
		at += done;
		len -= (size_t)done;
	}
}

static void
read_all(int fd, void *bytes, size_t len)
{
	uint8_t *at = bytes;

	while (len > 0) {
		ssize_t done = read(fd, at, len);

		if (done <= 0)
			limit_die("index");
		at += done;
		len -= (size_t)done;
	}
}

bool
limit_load(const char *repo, struct index *index)
{
	int fd = limit_open(repo, "index", 0, O_RDONLY);

	if (fd < 0)
		return false;
	read_all(fd, index, offsetof(struct index, chunk));
	index->chunk = limit_memory(index->chunks * sizeof(*index->chunk));
	read_all(fd, index->chunk, index->chunks * sizeof(*index->chunk));
	(void)close(fd);
	return true;
}

void
limit_save(const char *repo, const struct index *index)
{
	int fd = limit_open(repo, "index", 1, O_WRONLY | O_CREAT | O_TRUNC);
	char from[4096], to[4096];

	limit_write(fd, index, offsetof(struct index, chunk));
	limit_write(fd, index->chunk, index->chunks * sizeof(*index->chunk));
	if (close(fd) != 0)
		limit_die("close");
	(void)snprintf(from, sizeof(from), "%s/index.1", repo);
	(void)snprintf(to, sizeof(to), "%s/index.0", repo);
	if (rename(from, to) != 0)
		limit_die(to);
}

void
limit_parallel(unsigned threads, void *(*work)(void *number))
{
	pthread_t thread[THREADS_MAX];

	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(
		        &thread[i], NULL, work, (void *)(uintptr_t)i) != 0)
			limit_die("thread");
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(thread[i], NULL);
}
