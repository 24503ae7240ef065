/*
 * limit - a yardstick, not a product: the least work that backs up a fleet of
 * images, to show what a machine can do.
 *
 *	limit check                                 can it run here? 3: no
 *	limit backup  REPO LEVEL THREADS IMAGE ...
 *	limit restore REPO THREADS DIR              the newest backup
 *	limit verify  REPO THREADS                  every stored chunk
 *
 * backup seeks data, skips zeros, cuts chunks of 16, 64 and 256 KiB (least,
 * mean, most) by content, hashes all, stores what is new in zstd frames.
 * restore and verify open and hash every chunk; holes stay holes.
 *
 * There is no journal, signature, fsync, lock, metadata or defence in it, and
 * a chunk is taken for known by 64 bits of its digest.  A thread has an image
 * to itself.  It wants x86-64 with SHA-NI and AVX-512BW.
 */
#include "limit.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#if defined(__x86_64__)
#include <cpuid.h>

static bool
can_run(void)
{
	unsigned a, b, c, d;

	return __builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl") &&
	    __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
	    (b & bit_SHA) != 0;
}
#else
static bool
can_run(void)
{
	return false;
}

void
limit_hash(struct message *messages, size_t count)
{
	(void)messages;
	(void)count;
}

size_t
limit_cut(const uint8_t *bytes, size_t len)
{
	(void)bytes;
	return len;
}

bool
limit_is_zero(const uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	return false;
}
#endif

#define SLOTS (1u << 22)
#define PAGE  ((size_t)4096)
#define FLUSH ((size_t)8 << 20)

static struct {
	const char *repo;
	int level;
	unsigned threads;
	char **images;
	size_t image_count;
	uint64_t generation;
	atomic_size_t next;
	_Atomic uint64_t *known; /* digests' first 64 bits, a hash table */
	struct chunk *chunks[IMAGES_MAX];
	size_t chunk_count[IMAGES_MAX];
} job;

/* The first one to claim a digest stores its chunk. */
static bool
claim(const uint8_t digest[32])
{
	uint64_t key;

	memcpy(&key, digest, sizeof(key));
	key += key == 0;
	for (uint64_t i = key;; i++) {
		_Atomic uint64_t *slot = &job.known[i & (SLOTS - 1)];
		uint64_t found = *slot;

		if (found == 0 && atomic_compare_exchange_strong(
		                      slot, &found, key))
			return true;
		if (found == key)
			return false;
	}
}

/* One thread's pack, and the image that it reads. */
struct writer {
	uint8_t pack;
	int pack_fd;
	uint64_t pack_offset; /* written of it */
	uint8_t *out;
	size_t filled;
	ZSTD_CCtx *zstd;
	uint8_t *window;
	size_t have;          /* bytes in the window */
	uint64_t base;        /* where it stands in the image */
	size_t image;
	int fd;
	size_t room;          /* of job.chunks[image] */
	struct message messages[MESSAGES_MAX];
	uint64_t offsets[MESSAGES_MAX];
};

static void
flush(struct writer *writer)
{
	limit_write(writer->pack_fd, writer->out, writer->filled);
	writer->pack_offset += writer->filled;
	writer->filled = 0;
}

static void
take_chunk(
    struct writer *writer, const struct message *message, uint64_t offset)
{
	size_t *count = &job.chunk_count[writer->image];
	struct chunk **all = &job.chunks[writer->image], *chunk;

	if (*count == writer->room) {
		writer->room = writer->room > 0 ? writer->room * 2 : 65536;
		*all = realloc(*all, writer->room * sizeof(**all));
		if (*all == NULL)
			limit_die("memory");
	}
	chunk = &(*all)[(*count)++];
	*chunk = (struct chunk){ .offset = offset,
		.len = (uint32_t)message->len,
		.image = (uint16_t)writer->image,
		.pack = writer->pack,
		.is_stored = claim(message->digest) };
	memcpy(chunk->digest, message->digest, sizeof(chunk->digest));
	if (!chunk->is_stored)
		return;
	chunk->pack_offset = writer->pack_offset + writer->filled;
	chunk->stored_len = (uint32_t)ZSTD_compress2(writer->zstd,
	    writer->out + writer->filled, ZSTD_compressBound(CHUNK_MAX),
	    message->bytes, message->len);
	writer->filled += chunk->stored_len;
	if (writer->filled >= FLUSH)
		flush(writer);
}

/* Cut, hash and store what is in the window; returns how much of it. */
static size_t
take_window(struct writer *writer, bool last)
{
	size_t at = 0, count = 0;

	while (at < writer->have && (last || writer->have - at >= CHUNK_MAX) &&
	    count < WINDOW / CHUNK_MIN) {
		const uint8_t *bytes = writer->window + at;
		size_t left = writer->have - at, len = 0;

		if ((writer->base + at) % PAGE == 0)
			while (left - len >= PAGE &&
			    limit_is_zero(bytes + len, PAGE))
				len += PAGE;
		if (len == 0) {
			len = limit_cut(bytes, left);
			writer->messages[count].bytes = bytes;
			writer->messages[count].len = len;
			writer->offsets[count++] = writer->base + at;
		}
		at += len;
	}
	limit_hash(writer->messages, count);
	for (size_t i = 0; i < count; i++)
		take_chunk(writer, &writer->messages[i], writer->offsets[i]);
	return at;
}

/* Bytes from writer->base to `end`, none of them in a hole. */
static void
take_extent(struct writer *writer, uint64_t end)
{
	writer->have = 0;
	while (writer->base < end) {
		size_t used;

		while (writer->have < WINDOW &&
		    writer->base + writer->have < end) {
			uint64_t at = writer->base + writer->have;
			size_t want = WINDOW + CHUNK_MAX - writer->have;
			ssize_t got;

			if (want > end - at)
				want = end - at;
			got = pread(writer->fd,
			    writer->window + writer->have, want, (off_t)at);
			if (got <= 0)
				limit_die("read");
			writer->have += (size_t)got;
		}
		used = take_window(writer, writer->base + writer->have >= end);
		writer->have -= used;
		memmove(
		    writer->window, writer->window + used, writer->have);
		writer->base += used;
	}
}

static void
take_image(struct writer *writer, size_t image)
{
	off_t end, data = 0;

	writer->image = image;
	writer->room = 0;
	writer->fd = open(job.images[image], O_RDONLY | O_CLOEXEC);
	if (writer->fd < 0)
		limit_die(job.images[image]);
	end = lseek(writer->fd, 0, SEEK_END);
	while (data < end && (data = lseek(writer->fd, data, SEEK_DATA)) >= 0) {
		off_t hole = lseek(writer->fd, data, SEEK_HOLE);

		writer->base = (uint64_t)data;
		take_extent(writer, (uint64_t)hole);
		data = hole;
	}
	(void)close(writer->fd);
}

static void *
work(void *number)
{
	struct writer *writer = limit_memory(sizeof(*writer));
	size_t image;

	writer->pack = (uint8_t)((uintptr_t)number +
	    job.generation * job.threads);
	writer->pack_fd = limit_open(
	    job.repo, "pack", writer->pack, O_WRONLY | O_CREAT | O_TRUNC);
	writer->out = limit_memory(FLUSH + ZSTD_compressBound(CHUNK_MAX));
	writer->window = limit_memory(WINDOW + CHUNK_MAX);
	writer->zstd = ZSTD_createCCtx();
	(void)ZSTD_CCtx_setParameter(
	    writer->zstd, ZSTD_c_compressionLevel, job.level);
	while ((image = atomic_fetch_add(&job.next, 1)) < job.image_count)
		take_image(writer, image);
	flush(writer);
	(void)close(writer->pack_fd);
	ZSTD_freeCCtx(writer->zstd);
	free(writer->out);
	free(writer->window);
	free(writer);
	return NULL;
}

/* Where the chunks of all backups lie, and the images of this one. */
static void
save(const struct index *old)
{
	static struct index now;
	size_t count = old->chunks;

	now.images = job.image_count;
	now.generation = job.generation;
	for (size_t i = 0; i < job.image_count; i++)
		count += job.chunk_count[i];
	now.chunk = limit_memory(count * sizeof(*now.chunk));
	for (size_t i = 0; i < old->chunks; i++)
		if (old->chunk[i].is_stored) {
			now.chunk[now.chunks] = old->chunk[i];
			now.chunk[now.chunks++].image = UINT16_MAX;
		}
	for (size_t i = 0; i < job.image_count; i++) {
		const char *slash = strrchr(job.images[i], '/');
		struct stat status;

		(void)snprintf(now.names[i], NAME_SIZE, "%s",
		    slash != NULL ? slash + 1 : job.images[i]);
		if (stat(job.images[i], &status) != 0)
			limit_die(job.images[i]);
		now.sizes[i] = (uint64_t)status.st_size;
		if (job.chunk_count[i] > 0)
			memcpy(now.chunk + now.chunks, job.chunks[i],
			    job.chunk_count[i] * sizeof(*now.chunk));
		now.chunks += job.chunk_count[i];
	}
	limit_save(job.repo, &now);
}

static void
backup(void)
{
	static struct index old;

	(void)mkdir(job.repo, 0755);
	job.known = limit_memory(SLOTS * sizeof(*job.known));
	if (limit_load(job.repo, &old)) {
		job.generation = old.generation + 1;
		for (size_t i = 0; i < old.chunks; i++)
			(void)claim(old.chunk[i].digest);
	}
	if ((job.generation + 1) * job.threads > PACKS_MAX) {
		fputs("limit: too many backups in this repository\n", stderr);
		exit(1);
	}
	limit_parallel(job.threads, work);
	save(&old);
}

static unsigned
parse_number(const char *what, const char *text, unsigned max)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || number < 1 ||
	    number > max) {
		(void)fprintf(stderr, "limit: %s '%s': not a number from 1 to %u\n",
		    what, text, max);
		exit(2);
	}
	return (unsigned)number;
}

static unsigned
parse_threads(const char *text)
{
	return parse_number("threads", text, 16);
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		fputs("usage: limit check|backup|restore|verify ...\n", stderr);
		return 2;
	}
	if (!can_run()) {
		fputs("limit: it needs x86-64 with SHA-NI and AVX-512BW\n",
		    stderr);
		return 3;
	}
	if (strcmp(argv[1], "check") == 0)
		return 0;
	if (strcmp(argv[1], "backup") == 0 && argc > 5 &&
	    argc - 5 <= IMAGES_MAX) {
		job.repo = argv[2];
		job.level = (int)parse_number("level", argv[3], 19);
		job.threads = parse_threads(argv[4]);
		job.images = argv + 5;
		job.image_count = (size_t)argc - 5;
		backup();
		return 0;
	}
	if (strcmp(argv[1], "restore") == 0 && argc == 5)
		return limit_restore(argv[2], parse_threads(argv[3]), argv[4])
		    ? 0 : 1;
	if (strcmp(argv[1], "verify") == 0 && argc == 4)
		return limit_verify(argv[2], parse_threads(argv[3])) ? 0 : 1;
	fputs("usage: limit backup REPO LEVEL THREADS IMAGE ...\n"
	      "       limit restore REPO THREADS DIR\n"
	      "       limit verify REPO THREADS\n", stderr);
	return 2;
}
