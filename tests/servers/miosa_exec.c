/* Commands in a computer: really carried out, with its directory as the root
 * and this machine's programs; root may do that, in a mount namespace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

#define OUT_MAX 100000

/* What is lent is taken away again. */
static const char inside[] =
    "root=$1 out=$2 seconds=$3 at=$4 command=$5\n"
    "mkdir -p \"$root/tmp\" && chmod 1777 \"$root/tmp\"\n"
    "lent=\n"
    "for d in usr dev; do [ -e \"$root/$d\" ] || {\n"
    "	mkdir \"$root/$d\"; lent=\"$lent $d\"\n"
    "	mount --rbind /$d \"$root/$d\"; }; done\n"
    "links=\n"
    "for l in bin sbin lib lib64; do\n"
    "	[ -e \"$root/$l\" ] || [ -L \"$root/$l\" ] || ! [ -e /usr/$l ] || {\n"
    "	ln -s usr/$l \"$root/$l\"; links=\"$links $l\"; }; done\n"
    "PATH=/usr/bin:/bin:/usr/sbin:/sbin timeout -k 1 \"$seconds\" chroot"
    " \"$root\" sh -c 'cd \"$1\" && exec sh -c \"$2\"' sh \"$at\" \"$command\""
    " >\"$out.out\" 2>\"$out.err\" </dev/null; rc=$?\n"
    "for d in $lent; do umount -l \"$root/$d\"; rmdir \"$root/$d\"; done\n"
    "for l in $links; do rm -f \"$root/$l\"; done\n"
    "echo $rc >\"$out.rc\"\n";

static char *
taken(const char *base, const char *end)
{
	FB_AUTO_FREE char *path = fb_format("%s.%s", base, end);
	FILE *file = fopen(path, "re");
	char *text = fb_alloc(OUT_MAX + 1, 1);

	if (file != NULL) {
		text[fread(text, 1, OUT_MAX, file)] = '\0';
		(void)fclose(file);
		(void)unlink(path);
	}
	return text;
}

static json_t *
shown(const char *text)
{
	json_t *json = json_string(text);

	return json != NULL ? json : json_string("(not UTF-8)");
}

static void
run(struct miosa_request *request, const char *dir, const char *command,
    long seconds, const char *at)
{
	FB_AUTO_FREE char *base = fb_format("%s/tmp/exec.%ld", miosa.dir,
	    ++miosa.next);
	FB_AUTO_FREE char *limit = fb_format("%ld", seconds);
	FB_AUTO_FREE char *out = NULL, *err = NULL, *rc = NULL;
	bool good = miosa_tool((const char *const[]){ "unshare", "-m", "sh",
	    "-c", inside, "sh", dir, base, limit, at, command, NULL });

	out = taken(base, "out");
	err = taken(base, "err");
	rc = taken(base, "rc");
	if (!good || rc[0] == '\0') {
		miosa_error(request, 501, "NOT_IMPLEMENTED",
		    "only root may run commands here: %.300s", err);
		return;
	}
	miosa_object(request, 200, "result",
	    json_pack("{s:i,s:o,s:o}", "exit_code",
	        (int)strtol(rc, NULL, 10), "stdout", shown(out), "stderr",
	        shown(err)),
	    NULL);
}

/* "timeout" is seconds, as the newer client has it. */
void
miosa_exec(struct miosa_request *request, json_t *computer)
{
	const char *id = miosa_get(computer, "id");
	const char *command = miosa_get(request->json, "command");
	const char *at = miosa_get(request->json, "working_dir");
	FB_AUTO_FREE char *dir = miosa_dir("computers", id);
	json_int_t seconds =
	    json_integer_value(json_object_get(request->json, "timeout"));

	if (strcmp(miosa_get(computer, "status"), "running") != 0 &&
	    strcmp(miosa_get(computer, "status"), "active") != 0) {
		miosa_error(
		    request, 409, "CONFLICT", "Computer is not running");
		return;
	}
	if (command[0] == '\0') {
		miosa_error(request, 422, "VALIDATION_ERROR",
		    "command can't be blank");
		return;
	}
	miosa_effect("exec", id, NULL);
	run(request, dir, command, seconds > 0 ? (long)seconds : 30,
	    at[0] != '\0' ? at : "/");
}
