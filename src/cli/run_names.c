/* Which run a word means. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/prune.h"
#include "fleetbak/manifest/manifest.h"

/* Digits of the end of an id that are enough to name it. */
#define DIGITS_MIN 4
#define DIGITS     8

struct finding {
	const char *fleet;
	const char *word;
	size_t len;
	bool digits; /* the word may be some of the last digits */
	size_t found;
	struct fb_run_ref run;
	char candidates[256];
};

static bool
matches(const struct finding *finding, const struct fb_run_ref *run)
{
	const char *tail = run->run + FB_RUN_ID_LEN - DIGITS;

	if (finding->len == strlen("latest") &&
	    memcmp(finding->word, "latest", finding->len) == 0)
		return finding->found == 0; /* the first one is the newest */
	if (strlen(run->run) == finding->len &&
	    memcmp(run->run, finding->word, finding->len) == 0)
		return true;
	return finding->digits && strlen(run->run) == FB_RUN_ID_LEN &&
	    memcmp(tail, finding->word, finding->len) == 0;
}

static int
visit_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct finding *finding = arg;
	size_t used = strlen(finding->candidates);

	(void)err;
	if (run->damage != NULL || strcmp(run->fleet, finding->fleet) != 0 ||
	    !matches(finding, run))
		return FB_OK;
	if (finding->found++ == 0) {
		finding->run = *run;
		finding->run.predecessors = NULL;
		finding->run.predecessor_count = 0;
	}
	(void)snprintf(finding->candidates + used,
	    sizeof(finding->candidates) - used, "%s%s",
	    used > 0 ? ", " : "", run->run);
	return FB_OK;
}

static int
judge(const struct finding *finding, struct fb_error *err)
{
	if (finding->found == 0) {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-RUN-NONE",
		    "there is no run '%.*s'", (int)finding->len,
		    finding->word);
		return fb_hint(err, "'fleetbak list runs' shows them");
	}
	if (finding->found == 1)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-RUN-UNKNOWN",
	    "'%.*s' is more than one run: %s", (int)finding->len,
	    finding->word, finding->candidates);
	return fb_hint(err, "give more of the id");
}

struct looking {
	const char *name;
	size_t len;
	bool there;
	size_t others;
};

static bool
is_word(const struct looking *looking, const char *text)
{
	return strlen(text) == looking->len &&
	    memcmp(text, looking->name, looking->len) == 0;
}

/* By its id or by its name, with its source or without. */
static bool
is_looked_for(
    const struct looking *looking, const struct fb_manifest_machine *machine)
{
	const char *const calls[] = { machine->id,
		machine->name != NULL ? machine->name : machine->id };

	for (size_t i = 0; i < FB_COUNT(calls); i++) {
		FB_AUTO_FREE char *full =
		    fb_format("%s/%s", machine->source, calls[i]);

		if (is_word(looking, calls[i]) || is_word(looking, full))
			return true;
	}
	return false;
}

static int
visit_machine(
    const struct fb_manifest_machine *machine, void *arg, struct fb_error *err)
{
	struct looking *looking = arg;
	bool same = is_looked_for(looking, machine);

	(void)err;
	looking->there = looking->there || same;
	looking->others += !same;
	return FB_OK;
}

static int
check_machine(struct fb_repo *repo, const struct fb_run_ref *run,
    const char *word, size_t len, bool alone, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct looking looking = { .name = word, .len = len };
	int rc = fb_manifest_open(repo, run, false, NULL, &manifest, err);

	if (rc == FB_OK)
		rc = fb_manifest_machines(
		    manifest, visit_machine, &looking, err);
	if (rc < 0)
		return rc;
	if (!looking.there)
		return fb_fail_id(err, FB_ENOTFOUND, "E-RUN-NONE",
		    "run %s has no machine '%.*s'", run->run, (int)len, word);
	if (!alone || looking.others == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-FORGET-PART",
	    "run %s has %zu other machines, and is given up as a whole or not "
	    "at all", run->run, looking.others);
	return fb_hint(err, "fleetbak forget %s", run->run);
}

int
fb_cli_run(struct fb_cli *cli, struct fb_repo *repo, const char *word,
    bool alone, struct fb_run_ref *ret_run, struct fb_error *err)
{
	const char *at = strrchr(word, '@');
	struct finding finding = { .fleet = cli->config->fleet_name,
		.word = at != NULL ? at + 1 : word };
	int rc;

	finding.len = strlen(finding.word);
	finding.digits = finding.len >= DIGITS_MIN && finding.len <= DIGITS &&
	    strspn(finding.word, "0123456789abcdef") == finding.len;
	rc = fb_repo_runs(repo, visit_run, &finding, err);
	if (rc == FB_OK)
		rc = judge(&finding, err);
	if (rc == FB_OK && at != NULL)
		rc = check_machine(repo, &finding.run, word,
		    (size_t)(at - word), alone, err);
	if (rc == FB_OK)
		*ret_run = finding.run;
	return rc;
}
