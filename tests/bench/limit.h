/*
 * The parts of the yardstick; limit.c says what it is.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_MIN    ((size_t)16 << 10)
#define CHUNK_MAX    ((size_t)256 << 10)
#define WINDOW       ((size_t)4 << 20)
#define IMAGES_MAX   64
#define PACKS_MAX    64
#define THREADS_MAX  64
#define NAME_SIZE    256
#define MESSAGES_MAX (WINDOW / CHUNK_MIN + 32)

struct message {
	const uint8_t *bytes;
	size_t len;
	uint8_t digest[32];
};

/* A chunk where it stands in an image and, when it `is_stored` (it was the
 * first of its kind), in a pack. */
struct chunk {
	uint8_t digest[32];
	uint64_t offset, pack_offset;
	uint32_t len, stored_len;
	uint16_t image;
	uint8_t pack, is_stored;
	uint32_t pad;
};

/* What a repository's index holds; a backup's newest images, and where every
 * chunk of all backups lies. */
struct index {
	uint64_t images, chunks, generation;
	char names[IMAGES_MAX][NAME_SIZE];
	uint64_t sizes[IMAGES_MAX];
	struct chunk *chunk;
};

/* limit_hash.c: SHA-256 of every message, three at a time. */
void limit_hash(struct message *messages, size_t count);

/* limit_cut.c: the length of the first chunk of `bytes`, and: only zeros? */
size_t limit_cut(const uint8_t *bytes, size_t len);
bool limit_is_zero(const uint8_t *bytes, size_t len);

/* limit_index.c */
bool limit_load(const char *repo, struct index *index);
void limit_save(const char *repo, const struct index *index);
int limit_open(const char *repo, const char *what, unsigned n, int flags);
void limit_write(int fd, const void *bytes, size_t len);
void limit_die(const char *what) __attribute__((noreturn));
void *limit_memory(size_t size);
/* Run it on that many threads; each is told its number. */
void limit_parallel(unsigned threads, void *(*work)(void *number));

/* limit_read.c; true when all of it was as it had been. */
bool limit_restore(const char *repo, unsigned threads, const char *dir);
bool limit_verify(const char *repo, unsigned threads);

#endif
