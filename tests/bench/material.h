/*
 * What the images are made of: numbers that only look random, and 128 MiB of
 * text and code that only looks real and compresses like it.
 */
#ifndef BENCH_MATERIAL_H
#define BENCH_MATERIAL_H

#include <stddef.h>
#include <stdint.h>

#define MIB          (UINT64_C(1) << 20)
#define MATERIAL_LEN (128 * MIB)
#define LOG_LINE_MAX 512

/* xoshiro256**. */
struct random {
	uint64_t s[4];
};

struct random random_from(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);
uint64_t random_next(struct random *r);
uint64_t random_below(struct random *r, uint64_t limit);
double random_unit(struct random *r);
double random_exponential(struct random *r, double mean);
void random_fill(struct random *r, uint8_t *bytes, uint64_t len);

/* Make the pool; before the next two, once. */
void material_make(void);

/* `len` bytes of the pool as an endless stream from `position`; every time
 * round, and every id but 0, has a substitution of bytes of its own. */
void material(uint8_t *bytes, uint64_t len, uint64_t position, uint64_t seed,
    uint64_t id);

/* One line of a log; returns its length, under LOG_LINE_MAX. */
size_t material_log_line(
    struct random *r, char *line, uint64_t *seconds, unsigned machine);

#endif
