#include <string.h>

#include "fleetbak/cli/option.h"

#define RUNS  "plan download"
#define TIMED "download verify prune"

static const struct fb_option rows[] = {
	{ FB_OPT_CONFIG, 'c', "config", "FILE", FB_OPTION_VALUE,
	    .help = "the configuration (/etc/fleetbak/fleetbak.yaml)" },
	{ FB_OPT_REPO, 'r', "repo", "NAME", FB_OPTION_VALUE,
	    .help = "repository of the configuration (the first one)" },
	{ FB_OPT_SELECT, 's', "select", "EXPR", FB_OPTION_LIST,
	    .help = "only these machines; see: fleetbak help selectors" },
	{ FB_OPT_DRY_RUN, 'n', "dry-run", NULL, FB_OPTION_SWITCH,
	    .help = "show what would be done, change nothing" },
	{ FB_OPT_OUTPUT, 'o', "output", "FORMAT", FB_OPTION_CHOICE,
	    .choices = "table tsv json ndjson",
	    .help = "form of the answer: table, tsv, json or ndjson" },
	{ FB_OPT_JSON, 0, "json", NULL, FB_OPTION_SWITCH,
	    .help = "the same as --output=json" },
	{ FB_OPT_QUIET, 'q', "quiet", NULL, FB_OPTION_SWITCH,
	    .help = "say nothing unless something is wrong" },
	{ FB_OPT_VERBOSE, 'v', "verbose", NULL, FB_OPTION_COUNTED,
	    .help = "say more; twice: also where errors were raised" },
	{ FB_OPT_YES, 'y', "yes", NULL, FB_OPTION_SWITCH,
	    .help = "answer yes to every question" },
	{ FB_OPT_HELP, 'h', NULL, NULL, FB_OPTION_SWITCH,
	    .help = "short help" },
	{ FB_OPT_HELP_FULL, 0, "help", NULL, FB_OPTION_SWITCH,
	    .help = "the whole help" },
	{ FB_OPT_VERSION, 'V', "version", NULL, FB_OPTION_SWITCH,
	    .help = "the version of this program" },
	{ FB_OPT_SET, 0, "set", "KEY=VALUE", FB_OPTION_LIST,
	    .help = "a setting for this time, as download.jobs=8" },
	{ FB_OPT_COLOR, 0, "color", "WHEN", FB_OPTION_CHOICE,
	    .choices = "auto always never",
	    .help = "colour: auto, always or never" },
	{ FB_OPT_PROGRESS, 0, "progress", "WHEN", FB_OPTION_CHOICE,
	    .choices = "auto plain never",
	    .help = "progress: auto, plain lines, or never" },
	{ FB_OPT_UTC, 0, "utc", NULL, FB_OPTION_SWITCH,
	    .help = "show times in UTC" },
	{ FB_OPT_BYTES, 0, "bytes", NULL, FB_OPTION_SWITCH,
	    .help = "show sizes in bytes" },
	{ FB_OPT_NO_HEADER, 0, "no-header", NULL, FB_OPTION_SWITCH,
	    .help = "tables without their first line" },
	{ FB_OPT_LOCK_WAIT, 0, "lock-wait", "SPAN", FB_OPTION_SPAN,
	    .help = "wait this long for the lock (0s)" },

	{ FB_OPT_PLAN, 0, "plan", "ID", FB_OPTION_VALUE,
	    .help = "do exactly this plan, or refuse it as stale",
	    .commands = "download" },
	{ FB_OPT_JOBS, 'j', "jobs", "N", FB_OPTION_NUMBER,
	    .help = "machines at the same time", .commands = RUNS },
	{ FB_OPT_RESUME, 0, "resume", "RUN", FB_OPTION_VALUE,
	    .help = "go on with this cut-off run", .commands = "download" },
	{ FB_OPT_RESUME, 0, "resume", "ID", FB_OPTION_VALUE,
	    .help = "go on with this unfinished restore",
	    .commands = "restore" },
	{ FB_OPT_FULL, 0, "full", NULL, FB_OPTION_SWITCH,
	    .help = "read everything, also what has not changed",
	    .commands = RUNS },
	{ FB_OPT_EXIT_CODE, 0, "exit-code", NULL, FB_OPTION_SWITCH,
	    .help = "with -n: exit 4 when something changed",
	    .commands = RUNS },

	{ FB_OPT_MAX_DURATION, 0, "max-duration", "SPAN", FB_OPTION_SPAN,
	    .help = "stop in order when this much time is over (exit 21)",
	    .commands = TIMED },
	{ FB_OPT_LIMIT_READ, 0, "limit-read", "RATE", FB_OPTION_VALUE,
	    .help = "read no faster (download.limit_read)",
	    .commands = "download" },
	{ FB_OPT_LIMIT_UPLOAD, 0, "limit-upload", "RATE", FB_OPTION_VALUE,
	    .help = "store no faster (download.limit_upload)",
	    .commands = "download" },
	{ FB_OPT_LOG_FILE, 0, "log-file", "FILE", FB_OPTION_VALUE,
	    .help = "append what goes to standard error (log.file)",
	    .commands = TIMED },
	{ FB_OPT_UNIT, 0, "unit", "NAME", FB_OPTION_VALUE,
	    .help = "say what became of this unit of systemd",
	    .commands = "notify" },
	{ FB_OPT_PREFIX, 0, "prefix", "DIR", FB_OPTION_VALUE,
	    .help = "where fleetbak is installed, as DIR/bin/fleetbak",
	    .commands = "config" },
	{ FB_OPT_USER, 0, "user", "NAME", FB_OPTION_VALUE,
	    .help = "who the units run as (fleetbak)",
	    .commands = "config" },
	{ FB_OPT_TARGET, 0, "target", "DIR", FB_OPTION_VALUE,
	    .help = "with units: write them there, as files",
	    .commands = "config" },

	{ FB_OPT_IN_PLACE, 0, "in-place", NULL, FB_OPTION_SWITCH,
	    .help = "over the machine itself; writes only what differs",
	    .commands = "restore" },
	{ FB_OPT_AS, 0, "as", "NEW", FB_OPTION_VALUE,
	    .help = "as a new machine of the same source",
	    .commands = "restore" },
	{ FB_OPT_TARGET, 0, "target", "DIR", FB_OPTION_VALUE,
	    .help = "as images and trees in DIR/MACHINE/, without a driver",
	    .commands = "restore" },
	{ FB_OPT_VOLUME, 0, "volume", "NAME", FB_OPTION_LIST,
	    .help = "only this volume; repeatable", .commands = "restore" },
	{ FB_OPT_PATH, 0, "path", "PATH", FB_OPTION_LIST,
	    .help = "only this path of a tree; repeatable",
	    .commands = "restore" },
	{ FB_OPT_RUN, 0, "run", "RUN", FB_OPTION_VALUE,
	    .help = "from this run, or \"latest\"", .commands = "restore" },
	{ FB_OPT_ALL, 0, "all", NULL, FB_OPTION_SWITCH,
	    .help = "every machine of the run", .commands = "restore" },
	{ FB_OPT_START, 0, "start", NULL, FB_OPTION_SWITCH, true,
	    .help = "start it afterwards (--as), or leave it down "
		    "(--no-start)",
	    .commands = "restore" },
	{ FB_OPT_ALLOW_UNTRUSTED, 0, "allow-untrusted", NULL,
	    FB_OPTION_SWITCH,
	    .help = "go on without a good signature",
	    .commands = "restore" },
	{ FB_OPT_ALLOW_ROLLBACK, 0, "allow-rollback", NULL, FB_OPTION_SWITCH,
	    .help = "go on although newer runs are missing",
	    .commands = "restore download" },

	{ FB_OPT_SIGNATURES, 0, "signatures", NULL, FB_OPTION_SWITCH,
	    .help = "signatures, checksums, manifests and history only",
	    .commands = "verify" },
	{ FB_OPT_STRUCTURE, 0, "structure", NULL, FB_OPTION_SWITCH,
	    .help = "and that all objects are there and fit together",
	    .commands = "verify" },
	{ FB_OPT_PACKS, 0, "packs", NULL, FB_OPTION_SWITCH,
	    .help = "and every stored byte (this is what happens without "
		    "an option)",
	    .commands = "verify" },
	{ FB_OPT_FULL, 0, "full", NULL, FB_OPTION_SWITCH,
	    .help = "and every restored byte", .commands = "verify" },

	{ FB_OPT_FILES, 0, "files", NULL, FB_OPTION_SWITCH,
	    .help = "list the files of its trees; GLOB chooses",
	    .commands = "show" },
	{ FB_OPT_CHECK, 0, "check", NULL, FB_OPTION_SWITCH,
	    .help = "exit 4 when a machine's newest backup is too old",
	    .commands = "status" },
	{ FB_OPT_SHORT, 0, "short", NULL, FB_OPTION_SWITCH,
	    .help = "one line", .commands = "status" },
	{ FB_OPT_ORIGIN, 0, "origin", NULL, FB_OPTION_SWITCH,
	    .help = "with show: where each value comes from",
	    .commands = "config" },
	{ FB_OPT_SELECTION, 0, "selection", NULL, FB_OPTION_SWITCH,
	    .help = "only the selected machines", .commands = "topology" },
	{ FB_OPT_FORCE, 0, "force", NULL, FB_OPTION_SWITCH,
	    .help = "also start what was stopped very long ago",
	    .commands = "recover" },
	{ FB_OPT_WHY, 0, "why", NULL, FB_OPTION_SWITCH,
	    .help = "which rules of retention.keep keep each snapshot",
	    .commands = "list" },
	{ FB_OPT_EXPLAIN, 0, "explain", NULL, FB_OPTION_SWITCH,
	    .help = "each snapshot, with the rules that keep it",
	    .commands = "prune" },
	{ FB_OPT_MAX_REMOVE, 0, "max-remove", "P%", FB_OPTION_VALUE,
	    .help = "refuse when more of all snapshots would go "
		    "(retention.max_remove)",
	    .commands = "prune" },
	{ FB_OPT_FORCE, 0, "force", NULL, FB_OPTION_SWITCH,
	    .help = "go over that limit", .commands = "prune" },
	{ FB_OPT_FENCE_AFTER, 0, "fence-after", "SPAN", FB_OPTION_SPAN,
	    .help = "fence off sessions that are as old as this (7d)",
	    .commands = "prune" },
	{ FB_OPT_UNDO, 0, "undo", "RUN", FB_OPTION_VALUE,
	    .help = "bring it back, while it is not gone for good",
	    .commands = "forget" },
	{ FB_OPT_REMOVE, 0, "remove", NULL, FB_OPTION_SWITCH,
	    .help = "hold it no more", .commands = "hold" },
	{ FB_OPT_REASON, 0, "reason", "TEXT", FB_OPTION_VALUE,
	    .help = "why, for whoever finds the hold", .commands = "hold" },
	{ FB_OPT_GUARDIAN, 0, "guardian", NULL, FB_OPTION_SWITCH,
	    .help = "for the process that watches over a run",
	    .commands = "recover" },
};

size_t
fb_option_rows(const struct fb_option **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}

bool
fb_option_in(const struct fb_option *option, const char *command)
{
	size_t len = strlen(command);

	for (const char *p = option->commands; p != NULL && *p != '\0';) {
		size_t word = strcspn(p, " ");

		if (word == len && memcmp(p, command, len) == 0)
			return true;
		p += word;
		p += strspn(p, " ");
	}
	return option->commands == NULL;
}
