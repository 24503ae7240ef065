#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/cli/snapshots.h"
#include "fleetbak/engine/verify.h"

/* What the arguments ask for. */
struct wish {
	struct fb_verify_request request;
	const char **machines; /* borrowed or in `owned` */
	char **owned;
	size_t owned_count;
};

static int
choose_depth(const struct fb_cli *cli, enum fb_verify_depth *ret_depth,
    struct fb_error *err)
{
	static const struct {
		enum fb_option_id id;
		enum fb_verify_depth depth;
	} depths[] = {
		{ FB_OPT_SIGNATURES, FB_VERIFY_SIGNATURES },
		{ FB_OPT_STRUCTURE, FB_VERIFY_STRUCTURE },
		{ FB_OPT_PACKS, FB_VERIFY_PACKS },
		{ FB_OPT_FULL, FB_VERIFY_FULL },
	};
	size_t given = 0;

	*ret_depth = FB_VERIFY_PACKS;
	for (size_t i = 0; i < FB_COUNT(depths); i++) {
		if (!fb_arguments_on(&cli->args, depths[i].id))
			continue;
		*ret_depth = depths[i].depth;
		given++;
	}
	if (given <= 1)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
	    "only one depth at a time");
	return fb_hint(err,
	    "each one includes those before it: --signatures, --structure, "
	    "--packs, --full");
}

/* It is of what was opened, so it goes with no lesser depth. */
static int
choose_attest(const struct fb_cli *cli, struct fb_verify_request *request,
    struct fb_error *err)
{
	request->attest = fb_arguments_on(&cli->args, FB_OPT_ATTEST);
	if (!request->attest)
		return FB_OK;
	if (fb_arguments_on(&cli->args, FB_OPT_SIGNATURES) ||
	    fb_arguments_on(&cli->args, FB_OPT_STRUCTURE) ||
	    fb_arguments_on(&cli->args, FB_OPT_PACKS)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
		    "--attest is of what was opened");
		return fb_hint(err, "it goes with --full, or alone");
	}
	request->depth = FB_VERIFY_FULL;
	return FB_OK;
}

static void
add_machine(struct wish *wish, const char *name)
{
	wish->machines = fb_realloc(wish->machines,
	    wish->request.machine_count + 1, sizeof(*wish->machines));
	wish->machines[wish->request.machine_count++] = name;
	wish->request.machines = wish->machines;
}

static const char *
keep(struct wish *wish, const char *text, size_t len)
{
	char *copy = fb_alloc(len + 1, 1);

	memcpy(copy, text, len);
	wish->owned = fb_realloc(
	    wish->owned, wish->owned_count + 1, sizeof(*wish->owned));
	wish->owned[wish->owned_count++] = copy;
	return copy;
}

static int
choose_run(struct wish *wish, const char *run, struct fb_error *err)
{
	if (wish->request.run != NULL && strcmp(wish->request.run, run) != 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-VERIFY-RUNS",
		    "two runs at once: '%s' and '%s'", wish->request.run, run);
		return fb_hint(err, "verify them one after the other, or all");
	}
	if (strcmp(run, "latest") != 0 && !fb_run_id_ok(run, strlen(run))) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-RUN-UNKNOWN",
		    "'%s' is not the id of a run", run);
		return fb_hint(err, "fleetbak list runs shows them");
	}
	wish->request.run = run;
	return FB_OK;
}

/* RUN, MACHINE or MACHINE@RUN. */
static int
read_argument(struct wish *wish, const char *arg, struct fb_error *err)
{
	const char *at = strrchr(arg, '@');

	if (strcmp(arg, "latest") == 0 || fb_run_id_ok(arg, strlen(arg)))
		return choose_run(wish, arg, err);
	if (at == NULL) {
		add_machine(wish, arg);
		return FB_OK;
	}
	add_machine(wish, keep(wish, arg, (size_t)(at - arg)));
	return choose_run(wish, at + 1, err);
}

/* Arguments and -s, against the machines that the repository knows. */
static int
choose_machines(struct fb_cli *cli, struct fb_repo *repo, struct wish *wish,
    struct fb_error *err)
{
	FB_AUTO_SNAPSHOTS struct fb_snapshots all = { 0 };
	size_t count = wish->request.machine_count;
	int rc;

	if (count + cli->args.options[FB_OPT_SELECT].count == 0)
		return FB_OK;
	rc = fb_snapshots_load_newest(cli, repo, &all, err);
	if (rc == FB_OK && all.fleet.count == 0)
		return FB_OK; /* nothing readable: let verify say why */
	if (rc == FB_OK)
		rc = fb_snapshots_select(
		    cli, &all, wish->request.machines, count, err);
	if (rc < 0)
		return rc;
	wish->request.machine_count = 0;
	for (size_t i = 0; i < all.fleet.count; i++) {
		const struct fb_machine *machine = &all.fleet.machines[i];
		FB_AUTO_FREE char *name =
		    fb_format("%s/%s", machine->source, machine->id);

		if (machine->selected)
			add_machine(wish, keep(wish, name, strlen(name)));
	}
	return FB_OK;
}

/* Not known to be damaged: the medium did not give it out. */
static bool
is_unreadable(const struct fb_verify_damage *damage)
{
	return damage->err.code == FB_ESYS;
}

static void
put_damage(struct fb_cli *cli, const struct fb_verify_damage *damage,
    json_t *list)
{
	json_t *item = json_object(), *harms = json_array();

	fb_buf_add_fmt(&cli->text, "%s  %s\n  ",
	    is_unreadable(damage) ? "UNREADABLE" : "DAMAGED", damage->object);
	fb_cli_add_failure(&cli->text, &damage->err);
	fb_json_put_str(item, "object", damage->object);
	(void)json_object_set_new(
	    item, "error", fb_cli_error_json(NULL, &damage->err));
	for (size_t i = 0; i < damage->harm_count; i++) {
		fb_buf_add_fmt(
		    &cli->text, "  harms  %s\n", damage->harms[i]);
		(void)json_array_append_new(
		    harms, json_string(damage->harms[i]));
	}
	(void)json_object_set_new(item, "harms", harms);
	(void)json_array_append_new(list, item);
	fb_cli_add_error(cli, NULL, &damage->err);
}

static void
put_whole(struct fb_cli *cli, const struct fb_verify_report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->whole_count; i++) {
		const char *run = report->whole[i].run;
		json_t *item = json_object();

		fb_json_put_str(item, "machine", report->whole[i].machine);
		fb_json_put_str(item, "run", run[0] != '\0' ? run : NULL);
		(void)json_array_append_new(list, item);
		fb_buf_add_fmt(&cli->text, "%s: %s%s\n",
		    report->whole[i].machine,
		    run[0] != '\0' ? "newest whole backup is of run "
				   : "no whole backup is left",
		    run);
	}
	(void)json_object_set_new(cli->data, "whole", list);
	fb_json_put_str(cli->data, "newest_whole",
	    report->newest_whole[0] != '\0' ? report->newest_whole : NULL);
	if (report->damage_count > 0)
		fb_buf_add_fmt(&cli->text, "newest run that is whole: %s\n",
		    report->newest_whole[0] != '\0' ? report->newest_whole
						    : "none");
}

static enum fb_exit
status_of(const struct fb_verify_report *report)
{
	struct fb_tally tally = { 0 };

	for (size_t i = 0; i < report->damage_count; i++)
		fb_tally_bad(&tally, report->damages[i].err.code);
	return fb_tally_exit(&tally);
}

static void
put_attest(struct fb_cli *cli, const struct fb_attest_report *attest)
{
	json_t *item;

	if (!fb_arguments_on(&cli->args, FB_OPT_ATTEST))
		return;
	item = json_object();
	fb_json_put_u64(item, "domains", attest->domains);
	fb_json_put_u64(item, "made", attest->attested);
	fb_json_put_u64(item, "known", attest->known);
	(void)json_object_set_new(cli->data, "attestations", item);
	fb_buf_add_fmt(&cli->text,
	    "%llu domains: %llu attestations made, %llu were there\n",
	    (unsigned long long)attest->domains,
	    (unsigned long long)attest->attested,
	    (unsigned long long)attest->known);
}

static void
put_report(struct fb_cli *cli, const struct fb_verify_report *report,
    enum fb_verify_depth depth)
{
	static const char *const names[] = { "signatures", "structure",
		"packs", "full" };
	json_t *damages = json_array();
	char size[FB_CLI_TEXT];
	enum fb_exit status = status_of(report);
	size_t unreadable = 0;

	cli->data = json_object();
	fb_json_put_str(cli->data, "depth", names[depth]);
	fb_json_put_u64(cli->data, "runs", report->runs);
	fb_json_put_u64(cli->data, "volumes", report->volumes);
	fb_json_put_u64(cli->data, "recipes", report->recipes);
	fb_json_put_u64(cli->data, "packs", report->packs);
	fb_json_put_u64(cli->data, "read_bytes", report->bytes);
	(void)json_object_set_new(
	    cli->data, "opened", json_boolean(report->opened));
	(void)json_object_set_new(
	    cli->data, "history_known", json_boolean(report->history_known));
	for (size_t i = 0; i < report->damage_count; i++) {
		put_damage(cli, &report->damages[i], damages);
		unreadable += is_unreadable(&report->damages[i]);
	}
	(void)json_object_set_new(cli->data, "damages", damages);
	put_whole(cli, report);
	fb_buf_add_fmt(&cli->text,
	    "%s: %llu runs, %llu volumes, %llu packs, %s read, %zu damaged",
	    names[depth], (unsigned long long)report->runs,
	    (unsigned long long)report->volumes,
	    (unsigned long long)report->packs,
	    fb_cli_size(cli, report->bytes, size),
	    report->damage_count - unreadable);
	if (unreadable > 0)
		fb_buf_add_fmt(&cli->text, ", %zu cannot be read", unreadable);
	fb_buf_add_str(&cli->text, "\n");
	if (depth == FB_VERIFY_FULL && !report->opened)
		fb_buf_add_str(&cli->text,
		    "nothing was opened, for there is no decrypt_with: what "
		    "can be checked without a key was\n");
	put_attest(cli, &report->attest);
	if (!report->history_known)
		fb_buf_add_str(&cli->text,
		    "no newer run was ever seen from here: a rollback could "
		    "not be told\n");
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
	if (status != FB_EXIT_OK)
		fb_buf_add_fmt(&cli->summary, "exit %d: %s\n", (int)status,
		    fb_exit_name((int)status));
	if (cli->quiet && status == FB_EXIT_OK)
		fb_cli_clear_text(cli);
}

/* For the metrics: only what looked at all of it says something of all. */
static void
note_facts(struct fb_cli *cli, const struct fb_verify_report *report,
    const struct fb_verify_request *request)
{
	bool all = request->machine_count == 0 && request->run == NULL;

	cli->facts = json_object();
	if (all || report->damage_count > 0)
		fb_json_put_u64(cli->facts, "damaged", report->damage_count);
	(void)json_object_set_new(cli->facts, "verified",
	    json_boolean(all && report->damage_count == 0 &&
	        report->runs > 0 && request->depth >= FB_VERIFY_PACKS));
}

static int
run_verify(struct fb_cli *cli, struct fb_repo *repo, struct wish *wish,
    struct fb_error *err)
{
	FB_AUTO_PROGRESS struct fb_progress *progress =
	    fb_progress_begin(cli);
	struct fb_verify_report report = { 0 };
	int rc;

	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_verify(&cli->engine, repo, &wish->request, &report, err);
	fb_progress_end(FB_STEAL(progress));
	if (rc == FB_OK)
		note_facts(cli, &report, &wish->request);
	if (rc == FB_OK)
		put_report(cli, &report, wish->request.depth);
	fb_verify_report_release(&report);
	return rc;
}

static int
open_repo(struct fb_cli *cli, struct fb_repo **ret_repo, struct fb_error *err)
{
	int rc = fb_engine_repo(&cli->engine, ret_repo, err);

	return rc < 0 ? fb_verify_unopened(&cli->engine, err) : rc;
}

static int
verify_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct wish wish = { 0 };
	int rc;

	rc = choose_depth(cli, &wish.request.depth, err);
	if (rc == FB_OK)
		rc = choose_attest(cli, &wish.request, err);
	for (size_t i = 0; rc == FB_OK && i < cli->args.count; i++)
		rc = read_argument(&wish, cli->args.items[i], err);
	if (rc == FB_OK)
		rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = open_repo(cli, &repo, err);
	if (rc == FB_OK)
		rc = choose_machines(cli, repo, &wish, err);
	if (rc == FB_OK)
		rc = run_verify(cli, repo, &wish, err);
	for (size_t i = 0; i < wish.owned_count; i++)
		free(wish.owned[i]);
	free(wish.owned);
	free(wish.machines);
	return rc;
}

const struct fb_command fb_cmd_verify = {
	.name = "verify",
	.group = "Get back",
	.args = "[RUN | MACHINE | MACHINE@RUN ...]",
	.args_max = SIZE_MAX,
	.help = "is what we have whole, ours and complete?",
	.examples = "fleetbak verify\tall runs, every stored byte\n"
		    "fleetbak verify --signatures\tquick: signatures and "
		    "history\n"
		    "fleetbak verify --full latest\tevery byte of the newest "
		    "run\n"
		    "fleetbak verify --attest\tand let other domains use the "
		    "packs again\n",
	.about =
	    "Checks signatures, checksums and history, that every object is "
	    "there and fits, every stored byte, and with --full every byte "
	    "as it would be restored.  It goes on after the first damage and "
	    "names each damaged object, the volumes and machines it harms, "
	    "and the newest backup that is still whole.",
	.words = "latest",
	.cancels = true,
	.unattended = true,
	.reads_state = true,
	.run = verify_run,
};
