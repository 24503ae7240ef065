#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

#include "../../src/driver/behind.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/artifact.h"

#define SIZE (20u << 20)
#define STEP (1u << 20)

static struct fb_error err;

static size_t
pages_in_cache(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = SIZE / page, n = 0;
	FB_AUTO_FREE uint8_t *there = fb_alloc(count, 1);
	void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, SIZE, there), 0);
	for (size_t i = 0; i < count; i++)
		n += there[i] & 1;
	(void)munmap(map, SIZE);
	return n;
}

static void
read_all(const char *path)
{
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(STEP, 1);

	assert_ok(fb_artifact_open_file(path, &artifact, &err));
	for (uint64_t at = 0; at < SIZE; at += STEP) {
		assert_ok(
		    artifact->ops->read(artifact, at, bytes, STEP, &err));
		assert_int_equal(bytes[STEP - 1], (int)(at / STEP));
	}
}

static int
make_file(char *path)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(STEP, 1);
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	for (size_t at = 0; at < SIZE; at += STEP) {
		memset(bytes, (int)(at / STEP), STEP);
		assert_int_equal(pwrite(fd, bytes, STEP, (off_t)at), STEP);
	}
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Of memory nothing can be dropped; of a disk's file all was. */
static void
what_was_not_in_memory_is_not_left_there(void **state)
{
	char path[] = "/var/tmp/behind.XXXXXX";
	FB_AUTO_CLOSE int fd = make_file(path);
	size_t before;

	(void)state;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	before = pages_in_cache(fd);
	read_all(path);
	assert_true(pages_in_cache(fd) <= before);
	(void)unlink(path);
}

static void
what_somebody_works_with_stays_in_memory(void **state)
{
	char path[] = "/var/tmp/behind.XXXXXX";
	FB_AUTO_CLOSE int fd = make_file(path);
	struct fb_behind behind;
	size_t before;

	(void)state;
	before = pages_in_cache(fd);
	assert_int_equal(before, SIZE / (size_t)sysconf(_SC_PAGESIZE));
	fb_behind_begin(&behind, fd, SIZE);
	assert_false(behind.drops);
	read_all(path);
	assert_int_equal(pages_in_cache(fd), before);
	(void)unlink(path);
}

static void
a_small_file_is_left_alone(void **state)
{
	char path[] = "/var/tmp/behind.XXXXXX";
	FB_AUTO_CLOSE int fd = mkstemp(path);
	struct fb_behind behind;

	(void)state;
	fb_behind_begin(&behind, fd, 0);
	assert_false(behind.drops);
	fb_behind_note(&behind, 0, 0);
	fb_behind_end(&behind);
	(void)unlink(path);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_not_in_memory_is_not_left_there),
		cmocka_unit_test(what_somebody_works_with_stays_in_memory),
		cmocka_unit_test(a_small_file_is_left_alone),
	};

	return cmocka_run_group_tests_name("behind", tests, NULL, NULL);
}
