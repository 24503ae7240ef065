/* Disks: frozen, put back, and written by guests that run. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "morpheus.h"

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

static char *
real_path(const struct mo_server *server, const char *file)
{
	return fb_format("%s/%s/%s", mo.dir, server->dir, file);
}

static char *
seen_path(const struct mo_server *server, const char *file)
{
	return mo.seen_as != NULL ? fb_format("%s/%s", mo.seen_as, file)
	                          : real_path(server, file);
}

int64_t
mo_size(const struct mo_server *server, const char *file)
{
	FB_AUTO_FREE char *path = real_path(server, file);
	struct stat st;

	return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* In place, so that the inode stays; holes stay holes as far as copies go. */
static void
copy(const struct mo_server *server, const char *from, const char *to)
{
	FB_AUTO_FREE char *source = real_path(server, from);
	FB_AUTO_FREE char *target = real_path(server, to);
	FB_AUTO_CLOSE int in = open(source, O_RDONLY | O_CLOEXEC);
	FB_AUTO_CLOSE int out =
	    open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n = in >= 0 && out >= 0 ? 1 : -1;

	while (n > 0)
		n = copy_file_range(in, NULL, out, NULL, 1 << 24, 0);
	if (n < 0)
		mo_log("! 0 %s does not become %s\n", source, target);
}

/* At the beginning of each MiB, and at the end. */
static void
scribble(const struct mo_server *server, const char *file)
{
	static uint64_t counter;
	FB_AUTO_FREE char *path = real_path(server, file);
	FB_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	int64_t size = mo_size(server, file);

	counter++;
	for (int64_t at = 0; fd >= 0 && at + 8 <= size; at += 1 << 20)
		if (pwrite(fd, &counter, 8, at) != 8)
			return;
	if (fd >= 0 && size >= 8 && pwrite(fd, &counter, 8, size - 8) != 8)
		return;
}

void
mo_scribble(void)
{
	for (size_t i = 0; i < MO_MAX; i++) {
		struct mo_server *server = mo.servers[i];

		if (server == NULL || !server->on ||
		    !json_is_true(json_object_get(server->doc, "writes")))
			continue;
		for (size_t v = 0; v < server->volume_count; v++)
			if (!server->volumes[v].cd)
				scribble(server, server->volumes[v].file);
	}
	for (size_t i = 0; i < MO_MAX; i++) {
		struct mo_snapshot *snapshot = mo.snapshots[i];

		for (size_t f = 0; snapshot != NULL && f < snapshot->file_count;
		     f++)
			if (snapshot->files[f].moving)
				scribble(snapshot->server,
				    snapshot->files[f].frozen);
	}
}

/* The first line that losetup prints, or NULL. */
static char *
ask_losetup(const char *const *argv)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = { .argv = argv, .lock_fd = -1 };
	struct fb_error err = { 0 };
	char *line;

	if (fb_child_run(&spec, &result, &err) < 0 || result.exit_code != 0)
		return NULL;
	line = fb_strdup(fb_buf_str(&result.out));
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static bool
is_how(const struct mo_snapshot *snapshot, const char *how)
{
	return strcmp(snapshot->how, how) == 0;
}

/* "copy": the frozen bytes are in a new file; "overlay": in the file that was
 * live, and the machine goes on in a new one. */
static void
freeze(struct mo_snapshot *snapshot, struct mo_file *file)
{
	struct mo_server *server = snapshot->server;
	struct mo_volume *volume = file->volume;
	json_t *style = json_object_get(server->doc, "style");
	char *other = fb_format(is_how(snapshot, "odd")
	        ? "%s-snap-%lld $(touch odd) 'a\" ;b"
	        : "%s-snap-%lld",
	    volume->file, (long long)snapshot->id);

	copy(server, volume->file, other);
	file->frozen = other;
	if (json_is_string(style) &&
	    strcmp(json_string_value(style), "overlay") == 0) {
		file->frozen = volume->file;
		volume->file = other;
	}
	file->path = seen_path(server, volume->file);
}

static void
drop(const struct mo_server *server, const char *file)
{
	FB_AUTO_FREE char *path = real_path(server, file);

	(void)unlink(path);
}

/* Another name of the live disk. */
static char *
link_live(const struct mo_snapshot *snapshot, struct mo_file *file)
{
	FB_AUTO_FREE char *name = fb_format("%s.exported", file->frozen);
	FB_AUTO_FREE char *link = real_path(snapshot->server, name);

	(void)unlink(link);
	if (symlink(file->path, link) != 0)
		mo_log("! 0 no link %s\n", link);
	return seen_path(snapshot->server, name);
}

/* Where its bytes are said to be. */
static void export(const struct mo_snapshot *snapshot, struct mo_file *file)
{
	struct mo_server *server = snapshot->server;
	FB_AUTO_FREE char *real = real_path(server, file->frozen);

	if (!snapshot->for_export || is_how(snapshot, "missing"))
		return;
	if (is_how(snapshot, "live"))
		file->export = fb_strdup(file->path);
	else if (is_how(snapshot, "link"))
		file->export = link_live(snapshot, file);
	else if (is_how(snapshot, "gone"))
		file->export = fb_format("%s.gone", file->path);
	else if (is_how(snapshot, "relative"))
		file->export = fb_strdup(file->frozen);
	else if (strcmp(file->volume->type, "rbd") == 0)
		file->export = fb_format("pool/%s@snap", file->frozen);
	else if (strcmp(file->volume->type, "block") == 0) {
		file->loop = ask_losetup((const char *const[]){ "losetup",
		    "--find", "--show", "--read-only", real, NULL });
		file->export =
		    file->loop != NULL ? fb_strdup(file->loop) : NULL;
	} else
		file->export = seen_path(server, file->frozen);
	file->moving = is_how(snapshot, "moving");
}

void
mo_freeze(struct mo_snapshot *snapshot)
{
	struct mo_server *server = snapshot->server;

	for (size_t i = 0; i < server->volume_count; i++) {
		struct mo_volume *volume = &server->volumes[i];
		struct mo_file *file = &snapshot->files[snapshot->file_count];

		if (volume->cd && !snapshot->with_cd)
			continue;
		file->volume = volume;
		freeze(snapshot, file);
		export(snapshot, file);
		snapshot->file_count++;
	}
}

void
mo_unfreeze(struct mo_snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->file_count; i++) {
		struct mo_file *file = &snapshot->files[i];
		FB_AUTO_FREE char *link =
		    fb_format("%s.exported", file->frozen);

		if (file->loop != NULL) {
			FB_AUTO_FREE char *said =
			    ask_losetup((const char *const[]){ "losetup",
			        "--detach", file->loop, NULL });
		}
		drop(snapshot->server, link);
		drop(snapshot->server, file->frozen);
		free(file->frozen);
		free(file->path);
		free(file->export);
		free(file->loop);
	}
	snapshot->file_count = 0;
}

void
mo_put_back(struct mo_snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->file_count; i++)
		if (!snapshot->files[i].volume->cd)
			copy(snapshot->server, snapshot->files[i].frozen,
			    snapshot->files[i].volume->file);
}
