/* Computers and snapshots: documents by id, and directories. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

struct miosa miosa = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.families = "checkpoints,snapshots,account", .off_status = 404 };

void
miosa_now(char text[40])
{
	struct timespec now;
	struct tm tm;
	char seconds[24];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text, 40, "%s.%09ldZ", seconds, now.tv_nsec);
}

char *
miosa_new_id(const char *prefix)
{
	return fb_format("%s_%05ld", prefix, ++miosa.next);
}

const char *
miosa_get(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value != NULL ? value : "";
}

void
miosa_set(json_t *object, const char *name, const char *value)
{
	(void)json_object_set_new(object, name, json_string(value));
}

char *
miosa_dir(const char *kind, const char *id)
{
	return fb_format("%s/%s/%s", miosa.dir, kind, id);
}

bool
miosa_tool(const char *const argv[])
{
	extern char **environ;
	pid_t pid;
	int status = -1;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv,
	        environ) != 0)
		return false;
	return waitpid(pid, &status, 0) == pid && status == 0;
}

bool
miosa_copy_tree(const char *from, const char *to)
{
	FB_AUTO_FREE char *all = fb_format("%s/.", from);

	return mkdir(to, 0755) == 0 &&
	    miosa_tool((const char *const[]){
	        "cp", "-a", "--reflink=auto", "--", all, to, NULL });
}

void
miosa_remove_tree(const char *path)
{
	struct fb_error ignored = { 0 };

	(void)!fb_io_remove_tree(path, &ignored);
}

void
miosa_effect(const char *effect, const char *id, const char *other)
{
	FB_AUTO_FREE char *path = fb_format("%s/effects", miosa.dir);
	FILE *file = fopen(path, "ae");

	if (file == NULL) {
		perror(path);
		exit(1);
	}
	(void)fprintf(file, "%s %s%s%s\n", effect, id,
	    other != NULL ? " " : "", other != NULL ? other : "");
	(void)fclose(file);
}

/* "_then" are the statuses to come, each to be seen "_polls" times. */
void
miosa_becomes(const struct miosa_request *request, json_t *object,
    const char *now, const char *then)
{
	char updated[40];
	int64_t polls =
	    request->on[MIOSA_POLLS] ? request->argument[MIOSA_POLLS] : 1;

	if (request->on[MIOSA_BECOMES])
		then = request->text[MIOSA_BECOMES];
	miosa_now(updated);
	miosa_set(object, "updated_at", updated);
	miosa_set(object, "status", now);
	miosa_set(object, "_then", then);
	(void)json_object_set_new(
	    object, "_polls", json_integer((json_int_t)polls));
}

void
miosa_finish(json_t *object)
{
	const char *then = miosa_get(object, "_then");

	if (then[0] == '\0')
		return;
	miosa_set(object, "status", strcmp(then, "-") == 0 ? "" : then);
	(void)json_object_del(object, "_then");
}

void
miosa_look(json_t *object)
{
	json_int_t polls =
	    json_integer_value(json_object_get(object, "_polls"));

	if (polls > 0)
		(void)json_object_set_new(
		    object, "_polls", json_integer(polls - 1));
	else
		miosa_finish(object);
}

static json_t *
load(const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", miosa.dir, name);

	return json_load_file(path, 0, NULL);
}

/* What DIR/machines.json gives to begin with. */
static void
begin(void)
{
	json_t *list = load("machines.json"), *item;
	size_t index;

	if (!json_is_array(list)) {
		(void)fprintf(stderr, "miosa: no list in machines.json\n");
		exit(3);
	}
	json_array_foreach(list, index, item) {
		FB_AUTO_FREE char *dir =
		    miosa_dir("computers", miosa_get(item, "id"));

		if (json_object_get(item, "created_at") == NULL)
			miosa_set(item, "created_at", "2026-01-01T00:00:00Z");
		(void)mkdir(dir, 0755);
		(void)json_object_set(
		    miosa.computers, miosa_get(item, "id"), item);
	}
	json_decref(list);
}

void
miosa_load(void)
{
	static const char *const dirs[] = { "computers", "snapshots", "tmp" };
	json_t *state = load("state.json");

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		FB_AUTO_FREE char *dir =
		    fb_format("%s/%s", miosa.dir, dirs[i]);

		(void)mkdir(dir, 0755);
	}
	miosa.tickets = json_object();
	if (state == NULL) {
		miosa.computers = json_object();
		miosa.snapshots = json_object();
		miosa.keys = json_object();
		begin();
		return;
	}
	if (json_unpack(state, "{s:O,s:O,s:O}", "computers",
	        &miosa.computers, "snapshots", &miosa.snapshots, "keys",
	        &miosa.keys) != 0)
		exit(3);
	miosa.next =
	    (long)json_integer_value(json_object_get(state, "next"));
	json_decref(state);
}

void
miosa_save(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/state.json", miosa.dir);
	FB_AUTO_FREE char *made = fb_format("%s/state.json.new", miosa.dir);
	json_t *state = json_pack("{s:O,s:O,s:O,s:I}", "computers",
	    miosa.computers, "snapshots", miosa.snapshots, "keys", miosa.keys,
	    "next", (json_int_t)miosa.next);

	if (json_dump_file(state, made, JSON_INDENT(1)) != 0 ||
	    rename(made, path) != 0)
		perror(path);
	json_decref(state);
}
