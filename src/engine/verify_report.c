/* Damages, whom they harm, and what is whole in spite of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify_impl.h"

#include "fleetbak/base/mem.h"

size_t
add_damage(struct verify *verify, const char *object,
    const struct fb_error *cause)
{
	struct fb_verify_report *report = verify->report;
	struct fb_verify_damage *damage;

	for (size_t i = 0; i < report->damage_count; i++)
		if (strcmp(report->damages[i].object, object) == 0)
			return i;
	report->damages = fb_realloc(report->damages,
	    report->damage_count + 1, sizeof(*report->damages));
	damage = &report->damages[report->damage_count];
	*damage = (struct fb_verify_damage){ .object = fb_strdup(object),
		.err = *cause };
	/* A missing object is damage like any other; one that the medium does
	 * not give out may still be whole, or be read the next time. */
	if (cause->code == FB_ENOTFOUND)
		(void)fb_fail(&damage->err, FB_ECORRUPT, "it is missing");
	else if (cause->code != FB_EUNTRUSTED && cause->code != FB_ETOONEW &&
	    cause->code != FB_ECORRUPT && cause->sys != EIO) {
		damage->err.code = FB_ECORRUPT;
		damage->err.id = fb_code_id(FB_ECORRUPT);
	}
	return report->damage_count++;
}

static void
note_harmed(struct verify *verify, const char *run, const char *machine)
{
	if (verify->harmed_count == verify->harmed_cap) {
		verify->harmed_cap =
		    verify->harmed_cap ? 2 * verify->harmed_cap : 64;
		verify->harmed = fb_realloc(verify->harmed,
		    verify->harmed_cap, sizeof(*verify->harmed));
	}
	verify->harmed[verify->harmed_count++] =
	    fb_format("%s %s", run, machine);
}

void
add_harm(struct verify *verify, size_t number, const char *run,
    const struct fb_manifest_machine *machine, const char *volume)
{
	struct fb_verify_damage *damage = &verify->report->damages[number];
	FB_AUTO_FREE char *name = machine == NULL
	    ? NULL
	    : fb_format("%s/%s", machine->source, machine->id);
	FB_AUTO_FREE char *harm = machine == NULL
	    ? fb_format("everything @%s", run)
	    : fb_format("%s %s @%s", name, volume, run);

	if (name != NULL)
		note_harmed(verify, run, name);
	/* A volume's harms come one after the other. */
	if (damage->harm_count > 0 &&
	    strcmp(damage->harms[damage->harm_count - 1], harm) == 0)
		return;
	if (damage->harm_count == VERIFY_HARMS_MAX)
		return;
	damage->harms = fb_realloc(damage->harms, damage->harm_count + 1,
	    sizeof(*damage->harms));
	damage->harms[damage->harm_count++] = FB_STEAL(harm);
}

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sort and make unique. */
static void
settle(char **list, size_t *count)
{
	size_t kept = 0;

	if (*count == 0)
		return;
	qsort(list, *count, sizeof(*list), compare_strings);
	for (size_t i = 0; i < *count; i++)
		if (kept > 0 && strcmp(list[kept - 1], list[i]) == 0)
			free(list[i]);
		else
			list[kept++] = list[i];
	*count = kept;
}

static bool
is_harmed(const struct verify *verify, const char *run, const char *machine)
{
	FB_AUTO_FREE char *wanted = fb_format("%s %s", run, machine);
	const char *key = wanted;

	return verify->harmed_count > 0 &&
	    bsearch(&key, verify->harmed, verify->harmed_count,
	        sizeof(*verify->harmed), compare_strings) != NULL;
}

/* The harmed machines, each once, without a run yet. */
static void
list_machines(struct verify *verify)
{
	struct fb_verify_report *report = verify->report;
	char **names =
	    fb_alloc(verify->harmed_count, sizeof(*names));
	size_t count = verify->harmed_count;

	for (size_t i = 0; i < count; i++)
		names[i] = fb_strdup(
		    verify->harmed[i] + FB_RUN_ID_LEN + 1);
	settle(names, &count);
	report->whole = fb_alloc(count, sizeof(*report->whole));
	report->whole_count = count;
	for (size_t i = 0; i < count; i++)
		report->whole[i].machine = names[i];
	free(names);
}

struct search {
	struct verify *verify;
	const struct verify_run *run;
};

/* Is the machine whole in this run, and is that news? */
static int
look_for_whole(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	struct search *search = arg;
	struct fb_verify_report *report = search->verify->report;
	FB_AUTO_FREE char *name =
	    fb_format("%s/%s", machine->source, machine->id);

	(void)err;
	if (machine->failed ||
	    is_harmed(search->verify, search->run->ref.run, name))
		return FB_OK;
	for (size_t i = 0; i < report->whole_count; i++)
		if (strcmp(report->whole[i].machine, name) == 0 &&
		    report->whole[i].run[0] == '\0')
			memcpy(report->whole[i].run, search->run->ref.run,
			    FB_RUN_ID_SIZE);
	return FB_OK;
}

/* Some volume of the run is harmed. */
static bool
run_is_harmed(const struct verify *verify, const char *run)
{
	for (size_t i = 0; i < verify->harmed_count; i++)
		if (strncmp(verify->harmed[i], run, FB_RUN_ID_LEN) == 0)
			return true;
	return false;
}

int
verify_wholes(struct verify *verify, struct fb_error *err)
{
	struct fb_verify_report *report = verify->report;

	for (size_t i = 0; i < report->damage_count; i++)
		settle(report->damages[i].harms,
		    &report->damages[i].harm_count);
	settle(verify->harmed, &verify->harmed_count);
	list_machines(verify);
	for (size_t i = 0; i < verify->run_count; i++) {
		FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
		struct verify_run *run = &verify->runs[i];
		struct search search = { verify, run };
		int rc;

		if (run->damaged)
			continue;
		if (report->newest_whole[0] == '\0' && !run->unsound &&
		    !run_is_harmed(verify, run->ref.run))
			memcpy(report->newest_whole, run->ref.run,
			    FB_RUN_ID_SIZE);
		if (report->whole_count == 0)
			continue;
		rc = open_manifest(verify, run, &manifest, err);
		if (rc == FB_OK)
			rc = fb_manifest_machines(
			    manifest, look_for_whole, &search, err);
		if (rc < 0 && !is_damage(err))
			return rc;
	}
	return FB_OK;
}

void
fb_verify_report_release(struct fb_verify_report *report)
{
	for (size_t i = 0; i < report->damage_count; i++) {
		struct fb_verify_damage *damage = &report->damages[i];

		for (size_t j = 0; j < damage->harm_count; j++)
			free(damage->harms[j]);
		free(damage->harms);
		free(damage->object);
	}
	free(report->damages);
	for (size_t i = 0; i < report->whole_count; i++)
		free(report->whole[i].machine);
	free(report->whole);
	memset(report, 0, sizeof(*report));
}
