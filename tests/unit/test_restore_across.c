/* What becomes what where a machine goes to another one: by maps or equal
 * names, kinds and sizes; what is ambiguous or does not fit is refused. */
#include <stdlib.h>

#include "test.h"

#include "fleetbak/base/mem.h"
#include "../../src/engine/restore_parts.h"

static const struct fb_driver_ops takes_disks = {
	.name = "disks",
	.takes = FB_TAKES(FB_VOLUME_DISK),
};

/* A source "b" of driver "disks", with what one test puts there. */
struct world {
	struct fb_driver driver, *drivers[1];
	struct fb_config_source source;
	struct fb_config config;
	struct fb_engine engine;
	struct fb_restore r;
	struct fb_restore_map maps[4];
};

static struct fb_machine *
there(struct world *w, const char *id, const char *name)
{
	struct fb_machine *m = fb_fleet_add(&w->r.fleet);

	m->source = fb_strdup("b");
	m->driver = fb_strdup("disks");
	m->id = fb_strdup(id);
	m->name = fb_strdup(name);
	return m;
}

static void
has(struct fb_machine *m, const char *name, enum fb_volume_kind kind,
    uint64_t size)
{
	struct fb_volume *v = fb_machine_add_volume(m);

	v->name = fb_strdup(name);
	v->kind = kind;
	v->size = size;
	v->method = "none";
}

static void
map(struct world *w, const char *kind, const char *from, const char *to)
{
	w->maps[w->r.map_count++] =
	    (struct fb_restore_map){ .kind = kind, .from = from, .to = to };
}

/* The backup: "a/m1", called "web", with two disks, a tree and a definition,
 * of which `chosen` are to be restored. */
static struct fb_rst_machine *
backup(struct world *w, const char *chosen)
{
	static const struct fb_manifest_volume volumes[] = {
		{ .name = (char *)"d", .kind = FB_VOLUME_DISK, .size = 10,
		    .captured = true },
		{ .name = (char *)"e", .kind = FB_VOLUME_DISK, .size = 20,
		    .captured = true },
		{ .name = (char *)"t", .kind = FB_VOLUME_TREE,
		    .captured = true },
		{ .name = (char *)"x", .kind = FB_VOLUME_DEFINITION,
		    .captured = true },
	};
	struct fb_manifest_machine record = { .source = (char *)"a",
		.driver = (char *)"other", .id = (char *)"m1",
		.name = (char *)"web", .role = (char *)"",
		.volumes = (struct fb_manifest_volume *)volumes,
		.volume_count = 4 };
	struct fb_rst_machine *m = fb_rst_add(&w->r, &record);

	for (size_t i = 0; i < 4; i++)
		m->volumes[i].chosen =
		    strchr(chosen, volumes[i].name[0]) != NULL;
	return m;
}

static void
refused(struct world *w, struct fb_rst_machine *m, const char *id,
    const char *words)
{
	struct fb_error err = { 0 };

	assert_true(fb_rst_across(&w->r, m, &err) < 0);
	assert_string_equal(err.id, id);
	assert_non_null(strstr(err.msg, words));
	assert_false(m->across);
	assert_string_equal(m->key, "a/m1");
}

static int
set_up(void **state)
{
	struct world *w = fb_alloc(1, sizeof(*w));

	w->driver = (struct fb_driver){ .ops = &takes_disks, .source = "b" };
	w->drivers[0] = &w->driver;
	w->source.name = (char *)"b";
	w->config.sources = &w->source;
	w->config.source_count = 1;
	w->engine.config = &w->config;
	w->r.engine = &w->engine;
	w->r.kind = FB_RESTORE_TO_MACHINE;
	w->r.drivers =
	    (struct fb_drivers){ .items = w->drivers, .count = 1 };
	w->r.maps = w->maps;
	w->r.spec = json_object();
	map(w, "source", "a", "b");
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < w->r.count; i++)
		fb_rst_machine_release(&w->r.machines[i]);
	free(w->r.machines);
	fb_fleet_release(&w->r.fleet);
	json_decref(w->r.spec);
	free(w);
	return 0;
}

static void
maps_say_what_becomes_what(void **state)
{
	struct world *w = *state;
	struct fb_rst_machine *m = backup(w, "dx");
	struct fb_machine *now = there(w, "u1", "guest");
	struct fb_error err = { 0 };

	has(now, "vda", FB_VOLUME_DISK, 30);
	map(w, "machine", "web", "guest");
	map(w, "volume", "web/d", "vda");
	fb_fleet_settle(&w->r.fleet);
	assert_ok(fb_rst_across(&w->r, m, &err));
	assert_true(m->across);
	assert_true(m->covers);
	assert_string_equal(m->key, "b/u1");
	assert_string_equal(m->origin, "a/m1");
	assert_string_equal(m->model.id, "u1");
	assert_int_equal(m->model.volume_count, 1);
	assert_string_equal(m->volumes[0].there->name, "vda");
	assert_int_equal(m->volumes[0].there->size, 30);
	assert_null(m->volumes[3].there);
	assert_false(m->volumes[3].chosen);
	assert_ok(fb_rst_across_judge(&w->r, &err));
	assert_null(m->problem);
}

static void
it_is_gone_on_with_as_it_was_planned(void **state)
{
	struct world *w = *state;
	struct fb_rst_machine *m = backup(w, "d");
	struct fb_machine *now = there(w, "u1", "guest");
	struct fb_error err = { 0 };

	has(now, "d", FB_VOLUME_DISK, 30);
	has(now, "other", FB_VOLUME_DISK, 30);
	map(w, "machine", "*", "guest");
	fb_fleet_settle(&w->r.fleet);
	assert_ok(fb_rst_across(&w->r, m, &err));
	assert_false(m->covers);
	fb_rst_spec_pin(&w->r);
	assert_int_equal(json_integer_value(json_object_get(
	                     w->r.spec, "version")), 3);
	fb_rst_machine_release(m);
	w->r.count = 0;
	m = backup(w, "d");
	assert_ok(fb_rst_across_pinned(&w->r, &err));
	assert_true(m->across);
	assert_string_equal(m->key, "b/u1");
	assert_int_equal(m->volumes[0].there->size, 30);
	assert_null(m->volumes[1].there);
}

static void
nothing_is_guessed(void **state)
{
	struct world *w = *state;
	struct fb_rst_machine *m = backup(w, "d");
	struct fb_machine *now = there(w, "u1", "web");

	has(now, "vda", FB_VOLUME_DISK, 30);
	now = there(w, "u2", "web");
	fb_fleet_settle(&w->r.fleet);
	refused(w, m, "E-RST-MAP", "no machine 'm1'");
	map(w, "machine", "m1", "web");
	refused(w, m, "E-RST-AMBIGUOUS", "called 'web'");
	w->maps[1].to = "u1";
	refused(w, m, "E-RST-MAP", "no volume 'd'");
}

static void
what_does_not_fit_is_refused(void **state)
{
	struct world *w = *state;
	struct fb_rst_machine *m = backup(w, "e");
	struct fb_machine *now = there(w, "m1", "m1");

	has(now, "e", FB_VOLUME_DISK, 19);
	has(now, "t", FB_VOLUME_TREE, 0);
	fb_fleet_settle(&w->r.fleet);
	refused(w, m, "E-RST-SMALL", "holds 19");
	map(w, "volume", "e", "t");
	refused(w, m, "E-RST-ACROSS", "it is disk, and 't' of 'm1' is tree");
	m->volumes[1].chosen = false;
	m->volumes[2].chosen = true;
	refused(w, m, "E-RST-ACROSS", "takes no tree");
	m->volumes[2].chosen = false;
	m->volumes[3].chosen = true;
	refused(w, m, "E-RST-ACROSS", "no volume");
	w->r.kind = FB_RESTORE_TO_NEW;
	refused(w, m, "E-RST-ACROSS", "no new machine");
}

static void
two_are_never_one(void **state)
{
	struct world *w = *state;
	struct fb_rst_machine *m = backup(w, "de");
	struct fb_machine *now = there(w, "m1", "m1");
	struct fb_error err = { 0 };

	has(now, "vda", FB_VOLUME_DISK, 30);
	fb_fleet_settle(&w->r.fleet);
	map(w, "volume", "*", "vda");
	refused(w, m, "E-RST-MAP", "would both become 'vda'");
	map(w, "volume", "none", "vda");
	assert_true(fb_rst_across_judge(&w->r, &err) < 0);
	assert_string_equal(err.id, "E-RST-MAP");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    maps_say_what_becomes_what, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    it_is_gone_on_with_as_it_was_planned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    nothing_is_guessed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_does_not_fit_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    two_are_never_one, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
