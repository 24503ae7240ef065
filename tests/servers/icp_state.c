/* Canisters and their snapshots: one document under a lock, and directories. */
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "icp.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

struct icp icp = { .lock = -1 };

static void
add_line(const char *name, const char *line)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", icp.dir, name);
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

	if (fd == -1 || write(fd, line, strlen(line)) == -1) {
		perror(path);
		exit(70);
	}
	(void)close(fd);
}

static char *
one_line(const char *prefix, const char *fmt, va_list args)
{
	char text[2048];

	(void)vsnprintf(text, sizeof(text), fmt, args);
	for (char *c = text; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	return fb_format("%s%d %s\n", prefix, (int)getpid(), text);
}

void
icp_log(const char *fmt, ...)
{
	FB_AUTO_FREE char *line = NULL;
	va_list args;

	va_start(args, fmt);
	line = one_line("", fmt, args);
	va_end(args);
	add_line("log", line);
}

void
icp_complain(const char *fmt, ...)
{
	FB_AUTO_FREE char *line = NULL;
	va_list args;

	va_start(args, fmt);
	line = one_line("! ", fmt, args);
	va_end(args);
	add_line("log", line);
}

void
icp_effect(const char *effect, const char *id, const char *snapshot)
{
	FB_AUTO_FREE char *line = fb_format("%s %s%s%s\n", effect, id,
	    snapshot != NULL ? " " : "", snapshot != NULL ? snapshot : "");

	add_line("effects", line);
}

_Noreturn void
icp_exit(int status)
{
	icp_log("end %d %s", status, icp.line);
	if (icp.state != NULL)
		icp_close();
	exit(status);
}

_Noreturn void
icp_error(const char *fmt, ...)
{
	va_list args;

	(void)fputs("Error: ", stderr);
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fputs("\n", stderr);
	icp_exit(1);
}

const char *
icp_get(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value != NULL ? value : "";
}

/* DIR/canisters.json is what there is to begin with. */
static json_t *
begin(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/canisters.json", icp.dir);
	json_t *list = json_load_file(path, 0, NULL), *canister;
	json_t *all = json_object();
	size_t index;

	if (!json_is_array(list)) {
		(void)fprintf(stderr, "icp: no list in %s\n", path);
		exit(70);
	}
	json_array_foreach(list, index, canister) {
		(void)json_object_set_new(
		    canister, "snapshots", json_object());
		(void)json_object_set(all, icp_get(canister, "id"), canister);
	}
	json_decref(list);
	return json_pack("{s:o,s:i,s:{}}", "canisters", all, "next", 0,
	    "seen");
}

void
icp_open(void)
{
	FB_AUTO_FREE char *lock = fb_format("%s/lock", icp.dir);
	FB_AUTO_FREE char *path = fb_format("%s/state.json", icp.dir);

	icp.lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (icp.lock == -1 || flock(icp.lock, LOCK_EX) == -1) {
		perror(lock);
		exit(70);
	}
	icp.state = json_load_file(path, 0, NULL);
	if (icp.state == NULL)
		icp.state = begin();
}

void
icp_close(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/state.json", icp.dir);
	FB_AUTO_FREE char *made = fb_format("%s/state.json.new", icp.dir);

	if (json_dump_file(icp.state, made, JSON_INDENT(1)) != 0 ||
	    rename(made, path) != 0) {
		perror(path);
		exit(70);
	}
	json_decref(icp.state);
	icp.state = NULL;
	(void)close(icp.lock);
}

json_t *
icp_canister(size_t word)
{
	const char *id = icp.count > word ? icp.words[word] : "";
	json_t *canister = json_object_get(
	    json_object_get(icp.state, "canisters"), id);

	if (canister == NULL)
		icp_error("Canister %s was not found.", id);
	return canister;
}

json_t *
icp_snapshot(json_t *canister, const char *id)
{
	json_t *snapshot = json_object_get(
	    json_object_get(canister, "snapshots"), id);

	if (id[0] == '\0' || strspn(id, "0123456789abcdefABCDEF") != strlen(id))
		icp_complain("a snapshot's id that is no hexadecimal: %s", id);
	if (snapshot == NULL)
		icp_error("The replica returned a rejection error: reject "
		          "code CanisterReject, reject message Could not find "
		          "the snapshot ID %s in canister %s, error code "
		          "Some(\"IC0516\")",
		    id, icp_get(canister, "id"));
	return snapshot;
}

char *
icp_canister_dir(const json_t *canister)
{
	return fb_format(
	    "%s/canisters/%s", icp.dir, icp_get(canister, "id"));
}

char *
icp_snapshot_dir(const json_t *canister, const char *id)
{
	return fb_format(
	    "%s/snapshots/%s-%s", icp.dir, icp_get(canister, "id"), id);
}

int64_t
icp_size(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* NULL: no module. */
char *
icp_module_hash(const char *dir)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, icp_blobs[0]);
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fb_digest digest;
	uint8_t bytes[4096];
	char hex[65];
	FILE *file;
	size_t n;

	if (icp_size(dir, icp_blobs[0]) <= 0)
		return NULL;
	file = fopen(path, "re");
	while (file != NULL && (n = fread(bytes, 1, sizeof(bytes), file)) > 0)
		fb_digester_add(digester, (struct fb_span){ bytes, n });
	if (file != NULL)
		(void)fclose(file);
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	return fb_strdup(hex);
}

void
icp_tool(const char *const argv[])
{
	extern char **environ;
	pid_t pid;
	int status = -1;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv,
	        environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0) {
		icp_complain("the stand-in cannot run %s", argv[0]);
		exit(70);
	}
}
