/*
 * The libvirt driver's own promises, with libvirt's own test driver in the
 * place of a hypervisor: it lives in this process.
 */
#include "../../src/driver/libvirt_internal.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "tree_tools.h"

static struct fb_error err;

#define ID "0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b10"

struct lab {
	char *root;
	struct fb_config_source source;
	struct fb_driver *driver;
	struct fb_fleet fleet;
};

/* A hypervisor with these domains. */
static struct lab *
open_lab(const char *domains, const char *key, const char *value)
{
	struct lab *lab = fb_alloc(1, sizeof(*lab));
	FB_AUTO_FREE char *uri = NULL;
	FB_AUTO_FREE char *node = fb_format("<node>%s</node>", domains);

	lab->root = new_dir();
	put_text(lab->root, "node.xml", node);
	uri = fb_format("test://%s/node.xml", lab->root);
	lab->source.name = fb_strdup("kvm");
	lab->source.driver = fb_strdup("libvirt");
	lab->source.options = json_pack("{s:s, s:s, s:s}", "uri", uri,
	    "stop_timeout", "10s", "start_timeout", "10s");
	if (key != NULL)
		(void)json_object_set_new(lab->source.options, key,
		    strcmp(key, "machines") == 0 ? json_pack("[s]", value)
		                                 : json_string(value));
	assert_ok(fb_driver_open(&lab->source, &lab->driver, &err));
	return lab;
}

static void
close_lab(struct lab **lab_ptr)
{
	struct lab *lab = *lab_ptr;

	fb_fleet_release(&lab->fleet);
	fb_driver_close(lab->driver);
	json_decref(lab->source.options);
	free(lab->source.name);
	free(lab->source.driver);
	drop_dir(&lab->root);
	free(lab);
}
#define AUTO_LAB FB_CLEANUP(close_lab)

static const struct fb_machine *
look(struct lab *lab, const char *id)
{
	const struct fb_machine *machine;

	fb_fleet_release(&lab->fleet);
	lab->fleet = (struct fb_fleet){ 0 };
	assert_ok(fb_driver_discover(lab->driver, &lab->fleet, &err));
	fb_fleet_settle(&lab->fleet);
	machine = fb_fleet_find(&lab->fleet, "kvm", id);
	assert_non_null(machine);
	return machine;
}

static const struct fb_volume *
volume(const struct fb_machine *machine, const char *name)
{
	for (size_t i = 0; i < machine->volume_count; i++)
		if (strcmp(machine->volumes[i].name, name) == 0)
			return &machine->volumes[i];
	fail_msg("there is no volume '%s'", name);
	return NULL;
}

static char *
fixture(const char *name)
{
	FB_AUTO_FREE char *path =
	    fb_format("fixtures/fuzz_libvirt_xml/%s", name);
	FB_AUTO_BUF struct fb_buf text = { 0 };

	assert_ok(fb_io_read_file(path, FB_DOMAIN_XML_MAX, &text, &err));
	return fb_strdup(fb_buf_str(&text));
}

static void
read_domain(const char *xml, struct fb_domain *domain)
{
	assert_ok(fb_domain_read(
	    (struct fb_span){ (const uint8_t *)xml, strlen(xml) }, domain,
	    &err));
}

/* In `xml`, the first `from` becomes `to`. */
static char *
replaced(const char *xml, const char *from, const char *to)
{
	const char *at = strstr(xml, from);

	assert_non_null(at);
	return fb_format(
	    "%.*s%s%s", (int)(at - xml), xml, to, at + strlen(from));
}

static bool
same_meaning(const char *one, const char *other)
{
	FB_AUTO_DOMAIN struct fb_domain a = { 0 };
	FB_AUTO_DOMAIN struct fb_domain b = { 0 };

	read_domain(one, &a);
	read_domain(other, &b);
	return fb_digest_cmp(&a.digest, &b.digest) == 0;
}

/* ------------------------------------------------------------------ XML */

static void
the_digest_is_of_what_the_definition_means(void **state)
{
	static const struct {
		const char *from, *to;
		bool same;
	} changes[] = {
		{ "<on_poweroff>", "  <!-- a note -->\n  <on_poweroff>", true },
		{ "name='qemu' type='qcow2'", "type='qcow2' name='qemu'", true },
		{ "<domain type='kvm'", "<domain id='7' type='kvm'", true },
		{ "/iso/debian.iso", "/iso/other.iso", true },
		{ "<backingStore/>", "", true },
		{ "+64055:+109", "+1:+1", true },
		{ "<shareable/>", "<alias name='virtio-disk3'/><shareable/>",
		    true },
		{ "/vm/a.qcow2", "/vm/b.qcow2", false },
		{ "<shareable/>", "<alias name='ua-mine'/><shareable/>",
		    false },
		{ "value='-snapshot'", "value='-no'", false },
		{ "<shareable/>", "", false },
		{ "<transient/>", "<transient shareBacking='yes'/>", false },
	};
	FB_AUTO_FREE char *xml = fixture("good-disks");

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		FB_AUTO_FREE char *other =
		    replaced(xml, changes[i].from, changes[i].to);

		if (same_meaning(xml, other) != changes[i].same)
			fail_msg("%s -> %s", changes[i].from, changes[i].to);
	}
}

static void
a_domain_has_its_process_its_agent_and_its_chain(void **state)
{
	FB_AUTO_FREE char *xml = fixture("good-disks");
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };

	(void)state;
	read_domain(xml, &domain);
	assert_string_equal(domain.name, "a name with $ and spaces");
	assert_string_equal(domain.uuid, ID);
	assert_true(domain.agent && domain.agent_there);
	assert_true(domain.poweroff_destroys);
	assert_true(domain.has_owner);
	assert_int_equal(domain.uid, 64055);
	assert_int_equal(domain.gid, 109);
	assert_int_equal(domain.host_devices, 1);
	assert_int_equal(fb_domain_disk(&domain, "vda")->backing, 2);
	assert_null(fb_domain_disk(&domain, "vdz"));
}

static void
what_is_no_domain_is_refused(void **state)
{
	static const char *const names[] = { "bad-doctype", "bad-twice",
		"bad-uuid", "bad-cut" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FB_AUTO_FREE char *xml = fixture(names[i]);
		FB_AUTO_DOMAIN struct fb_domain domain = { 0 };

		assert_fails(FB_EPROTO,
		    fb_domain_read((struct fb_span){ (const uint8_t *)xml,
		                       strlen(xml) },
		        &domain, &err));
	}
}

/* ------------------------------------------------------------ discovery */

static void
each_disk_is_listed_and_what_cannot_be_captured_says_why(void **state)
{
	static const struct {
		const char *name, *why;
	} left[] = {
		{ "sda", "passed through" },
		{ "vdb", "network disk (rbd:pool/image)" },
		{ "vdd", "shared" },
		{ "vde", "cannot write" },
		{ "vdf", "does not last" },
		{ "vdg", "same image as 'vda'" },
		{ "vdh", "'vmdk'" },
		{ "vdi", "of type 'nvme'" },
		{ "vdj", "encrypts" },
	};
	static const char *const taken[] = { "vda", "vdc", "vdl" };
	FB_AUTO_FREE char *kvm = fixture("good-disks");
	FB_AUTO_FREE char *xml =
	    replaced(kvm, "<domain type='kvm'", "<domain type='test'");
	AUTO_LAB struct lab *lab = open_lab(xml, NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);

	(void)state;
	assert_string_equal(machine->name, "a name with $ and spaces");
	assert_int_equal(machine->power, FB_POWER_UP);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		const struct fb_volume *disk = volume(machine, left[i].name);

		assert_string_equal(disk->method, FB_METHOD_LEFT_OUT);
		assert_false(fb_volume_is_captured(disk));
		if (strstr(disk->note, left[i].why) == NULL)
			fail_msg("%s: %s", left[i].name, disk->note);
	}
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		assert_true(fb_volume_is_captured(volume(machine, taken[i])));
	assert_int_equal(volume(machine, "hda")->kind, FB_VOLUME_CDROM);
	assert_int_equal(volume(machine, "fda")->kind, FB_VOLUME_FLOPPY);
	assert_non_null(strstr(volume(machine, "vda")->note,
	    "qcow2 '/vm/a.qcow2', on 2 images below it"));
	assert_non_null(strstr(volume(machine, "definition")->note,
	    "1 device of the host is passed through"));
}

static void
a_disk_that_is_left_out_fails_its_machine_when_asked_to(void **state)
{
	FB_AUTO_FREE char *kvm = fixture("good-disks");
	FB_AUTO_FREE char *xml =
	    replaced(kvm, "<domain type='kvm'", "<domain type='test'");
	AUTO_LAB struct lab *lab = open_lab(xml, "uncaptured", "refuse");
	const struct fb_machine *machine = look(lab, ID);

	(void)state;
	assert_non_null(machine->problem);
	assert_string_equal(machine->problem->id, "E-DISK-LEFT-OUT");
}

#define PLAIN(name, digit, more)                                              \
	"<domain type='test'><name>" name "</name>"                           \
	"<uuid>0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b1" digit "</uuid>"           \
	"<memory>1024</memory><os><type>hvm</type></os>" more "</domain>"

static void
only_domains_of_the_patterns_are_machines(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("web-1", "0", "") PLAIN("db-1", "1", "")
	        PLAIN("web-2", "2", ""),
	    "machines", "web-*");

	(void)state;
	(void)look(lab, ID);
	assert_int_equal(lab->fleet.count, 2);
	for (size_t i = 0; i < lab->fleet.count; i++)
		assert_memory_equal(lab->fleet.machines[i].name, "web-", 4);
}

static void
a_hypervisor_that_is_away_is_said_so(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), "uri",
	    "qemu+unix:///system?socket=/nowhere/libvirt-sock");

	(void)state;
	assert_fails(FB_EUNREACH, fb_driver_probe(lab->driver, &err));
	assert_string_equal(err.id, "E-SRC-UNREACHABLE");
}

static void
a_uri_is_of_this_host_or_of_another(void **state)
{
	(void)state;
	assert_true(fb_libvirt_is_local("qemu:///system"));
	assert_true(fb_libvirt_is_local("qemu+unix:///system?socket=/a"));
	assert_false(fb_libvirt_is_local("qemu+ssh://host/system"));
	assert_false(fb_libvirt_is_local("qemu+ssh:///system"));
	assert_false(fb_libvirt_is_local("qemu://host/system"));
	assert_false(fb_libvirt_is_local("qemu"));
	assert_false(fb_libvirt_is_local(""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_digest_is_of_what_the_definition_means),
		cmocka_unit_test(
		    a_domain_has_its_process_its_agent_and_its_chain),
		cmocka_unit_test(what_is_no_domain_is_refused),
		cmocka_unit_test(
		    each_disk_is_listed_and_what_cannot_be_captured_says_why),
		cmocka_unit_test(
		    a_disk_that_is_left_out_fails_its_machine_when_asked_to),
		cmocka_unit_test(only_domains_of_the_patterns_are_machines),
		cmocka_unit_test(a_hypervisor_that_is_away_is_said_so),
		cmocka_unit_test(a_uri_is_of_this_host_or_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
