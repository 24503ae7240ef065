/*
 * The yardstick's way back: every chunk is opened, hashed and compared with
 * what the index says, and written where it stood.
 */
#include "limit.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define SLOTS (1u << 22)
#define BATCH 512
#define STEP  256

static struct {
	struct index index;
	uint32_t *slots; /* 1 + where a stored chunk stands in the index */
	const uint8_t *packs[PACKS_MAX];
	const char *dir;
	atomic_size_t next;
	atomic_uint bad;
} job;

/* Opened chunks that wait to be hashed. */
struct batch {
	ZSTD_DCtx *zstd;
	uint8_t *bytes;
	size_t filled, count;
	struct message messages[BATCH];
	const struct chunk *chunks[BATCH];
};

static uint32_t
slot_of(const uint8_t digest[32])
{
	uint64_t key;

	memcpy(&key, digest, sizeof(key));
	return (uint32_t)(key & (SLOTS - 1));
}

static const struct chunk *
find_stored(const uint8_t digest[32])
{
	for (uint32_t i = slot_of(digest); job.slots[i] != 0;
	     i = (i + 1) & (SLOTS - 1)) {
		const struct chunk *chunk =
		    &job.index.chunk[job.slots[i] - 1];

		if (memcmp(chunk->digest, digest, 32) == 0)
			return chunk;
	}
	limit_die("a chunk is not in the index");
}

static void
load(const char *repo)
{
	if (!limit_load(repo, &job.index))
		limit_die(repo);
	job.slots = limit_memory(SLOTS * sizeof(*job.slots));
	for (size_t i = 0; i < job.index.chunks; i++) {
		uint32_t slot = slot_of(job.index.chunk[i].digest);

		if (!job.index.chunk[i].is_stored)
			continue;
		while (job.slots[slot] != 0)
			slot = (slot + 1) & (SLOTS - 1);
		job.slots[slot] = (uint32_t)i + 1;
	}
	for (unsigned i = 0; i < PACKS_MAX; i++) {
		int fd = limit_open(repo, "pack", i, O_RDONLY);
		struct stat status;

		if (fd < 0)
			continue;
		if (fstat(fd, &status) == 0 && status.st_size > 0)
			job.packs[i] = mmap(NULL, (size_t)status.st_size,
			    PROT_READ, MAP_SHARED, fd, 0);
		(void)close(fd);
	}
}

static void
open_chunk(struct batch *batch, const struct chunk *chunk)
{
	const struct chunk *stored =
	    chunk->is_stored ? chunk : find_stored(chunk->digest);
	struct message *message = &batch->messages[batch->count];
	size_t len = ZSTD_decompressDCtx(batch->zstd,
	    batch->bytes + batch->filled, CHUNK_MAX,
	    job.packs[stored->pack] + stored->pack_offset,
	    stored->stored_len);

	job.bad += len != chunk->len;
	message->bytes = batch->bytes + batch->filled;
	message->len = chunk->len;
	batch->chunks[batch->count++] = chunk;
	batch->filled += chunk->len;
}

static void
check_batch(struct batch *batch)
{
	limit_hash(batch->messages, batch->count);
	for (size_t i = 0; i < batch->count; i++)
		job.bad += memcmp(batch->messages[i].digest,
		               batch->chunks[i]->digest, 32) != 0;
}

/* What lies side by side goes out in one write. */
static void
write_batch(const struct batch *batch, int fd)
{
	for (size_t i = 0; i < batch->count;) {
		const struct message *message = &batch->messages[i];
		uint64_t offset = batch->chunks[i]->offset;
		size_t len = 0;

		while (i < batch->count &&
		    batch->chunks[i]->offset == offset + len)
			len += batch->messages[i++].len;
		if (pwrite(fd, message->bytes, len, (off_t)offset) !=
		    (ssize_t)len)
			limit_die("write");
	}
}

static struct batch *
new_batch(void)
{
	struct batch *batch = limit_memory(sizeof(*batch));

	batch->zstd = ZSTD_createDCtx();
	batch->bytes = limit_memory(WINDOW + CHUNK_MAX);
	return batch;
}

static void
free_batch(struct batch *batch)
{
	ZSTD_freeDCtx(batch->zstd);
	free(batch->bytes);
	free(batch);
}

static void
restore_image(struct batch *batch, size_t image)
{
	const struct chunk *chunk = job.index.chunk;
	const struct chunk *end = chunk + job.index.chunks;
	char path[4096];
	int fd;

	(void)snprintf(
	    path, sizeof(path), "%s/%s", job.dir, job.index.names[image]);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, (off_t)job.index.sizes[image]) != 0)
		limit_die(path);
	while (chunk < end && chunk->image != image)
		chunk++;
	while (chunk < end && chunk->image == image) {
		batch->filled = batch->count = 0;
		for (; chunk < end && chunk->image == image &&
		     batch->filled < WINDOW && batch->count < BATCH;
		     chunk++)
			open_chunk(batch, chunk);
		check_batch(batch);
		write_batch(batch, fd);
	}
	if (close(fd) != 0)
		limit_die(path);
}

static void *
restore_images(void *number)
{
	struct batch *batch = new_batch();
	size_t image;

	(void)number;
	while ((image = atomic_fetch_add(&job.next, 1)) < job.index.images)
		restore_image(batch, image);
	free_batch(batch);
	return NULL;
}

static void *
verify_chunks(void *number)
{
	struct batch *batch = new_batch();
	size_t first;

	(void)number;
	while ((first = atomic_fetch_add(&job.next, STEP)) <
	    job.index.chunks) {
		batch->filled = batch->count = 0;
		for (size_t i = first;
		     i < first + STEP && i < job.index.chunks; i++) {
			if (job.index.chunk[i].is_stored)
				open_chunk(batch, &job.index.chunk[i]);
			if (batch->filled < WINDOW)
				continue;
			check_batch(batch);
			batch->filled = batch->count = 0;
		}
		check_batch(batch);
	}
	free_batch(batch);
	return NULL;
}

static bool
judge(void)
{
	if (job.bad > 0)
		fprintf(stderr, "limit: %u chunks are bad\n", job.bad);
	return job.bad == 0;
}

bool
limit_restore(const char *repo, unsigned threads, const char *dir)
{
	load(repo);
	job.dir = dir;
	(void)mkdir(dir, 0755);
	limit_parallel(threads, restore_images);
	return judge();
}

bool
limit_verify(const char *repo, unsigned threads)
{
	load(repo);
	limit_parallel(threads, verify_chunks);
	return judge();
}
