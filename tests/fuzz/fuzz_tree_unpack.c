/*
 * Hostile archives: whatever they name, nothing outside the root is written,
 * changed or removed.
 *
 * An input is a list of members, one per line: "<type> <name>[ <target>]";
 * the target's bytes are the content, too.  So the fuzzer works on names
 * instead of checksums.  A first line "mirror" mirrors; with a first line
 * "raw" the rest are the archive's bytes as they are.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/driver/tree.h"
#include "fuzz.h"

#define BLOCK 512u

struct feed {
	struct fb_span rest;
};

static int
next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct feed *feed = arg;
	size_t len = feed->rest.len < 1000 ? feed->rest.len : 1000;

	(void)err;
	*ret_bytes = (struct fb_span){ feed->rest.ptr, len };
	feed->rest.ptr += len;
	feed->rest.len -= len;
	return FB_OK;
}

static void
add_blocks(struct fb_buf *dst, const void *bytes, size_t len)
{
	static const uint8_t zeros[BLOCK];

	fb_buf_add(dst, bytes, len);
	if (len % BLOCK != 0)
		fb_buf_add(dst, zeros, BLOCK - len % BLOCK);
}

static void
add_member(struct fb_buf *dst, char type, struct fb_span name,
    struct fb_span target)
{
	char block[BLOCK] = { 0 };
	bool file = type == '0' || type == 'x';
	unsigned sum = 0;

	memcpy(block, name.ptr, name.len < 100 ? name.len : 100);
	memcpy(block + 100, "0000755", 7);
	memcpy(block + 108, "0000000", 7);
	memcpy(block + 116, "0000000", 7);
	(void)snprintf(block + 124, 12, "%011o",
	    file ? (unsigned)target.len & 0xffffff : 0);
	memcpy(block + 136, "00000001000", 11);
	memset(block + 148, ' ', 8);
	block[156] = type;
	memcpy(block + 157, target.ptr, target.len < 100 ? target.len : 100);
	memcpy(block + 257, "ustar\00000", 8);
	memcpy(block + 329, "0000001", 7);
	memcpy(block + 337, "0000003", 7);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (uint8_t)block[i];
	(void)snprintf(block + 148, 8, "%06o", sum);
	fb_buf_add(dst, block, BLOCK);
	if (file && target.len > 0)
		add_blocks(dst, target.ptr, target.len);
}

static void
add_line(struct fb_buf *dst, struct fb_span line)
{
	struct fb_span name, target = { line.ptr, 0 };
	const uint8_t *space;

	if (line.len < 3)
		return;
	name = (struct fb_span){ line.ptr + 2, line.len - 2 };
	space = memchr(name.ptr, ' ', name.len);
	if (space != NULL) {
		target.ptr = space + 1;
		target.len = (size_t)(name.ptr + name.len - target.ptr);
		name.len = (size_t)(space - name.ptr);
	}
	add_member(dst, (char)line.ptr[0], name, target);
}

/* The archive that the input describes; whether to mirror. */
static bool
make_archive(struct fb_span input, struct fb_buf *archive)
{
	struct fb_span rest = input;
	struct fb_span first = take_line(&rest);
	bool mirror = span_is(first, "mirror");

	if (span_is(first, "raw")) {
		fb_buf_add(archive, rest.ptr, rest.len);
		return false;
	}
	if (!mirror)
		rest = input;
	while (rest.len > 0)
		add_line(archive, take_line(&rest));
	memset(fb_buf_reserve(archive, 2 * BLOCK), 0, 2 * BLOCK);
	archive->len += 2 * BLOCK;
	return mirror;
}

static void
make_world(const char *dir)
{
	FB_AUTO_FREE char *in = fb_format("%s/in", dir);
	FB_AUTO_FREE char *out = fb_format("%s/out", dir);
	FB_AUTO_FREE char *file = fb_format("%s/out/file", dir);
	FB_AUTO_FREE char *link = fb_format("%s/in/old", dir);
	FB_AUTO_FREE char *sub = fb_format("%s/in/d", dir);

	must(mkdir(in, 0700) == 0 && mkdir(out, 0700) == 0 &&
	    mkdir(sub, 0700) == 0 && symlink("../out", link) == 0);
	put_file(file, (struct fb_span){ (const uint8_t *)"canary", 6 });
	must(chmod(file, 0600) == 0);
}

static int
count(void *arg, const char *path, struct fb_error *err)
{
	(void)err;
	if (strncmp(path, "in/", 3) != 0)
		++*(unsigned *)arg;
	return FB_OK;
}

/* Beside "in": "out", "out/file", and nothing else, as they were. */
static void
check_world(const char *dir)
{
	FB_AUTO_FREE char *file = fb_format("%s/out/file", dir);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_error err;
	struct stat st;
	unsigned outside = 0;

	must(fb_tree_list(dir, NULL, count, &outside, &err) == FB_OK);
	must(outside == 3);
	must(lstat(file, &st) == 0 && S_ISREG(st.st_mode) &&
	    (st.st_mode & 07777) == 0600 && st.st_nlink == 1);
	must(fb_io_read_file(file, 100, &bytes, &err) == FB_OK);
	must(bytes.len == 6 && memcmp(bytes.data, "canary", 6) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_FREE char *dir = fb_format("%s/world", scratch_dir());
	FB_AUTO_FREE char *root = NULL;
	FB_AUTO_BUF struct fb_buf archive = { 0 };
	struct fb_tree_options options = { 0 };
	struct fb_error err;
	struct feed feed;
	struct fb_pull pull = { &feed, next };

	if (size > 65536)
		return 0;
	must(mkdir(dir, 0700) == 0);
	make_world(dir);
	root = fb_format("%s/in", dir);
	options.mirror =
	    make_archive((struct fb_span){ data, size }, &archive);
	feed.rest = fb_buf_span(&archive);
	(void)!fb_tree_unpack(root, &pull, &options, NULL, &err);
	check_world(dir);
	must(fb_io_remove_tree(dir, &err) == FB_OK);
	return 0;
}
