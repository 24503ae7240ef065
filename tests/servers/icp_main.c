/*
 * A stand-in for the `icp` command of the Internet Computer, for tests: it
 * knows canisters and their snapshots of a directory.
 *
 * The directory DIR is ICP_STAND_IN of the environment; without it, the
 * program's name as it was begun, with ".dir" behind: a link $work/icp to the
 * program has $work/icp.dir.
 *
 *	canisters.json  what is there to begin with: [{"id", "status":
 *	                "Running" or "Stopped", "role"?, "kind"?, "parent"?,
 *	                "controllers"?, "registered"?: false, where the root does
 *	                not know it}], in the registry's order
 *	canisters/ID/   wasm_module.bin, wasm_memory.bin, stable_memory.bin
 *	snapshots/      ID-SNAPSHOT/, the same files
 *	rules           what goes wrong, read by each run
 *	log             "PID begin ARGUMENTS", "PID end STATUS ARGUMENTS" and
 *	                "! PID WHAT" for what nobody may do
 *	effects         a line for each thing that was really done: "stop ID",
 *	                "start ID" ("stop-again", "start-again": it was so),
 *	                "create ID SNAPSHOT", "download ID SNAPSHOT" (each run),
 *	                "upload ID SNAPSHOT" (not where it goes on),
 *	                "restore ID SNAPSHOT", "delete ID SNAPSHOT"
 *	environment     when it is there: -e or -n must be the word in it
 *	identity        when it is there: --identity must be the word in it
 *	password        when it is there: --identity-password-file must hold it
 *
 *	icp --version                       "icp 1.2.0"
 *	icp canister status ID [--json]     one line; status "Running",
 *	                                    "Stopping", "Stopped"; module_hash
 *	                                    "0x..." or null; settings.controllers
 *	icp canister stop|start ID          no output
 *	icp canister call ROOT canic_subnet_registry '()' [--json] [--query]
 *	icp canister snapshot create ID [--json|-q] [--replace SNAPSHOT]
 *	                         {"snapshot_id","taken_at_timestamp" (ns, a
 *	                         number),"total_size_bytes"}; only when stopped
 *	icp canister snapshot list ID [--json|-q]       {"snapshots":[...]}
 *	icp canister snapshot download ID SNAPSHOT --output D [--resume]
 *	icp canister snapshot upload ID --input D [--resume] [--json|-q]
 *	                         {"snapshot_id"}
 *	icp canister snapshot restore ID SNAPSHOT       only when stopped
 *	icp canister snapshot delete ID SNAPSHOT
 *
 * Options anywhere: -e|--environment, -n|--network, -k|--root-key,
 * --identity, --identity-password-file, --project-root-override, --debug.
 * Errors are "Error: ..." on stderr with status 1, and of the command line
 * "error: ..." with 2.  JSON has no newline behind it, but for status.  What a
 * person wants to know is on stderr.
 *
 * A download makes D with metadata.json, the three blobs, an empty
 * wasm_chunk_store/ and an empty .lock, which stays; .download_progress.json
 * is there until it is whole.  Without --resume, D may hold none of these
 * files; with it, metadata.json must be there, and it goes on where it was,
 * whichever snapshot that was of.  An upload writes .lock and
 * .upload_progress.json into D; --resume without the latter is an error; a
 * snapshot whose upload was cut off is listed and cannot be restored.  A
 * canister has at most 10 snapshots.  The module's hash is its SHA-256.
 *
 * A rule is "KIND[=VALUE] [command=GLOB] [skip=N] [times=N]"; the GLOB is of
 * all arguments, with "_" for the spaces: "command=canister_stop_*".  Each
 * that holds is applied; a line is counted as long as it stands in the file,
 * under the same comment ("# ...").
 *
 *	fail[=TEXT]      an error, and nothing done ("_" for spaces)
 *	hang             for good, and nothing done
 *	hang-after       done, and then
 *	die              killed, and nothing done
 *	die-after        done, and then killed, without a word
 *	delay=MS         before it is done;  delay-after=MS
 *	mute             done, and no output, with status 0
 *	garbage[=N]      done, and N bytes (100) that are no JSON
 *	flood=MIB        done, and so much more on stdout; flood-err=MIB
 *	linger=SECONDS   done, and a child of it keeps the outputs open so long
 *	prompt           a password is asked for on stdin
 *	version=TEXT     another version: "version=1.1.9"
 *	two              a create finds another new snapshot beside its own
 *	wrong-id         a create says an id that is nobody's
 *	vanish           a create, and the oldest snapshot is gone
 *	cut=N            a download or upload breaks off behind N bytes, at the
 *	                 end of 64 KiB: status 1, it can go on with --resume
 *	short            each blob lacks its last byte, with status 0
 *	corrupt          the first byte is another one, with status 0
 *	stopping=N       a stop is an error, and N looks see "Stopping"
 *	says=STATUS      the status that is shown
 *	public           status as who controls nothing sees it: without status
 *	module=HASH      the hash that is shown; no-module: none
 *	registry=FORM    of --json: ok ({"Ok":[{"pid","role","kind","record":
 *	                 {"pid","role","parent_pid":null|[ID],"module_hash":
 *	                 null|"hex"}}]}), list (the rows alone), flat (rows
 *	                 {"pid","role","kind","parent_pid","module_hash"}),
 *	                 candid (what 1.x prints: {"response_bytes",
 *	                 "response_text":null,"response_candid":TEXT}), err, empty
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "icp.h"

#include "fleetbak/base/mem.h"

static void
pause_ms(int64_t ms)
{
	struct timespec left = { .tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000L };

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		continue;
}

static _Noreturn void
usage(const char *what, const char *word)
{
	(void)fprintf(stderr,
	    "error: %s: '%s'\n\nUsage: icp [OPTIONS] [COMMAND]\n", what,
	    word);
	icp_complain("a command line that is none: %s", icp.line);
	exit(2);
}

static const struct {
	const char *name;
	const char **value;
	bool *flag;
} options[] = {
	{ "-e", &icp.environment, NULL },
	{ "--environment", &icp.environment, NULL },
	{ "-n", &icp.network, NULL },
	{ "--network", &icp.network, NULL },
	{ "-k", &icp.root_key, NULL },
	{ "--root-key", &icp.root_key, NULL },
	{ "--identity", &icp.identity, NULL },
	{ "--identity-password-file", &icp.password_file, NULL },
	{ "--project-root-override", &icp.project, NULL },
	{ "--input", &icp.input, NULL },
	{ "-i", &icp.input, NULL },
	{ "--output", &icp.output, NULL },
	{ "-o", &icp.output, NULL },
	{ "--replace", &icp.replace, NULL },
	{ "--json", NULL, &icp.json },
	{ "--quiet", NULL, &icp.quiet },
	{ "-q", NULL, &icp.quiet },
	{ "--resume", NULL, &icp.resume },
	{ "--query", NULL, &icp.query },
	{ "--debug", NULL, NULL },
	{ "--version", NULL, NULL },
	{ "-V", NULL, NULL },
};

/* The option's number of arguments. */
static int
take_option(char **argv)
{
	const char *given = argv[0], *equals = strchr(given, '=');
	size_t len = equals != NULL ? (size_t)(equals - given) : strlen(given);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strlen(options[i].name) != len ||
		    strncmp(options[i].name, given, len) != 0)
			continue;
		if (options[i].flag != NULL)
			*options[i].flag = true;
		if (options[i].value == NULL)
			return 1;
		if (equals == NULL && argv[1] == NULL)
			usage("a value is required", given);
		*options[i].value = equals != NULL ? equals + 1 : argv[1];
		return equals != NULL ? 1 : 2;
	}
	usage("unexpected argument", given);
}

static void
parse(char **argv)
{
	while (*argv != NULL)
		if ((*argv)[0] == '-')
			argv += take_option(argv);
		else if (icp.count == sizeof(icp.words) / sizeof(icp.words[0]))
			usage("unexpected argument", *argv);
		else
			icp.words[icp.count++] = *argv++;
	if (icp.environment != NULL && icp.network != NULL)
		usage("it cannot be used with --network", "--environment");
}

static void
join(char **argv)
{
	struct fb_buf line = { 0 };

	for (char **word = argv; *word != NULL; word++)
		fb_buf_add_fmt(&line, "%s%s", word == argv ? "" : " ", *word);
	fb_buf_add_str(&line, "");
	icp.line = fb_strdup(fb_buf_str(&line));
	fb_buf_release(&line);
}

static void
find_dir(void)
{
	const char *name = (const char *)getauxval(AT_EXECFN);

	icp.dir = getenv("ICP_STAND_IN");
	if (icp.dir == NULL && name != NULL)
		icp.dir = fb_format("%s.dir", name);
	if (icp.dir == NULL || access(icp.dir, F_OK) != 0) {
		(void)fprintf(stderr, "icp: no directory ICP_STAND_IN\n");
		exit(70);
	}
}

/* A file's first line, which the caller frees; NULL: there is none. */
static char *
first_line(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[512] = "";

	if (file == NULL)
		return NULL;
	if (fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	(void)fclose(file);
	line[strcspn(line, "\r\n")] = '\0';
	return fb_strdup(line);
}

static char *
setting(const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", icp.dir, name);

	return first_line(path);
}

/* Where it goes, and as whom. */
static void
check_who(void)
{
	FB_AUTO_FREE char *environment = setting("environment");
	FB_AUTO_FREE char *identity = setting("identity");
	FB_AUTO_FREE char *password = setting("password");
	FB_AUTO_FREE char *given = icp.password_file != NULL
	    ? first_line(icp.password_file)
	    : NULL;
	const char *to = icp.environment != NULL ? icp.environment
	    : icp.network != NULL                ? icp.network
	    : getenv("ICP_ENVIRONMENT") != NULL  ? getenv("ICP_ENVIRONMENT")
	                                         : "local";

	if (password != NULL && password[0] != '\0' &&
	    strstr(icp.line, password) != NULL)
		icp_complain("the password is an argument");
	if (environment != NULL && strcmp(environment, to) != 0)
		icp_error("project does not contain an environment named '%s'",
		    to);
	if (identity != NULL &&
	    (icp.identity == NULL || strcmp(identity, icp.identity) != 0))
		icp_error("no identity found with name `%s`",
		    icp.identity != NULL ? icp.identity : "default");
	if (password != NULL && (given == NULL || strcmp(given, password) != 0))
		icp_error("failed to load identity: the password is wrong");
}

static const struct {
	const char *group, *name;
	void (*run)(void);
} commands[] = {
	{ "", "status", icp_status },
	{ "", "stop", icp_stop },
	{ "", "start", icp_start },
	{ "", "call", icp_call },
	{ "snapshot", "create", icp_create },
	{ "snapshot", "list", icp_list },
	{ "snapshot", "restore", icp_restore },
	{ "snapshot", "delete", icp_delete },
	{ "snapshot", "download", icp_download },
	{ "snapshot", "upload", icp_upload },
};

static void
run_command(void)
{
	bool snapshot = icp.count > 2 && strcmp(icp.words[1], "snapshot") == 0;
	const char *name = snapshot ? icp.words[2]
	    : icp.count > 1         ? icp.words[1]
	                            : "";

	if (icp.count == 0 || strcmp(icp.words[0], "canister") != 0)
		usage("unrecognized subcommand",
		    icp.count > 0 ? icp.words[0] : "");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0 &&
		    (commands[i].group[0] != '\0') == snapshot) {
			if (icp.count < (snapshot ? 4U : 3U))
				usage("it is missing", "<CANISTER>");
			commands[i].run();
			return;
		}
	usage("unrecognized subcommand", name);
}

static void
hang(void)
{
	for (;;)
		(void)pause();
}

static void
before(void)
{
	char word[64];

	if (icp.on[ICP_PROMPT]) {
		(void)fputs("Enter password: ", stderr);
		if (read(STDIN_FILENO, word, sizeof(word)) <= 0)
			icp_error("failed to read the password");
	}
	if (icp.on[ICP_DELAY])
		pause_ms(icp.argument[ICP_DELAY]);
	if (icp.on[ICP_HANG])
		hang();
	if (icp.on[ICP_DIE])
		(void)raise(SIGKILL);
	if (icp.on[ICP_FAIL]) {
		for (char *c = icp.text[ICP_FAIL]; *c != '\0'; c++)
			if (*c == '_')
				*c = ' ';
		icp_error("%s", icp.text[ICP_FAIL][0] != '\0'
		        ? icp.text[ICP_FAIL]
		        : "An error happened during communication with the "
		          "replica");
	}
}

static void
print(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n <= 0)
			icp_exit(1);
		at += n;
		len -= (size_t)n;
	}
}

static void
flood(int fd, int64_t mib)
{
	FB_AUTO_FREE char *bytes = fb_alloc(1 << 20, 1);

	memset(bytes, 'x', 1 << 20);
	while (mib-- > 0)
		print(fd, bytes, 1 << 20);
}

static void
linger(void)
{
	if (fork() != 0)
		return;
	(void)setsid();
	pause_ms(icp.argument[ICP_LINGER] * 1000);
	_exit(0);
}

static void
after(void)
{
	if (icp.on[ICP_DELAY_AFTER])
		pause_ms(icp.argument[ICP_DELAY_AFTER]);
	if (icp.on[ICP_HANG_AFTER])
		hang();
	if (icp.on[ICP_DIE_AFTER])
		(void)raise(SIGKILL);
	if (icp.on[ICP_GARBAGE]) {
		int64_t n = icp.text[ICP_GARBAGE][0] != '\0'
		    ? icp.argument[ICP_GARBAGE]
		    : 100;

		fb_buf_clear(&icp.out);
		while (n-- > 0)
			fb_buf_add_str(&icp.out, "{");
	}
	if (!icp.on[ICP_MUTE] && icp.out.len > 0)
		print(STDOUT_FILENO, icp.out.data, icp.out.len);
	if (icp.on[ICP_FLOOD])
		flood(STDOUT_FILENO, icp.argument[ICP_FLOOD]);
	if (icp.on[ICP_FLOOD_ERR])
		flood(STDERR_FILENO, icp.argument[ICP_FLOOD_ERR]);
	if (icp.on[ICP_LINGER])
		linger();
}

int
main(int argc, char **argv)
{
	bool version;

	find_dir();
	join(argv + 1);
	icp_log("begin %s", icp.line);
	version = argc == 2 &&
	    (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0);
	parse(argv + 1);
	icp_open();
	icp_rules_choose();
	icp_close();
	before();
	if (version)
		fb_buf_add_fmt(&icp.out, "icp %s\n",
		    icp.on[ICP_VERSION] ? icp.text[ICP_VERSION] : "1.2.0");
	else {
		check_who();
		icp_open();
		run_command();
		icp_close();
	}
	after();
	icp_exit(0);
}
