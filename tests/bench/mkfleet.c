/*
 * mkfleet - disk images of a fleet of clones, and a day's work on them.
 *
 *	mkfleet images --out DIR --machines 4 --size 1G [--seed 1]
 *	mkfleet mutate --out DIR --machines 4 --size 1G --rate 3 [--seed 1]
 *
 * Everything follows from seed, size and machines: the bytes are the same on
 * every computer, and nothing is read but what is written.
 *
 * An image has the same layout on every machine of a seed.  Percent of it:
 *
 *	HOLE  25  and LOG 1 (holes), ZERO 9 (zeros really written)
 *	BASE  20  same bytes at the same offsets on every machine
 *	SHIFT 10  the same stream, moved by an odd number of bytes that is the
 *	          machine's own, with small edits every 2 MiB or so
 *	UNIQ  20  the machine's own, compressible
 *	RAND  15  the machine's own, incompressible
 *
 * mutate rewrites RATE percent of all 64 KiB blocks in clusters of 1 MiB or
 * so, 30 % of them the same update on all machines, the rest private (70 %
 * compressible, 15 % incompressible, 15 % old data moved), and appends 0.1 %
 * of log lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "material.h"

#define BLOCK (UINT64_C(64) << 10)

enum class { HOLE, LOG, ZERO, BASE, SHIFT, UNIQ, RAND, CLASSES };

static const uint64_t percent[CLASSES] = { 25, 1, 9, 20, 10, 20, 15 };
static const double mean_mib[CLASSES] = { 4, 0, 2, 2, 8, 1, 1.5 };

struct extent {
	uint64_t offset, length;
	uint64_t stream; /* bytes of its class before it */
	enum class class;
	uint64_t index; /* in its class */
};

struct job {
	const char *dir;
	unsigned machines;
	uint64_t size, seed;
	double rate;
};

static void
die(const char *what)
{
	fprintf(stderr, "mkfleet: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *
get_memory(uint64_t size)
{
	void *memory = calloc(1, size + 1);

	if (memory == NULL)
		die("memory");
	return memory;
}

static void
put(int fd, const uint8_t *bytes, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t done = pwrite(fd, bytes, len, (off_t)offset);

		if (done <= 0)
			die("write");
		bytes += done;
		len -= (uint64_t)done;
		offset += (uint64_t)done;
	}
}

static int
open_image(const struct job *job, unsigned machine, int flags)
{
	char path[4096];
	int fd;

	(void)snprintf(
	    path, sizeof(path), "%s/machine%02u.img", job->dir, machine);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

/* The layout: extents of every class, shuffled, one after the other. */
static struct extent *
make_layout(const struct job *job, uint64_t *ret_count)
{
	/* No extent but the last of a class is under 64 KiB. */
	struct extent *all = get_memory(
	    (job->size / BLOCK + 2 * CLASSES) * sizeof(*all));
	uint64_t count = 0, left = job->size, offset = 0;
	uint64_t stream[CLASSES] = { 0 }, index[CLASSES] = { 0 };
	struct random r = random_from(job->seed, 1, 0, 0);

	for (int class = CLASSES - 1; class >= 0; class--) {
		uint64_t total = left;
		double mean = mean_mib[class] * (double)MIB;

		if (class != HOLE)
			total = (job->size / 100 * percent[class]) &
			    ~UINT64_C(4095);
		left -= total;
		if (mean > (double)job->size / 128.0)
			mean = (double)job->size / 128.0;
		while (total > 0) {
			uint64_t len = total;

			if (class != LOG)
				len = (uint64_t)((double)BLOCK +
				          random_exponential(&r, mean)) &
				    ~UINT64_C(4095);
			if (len > total || total - len < BLOCK)
				len = total;
			all[count++] = (struct extent){ .length = len,
				.class = (enum class)class };
			total -= len;
		}
	}
	for (uint64_t i = count - 1; i > 0; i--) {
		uint64_t j = random_below(&r, i + 1);
		struct extent other = all[i];

		all[i] = all[j];
		all[j] = other;
	}
	for (uint64_t i = 0; i < count; i++) {
		struct extent *extent = &all[i];

		extent->offset = offset;
		offset += extent->length;
		extent->stream = stream[extent->class];
		stream[extent->class] += extent->length;
		extent->index = index[extent->class]++;
	}
	*ret_count = count;
	return all;
}

/* Where a machine stands in the stream that all of them share. */
struct shift {
	uint64_t position, next_edit;
	bool started;
};

/* Part of a SHIFT extent; machine 0 has the plain stream. */
static void
fill_shift(struct shift *shift, uint64_t seed, uint64_t own,
    uint64_t own_position, unsigned machine, struct random *r, uint8_t *bytes,
    uint64_t len)
{
	uint64_t at = 0;

	if (!shift->started) {
		shift->started = true;
		shift->next_edit = UINT64_MAX;
		if (machine > 0) {
			shift->next_edit =
			    (uint64_t)random_exponential(r, 2.0 * MIB);
			at = 1 + 2 * random_below(r, 20000);
			if (at > len / 2)
				at = len / 2;
			material(bytes, at, own_position, seed, own);
		}
	}
	while (at < len) {
		uint64_t part = len - at;

		if (part > shift->next_edit)
			part = shift->next_edit;
		material(bytes + at, part, shift->position, seed, 0);
		at += part;
		shift->position += part;
		if (shift->next_edit != UINT64_MAX)
			shift->next_edit -= part;
		if (shift->next_edit > 0)
			continue;
		part = 1 + random_below(r, 200);
		if (random_below(r, 2) != 0) {
			shift->position += part;
		} else {
			if (part > len - at)
				part = len - at;
			random_fill(r, bytes + at, part);
			at += part;
		}
		shift->next_edit =
		    1 + (uint64_t)random_exponential(r, 2.0 * MIB);
	}
}

static void
write_extent(int fd, const struct job *job, unsigned machine,
    const struct extent *extent, uint64_t base_total, uint8_t *bytes)
{
	uint64_t whose = extent->class == BASE ? 0 : machine + 1;
	struct random r = random_from(
	    job->seed, 10 + extent->class, whose, extent->index);
	uint64_t position = random_below(&r, MATERIAL_LEN) & ~UINT64_C(4095);
	uint64_t own = (uint64_t)(machine + 1) << 32 | (extent->index + 1);
	struct shift shift = { .position = base_total + extent->stream };

	for (uint64_t at = 0; at < extent->length;) {
		uint64_t len = extent->length - at;

		if (len > MIB)
			len = MIB;
		switch (extent->class) {
		case BASE:
			material(
			    bytes, len, extent->stream + at, job->seed, 0);
			break;
		case UNIQ:
			material(bytes, len, position + at, job->seed, own);
			break;
		case RAND:
			random_fill(&r, bytes, len);
			break;
		case SHIFT:
			fill_shift(&shift, job->seed, own, position, machine,
			    &r, bytes, len);
			break;
		default:
			memset(bytes, 0, len);
			break;
		}
		put(fd, bytes, len, extent->offset + at);
		at += len;
	}
}

static void
make_image(const struct job *job, unsigned machine)
{
	int fd = open_image(job, machine, O_RDWR | O_CREAT | O_TRUNC);
	uint8_t *bytes = get_memory(MIB + 64);
	uint64_t count, base_total = 0;
	struct extent *all = make_layout(job, &count);

	if (ftruncate(fd, (off_t)job->size) != 0)
		die("truncate");
	for (uint64_t i = 0; i < count; i++)
		if (all[i].class == BASE)
			base_total += all[i].length;
	for (uint64_t i = 0; i < count; i++)
		if (all[i].class != HOLE && all[i].class != LOG)
			write_extent(
			    fd, job, machine, &all[i], base_total, bytes);
	if (close(fd) != 0)
		die("close");
	free(all);
	free(bytes);
}

struct change {
	int fd;
	const struct job *job;
	uint64_t blocks;
	const uint8_t *class; /* of each block */
	uint8_t *hit;         /* of each block: rewritten already */
	uint8_t *bytes;
	uint64_t done, goal;
};

/* A cluster of blocks of one kind: 0 and 1 compressible, 2 not, 3 moved. */
static void
rewrite_cluster(struct change *change, uint64_t first, uint64_t count,
    int kind, uint64_t id, uint64_t position)
{
	struct random r = random_from(change->job->seed, id, 0, 0);

	for (uint64_t i = first; i < first + count && i < change->blocks &&
	     change->done < change->goal;
	     i++) {
		if (change->hit[i] != 0 || change->class[i] == LOG)
			continue;
		if (kind == 2)
			random_fill(&r, change->bytes, BLOCK);
		else
			material(change->bytes, BLOCK,
			    position + (i - first) * BLOCK, change->job->seed,
			    kind == 3 ? 0 : id);
		put(change->fd, change->bytes, BLOCK, i * BLOCK);
		change->hit[i] = 1;
		change->done++;
	}
}

/* Until the goal is met; `machine` 0 is the update common to all. */
static void
rewrite_blocks(struct change *change, bool common, unsigned machine)
{
	struct random r = random_from(change->job->seed, common ? 500 : 501,
	    common ? 0 : machine + 1, 2);

	for (uint64_t guard = 0;
	     change->done < change->goal && guard < change->blocks * 64;
	     guard++) {
		uint64_t at = random_below(&r, change->blocks);
		uint64_t count = 1 + (uint64_t)random_exponential(&r, 15);
		uint8_t class = change->class[at];
		uint64_t id, position, draw = 0;
		int kind = 0;

		if (class == LOG ||
		    ((class == HOLE || class == ZERO) &&
		        random_below(&r, 5) != 0))
			continue;
		id = random_next(&r) | 1;
		position = random_below(&r, MATERIAL_LEN) & ~UINT64_C(4095);
		if (!common) {
			draw = random_below(&r, 100);
			kind = draw < 70 ? 1 : draw < 85 ? 2 : 3;
		}
		rewrite_cluster(change, at, count, kind, id, position);
	}
}

static void
append_log(int fd, const struct job *job, unsigned machine,
    const struct extent *extent)
{
	uint64_t len = (uint64_t)((double)job->size / 1000.0);
	struct random r = random_from(job->seed, 600, machine + 1, 2);
	uint64_t seconds = UINT64_C(2) * 86400, at = 0;
	uint8_t *bytes = get_memory(len + LOG_LINE_MAX);

	if (len > extent->length)
		len = extent->length;
	while (at < len)
		at += material_log_line(
		    &r, (char *)bytes + at, &seconds, machine);
	put(fd, bytes, len, extent->offset);
	free(bytes);
}

static void
change_image(const struct job *job, unsigned machine)
{
	uint64_t blocks = job->size / BLOCK, count, wanted;
	struct extent *all = make_layout(job, &count);
	uint8_t *class = get_memory(blocks + 1);
	struct change change = { .fd = open_image(job, machine, O_RDWR),
		.job = job,
		.blocks = blocks,
		.class = class,
		.hit = get_memory(blocks + 1),
		.bytes = get_memory(BLOCK) };

	for (uint64_t i = 0; i < count; i++) {
		uint64_t end = all[i].offset + all[i].length;

		for (uint64_t k = all[i].offset / BLOCK;
		     k < (end + BLOCK - 1) / BLOCK && k < blocks; k++)
			class[k] = (uint8_t)all[i].class;
	}
	wanted = (uint64_t)((double)blocks * job->rate / 100 + 0.5);
	change.goal = wanted * 3 / 10;
	rewrite_blocks(&change, true, machine);
	change.goal = wanted;
	rewrite_blocks(&change, false, machine);
	for (uint64_t i = 0; i < count; i++)
		if (all[i].class == LOG)
			append_log(change.fd, job, machine, &all[i]);
	if (close(change.fd) != 0)
		die("close");
	free(change.hit);
	free(change.bytes);
	free(class);
	free(all);
}

/* One process for each machine. */
static int
run(const struct job *job, void (*work)(const struct job *, unsigned))
{
	int bad = 0;

	for (unsigned i = 0; i < job->machines; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			work(job, i);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < job->machines; i++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			bad = 1;
	}
	return bad;
}

static uint64_t
parse_number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	int shift = *end == 'G' ? 30 : *end == 'M' ? 20 : 0;

	if (end == text || (*end != '\0' && (shift == 0 || end[1] != '\0'))) {
		fprintf(stderr, "mkfleet: '%s' is no number or size\n", text);
		exit(2);
	}
	return (uint64_t)value << shift;
}

int
main(int argc, char **argv)
{
	struct job job = { .machines = 4,
		.size = UINT64_C(1) << 30,
		.seed = 1,
		.rate = 3 };
	bool change = argc > 1 && strcmp(argv[1], "mutate") == 0;

	for (int i = 2; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];

		if (strcmp(argv[i], "--out") == 0)
			job.dir = value;
		else if (strcmp(argv[i], "--machines") == 0)
			job.machines = (unsigned)parse_number(value);
		else if (strcmp(argv[i], "--size") == 0)
			job.size = parse_number(value) & ~UINT64_C(4095);
		else if (strcmp(argv[i], "--seed") == 0)
			job.seed = parse_number(value);
		else if (strcmp(argv[i], "--rate") == 0)
			job.rate = (double)parse_number(value);
	}
	if (job.dir == NULL || job.size < 16 * MIB || job.machines > 64 ||
	    (!change && strcmp(argv[1], "images") != 0)) {
		fputs("usage: mkfleet images|mutate --out DIR "
		      "[--machines N] [--size 1G] [--seed N] [--rate N]\n",
		    stderr);
		return 2;
	}
	material_make();
	if (!change && mkdir(job.dir, 0755) != 0 && errno != EEXIST)
		die(job.dir);
	return run(&job, change ? change_image : make_image);
}
