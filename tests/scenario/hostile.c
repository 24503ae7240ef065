/*
 * hostile CONFIG OUT SAMPLE: alter every object of a repository in every way,
 * one at a time, and look what verify and restore make of it.
 *
 * For each alteration a child verifies everything and restores the newest run
 * into OUT.  It must end by itself, in time and in little memory; verify must
 * name what was altered, unless it is of no consequence; and what is restored
 * must be what would have been restored before, whole or not at all.
 * With SAMPLE n > 1 every n-th alteration is tried, the same ones each time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/restore.h"
#include "fleetbak/engine/verify.h"

#define SECONDS_MAX 60
#define RSS_MAX_KIB (256 * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* What a child found. */
struct verdict {
	bool verify_done;
	int verify_rc; /* 0: no damage */
	bool named;
	size_t damages;
	unsigned restored, wrong;
	char said[300];
};

static struct fb_engine engine;
static const char *out;
static char *repo_dir;
static struct verdict *verdict; /* shared with the child */
static struct fb_digest right[2]; /* of each machine, before ... */
static bool known;                /* ... once it was restored */
static const char *const machines[2] = { "m1", "m2" };
static unsigned long tried, harmless, failures;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "hostile: %s: %s\n", what, why);
	exit(2);
}

static void
must(int rc, const char *what, const struct fb_error *err)
{
	if (rc < 0)
		die(what, err->msg);
}

/* ----------------------------------------------- what a directory holds */

static struct fb_buf walked;

static int
walk_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char target[4096];
	ssize_t len;

	(void)ftw;
	fb_buf_add_fmt(&walked, "%s %o %lld\n", path + strlen(out),
	    st->st_mode, S_ISREG(st->st_mode) ? (long long)st->st_size : 0LL);
	if (type == FTW_SL) {
		len = readlink(path, target, sizeof(target));
		fb_buf_add(&walked, target, len > 0 ? (size_t)len : 0);
	} else if (S_ISREG(st->st_mode)) {
		struct fb_error err;

		must(fb_io_read_file(path, 64u << 20, &walked, &err), path,
		    &err);
	}
	return 0;
}

struct name_list {
	char *names[256];
	size_t count;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Depth first, sorted, so that equal trees give equal bytes. */
static void
walk(const char *path)
{
	struct name_list list = { .count = 0 };
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	if (lstat(path, &st) == -1)
		return;
	(void)walk_one(path, &st, S_ISLNK(st.st_mode) ? FTW_SL : FTW_F, NULL);
	dir = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	while (dir != NULL && (entry = readdir(dir)) != NULL &&
	    list.count < FB_COUNT(list.names))
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			list.names[list.count++] =
			    fb_format("%s/%s", path, entry->d_name);
	if (dir != NULL)
		(void)closedir(dir);
	qsort(list.names, list.count, sizeof(*list.names), by_name);
	for (size_t i = 0; i < list.count; i++) {
		walk(list.names[i]);
		free(list.names[i]);
	}
}

static void
digest_tree(const char *path, struct fb_digest *ret_digest)
{
	fb_buf_clear(&walked);
	walk(path);
	fb_digest_of(fb_buf_span(&walked), ret_digest);
}

/* ------------------------------------------------------ what a child does */

static void
say(const char *text)
{
	if (verdict->said[0] == '\0')
		(void)snprintf(
		    verdict->said, sizeof(verdict->said), "%.299s", text);
}

/* Does the text speak of the object?  Of one that is gone or exchanged the
 * history may speak instead. */
static bool
speaks_of(const char *text, const char *key)
{
	const char *name = strrchr(key, '/');

	return strstr(text, key) != NULL ||
	    strstr(text, name != NULL ? name + 1 : key) != NULL ||
	    (strncmp(key, "commits/", 8) == 0 &&
	        strstr(text, "history of fleet") != NULL);
}

static void
verify_all(struct fb_repo *repo, const char *key)
{
	struct fb_verify_request request = { .depth = FB_VERIFY_FULL };
	struct fb_verify_report report = { 0 };
	struct fb_error err = { 0 };
	int rc = fb_verify(&engine, repo, &request, &report, &err);

	verdict->verify_done = rc == FB_OK;
	verdict->verify_rc = rc;
	verdict->named = rc < 0 && speaks_of(err.msg, key);
	if (rc < 0)
		say(err.msg);
	verdict->damages = report.damage_count;
	for (size_t i = 0; i < report.damage_count; i++) {
		const struct fb_verify_damage *damage = &report.damages[i];

		verdict->verify_rc = FB_ECORRUPT;
		if (speaks_of(damage->object, key) ||
		    speaks_of(damage->err.msg, key))
			verdict->named = true;
		say(damage->object);
	}
	fb_verify_report_release(&report);
}

static void
check_restored(const struct fb_restore_report *report)
{
	for (size_t i = 0; i < FB_COUNT(machines); i++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/%s", out, machines[i]);
		struct fb_digest digest;
		struct stat st;

		if (lstat(path, &st) == -1)
			continue;
		digest_tree(path, &digest);
		if (fb_digest_cmp(&digest, &right[i]) == 0)
			verdict->restored++;
		else
			verdict->wrong++;
	}
	for (size_t i = 0; i < report->result_count; i++)
		if (report->results[i].result == FB_RESULT_OK &&
		    verdict->restored + verdict->wrong == 0)
			verdict->wrong++; /* it says so, and it is not */
}

static void
restore_all(struct fb_repo *repo)
{
	struct fb_restore_options options = { .run = "latest",
		.all = true,
		.kind = FB_RESTORE_TO_DIR,
		.directory = out };
	struct fb_restore_report report = { 0 };
	struct fb_restore *restore = NULL;
	struct fb_error err = { 0 };

	if (fb_restore_prepare(
	        &engine, repo, &options, &restore, &report, &err) == FB_OK)
		(void)!fb_restore_run(restore, &report, &err);
	check_restored(&report);
	fb_restore_free(restore);
	fb_restore_report_release(&report);
}

static void
child(const char *key)
{
	struct fb_repo *repo = NULL;
	struct fb_error err = { 0 };
	int rc;

	(void)alarm(SECONDS_MAX);
	rc = fb_engine_repo(&engine, &repo, &err);
	if (rc < 0) {
		verdict->verify_rc = rc;
		verdict->named = speaks_of(err.msg, key) ||
		    rc == FB_EUNTRUSTED || rc == FB_ENOREPO;
		say(err.msg);
		return;
	}
	verify_all(repo, key);
	restore_all(repo);
	fb_repo_close(repo);
}

/* --------------------------------------------------------- one alteration */

static void
clean(void)
{
	FB_AUTO_FREE char *restores = fb_state_path(&engine, "restores");
	struct fb_error err;

	must(fb_io_remove_tree(out, &err), out, &err);
	must(fb_io_remove_tree(restores, &err), restores, &err);
}

/* Of no consequence: it says where to look, who is about, or how to. */
static bool
may_be_anything(const char *key)
{
	return strncmp(key, "hints/", 6) == 0 ||
	    strncmp(key, "sessions/", 9) == 0 ||
	    strcmp(key, "RESTORE.txt") == 0;
}

static void
complain(const char *key, const char *how, const char *what)
{
	failures++;
	printf("FAIL  %s, %s: %s (%s)\n", key, how, what, verdict->said);
	(void)fflush(stdout);
}

static void
look(const char *key, const char *how, bool expect_damage)
{
	struct rusage usage;
	int status;
	pid_t pid;

	memset(verdict, 0, sizeof(*verdict));
	clean();
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		child(key);
		_exit(0);
	}
	if (pid == -1 || wait4(pid, &status, 0, &usage) == -1)
		die("fork", strerror(errno));
	tried++;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		complain(key, how,
		    WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
		        ? "it did not end"
		        : "it crashed");
	else if (!SANITIZED && usage.ru_maxrss > RSS_MAX_KIB)
		complain(key, how, "it took much memory");
	else if (known && verdict->wrong > 0)
		complain(key, how, "something else was restored");
	else if (expect_damage && verdict->verify_rc == 0)
		complain(key, how, "verify is content");
	else if (expect_damage && !verdict->named)
		complain(key, how, "verify does not name it");
	else if (!expect_damage && verdict->verify_rc != 0)
		complain(key, how, "verify is not content");
	else if (known && !expect_damage &&
	    verdict->restored != FB_COUNT(machines))
		complain(key, how, "it is not restored");
	if (!expect_damage)
		harmless++;
}

/* ------------------------------------------------------ the alterations */

struct object {
	char *key, *path;
	uint8_t *bytes;
	size_t len;
};

static struct object objects[512];
static size_t object_count;
static unsigned sample, turn;

static void
put(const struct object *object, const uint8_t *bytes, size_t len)
{
	FILE *file;

	if (remove(object->path) == -1 && errno != ENOENT)
		die(object->path, strerror(errno));
	file = fopen(object->path, "we");
	if (file == NULL || fwrite(bytes, 1, len, file) != len ||
	    fclose(file) != 0)
		die(object->path, strerror(errno));
}

static bool
is_turn(void)
{
	return turn++ % sample == 0;
}

static void
try_bytes(const struct object *object, const uint8_t *bytes, size_t len,
    const char *how)
{
	if (!is_turn())
		return;
	put(object, bytes, len);
	look(object->key, how, !may_be_anything(object->key));
	put(object, object->bytes, object->len);
}

static void
flip_bits(const struct object *object, bool each)
{
	size_t steps = each || object->len < 12 ? object->len : 12;

	for (size_t i = 0; i < steps; i++) {
		size_t at = steps == 1 ? 0 : i * (object->len - 1) / (steps - 1);
		FB_AUTO_FREE uint8_t *bytes = fb_alloc(object->len, 1);
		FB_AUTO_FREE char *how = NULL;
		unsigned bit = (unsigned)(i * 5 + 1) % 8;

		memcpy(bytes, object->bytes, object->len);
		bytes[at] ^= (uint8_t)(1u << bit);
		how = fb_format("bit %u of byte %zu", bit, at);
		try_bytes(object, bytes, object->len, how);
	}
}

static void
change_length(const struct object *object)
{
	const size_t cuts[] = { 0, 1, object->len / 2, object->len - 1 };
	FB_AUTO_FREE uint8_t *longer = fb_alloc(object->len + 4096, 1);

	memcpy(longer, object->bytes, object->len);
	for (size_t i = 0; i < FB_COUNT(cuts); i++)
		if (cuts[i] < object->len && (i == 0 || cuts[i] > 0))
			try_bytes(object, longer, cuts[i], "cut");
	try_bytes(object, longer, object->len + 1, "a NUL more");
	try_bytes(object, longer, object->len + 4096, "4096 NULs more");
	longer[object->len] = '\n';
	try_bytes(object, longer, object->len + 1, "a newline more");
	/* A small object that claims to be large: nothing may be filled.
	 * Every one of them, for this is where a reader forgets a limit. */
	if (truncate(object->path, (off_t)1 << 40) == 0)
		look(object->key, "a tebibyte of holes",
		    !may_be_anything(object->key));
	put(object, object->bytes, object->len);
}

/* The bytes of another object in this one's place. */
static void
exchange(size_t number)
{
	const struct object *object = &objects[number];

	for (size_t step = 1; step < object_count; step += object_count / 3) {
		const struct object *other =
		    &objects[(number + step) % object_count];
		FB_AUTO_FREE char *how = fb_format("as %s", other->key);

		if (other->len != object->len ||
		    memcmp(other->bytes, object->bytes, object->len) != 0)
			try_bytes(object, other->bytes, other->len, how);
	}
}

static void
replace(const struct object *object)
{
	FB_AUTO_FREE char *copy = fb_format("%s.copy", out);
	static const char *const kinds[] = { "gone", "a directory",
		"a link to its copy", "a link to nothing", "a fifo",
		"a device" };

	for (size_t i = 0; i < FB_COUNT(kinds); i++) {
		struct object aside = *object;
		bool made;

		if (!is_turn())
			continue;
		if (unlink(object->path) == -1)
			die(object->path, strerror(errno));
		aside.path = copy;
		put(&aside, object->bytes, object->len);
		made = i == 0 ||
		    (i == 1 && mkdir(object->path, 0755) == 0) ||
		    (i == 2 && symlink(copy, object->path) == 0) ||
		    (i == 3 && symlink("/nonexistent", object->path) == 0) ||
		    (i == 4 && mkfifo(object->path, 0644) == 0) ||
		    (i == 5 && mknod(object->path, S_IFCHR | 0644, 0x105) == 0);
		/* Who verifies completes a signature that is gone. */
		if (made)
			look(object->key, kinds[i],
			    !may_be_anything(object->key) &&
			        (i > 0 || strstr(object->key, ".sig") ==
			                NULL ||
			            strncmp(object->key, "runs/", 5) != 0));
		(void)unlink(copy);
		put(object, object->bytes, object->len);
	}
}

/* ------------------------------------------------------------------ all */

static int
collect(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct object *object = &objects[object_count];
	struct fb_error err;

	(void)st;
	(void)ftw;
	if (type != FTW_F || object_count == FB_COUNT(objects))
		return 0;
	must(fb_io_read_file(path, 64u << 20, &bytes, &err), path, &err);
	if (bytes.len == 0) /* the end of a session */
		return 0;
	object->path = fb_strdup(path);
	object->key = fb_strdup(path + strlen(repo_dir) + 1);
	object->len = bytes.len;
	object->bytes = fb_buf_steal(&bytes);
	object_count++;
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct object *)a)->key,
	    ((const struct object *)b)->key);
}

static void
open_config(const char *path)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_config *config;
	struct fb_error err;
	FB_AUTO_FREE char *dir = fb_strdup(path);

	*strrchr(dir, '/') = '\0';
	must(fb_io_read_file(path, 1u << 20, &text, &err), path, &err);
	must(fb_config_parse(fb_buf_span(&text), path, dir, NULL, NULL,
	         &config, &err), path, &err);
	engine.config = config;
	repo_dir = fb_strdup(
	    config->repositories[0].url + strlen("file:"));
}

/* Before anything is altered all is well; what is restored is right. */
static void
look_first(void)
{
	look("nothing", "unaltered", false);
	for (size_t i = 0; i < FB_COUNT(machines); i++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/%s", out, machines[i]);

		digest_tree(path, &right[i]);
	}
	known = true;
	tried = harmless = 0;
	look("nothing", "unaltered", false);
	if (failures > 0)
		exit(1);
}

int
main(int argc, char **argv)
{
	if (argc != 4 || (sample = (unsigned)atoi(argv[3])) == 0) {
		fputs("usage: hostile CONFIG OUT SAMPLE\n", stderr);
		return 2;
	}
	out = argv[2];
	open_config(argv[1]);
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED)
		die("mmap", strerror(errno));
	look_first();
	if (nftw(repo_dir, collect, 16, FTW_PHYS) != 0)
		die(repo_dir, "cannot be walked");
	qsort(objects, object_count, sizeof(*objects), by_key);
	for (size_t i = 0; i < object_count; i++) {
		flip_bits(&objects[i],
		    strncmp(objects[i].key, "commits/", 8) == 0);
		change_length(&objects[i]);
		exchange(i);
		replace(&objects[i]);
	}
	look("nothing", "all put back", false);
	clean();
	printf("%lu alterations of %zu objects, %lu of no consequence, "
	       "%lu failures\n", tried, object_count, harmless, failures);
	return failures > 0;
}
