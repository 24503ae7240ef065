/* A volume that libvirt takes the bytes of, in the place of which is memory. */
#include "test.h"

#include <string.h>

#include "../../src/driver/libvirt_upload.h"

#define SIZE 64

static struct fb_error err;

static struct {
	char bytes[SIZE];
	size_t at, room; /* from there on nothing is kept, and nobody says so */
	unsigned uploads;
} volume;

static int
keep_connection(virConnectPtr connection)
{
	(void)connection;
	return 0;
}

static int
free_volume(virStorageVolPtr ignored)
{
	(void)ignored;
	return 0;
}

static virStreamPtr
new_stream(virConnectPtr connection, unsigned flags)
{
	(void)connection, (void)flags;
	return (virStreamPtr)&volume;
}

static int
end_stream(virStreamPtr stream)
{
	(void)stream;
	return 0;
}

static int
begin_upload(virStorageVolPtr ignored, virStreamPtr stream,
    unsigned long long offset, unsigned long long len, unsigned flags)
{
	(void)ignored, (void)stream, (void)len, (void)flags;
	volume.at = offset;
	volume.uploads++;
	return 0;
}

static int
begin_download(virStorageVolPtr ignored, virStreamPtr stream,
    unsigned long long offset, unsigned long long len, unsigned flags)
{
	(void)ignored, (void)stream, (void)len, (void)flags;
	volume.at = offset;
	return 0;
}

/* Not all at once. */
static int
send_some(virStreamPtr stream, const char *bytes, size_t len)
{
	size_t some = len > 3 ? 3 : len;

	(void)stream;
	for (size_t i = 0; i < some; i++, volume.at++)
		if (volume.at < volume.room)
			volume.bytes[volume.at] = bytes[i];
	return (int)some;
}

static int
receive_some(virStreamPtr stream, char *bytes, size_t len)
{
	size_t some = len > 5 ? 5 : len;

	(void)stream;
	memcpy(bytes, volume.bytes + volume.at, some);
	volume.at += some;
	return (int)some;
}

static struct fb_target *
open_volume(size_t room)
{
	struct fb_target *target = NULL;

	memset(&volume, 0, sizeof(volume));
	memset(volume.bytes, 'x', sizeof(volume.bytes));
	volume.room = room;
	fb_libvirt.virConnectRef = keep_connection;
	fb_libvirt.virConnectClose = keep_connection;
	fb_libvirt.virStorageVolFree = free_volume;
	fb_libvirt.virStreamNew = new_stream;
	fb_libvirt.virStreamAbort = end_stream;
	fb_libvirt.virStreamFinish = end_stream;
	fb_libvirt.virStreamFree = end_stream;
	fb_libvirt.virStreamSend = send_some;
	fb_libvirt.virStreamRecv = receive_some;
	fb_libvirt.virStorageVolUpload = begin_upload;
	fb_libvirt.virStorageVolDownload = begin_download;
	assert_ok(fb_libvirt_upload_open((virConnectPtr)&volume,
	    (virStorageVolPtr)&volume, "volume 'a'", SIZE, &target, &err));
	return target;
}

static void
put(struct fb_target *target, uint64_t offset, const char *bytes)
{
	assert_ok(target->ops->write(
	    target, offset, bytes, strlen(bytes), &err));
}

static void
what_was_written_is_there_or_it_is_said(void **state)
{
	static const struct {
		size_t room;
		bool there;
	} cases[] = { { SIZE, true }, { 40, true }, { 39, false },
		{ 30, false }, { 12, false }, { 9, false }, { 0, false } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_TARGET struct fb_target *target =
		    open_volume(cases[i].room);
		int rc;

		put(target, 4, "some");
		put(target, 8, "more");
		assert_ok(target->ops->zero(target, 20, 20, &err));
		assert_int_equal(volume.uploads, 2);
		rc = target->ops->sync(target, &err);
		if ((rc == FB_OK) != cases[i].there)
			fail_msg("room for %zu: %s", cases[i].room,
			    rc == FB_OK ? "nothing is said" : err.msg);
		if (rc < 0)
			assert_fails(rc, target->ops->sync(target, &err));
	}
}

static void
what_is_written_again_counts(void **state)
{
	FB_AUTO_TARGET struct fb_target *target = open_volume(SIZE);
	char now[9] = "";

	(void)state;
	put(target, 8, "old one");
	put(target, 8, "new");
	put(target, 30, "behind");
	put(target, 4, "before");
	assert_ok(target->ops->sync(target, &err));
	assert_ok(target->ops->read(target, 4, now, 8, &err));
	assert_string_equal(now, "beforew ");
	/* Proven once. */
	volume.bytes[8] = '!';
	assert_ok(target->ops->sync(target, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_there_or_it_is_said),
		cmocka_unit_test(what_is_written_again_counts),
	};

	if (fb_libvirt_load() != NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
