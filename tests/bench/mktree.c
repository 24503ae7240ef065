/*
 * mktree - a tree of many small files, and a day's work on it.
 *
 *	mktree tree   --out DIR --files 60000 [--size 1500M] [--seed 1]
 *	mktree mutate --out DIR --files 60000 [--size 1500M] [--seed 1] [--rate 3]
 *
 * Everything follows from seed, size and files: the bytes, names and times
 * are the same on every computer.  There are files of a lognormal size (three
 * in four under 16 KiB) with 60 % of the bytes, 16 large ones with the rest,
 * 6 % empty ones, 5 % copies, 3 % symbolic and 1 % hard links, 10 % with
 * bytes that nothing compresses; some names are long, or have spaces and
 * letters beyond ASCII.
 *
 * mutate rewrites, appends to, removes, renames and adds RATE percent.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "material.h"

#define LARGE    16
#define DAY_TWO  (INT64_C(1760000000) + 2 * 86400)
#define DIR_SIZE 400

enum kind { POOL, RANDOM, SYMLINK, HARDLINK, COPY, EMPTY };

struct entry {
	char path[600];
	enum kind kind;
	mode_t mode;
	int64_t mtime;
	uint64_t size, position, id;
	uint64_t other; /* what a link or a copy is of */
};

struct job {
	const char *dir;
	uint64_t files, size, seed, rate;
};

static void
die(const char *what)
{
	fprintf(stderr, "mktree: %s: %s\n", what, strerror(errno));
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

/* A tree of directories: broad at the top, deep below. */
static char (*make_directories(const struct job *job, struct random *r,
    uint64_t *ret_count))[DIR_SIZE]
{
	static const char *const words[24] = { "src", "lib", "doc", "test",
		"data", "conf", "core", "util", "net", "api", "img", "log",
		"cache", "etc", "bin", "main", "index", "model", "view",
		"user", "report", "alpha", "beta", "node" };
	uint64_t count = job->files / 18 + 1;
	char(*all)[DIR_SIZE] = get_memory(count * DIR_SIZE);

	for (uint64_t i = 1; i < count; i++) {
		uint64_t above = i < 40 ? random_below(r, i)
		                        : 40 + random_below(r, i - 39);

		if (above >= i || strlen(all[above]) > 240)
			above = 0;
		(void)snprintf(all[i], DIR_SIZE, "%.300s%s%llx/", all[above],
		    words[random_below(r, 24)], (unsigned long long)i);
	}
	*ret_count = count;
	return all;
}

static void
name_entry(struct entry *entry, struct random *r, const char *dir, uint64_t i)
{
	static const char *const ends[14] = { ".c", ".h", ".py", ".js",
		".json", ".txt", ".html", ".so", ".png", ".xml", ".yml", "",
		".md", ".po" };
	const char *end = ends[random_below(r, 14)];
	const char *format = "%sfile_%llu%s";
	uint64_t odd = random_below(r, 1000);

	if (odd < 3)
		format = "%sna\xc3\xafve f\xc3\xaele %llu%s";
	else if (odd < 4)
		format = "%s%0180llu%s";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(entry->path, sizeof(entry->path), format, dir,
	    (unsigned long long)i, end);
#pragma GCC diagnostic pop
}

/* Choose what an entry is; returns its share of the small files' bytes. */
static double
choose_kind(struct entry *all, uint64_t i, struct random *r)
{
	struct entry *entry = &all[i];
	uint64_t draw = random_below(r, 1000);
	double angle, spread;

	if (i < LARGE) {
		entry->kind = (i & 1) != 0 ? RANDOM : POOL;
		return 0;
	}
	if (draw < 100) {
		uint64_t back = random_below(r, draw < 40 ? 100 : i);
		const struct entry *other;

		entry->kind = i < 200 ? EMPTY
		    : draw < 30       ? SYMLINK
		    : draw < 40       ? HARDLINK
		    : draw < 90       ? COPY
		                      : EMPTY;
		entry->other = i - 1 - back;
		other = &all[entry->other < i ? entry->other : 0];
		if (entry->other < LARGE || other->kind > RANDOM)
			entry->kind = EMPTY;
		if (entry->kind == HARDLINK) {
			entry->mode = other->mode;
			entry->mtime = other->mtime;
		}
		return 0;
	}
	entry->kind = draw < 180 ? RANDOM : POOL;
	spread = sqrt(-2 * log(1 - random_unit(r)));
	angle = 6.283185307179586 * random_unit(r);
	return exp(1.7 * spread * cos(angle));
}

static struct entry *
make_plan(const struct job *job)
{
	static const mode_t modes[5] = { 0644, 0644, 0644, 0755, 0600 };
	struct random r = random_from(job->seed, 800, 0, 0);
	struct entry *all = get_memory(job->files * sizeof(*all));
	double *share = get_memory(job->files * sizeof(*share)), sum = 0;
	uint64_t dir_count, position = 0;
	char(*dirs)[DIR_SIZE] = make_directories(job, &r, &dir_count);

	for (uint64_t i = 0; i < job->files; i++) {
		struct entry *entry = &all[i];

		entry->id = random_next(&r) & 0xffffffff;
		entry->mtime = INT64_C(1700000000) +
		    (int64_t)random_below(&r, 50000000);
		entry->mode = modes[random_below(&r, 5)];
		name_entry(entry, &r, dirs[i * dir_count / job->files], i);
		share[i] = choose_kind(all, i, &r);
		sum += share[i];
	}
	for (uint64_t i = 0; i < job->files; i++) {
		struct entry *entry = &all[i];

		if (i < LARGE)
			entry->size = job->size * 4 / 10 / LARGE;
		else if (entry->kind <= RANDOM)
			entry->size = 1 +
			    (uint64_t)(share[i] / sum * (double)job->size * .6);
		if (entry->kind != POOL)
			continue;
		entry->position = position;
		position += (entry->size + 4095) & ~UINT64_C(4095);
	}
	free(share);
	free(dirs);
	return all;
}

/* The directories of `path`, which may not be there yet. */
static void
make_parents(char *path)
{
	for (char *at = strchr(path + 1, '/'); at != NULL;
	     at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			die(path);
		*at = '/';
	}
}

static void
make_path(const struct job *job, const char *name, char path[4096])
{
	(void)snprintf(path, 4096, "%s/%s", job->dir, name);
}

static void
set_times(int fd, int64_t mtime)
{
	const struct timespec times[2] = { { .tv_sec = mtime },
		{ .tv_sec = mtime } };

	if (futimens(fd, times) != 0)
		die("times");
}

static void
write_bytes(int fd, const void *bytes, size_t len)
{
	if (write(fd, bytes, len) != (ssize_t)len)
		die("write");
}

/* A file with the bytes that `from` stands for (itself, or its original). */
static void
write_file(const struct job *job, const struct entry *entry,
    const struct entry *from)
{
	static uint8_t bytes[MIB];
	struct random r = random_from(job->seed, 900, from->id, 0);
	char path[4096];
	int fd;

	make_path(job, entry->path, path);
	make_parents(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, entry->mode);
	if (fd < 0)
		die(path);
	for (uint64_t at = 0; at < from->size;) {
		uint64_t len = from->size - at < MIB ? from->size - at : MIB;

		if (from->kind == RANDOM)
			random_fill(&r, bytes, len);
		else
			material(bytes, len, from->position + at, job->seed,
			    from->id >> 32);
		write_bytes(fd, bytes, len);
		at += len;
	}
	if (fchmod(fd, entry->mode) != 0)
		die(path);
	set_times(fd, entry->mtime);
	(void)close(fd);
}

static void
write_link(const struct job *job, const struct entry *entry,
    const struct entry *other)
{
	const struct timespec times[2] = { { .tv_sec = entry->mtime },
		{ .tv_sec = entry->mtime } };
	const char *slash = strrchr(other->path, '/');
	char path[4096], target[4096];

	make_path(job, entry->path, path);
	make_parents(path);
	make_path(job, other->path, target);
	if (entry->kind == HARDLINK) {
		if (link(target, path) != 0)
			die(path);
		return;
	}
	if (symlink(slash != NULL ? slash + 1 : other->path, path) != 0 ||
	    utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0)
		die(path);
}

static void
make_tree(const struct job *job)
{
	struct entry *all = make_plan(job);

	for (uint64_t i = 0; i < job->files; i++) {
		const struct entry *other = &all[all[i].other];

		if (all[i].kind == SYMLINK || all[i].kind == HARDLINK)
			write_link(job, &all[i], other);
		else
			write_file(
			    job, &all[i], all[i].kind == COPY ? other : &all[i]);
	}
	free(all);
}

static void
append_lines(const char *path, struct random *r)
{
	char line[LOG_LINE_MAX];
	uint64_t seconds = UINT64_C(2) * 86400;
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0)
		die(path);
	for (int i = 0; i < 20; i++)
		write_bytes(fd, line, material_log_line(r, line, &seconds, 0));
	set_times(fd, DAY_TWO);
	(void)close(fd);
}

/* What a day does to a file of its own; `draw` is 0 to 1 within the rate. */
static void
change_file(const struct job *job, struct entry *entry, struct random *r,
    double draw)
{
	char path[4096], other[4200];

	make_path(job, entry->path, path);
	entry->mtime = DAY_TWO;
	if (draw < 0.35) {
		entry->kind = entry->kind == EMPTY ? POOL : entry->kind;
		entry->id = random_next(r) | UINT64_C(1) << 40;
		entry->size += entry->size / 8 + 100;
		write_file(job, entry, entry);
	} else if (draw < 0.65) {
		append_lines(path, r);
	} else if (draw < 0.75) {
		if (unlink(path) != 0)
			die(path);
	} else if (draw < 0.85) {
		(void)snprintf(other, sizeof(other), "%s.renamed", path);
		if (rename(path, other) != 0)
			die(path);
	} else {
		size_t len = strlen(entry->path);

		if (len + sizeof(".new") > sizeof(entry->path))
			die(path);
		memcpy(entry->path + len, ".new", sizeof(".new"));
		entry->kind = POOL;
		entry->id = random_next(r) | UINT64_C(1) << 41;
		entry->size = 100 + (uint64_t)random_exponential(r, 15000);
		write_file(job, entry, entry);
	}
}

static void
mutate_tree(const struct job *job)
{
	struct random r = random_from(job->seed, 950, 0, 2);
	struct entry *all = make_plan(job);
	double rate = (double)job->rate / 100;

	for (uint64_t i = LARGE; i < job->files; i++) {
		double draw = random_unit(&r) / rate;
		char path[4096];
		struct stat status;

		make_path(job, all[i].path, path);
		if (draw < 1 && all[i].kind != SYMLINK &&
		    all[i].kind != COPY && lstat(path, &status) == 0 &&
		    status.st_nlink == 1)
			change_file(job, &all[i], &r, draw);
	}
	free(all);
}

static uint64_t
parse_number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	int shift = *end == 'G' ? 30 : *end == 'M' ? 20 : 0;

	if (end == text || (*end != '\0' && (shift == 0 || end[1] != '\0'))) {
		fprintf(stderr, "mktree: '%s' is no number or size\n", text);
		exit(2);
	}
	return (uint64_t)value << shift;
}

int
main(int argc, char **argv)
{
	struct job job = { .files = 60000,
		.size = 1500 * MIB,
		.seed = 1,
		.rate = 3 };
	bool change = argc > 1 && strcmp(argv[1], "mutate") == 0;

	for (int i = 2; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];

		if (strcmp(argv[i], "--out") == 0)
			job.dir = value;
		else if (strcmp(argv[i], "--files") == 0)
			job.files = parse_number(value);
		else if (strcmp(argv[i], "--size") == 0)
			job.size = parse_number(value);
		else if (strcmp(argv[i], "--seed") == 0)
			job.seed = parse_number(value);
		else if (strcmp(argv[i], "--rate") == 0)
			job.rate = parse_number(value);
	}
	if (job.dir == NULL || job.files < 1000 || job.rate < 1 ||
	    (!change && strcmp(argv[1], "tree") != 0)) {
		fputs("usage: mktree tree|mutate --out DIR [--files N, 1000 at "
		      "least] [--size 1500M] [--seed N] [--rate N]\n",
		    stderr);
		return 2;
	}
	(void)umask(022);
	material_make();
	if (change)
		mutate_tree(&job);
	else
		make_tree(&job);
	return 0;
}
