#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/selector.h"

static struct fb_error err;
static struct fb_fleet fleet;

static void
add(const char *source, const char *id, const char *parent, const char *role,
    const char *tier)
{
	struct fb_machine *machine = fb_fleet_add(&fleet);

	machine->source = fb_strdup(source);
	machine->id = fb_strdup(id);
	machine->parent = parent != NULL ? fb_strdup(parent) : NULL;
	machine->role = fb_strdup(role);
	if (tier != NULL) {
		machine->labels.items =
		    fb_alloc(1, sizeof(*machine->labels.items));
		machine->labels.items[0] = (struct fb_label){
			fb_strdup("tier"), fb_strdup(tier) };
		machine->labels.count = 1;
	}
}

static int
make_fleet(void **state)
{
	(void)state;
	fleet = (struct fb_fleet){ 0 };
	add("lab", "db-01", NULL, "db", "gold");
	add("lab", "web-01", "db-01", "web", "gold");
	add("lab", "web-02", "db-01", "web", "silver");
	add("lab", "cache-01", "web-02", "cache", NULL);
	add("kvm", "web-01", NULL, "web", "silver");
	add("kvm", "mail", NULL, "mail", NULL);
	fb_fleet_settle(&fleet);
	free(fb_fleet_find(&fleet, "kvm", "mail")->name);
	fb_fleet_find(&fleet, "kvm", "mail")->name = fb_strdup("Post Office");
	return 0;
}

static int
release_fleet(void **state)
{
	(void)state;
	fb_fleet_release(&fleet);
	return 0;
}

/* Names of what is selected, in fleet order. */
static const char *
selected(void)
{
	static char list[512];
	size_t at = 0;

	list[0] = '\0';
	for (size_t i = 0; i < fleet.count; i++)
		if (fleet.machines[i].selected)
			at += (size_t)snprintf(list + at, sizeof(list) - at,
			    "%s%s/%s", at > 0 ? " " : "",
			    fleet.machines[i].source, fleet.machines[i].id);
	return list;
}

static int
choose(const char *expression)
{
	return fb_select(&fleet, &expression, 1, NULL, 0, &err);
}

static void
an_unknown_name_selects_nothing_and_names_the_nearest(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, choose("db-02"));
	assert_string_equal(err.id, "E-SEL-NONE");
	assert_non_null(strstr(err.hint, "db-01"));
	assert_string_equal(selected(), "");
	assert_fails(FB_ECONFIG, choose("db-01,nothing-*"));
	assert_string_equal(err.id, "E-SEL-NONE");
	assert_string_equal(selected(), "");
	assert_fails(FB_ECONFIG, choose("tier=golden"));
	assert_non_null(strstr(err.hint, "tier=gold"));
	assert_fails(FB_ECONFIG, choose("web-*,!no-such"));
}

static void
an_ambiguous_name_lists_what_it_may_be(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, choose("web-01"));
	assert_string_equal(err.id, "E-SEL-AMBIGUOUS");
	assert_non_null(strstr(err.msg, "kvm/web-01, lab/web-01"));
	assert_string_equal(selected(), "");
	assert_ok(choose("lab/web-01"));
	assert_string_equal(selected(), "lab/web-01");
	assert_ok(choose("*/web-01"));
	assert_string_equal(selected(), "kvm/web-01 lab/web-01");
}

static void
what_is_no_selector_is_refused(void **state)
{
	static const char *const bad[] = { "", ",", "a,", "!", "&", "=x",
		"tier=", "/a", "a/", "a/b/c", "+", "web-[0", "a\nb", "a\\b",
		"web-01,,db-01" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, choose(bad[i]));
		assert_string_equal(err.id,
		    strcmp(bad[i], "web-01,,db-01") == 0 ? "E-SEL-AMBIGUOUS"
		    : bad[i][0] == 'a' && bad[i][1] == ','
		        ? "E-SEL-NONE"
		        : "E-SEL-SYNTAX");
		assert_string_equal(selected(), "");
	}
}

static void
names_globs_and_labels_select(void **state)
{
	(void)state;
	assert_ok(choose("db-01"));
	assert_string_equal(selected(), "lab/db-01");
	assert_ok(choose("web-*"));
	assert_string_equal(selected(), "kvm/web-01 lab/web-01 lab/web-02");
	assert_ok(choose("lab/*-01"));
	assert_string_equal(selected(), "lab/cache-01 lab/db-01 lab/web-01");
	assert_ok(choose("tier=gold"));
	assert_string_equal(selected(), "lab/db-01 lab/web-01");
	assert_ok(choose("role=we?,source=kvm"));
	assert_string_equal(
	    selected(), "kvm/mail kvm/web-01 lab/web-01 lab/web-02");
	assert_ok(choose("Post Office"));
	assert_string_equal(selected(), "kvm/mail");
}

static void
or_and_not_combine_in_any_order(void **state)
{
	static const char *const same[] = {
		"web-*,db-01,&source=lab,!web-02",
		"!web-02,&source=lab,web-*,db-01",
		"&lab/*,db-01,!web-02,web-*",
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(same); i++) {
		assert_ok(choose(same[i]));
		assert_string_equal(selected(), "lab/db-01 lab/web-01");
	}
	assert_ok(choose("!source=lab"));
	assert_string_equal(selected(), "kvm/mail kvm/web-01");
}

static void
a_plus_takes_all_descendants_of_the_same_source(void **state)
{
	(void)state;
	assert_ok(choose("db-01+"));
	assert_string_equal(
	    selected(), "lab/cache-01 lab/db-01 lab/web-01 lab/web-02");
	assert_ok(choose("lab/web-*+"));
	assert_string_equal(selected(), "lab/cache-01 lab/web-01 lab/web-02");
	assert_ok(choose("db-01+,!web-02+"));
	assert_string_equal(selected(), "lab/db-01 lab/web-01");
}

static void
arguments_add_up_and_expressions_narrow(void **state)
{
	static const char *const arguments[] = { "db-01", "web-*" };
	static const char *const narrow[] = { "tier=*", "!kvm/*" };
	static const char *const none[] = { "mail" };

	(void)state;
	assert_ok(fb_select(&fleet, NULL, 0, arguments, 2, &err));
	assert_string_equal(
	    selected(), "kvm/web-01 lab/db-01 lab/web-01 lab/web-02");
	assert_ok(fb_select(&fleet, narrow, 2, arguments, 2, &err));
	assert_string_equal(selected(), "lab/db-01 lab/web-01 lab/web-02");
	assert_fails(
	    FB_ECONFIG, fb_select(&fleet, none, 1, arguments, 2, &err));
	assert_string_equal(err.id, "E-SEL-NONE");
	assert_ok(fb_select(&fleet, NULL, 0, NULL, 0, &err));
	for (size_t i = 0; i < fleet.count; i++)
		assert_true(fleet.machines[i].selected);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, make_fleet, release_fleet)

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_unknown_name_selects_nothing_and_names_the_nearest),
		TEST(an_ambiguous_name_lists_what_it_may_be),
		TEST(what_is_no_selector_is_refused),
		TEST(names_globs_and_labels_select),
		TEST(or_and_not_combine_in_any_order),
		TEST(a_plus_takes_all_descendants_of_the_same_source),
		TEST(arguments_add_up_and_expressions_narrow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
