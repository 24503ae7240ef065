/*
 * The libvirt driver's own promises, with libvirt's own test driver in the
 * place of a hypervisor: it lives in this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/driver/libvirt_checkpoint.h"
#include "../../src/driver/libvirt_internal.h"
#include "../../src/driver/libvirt_nbd.h"
#include "../../src/driver/libvirt_overlay.h"
#include "../../src/driver/libvirt_record.h"
#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "tree_tools.h"

static struct fb_error err;

/* What a test puts another function in the place of. */
static struct fb_libvirt real;

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
	FB_AUTO_FREE char *scratch = NULL;
	FB_AUTO_FREE char *node = fb_format("<node>%s</node>", domains);

	lab->root = new_dir();
	put_text(lab->root, "node.xml", node);
	uri = fb_format("test://%s/node.xml", lab->root);
	lab->source.name = fb_strdup("kvm");
	lab->source.driver = fb_strdup("libvirt");
	scratch = fb_format("%s/scratch", lab->root);
	lab->source.options = json_pack("{s:s, s:s, s:s, s:s}", "uri", uri,
	    "scratch", scratch, "stop_timeout", "10s", "start_timeout", "10s");
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
what_is_mapped_becomes_another(void **state)
{
	static const char *const there[] = { "network=\"c\"",
		"bridge=\"br1\"", "52:54:00:00:00:01", "type=\"raw\"",
		"dev=\"/dev/y\"" };
	static const char xml[] = "<domain><name>a</name><uuid>" ID "</uuid>"
	    "<devices><disk type='file' device='disk'><driver type='qcow2'>"
	    "<metadata_cache/></driver><source file='/a.qcow2'/>"
	    "<target dev='vda'/></disk><interface type='network'>"
	    "<mac address='52:54:00:00:00:01'/><source network='b'/>"
	    "</interface><interface type='bridge'><source bridge='br0'/>"
	    "</interface></devices></domain>";
	static const struct fb_restore_map maps[] = {
		{ "network", "*", "br1" }, { "network", "b", "c" },
		{ "pool", "b", "d" } };
	static const struct fb_restore_request request = { .maps = maps,
		.map_count = FB_COUNT(maps),
		.keep_mac = true };
	static const struct fb_domain_place place = { .target = "vda",
		.kind = FB_PLACE_BLOCK, .path = "/dev/y", .format = "raw" };
	static const struct fb_digest seed = { { 1 } };
	const struct fb_domain_change change = { .name = "n",
		.places = &place,
		.place_count = 1,
		.beside = &seed,
		.request = &request };
	FB_AUTO_BUF struct fb_buf made = { 0 };

	(void)state;
	assert_ok(fb_domain_change(SPAN(xml), &change, &made, &err));
	for (size_t i = 0; i < FB_COUNT(there); i++)
		if (strstr(fb_buf_str(&made), there[i]) == NULL)
			fail_msg("'%s' is not in %s", there[i],
			    fb_buf_str(&made));
	assert_null(strstr(fb_buf_str(&made), "metadata_cache"));
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

static void
the_firmwares_variables_are_found_however_they_are_named(void **state)
{
	static const struct {
		const char *xml, *path;
		bool block;
		const char *elsewhere;
	} forms[] = {
		{ "", NULL, false, NULL },
		{ "<nvram template='/t'>/v</nvram>", "/v", false, NULL },
		{ "<nvram type='file'><source file='/v'/></nvram>", "/v",
		    false, NULL },
		{ "<nvram type='block'><source dev='/v'/></nvram>", "/v", true,
		    NULL },
		{ "<nvram type='network'><source protocol='nbd'/></nvram>",
		    NULL, false, "network" },
	};
	FB_AUTO_FREE char *xml = fixture("good-disks");

	(void)state;
	for (size_t i = 0; i < FB_COUNT(forms); i++) {
		FB_AUTO_FREE char *more = fb_format("%s</os>", forms[i].xml);
		FB_AUTO_FREE char *other = replaced(xml, "</os>", more);
		FB_AUTO_DOMAIN struct fb_domain domain = { 0 };

		read_domain(other, &domain);
		assert_true((domain.nvram == NULL) == (forms[i].path == NULL));
		if (forms[i].path != NULL)
			assert_string_equal(domain.nvram, forms[i].path);
		assert_true(domain.nvram_is_block == forms[i].block);
		assert_true((domain.nvram_elsewhere == NULL) ==
		    (forms[i].elsewhere == NULL));
	}
}

static const char twin[] =
    "<domain type='kvm'><name>old &amp; one</name><uuid>" ID "</uuid>"
    "<genid>" ID "</genid><os><type>hvm</type>"
    "<nvram type='file' template='/t'><source file='/v/old.fd'/></nvram>"
    "</os><sysinfo type='smbios'><system><entry name='serial'>7</entry>"
    "<entry name='uuid'>" ID "</entry></system></sysinfo><devices>"
    "<disk type='block' device='disk'><driver type='qcow2'/>"
    "<source dev='/dev/x' index='1'><encryption/></source>"
    "<backingStore type='file'><source file='/b'/></backingStore>"
    "<target dev='vda'/></disk>"
    "<disk type='file' device='disk'><source file='/shared'/>"
    "<target dev='vdb'/></disk>"
    "<disk type='file' device='cdrom'><source file='/gone.iso'/>"
    "<target dev='sda'/></disk>"
    "<interface type='bridge'><mac address='52:54:00:aa:bb:cc'/>"
    "<target dev='web0'/></interface>"
    "<interface type='hostdev'><mac address='52:54:00:aa:bb:cd'/></interface>"
    "<hostdev mode='subsystem'/><serial type='file'><source path='/l/s.log'/>"
    "</serial><graphics type='vnc' port='5901'/>"
    "<vsock><cid auto='no' address='3'/></vsock></devices></domain>";

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
what_a_domain_needs_of_its_host_is_read(void **state)
{
	static const struct {
		const char *xml, *tpm, *path, *elsewhere;
	} forms[] = {
		{ "<backend type='emulator' version='2.0'/>", "tpm2", NULL,
		    NULL },
		{ "<backend type='emulator' version='1.2'/>", "tpm1.2", NULL,
		    NULL },
		{ "<backend type='emulator'><source type='dir' path='/t'/>"
		  "</backend>", "tpm2", "/t", NULL },
		{ "<backend type='emulator'><source type='file' path='/t'/>"
		  "</backend>", NULL, NULL, "on a source of type 'file'" },
		{ "<backend type='passthrough'/>", NULL, NULL,
		    "of type 'passthrough'" },
		{ "", NULL, NULL, NULL },
	};
	static const char nic[] = "<interface type='network'>"
	    "<source network='n &amp; m'/></interface>";

	(void)state;
	for (size_t i = 0; i < FB_COUNT(forms); i++) {
		FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
		FB_AUTO_FREE char *xml = fb_format(
		    "<domain><name>a</name><uuid>" ID "</uuid><devices>"
		    "%s<tpm>%s</tpm>%s<interface type='bridge'>"
		    "<source bridge='br0'/></interface></devices></domain>",
		    nic, forms[i].xml, nic);
		struct fb_span span = { (const uint8_t *)xml, strlen(xml) };

		assert_ok(fb_domain_read(span, &domain, &err));
		assert_true(same_text(domain.host.tpm, forms[i].tpm));
		assert_true(same_text(domain.host.tpm_path, forms[i].path));
		assert_true(same_text(
		    domain.host.tpm_elsewhere, forms[i].elsewhere));
		assert_int_equal(domain.host.network_count, 1);
		assert_string_equal(domain.host.networks[0], "n & m");
	}
}

static void
what_runs_beside_another_shares_nothing_with_it(void **state)
{
	static const char *const gone[] = { "old", ID, "/dev/x", "encryption",
		"/b'", "/shared", "/gone.iso", "52:54:00:aa", "web0", "hostdev",
		"/l/s.log", "5901", "address=\"3\"" };
	static const char *const there[] = { "<name>a&lt;b</name>",
		"<uuid>0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b11</uuid>",
		"<entry name=\"uuid\">0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b11<",
		"<nvram template=\"/t\">/v/new.fd</nvram>",
		"<source pool=\"p\" volume=\"n&amp;m\"/>", "52:54:00:",
		"/l/a&lt;b-s.log", "autoport=\"yes\"", "auto=\"yes\"" };
	static const struct fb_domain_place places[] = {
		{ .target = "vda", .kind = FB_PLACE_VOLUME, .pool = "p",
		    .volume = "n&m" },
		{ .target = "vdb", .kind = FB_PLACE_NOWHERE },
		{ .target = "sda", .kind = FB_PLACE_EMPTY },
	};
	static const struct fb_digest seed = { { 1, 2, 3 } };
	const struct fb_domain_change change = { .name = "a<b",
		.uuid = "0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b11",
		.nvram = "/v/new.fd",
		.places = places,
		.place_count = FB_COUNT(places),
		.beside = &seed };
	FB_AUTO_BUF struct fb_buf made = { 0 };
	FB_AUTO_BUF struct fb_buf same = { 0 };
	const struct fb_domain_change none = { .name = NULL };

	(void)state;
	assert_ok(fb_domain_change(SPAN(twin), &change, &made, &err));
	for (size_t i = 0; i < FB_COUNT(gone); i++)
		if (strstr(fb_buf_str(&made), gone[i]) != NULL)
			fail_msg("'%s' is in %s", gone[i], fb_buf_str(&made));
	for (size_t i = 0; i < FB_COUNT(there); i++)
		if (strstr(fb_buf_str(&made), there[i]) == NULL)
			fail_msg("'%s' is not in %s", there[i],
			    fb_buf_str(&made));
	assert_ok(fb_domain_change(SPAN(twin), &none, &same, &err));
	assert_true(same_meaning(twin, fb_buf_str(&same)));
}

/* ------------------------------------------------------------ discovery */

static void
each_disk_is_listed_and_what_cannot_be_captured_says_why(void **state)
{
	static const struct {
		const char *name, *why;
	} left[] = {
		{ "sda", "passed through" },
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

/* What the test driver is told of a domain. */
#define TEST(key, value)                                                      \
	"<test:" key " xmlns:test='http://libvirt.org/schemas/domain/test/"   \
	"1.0'>" value "</test:" key ">"

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
one_that_is_saved_to_disk_is_refused(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0",
	        TEST("runstate", "5") TEST("hasmanagedsave", "1")),
	    NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);

	(void)state;
	assert_non_null(machine->problem);
	assert_string_equal(machine->problem->id, "E-DOMAIN-SAVED");
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

/* ---------------------------------------------------------------- power */

static struct fb_verb
verb(const char *token)
{
	return (struct fb_verb){ .token = token, .timeout_ms = 20000,
		.lock_fd = -1 };
}

static enum fb_power
power(struct lab *lab, const struct fb_machine *machine)
{
	enum fb_power now;

	assert_ok(fb_driver_power_get(lab->driver, machine,
	    &(struct fb_verb){ .token = "", .lock_fd = -1 }, &now, &err));
	return now;
}

static void
a_domain_goes_down_and_comes_up(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb stop = verb("stop-1"), start = verb("start-1");

	(void)state;
	assert_int_equal(machine->power, FB_POWER_UP);
	assert_int_equal(
	    machine->lifecycle, FB_LIFECYCLE_STOP_SNAPSHOT_START);
	for (int twice = 0; twice < 2; twice++) {
		assert_ok(fb_driver_stop(lab->driver, machine, &stop, &err));
		assert_int_equal(power(lab, machine), FB_POWER_DOWN);
	}
	for (int twice = 0; twice < 2; twice++) {
		assert_ok(
		    fb_driver_start(lab->driver, machine, &start, &err));
		assert_int_equal(power(lab, machine), FB_POWER_UP);
	}
}

static void
one_that_would_not_stay_down_or_be_gone_is_not_stopped(void **state)
{
	static const char *const domains[] = {
		PLAIN("a", "0", "<on_poweroff>restart</on_poweroff>"),
		PLAIN("a", "0", TEST("transient", "1")),
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		AUTO_LAB struct lab *lab = open_lab(domains[i], NULL, NULL);
		const struct fb_machine *machine = look(lab, ID);
		struct fb_verb stop = verb("stop-1");

		assert_fails(FB_EUNSUP,
		    fb_driver_stop(lab->driver, machine, &stop, &err));
		assert_int_equal(power(lab, machine), FB_POWER_UP);
		assert_int_equal(machine->lifecycle,
		    i == 0 ? FB_LIFECYCLE_STOP_SNAPSHOT_START
		           : FB_LIFECYCLE_SNAPSHOT_LIVE);
	}
}

#define PAUSED PLAIN("a", "0", TEST("runstate", "3"))

static void
one_that_somebody_paused_is_left_alone(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PAUSED, NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb any = verb("any-1");

	(void)state;
	assert_int_equal(machine->power, FB_POWER_UNKNOWN);
	assert_fails(
	    FB_ECONFLICT, fb_driver_stop(lab->driver, machine, &any, &err));
	assert_fails(
	    FB_ECONFLICT, fb_driver_start(lab->driver, machine, &any, &err));
	assert_int_equal(power(lab, machine), FB_POWER_UNKNOWN);
	/* Not even for a moment is it ours. */
	assert_fails(
	    FB_ENOTFOUND, fb_driver_find_by_token(lab->driver, machine,
	                      "any-1", &err));
}

static void
one_that_we_paused_is_down_and_goes_on(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PAUSED, NULL, NULL);
	FB_AUTO_FREE char *mark =
	    fb_format("%s/scratch/" ID "/paused", lab->root);
	const struct fb_machine *machine;
	struct fb_verb start = verb("start-1");

	(void)state;
	put_dir(lab->root, "scratch");
	put_dir(lab->root, "scratch/" ID);
	put_text(lab->root, "scratch/" ID "/paused", "run.1");
	machine = look(lab, ID);
	assert_int_equal(machine->power, FB_POWER_DOWN);
	assert_ok(fb_driver_start(lab->driver, machine, &start, &err));
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	assert_int_equal(access(mark, F_OK), -1);
}

static void
a_mark_goes_when_what_it_marks_has_passed(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_FREE char *paused =
	    fb_format("%s/scratch/" ID "/paused", lab->root);
	FB_AUTO_FREE char *asked =
	    fb_format("%s/scratch/" ID "/asked", lab->root);
	struct fb_verb settle = { .token = "", .lock_fd = -1, .settle = true };
	const struct fb_machine *machine;
	enum fb_power now;

	(void)state;
	put_dir(lab->root, "scratch");
	put_dir(lab->root, "scratch/" ID);
	put_text(lab->root, "scratch/" ID "/paused", "run.1");
	machine = look(lab, ID);
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	assert_int_equal(access(paused, F_OK), -1);

	/* It was asked to go down, and might until now. */
	assert_ok(fb_libvirt_note_asked(driver, ID, 3600000, &err));
	assert_true(fb_libvirt_asked(driver, ID) > 0);
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	assert_int_equal(access(asked, F_OK), 0);
	assert_ok(fb_libvirt_note_asked(driver, ID, 100, &err));
	assert_ok(fb_driver_power_get(
	    lab->driver, machine, &settle, &now, &err));
	assert_int_equal(now, FB_POWER_UP);
	assert_int_equal(access(asked, F_OK), -1);
	/* What nobody of us wrote is no mark. */
	put_text(lab->root, "scratch/" ID "/asked", "some boot 99999999999\n");
	assert_int_equal(fb_libvirt_asked(driver, ID), 0);
}

/* The hypervisor is another host's, where each script ends like this. */
static void
put_far(struct lab *lab, const char *lines)
{
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_FREE char *program = fb_format("%s/ssh", lab->root);
	FB_AUTO_FREE char *uri =
	    fb_format("qemu+ssh://h/system?command=%s", program);
	FB_AUTO_FREE char *text = fb_format("#!/bin/sh\n%s\n", lines);

	put_text(lab->root, "ssh", text);
	assert_return_code(chmod(program, 0700), errno);
	fb_libvirt_far_free(driver->far);
	driver->far = fb_libvirt_far_new(uri, "mark");
}

/* A guest of another host outlives a boot of this one. */
static void
one_of_another_host_goes_down_late_whatever_this_one_does(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_FREE char *path =
	    fb_format("%s/scratch/" ID "/asked", lab->root);
	FB_AUTO_BUF struct fb_buf mark = { 0 };
	char boot[FB_BOOT_ID_SIZE];

	(void)state;
	put_far(lab, "exit 255");
	assert_ok(fb_libvirt_note_asked(driver, ID, 3600000, &err));
	assert_true(fb_libvirt_asked(driver, ID) > INT64_C(3500000000000));
	assert_ok(fb_io_read_file(path, 128, &mark, &err));
	fb_clock_boot_id(boot);
	assert_null(strstr(fb_buf_str(&mark), boot));
	assert_ok(fb_libvirt_note_asked(driver, ID, 0, &err));
	assert_int_equal(fb_libvirt_asked(driver, ID), 0);
	/* Nor does it take for ever when a clock was set back. */
	put_text(lab->root, "scratch/" ID "/asked", "wall 9000000000000\n");
	assert_true(fb_libvirt_asked(driver, ID) ==
	    (int64_t)FB_LIBVIRT_ASKED_MAX_MS * 1000000);
}

static void
one_that_crashed_and_is_kept_is_not_off(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "6")), NULL, NULL);

	(void)state;
	assert_int_equal(look(lab, ID)->power, FB_POWER_UNKNOWN);
}

static void
what_hands_errors_to_the_guest_is_not_read_while_that_runs(void **state)
{
	static const struct {
		const char *policy, *capture, *method;
		bool left;
	} cases[] = {
		{ "report", "stop", "read-stopped", false },
		{ "ignore", "stop", "read-stopped", false },
		{ "report", "live", FB_METHOD_LEFT_OUT, true },
		{ "stop", "stop", "backup-job", false },
		{ "enospace", "live", "backup-job", false },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *disk = fb_format(
		    "<devices><disk type='file' device='disk'>"
		    "<driver name='qemu' type='raw' error_policy='%s'/>"
		    "<source file='/vm/a.raw'/><target dev='vda' "
		    "bus='virtio'/></disk></devices>",
		    cases[i].policy);
		FB_AUTO_FREE char *xml = fb_format(PLAIN("a", "0", "%s"), disk);
		AUTO_LAB struct lab *lab =
		    open_lab(xml, "capture", cases[i].capture);
		const struct fb_volume *vda = volume(look(lab, ID), "vda");

		assert_string_equal(vda->method, cases[i].method);
		assert_int_equal(fb_volume_is_captured(vda), !cases[i].left);
		if ((strstr(vda->note, "error_policy") != NULL) !=
		    (strcmp(vda->method, "backup-job") != 0))
			fail_msg("case %zu: %s", i, vda->note);
	}
}

/* A domain with an image, in a directory of its own. */
static char *
with_image(const char *dir, const char *more)
{
	put_text(dir, "disk.raw", "it is what it was");
	return fb_format("<domain type='test'><name>a</name><uuid>" ID
	                 "</uuid><memory>1024</memory><os><type>hvm</type></os>"
	                 "<devices><disk type='file' device='disk'>"
	                 "<driver name='qemu' type='raw'/>"
	                 "<source file='%s/disk.raw'/><target dev='vda'/></disk>"
	                 "</devices>%s</domain>",
	    dir, more);
}

/* One at `path` that accepts, and says nothing. */
static int
silent_server(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	assert_return_code(
	    bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	assert_return_code(listen(fd, 1), errno);
	return fd;
}

static void
a_server_that_hangs_is_given_up(void **state)
{
	struct fb_libvirt_changes none = { 0 };
	struct fb_artifact *disk = NULL;
	int64_t patience_ms = fb_disk_patience_ms;
	char *dir = new_dir();
	FB_AUTO_FREE char *path = fb_format("%s/nbd", dir);
	int fd = silent_server(path);

	(void)state;
	fb_disk_patience_ms = 100;
	assert_fails(FB_ETIMEOUT,
	    fb_libvirt_read_job(NULL, path, "vda", &none, &disk, &err));
	fb_disk_patience_ms = patience_ms;
	(void)close(fd);
	assert_fails(FB_EFAILED,
	    fb_libvirt_read_job(NULL, path, "vda", &none, &disk, &err));
	drop_dir(&dir);
}

static void
a_capture_of_images_that_changed_since_is_none(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *xml = with_image(dir, TEST("runstate", "5"));
	AUTO_LAB struct lab *lab = open_lab(xml, NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb make = verb("run.1");

	(void)state;
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	assert_ok(fb_driver_find_by_token(
	    lab->driver, machine, "run.1", &err));
	put_text(dir, "disk.raw", "the guest ran meanwhile");
	assert_fails(FB_EFAILED, fb_driver_find_by_token(lab->driver,
	                             machine, "run.1", &err));
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	assert_ok(fb_driver_find_by_token(
	    lab->driver, machine, "run.1", &err));
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	drop_dir(&dir);
}

/* Its image is held there until somebody lets go of it. */
static char *held_until;

static int
create_when_free(virDomainPtr domain, unsigned flags)
{
	return access(held_until, F_OK) == 0
	    ? real.virDomainCreateWithFlags(domain, flags)
	    : -1;
}

static void
one_whose_image_a_server_of_ours_keeps_is_started(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *xml = with_image(dir, TEST("runstate", "5"));
	AUTO_LAB struct lab *lab = open_lab(xml, NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE char *program = NULL;
	struct fb_verb start = verb("start-1");

	(void)state;
	held_until = fb_format("%s/free", dir);
	program = fb_format(": >'%s'", held_until);
	put_far(lab, program);
	real = fb_libvirt;
	fb_libvirt.virDomainCreateWithFlags = create_when_free;
	assert_ok(fb_driver_start(lab->driver, machine, &start, &err));
	fb_libvirt.virDomainCreateWithFlags = real.virDomainCreateWithFlags;
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	free(FB_STEAL(held_until));
	drop_dir(&dir);
}

static void
one_that_somebody_started_is_not_captured(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb make = verb("run.1");

	(void)state;
	for (int stopped = 0; stopped < 2; stopped++) {
		make.will_start = stopped == 1;
		assert_fails(FB_ECONFLICT,
		    fb_driver_create_snapshot(
		        lab->driver, machine, &make, &err));
	}
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	assert_int_equal(power(lab, machine), FB_POWER_UP);
}

static int
forgetful_state(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	int rc = real.virDomainGetState(domain, state, reason, flags);

	*reason = 0;
	return rc;
}

static void
one_that_was_cut_off_is_told_from_one_that_shut_down(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb make = verb("run.1"), stop = verb("stop-1"),
		       start = verb("start-1");
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	bool unclean = false;

	(void)state;
	make.ret_unclean = &unclean;
	assert_ok(fb_driver_stop(lab->driver, machine, &stop, &err));
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	assert_false(unclean);
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	assert_ok(fb_driver_start(lab->driver, machine, &start, &err));
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	assert_int_equal(
	    fb_libvirt.virDomainDestroyFlags(ref.domain, 0), 0);
	for (int again = 0; again < 2; again++) {
		unclean = false;
		assert_ok(fb_driver_create_snapshot(
		    lab->driver, machine, &make, &err));
		assert_true(unclean);
	}
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	/* It is so as long as it has not run again; libvirt forgets it when it
	 * is restarted itself. */
	assert_true(fb_libvirt_was_unclean(driver, ID, ""));
	unclean = false;
	real = fb_libvirt;
	fb_libvirt.virDomainGetState = forgetful_state;
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	fb_libvirt.virDomainGetState = real.virDomainGetState;
	assert_true(unclean);
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	assert_ok(fb_driver_start(lab->driver, machine, &start, &err));
	assert_false(fb_libvirt_was_unclean(driver, ID, ""));
}

static void
another_fleetbak_keeps_away_from_one_that_is_captured(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "5")), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_driver *other = NULL;
	struct fb_verb make = verb("run.1"), theirs = verb("run.2");

	(void)state;
	assert_ok(fb_driver_open(&lab->source, &other, &err));
	for (int twice = 0; twice < 2; twice++) {
		assert_ok(fb_driver_create_snapshot(
		    lab->driver, machine, &make, &err));
		assert_fails(FB_EBUSY,
		    fb_driver_create_snapshot(other, machine, &theirs, &err));
		assert_string_equal(err.id, "E-DOMAIN-BUSY");
		assert_fails(FB_EBUSY,
		    fb_driver_remove_snapshot(other, machine, &make, &err));
		assert_ok(fb_driver_remove_snapshot(
		    lab->driver, machine, &make, &err));
		/* What the first one had is the second one's now. */
		assert_ok(fb_driver_create_snapshot(
		    other, machine, &theirs, &err));
		assert_fails(FB_EBUSY,
		    fb_driver_create_snapshot(
		        lab->driver, machine, &make, &err));
		assert_ok(fb_driver_remove_snapshot(
		    other, machine, &theirs, &err));
	}
	fb_driver_close(other);
}

static void
put_overlay(struct lab *lab, const char *overlay, const char *base,
    const char *format)
{
	FB_AUTO_FREE char *record = fb_format(
	    "{\"token\":\"run.1\",\"disks\":[{\"target\":\"vda\","
	    "\"base\":\"%s\",\"format\":\"%s\",\"overlay\":\"%s\"}]}",
	    base, format, overlay);

	assert_ok(fb_libvirt_make_place(
	    (struct fb_libvirt_driver *)lab->driver, ID, "", &err));
	put_text(((struct fb_libvirt_driver *)lab->driver)->scratch,
	    ID "/" FB_LIBVIRT_OVERLAY_MARK, record);
}

#define ON(path, format) \
	PLAIN("a", "0", \
	    "<devices><disk type='file' device='disk'>" \
	    "<driver name='qemu' type='" format "'/><source file='" path \
	    "'/><target dev='vda' bus='virtio'/></disk></devices>")

/* What another fleetbak with the same scratch does between two looks. */
static struct {
	struct fb_driver *driver;
	bool holds;
} other_run;

static int
held_up_state(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	(void)domain, (void)flags;
	*state = VIR_DOMAIN_PAUSED;
	*reason = VIR_DOMAIN_PAUSED_IOERROR;
	return 0;
}

static int
other_aborts(virDomainPtr domain)
{
	(void)domain;
	other_run.holds = fb_libvirt_hold(
	    (struct fb_libvirt_driver *)other_run.driver, ID, &err) == FB_OK;
	return -1;
}

static char *
tell_job(virDomainPtr domain, unsigned flags)
{
	(void)domain, (void)flags;
	return fb_format(
	    "<domainbackup mode='pull'><server transport='unix' "
	    "socket='%s/" ID "/run.0/own/nbd'/></domainbackup>",
	    ((struct fb_libvirt_driver *)other_run.driver)->scratch);
}

static void
nobody_takes_one_over_while_it_is_let_go_on(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };

	(void)state;
	assert_ok(fb_driver_open(&lab->source, &other_run.driver, &err));
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	real = fb_libvirt;
	fb_libvirt.virDomainGetState = held_up_state;
	fb_libvirt.virDomainBackupGetXMLDesc = tell_job;
	fb_libvirt.virDomainAbortJob = other_aborts;
	other_run.holds = true;
	assert_true(
	    fb_libvirt_free_held_up(driver, ref.domain, ID, &err) < 0);
	fb_libvirt.virDomainGetState = real.virDomainGetState;
	fb_libvirt.virDomainBackupGetXMLDesc = real.virDomainBackupGetXMLDesc;
	fb_libvirt.virDomainAbortJob = real.virDomainAbortJob;
	assert_false(other_run.holds);
	/* And then anybody may have it. */
	assert_ok(fb_libvirt_hold(
	    (struct fb_libvirt_driver *)other_run.driver, ID, &err));
	fb_driver_close(other_run.driver);
}

static char *
tell_own_job(virDomainPtr domain, unsigned flags)
{
	FB_AUTO_FREE char *socket = fb_libvirt_socket(
	    (struct fb_libvirt_driver *)other_run.driver, ID, "run.1");

	(void)domain, (void)flags;
	return fb_format(
	    "<domainbackup mode='pull'><server transport='unix' "
	    "socket='%s'/></domainbackup>",
	    socket);
}

static void
who_goes_on_with_a_capture_looks_after_its_guest(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_libvirt_driver *dead = (struct fb_libvirt_driver *)lab->driver;
	struct fb_verb make = verb("run.1");

	(void)state;
	for (int makes = 0; makes < 2; makes++) {
		struct fb_libvirt_driver *driver;

		assert_ok(fb_driver_open(
		    &lab->source, &other_run.driver, &err));
		driver = (struct fb_libvirt_driver *)other_run.driver;
		assert_ok(fb_libvirt_make_place(dead, ID, "run.1", &err));
		assert_ok(fb_libvirt_write_kind(dead, ID, "run.1",
		    FB_LIBVIRT_JOB, (struct fb_span){ 0 }, &err));
		real = fb_libvirt;
		fb_libvirt.virDomainBackupGetXMLDesc = tell_own_job;
		assert_ok(makes ? fb_driver_create_snapshot(other_run.driver,
		                      machine, &make, &err)
		                : fb_driver_find_by_token(other_run.driver,
		                      machine, "run.1", &err));
		fb_libvirt.virDomainBackupGetXMLDesc =
		    real.virDomainBackupGetXMLDesc;
		assert_true(driver->watches);
		assert_fails(FB_EBUSY, fb_libvirt_hold(dead, ID, &err));
		fb_driver_close(other_run.driver);
	}
}

static int ended_meanwhile;

/* Whoever had the guest until then has ended its job. */
static char *
tell_own_job_once(virDomainPtr domain, unsigned flags)
{
	return ended_meanwhile++ == 0 ? tell_own_job(domain, flags)
	                              : fb_strdup("<domainbackup/>");
}

static void
what_ended_before_it_was_had_is_not_gone_on_with(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_libvirt_driver *other;

	(void)state;
	assert_ok(fb_driver_open(&lab->source, &other_run.driver, &err));
	other = (struct fb_libvirt_driver *)other_run.driver;
	assert_ok(fb_libvirt_make_place(other, ID, "run.1", &err));
	assert_ok(fb_libvirt_write_kind(other, ID, "run.1", FB_LIBVIRT_JOB,
	    (struct fb_span){ 0 }, &err));
	real = fb_libvirt;
	ended_meanwhile = 0;
	fb_libvirt.virDomainBackupGetXMLDesc = tell_own_job_once;
	assert_fails(FB_EFAILED, fb_driver_find_by_token(
	    lab->driver, machine, "run.1", &err));
	fb_libvirt.virDomainBackupGetXMLDesc = real.virDomainBackupGetXMLDesc;
	/* And anybody may have it. */
	assert_ok(fb_libvirt_hold(other, ID, &err));
	fb_driver_close(other_run.driver);
}

#define ID_OF "0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b1%d"

/* Of a and b. */
static bool ended[2];

static int
number_of(virDomainPtr domain)
{
	return fb_libvirt.virDomainGetName(domain)[0] == 'b';
}

static char *
tell_each_job(virDomainPtr domain, unsigned flags)
{
	FB_AUTO_FREE char *id = fb_format(ID_OF, number_of(domain));
	FB_AUTO_FREE char *socket = fb_libvirt_socket(
	    (struct fb_libvirt_driver *)other_run.driver, id, "run.1");

	(void)flags;
	return ended[number_of(domain)]
	    ? fb_strdup("<domainbackup/>")
	    : fb_format("<domainbackup mode='pull'><server "
	                "transport='unix' socket='%s'/></domainbackup>",
	          socket);
}

static int
end_each_job(virDomainPtr domain)
{
	ended[number_of(domain)] = true;
	return 0;
}

static void
room_is_promised_once(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", "") PLAIN("b", "1", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	struct fb_volume disk = { .name = (char *)"vda",
		.kind = FB_VOLUME_DISK };
	struct fb_verb left = verb("run.1");

	(void)state;
	other_run.driver = lab->driver;
	assert_ok(fb_io_mkdirs(driver->scratch, 0700, &err));
	disk.size = fb_libvirt_room(driver->scratch) / 10 * 6;
	real = fb_libvirt;
	fb_libvirt.virDomainBackupGetXMLDesc = tell_each_job;
	fb_libvirt.virDomainAbortJob = end_each_job;
	for (int i = 0; i < 2; i++) {
		FB_AUTO_FREE char *id = fb_format(ID_OF, i);
		struct fb_machine machine = { .id = id, .volumes = &disk,
			.volume_count = 1 };
		bool done;

		assert_ok(fb_libvirt_make_place(driver, id, "run.1", &err));
		assert_ok(fb_driver_relieve(
		    lab->driver, &machine, &left, &done, &err));
		assert_int_equal(done, i == 1);
		assert_int_equal(ended[i], i == 1);
	}
	fb_libvirt.virDomainBackupGetXMLDesc = real.virDomainBackupGetXMLDesc;
	fb_libvirt.virDomainAbortJob = real.virDomainAbortJob;
}

static void
what_a_domain_names_is_not_removed(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), NULL, NULL);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_FREE char *overlay =
	    fb_format("%s/" ID "/run.1/own/vda", driver->scratch);
	FB_AUTO_FREE char *xml = fb_format(
	    "<domain type='test'><name>a</name><uuid>" ID "</uuid>"
	    "<memory>1024</memory><os><type>hvm</type></os>"
	    "<devices><disk type='file' device='disk'><driver name='qemu' "
	    "type='qcow2'/><source file='%s'/><target dev='vda' "
	    "bus='virtio'/></disk></devices></domain>",
	    overlay);
	AUTO_LAB struct lab *above = open_lab(xml, NULL, NULL);
	struct fb_libvirt_driver *same =
	    (struct fb_libvirt_driver *)above->driver;
	const struct fb_machine *machine = look(above, ID);
	struct fb_verb other = verb("run.2"), make = verb("run.1");

	(void)state;
	free(same->scratch);
	same->scratch = fb_strdup(driver->scratch);
	assert_ok(fb_libvirt_make_place(same, ID, "run.1", &err));
	/* Nothing is recorded of it. */
	assert_fails(FB_ECONFLICT,
	    fb_driver_remove_snapshot(above->driver, machine, &make, &err));
	assert_string_equal(err.id, "E-OVERLAY");
	/* The lowest image may be another guest's as well. */
	assert_non_null(strstr(err.hint, "--shallow"));
	assert_non_null(strstr(err.hint, "qemu-img commit -b IMAGE OVERLAY"));
	assert_ok(fb_driver_remove_snapshot(
	    above->driver, machine, &other, &err));
	fb_libvirt_let_go_of(same, NULL);
}

static void
one_with_an_overlay_of_ours_is_what_it_is_without(void **state)
{
	AUTO_LAB struct lab *before =
	    open_lab(ON("/vm/a.raw", "raw"), NULL, NULL);
	AUTO_LAB struct lab *above =
	    open_lab(ON("/scratch/vda", "qcow2"), NULL, NULL);
	struct fb_digest was = look(before, ID)->description;

	(void)state;
	assert_int_not_equal(
	    fb_digest_cmp(&was, &look(above, ID)->description), 0);
	put_overlay(above, "/scratch/vda", "/vm/a.raw", "raw");
	assert_int_equal(
	    fb_digest_cmp(&was, &look(above, ID)->description), 0);
	/* Whose it is, is told by its path. */
	put_overlay(above, "/scratch/other", "/vm/a.raw", "raw");
	assert_int_not_equal(
	    fb_digest_cmp(&was, &look(above, ID)->description), 0);
}

static void
a_disk_with_another_image_than_ours_is_not_merged(void **state)
{
	AUTO_LAB struct lab *lab =
	    open_lab(ON("/vm/theirs", "qcow2"), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb verb_of = verb("run.1"), other = verb("run.2");

	(void)state;
	put_overlay(lab, "/scratch/vda", "/vm/a.raw", "raw");
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &other, &err));
	assert_true(fb_libvirt_is_overlaid(
	    (struct fb_libvirt_driver *)lab->driver, ID));
	assert_fails(FB_ECONFLICT,
	    fb_driver_remove_snapshot(lab->driver, machine, &verb_of, &err));
	assert_string_equal(err.id, "E-OVERLAY");
	assert_true(fb_libvirt_is_overlaid(
	    (struct fb_libvirt_driver *)lab->driver, ID));
}

static void
overlays_are_asked_for_the_disks_that_are_captured(void **state)
{
	static const char *const wanted[] = { "vda", NULL };
	FB_AUTO_FREE char *xml = fixture("good-disks");
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	read_domain(xml, &domain);
	fb_domain_snapshot_xml(&domain, wanted, "/s/q", &text);
	assert_non_null(strstr(fb_buf_str(&text),
	    "<disk name=\"vda\" snapshot=\"external\" type=\"file\">"));
	assert_non_null(strstr(
	    fb_buf_str(&text), "<source file=\"/s/q/vda\"/>"));
	for (size_t i = 0; i < domain.disk_count; i++) {
		FB_AUTO_FREE char *none =
		    fb_format("<disk name=\"%s\" snapshot=\"no\"/>",
		        domain.disks[i].target);

		assert_int_equal(strstr(fb_buf_str(&text), none) == NULL,
		    strcmp(domain.disks[i].target, "vda") == 0);
	}
}

/* What QEMU does with an overlay above an image, for a domain of libvirt's test
 * driver, which does nothing of it. */
static struct {
	struct lab *lab;
	char *dir, *overlay, *base;
	bool committed, merged;
	unsigned tries;
	bool late; /* a merge comes between a look and what is read then */
} above;

static char *
overlaid_xml(virDomainPtr domain, unsigned flags)
{
	FB_AUTO_FREE char *text = real.virDomainGetXMLDesc(domain, flags);

	return above.merged ? replaced(text, above.overlay, above.base)
	                    : fb_strdup(text);
}

/* QEMU takes bytes from 100 on for what it does to an image. */
static bool
is_in_use(const char *path)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = 100, .l_len = 64 };
	FB_AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_return_code(fd, errno);
	return fcntl(fd, F_OFD_SETLK, &lock) == -1;
}

static int
commit_disk(virDomainPtr domain, const char *disk, const char *base,
    const char *top, unsigned long bandwidth, unsigned flags)
{
	(void)domain, (void)top, (void)bandwidth, (void)flags;
	assert_string_equal(disk, "vda");
	assert_string_equal(base, above.base);
	/* Nobody else waits for it. */
	assert_ok(fb_libvirt_merge(
	    (struct fb_libvirt_driver *)above.lab->driver, domain,
	    "0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b11", NULL, &err));
	assert_true(++above.tries < 100);
	if (is_in_use(above.base))
		return -1;
	put_text(above.dir, "base.raw", "written since then");
	above.committed = true;
	return 0;
}

static int
commit_info(virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info,
    unsigned flags)
{
	(void)domain, (void)disk, (void)flags;
	*info = (virDomainBlockJobInfo){ .cur = 1, .end = 1 };
	return above.committed;
}

static int
commit_pivot(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain, (void)disk;
	assert_int_equal(flags, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT);
	above.merged = true;
	return 0;
}

static void
merge_overlay(void)
{
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)above.lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };

	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	assert_ok(fb_libvirt_merge(driver, ref.domain, ID, "run.1", &err));
	assert_true(above.merged);
}

static struct fb_nbd real_nbd;

static int64_t
read_late(struct nbd_handle *nbd, void *bytes, size_t len, uint64_t offset,
    nbd_completion_callback callback, uint32_t flags)
{
	if (above.late) {
		above.late = false;
		merge_overlay();
	}
	return real_nbd.nbd_aio_pread(
	    nbd, bytes, len, offset, callback, flags);
}

static int
with_overlay(void **state)
{
	(void)state;
	assert_null(fb_libvirt_load());
	assert_null(fb_nbd_load());
	real = fb_libvirt;
	real_nbd = fb_nbd;
	memset(&above, 0, sizeof(above));
	above.dir = new_dir();
	above.overlay = fb_format("%s/overlay", above.dir);
	above.base = fb_format("%s/base.raw", above.dir);
	fb_libvirt.virDomainGetXMLDesc = overlaid_xml;
	fb_libvirt.virDomainBlockCommit = commit_disk;
	fb_libvirt.virDomainGetBlockJobInfo = commit_info;
	fb_libvirt.virDomainBlockJobAbort = commit_pivot;
	fb_nbd.nbd_aio_pread = read_late;
	return 0;
}

static int
without_overlay(void **state)
{
	(void)state;
	fb_libvirt.virDomainGetXMLDesc = real.virDomainGetXMLDesc;
	fb_libvirt.virDomainBlockCommit = real.virDomainBlockCommit;
	fb_libvirt.virDomainGetBlockJobInfo = real.virDomainGetBlockJobInfo;
	fb_libvirt.virDomainBlockJobAbort = real.virDomainBlockJobAbort;
	fb_nbd.nbd_aio_pread = real_nbd.nbd_aio_pread;
	free(above.overlay);
	free(above.base);
	drop_dir(&above.dir);
	return 0;
}

/* Open what lies below an overlay, of a capture that is whole. */
static struct fb_artifact *
open_below(struct lab *lab)
{
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	struct fb_libvirt_changes none = { 0 };
	struct fb_artifact *disk = NULL;

	above.lab = lab;
	put_text(above.dir, "base.raw", "at the capture");
	put_text(above.dir, "overlay", "");
	put_overlay(lab, above.overlay, above.base, "raw");
	assert_ok(fb_libvirt_make_place(driver, ID, "run.1", &err));
	assert_ok(fb_libvirt_write_kind(driver, ID, "run.1",
	    FB_LIBVIRT_OVERLAY, (struct fb_span){ 0 }, &err));
	assert_ok(fb_libvirt_read_below(
	    driver, ID, "vda", &none, &disk, &err));
	assert_true(is_in_use(above.base));
	return disk;
}

static struct lab *
open_overlaid_lab(void)
{
	FB_AUTO_FREE char *disk = fb_format(
	    "<devices><disk type='file' device='disk'>"
	    "<driver name='qemu' type='qcow2'/><source file='%s'/>"
	    "<target dev='vda' bus='virtio'/></disk></devices>",
	    above.overlay);
	FB_AUTO_FREE char *xml = fb_format(PLAIN("a", "0", "%s"), disk);

	return open_lab(xml, NULL, NULL);
}

static void
a_merge_waits_for_nobody_who_reads_below_it(void **state)
{
	AUTO_LAB struct lab *lab = open_overlaid_lab();
	FB_AUTO_ARTIFACT struct fb_artifact *disk = open_below(lab);
	uint64_t start, end;
	char got[4];

	(void)state;
	assert_ok(disk->ops->read(disk, 0, got, sizeof(got), &err));
	merge_overlay();
	assert_fails(FB_EFAILED,
	    disk->ops->read(disk, 0, got, sizeof(got), &err));
	assert_fails(
	    FB_EFAILED, disk->ops->extent(disk, 0, &start, &end, &err));
}

static void
what_is_read_while_a_merge_begins_does_not_count(void **state)
{
	AUTO_LAB struct lab *lab = open_overlaid_lab();
	FB_AUTO_ARTIFACT struct fb_artifact *disk = open_below(lab);
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_ARTIFACT struct fb_artifact *other = NULL;
	struct fb_libvirt_changes none = { 0 };
	char got[4];

	(void)state;
	above.late = true;
	assert_fails(FB_EFAILED,
	    disk->ops->read(disk, 0, got, sizeof(got), &err));
	assert_true(above.merged);
	assert_fails(FB_ENOTFOUND,
	    fb_libvirt_read_below(
	        driver, ID, "vda", &none, &other, &err));
	/* One has begun, and is not through. */
	put_overlay(lab, above.overlay, above.base, "raw");
	assert_fails(FB_EFAILED,
	    fb_libvirt_read_below(
	        driver, ID, "vda", &none, &other, &err));
}

/* The agent of a domain of libvirt's test driver, which has none. */
static struct {
	const char *status; /* NULL: it says nothing */
	int frozen;         /* what it answers; -1: nothing */
	int deaf;           /* times it does not hear to thaw */
	int thawed;         /* file systems that it finds frozen then */
	bool asleep;        /* they thaw by themselves at once */
	int freezes, thaws;
	char *(*xml)(virDomainPtr, unsigned);
} agent;

static char *
agent_xml(virDomainPtr domain, unsigned flags)
{
	static const char channel[] =
	    "<channel type='unix'><target type='virtio' "
	    "name='org.qemu.guest_agent.0' state='connected'/></channel>";
	FB_AUTO_FREE char *text = agent.xml(domain, flags);
	FB_AUTO_FREE char *to = fb_format("<devices>%s", channel);

	return replaced(text, "<devices>", to);
}

static int
agent_freeze(virDomainPtr domain, const char **points, unsigned count,
    unsigned flags)
{
	(void)domain, (void)points, (void)count, (void)flags;
	agent.freezes++;
	if (agent.frozen > 0 && !agent.asleep)
		agent.status = "frozen";
	return agent.frozen;
}

static int
agent_thaw(virDomainPtr domain, const char **points, unsigned count,
    unsigned flags)
{
	(void)domain, (void)points, (void)count, (void)flags;
	agent.thaws++;
	if (agent.deaf-- > 0)
		return -1;
	agent.status = "thawed";
	return agent.thawed;
}

static char *
agent_answer(
    virDomainPtr domain, const char *command, int timeout, unsigned flags)
{
	(void)domain, (void)flags;
	assert_non_null(strstr(command, "guest-fsfreeze-status"));
	assert_true(timeout > 0);
	return agent.status == NULL
	    ? NULL
	    : fb_format("{\"return\":\"%s\"}", agent.status);
}

/* It answers before it is asked to freeze, and not after that. */
static char *
agent_hung(
    virDomainPtr domain, const char *command, int timeout, unsigned flags)
{
	return agent.freezes > 1 ? NULL
	                         : agent_answer(domain, command, timeout, flags);
}

static int
with_agent(void **state)
{
	(void)state;
	assert_null(fb_libvirt_load());
	real = fb_libvirt;
	memset(&agent, 0, sizeof(agent));
	agent.status = "thawed";
	agent.frozen = agent.thawed = 2;
	agent.xml = fb_libvirt.virDomainGetXMLDesc;
	fb_libvirt.virDomainGetXMLDesc = agent_xml;
	fb_libvirt.virDomainFSFreeze = agent_freeze;
	fb_libvirt.virDomainFSThaw = agent_thaw;
	fb_libvirt.virDomainQemuAgentCommand = agent_answer;
	return 0;
}

static int
without_agent(void **state)
{
	(void)state;
	/* These alone: a thread calls another one all the time. */
	fb_libvirt.virDomainGetXMLDesc = real.virDomainGetXMLDesc;
	fb_libvirt.virDomainFSFreeze = real.virDomainFSFreeze;
	fb_libvirt.virDomainFSThaw = real.virDomainFSThaw;
	fb_libvirt.virDomainQemuAgentCommand = real.virDomainQemuAgentCommand;
	return 0;
}

static struct lab *
open_live_lab(void)
{
	struct lab *lab = open_lab(PLAIN("a", "0", ""), "capture", "live");

	((struct fb_libvirt_driver *)lab->driver)->freeze_timeout_ms = 30000;
	return lab;
}

static void
one_that_is_frozen_counts_as_down_until_it_is_thawed(void **state)
{
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_libvirt_freeze freeze = { .driver = driver, .uuid = ID };
	struct fb_verb start = verb("start-1");

	(void)state;
	assert_int_equal(machine->lifecycle, FB_LIFECYCLE_PAUSE_IN_CREATE);
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	freeze.domain = ref.domain;
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_int_equal(freeze.why.code, FB_OK);
	assert_int_equal(power(lab, machine), FB_POWER_DOWN);
	assert_int_equal(agent.thaws, 0);
	assert_ok(fb_libvirt_freeze_end(&freeze, &err));
	assert_int_equal(freeze.why.code, FB_OK);
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	assert_int_equal(agent.thaws, 1);

	/* Who froze it died: whoever starts it thaws it. */
	put_text(driver->scratch, ID "/" FB_LIBVIRT_FROZEN, "");
	assert_int_equal(power(lab, machine), FB_POWER_DOWN);
	agent.deaf = 1;
	assert_ok(fb_driver_start(lab->driver, machine, &start, &err));
	assert_int_equal(power(lab, machine), FB_POWER_UP);
	assert_int_equal(agent.freezes, 1);
}

static void
one_of_another_host_is_frozen_through_a_boot_of_this_one(void **state)
{
	static const struct {
		const char *mark, *answer;
		int deaf, thaws;
	} cases[] = {
		/* Nobody knows which boot it is now. */
		{ "A 1\n", "exit 255", 0, 1 },
		{ "A 1\n", "exit 255", 2, 3 },
		{ "A 1\n", "echo A", 2, 3 },
		{ " 1\n", "echo A", 2, 3 },
		/* That one has been booted since. */
		{ "A 1\n", "echo B", 2, 1 },
		{ "A 9\n", "exit 255", 2, 0 }, /* another life of the guest */
	};
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };

	(void)state;
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	put_dir(lab->root, "scratch");
	put_dir(lab->root, "scratch/" ID);
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		put_far(lab, cases[i].answer);
		put_text(driver->scratch, ID "/" FB_LIBVIRT_FROZEN,
		    cases[i].mark);
		agent.deaf = cases[i].deaf;
		agent.thaws = 0;
		assert_ok(
		    fb_libvirt_thaw(driver, ref.domain, ID, 60000, &err));
		if (agent.thaws != cases[i].thaws)
			fail_msg("case %zu: asked %d times", i, agent.thaws);
		assert_false(fb_libvirt_is_frozen(driver, ID));
	}
}

/* Time enough for whoever thinks that its deadline has passed. */
static int
agent_freezes_slowly(virDomainPtr domain, const char **points, unsigned count,
    unsigned flags)
{
	fb_clock_wait(fb_clock_mono_ns() + 100000000);
	return agent_freeze(domain, points, count, flags);
}

/* The mark comes first, and its host may take its time to tell its boot. */
static void
an_agent_has_its_time_from_when_it_is_asked(void **state)
{
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_libvirt_freeze freeze = { .driver = driver, .uuid = ID };

	(void)state;
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	freeze.domain = ref.domain;
	put_far(lab, "sleep 2.1; echo A");
	driver->freeze_timeout_ms = 2000;
	fb_libvirt.virDomainFSFreeze = agent_freezes_slowly;
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_ok(fb_libvirt_freeze_end(&freeze, &err));
	assert_int_equal(agent.thaws, 1);
	assert_string_equal(freeze.why.msg, "");
}

static void
an_agent_that_hangs_while_it_freezes_is_thawed(void **state)
{
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_libvirt_freeze freeze = { .driver = driver, .uuid = ID };

	(void)state;
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	freeze.domain = ref.domain;
	agent.frozen = -1;
	agent.status = NULL;
	/* It did not answer at all: it was not asked. */
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_string_equal(freeze.why.id, "E-FREEZE");
	assert_int_equal(agent.freezes, 0);
	/* Nobody else's freeze is thawed. */
	agent.status = "frozen";
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_int_equal(agent.freezes, 0);
	assert_int_equal(agent.thaws, 0);
	/* It says that it did nothing. */
	agent.status = "thawed";
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_int_equal(agent.freezes, 1);
	assert_int_equal(agent.thaws, 0);
	assert_false(fb_libvirt_is_frozen(driver, ID));
	/* Without that question nobody knows. */
	fb_libvirt.virDomainQemuAgentCommand = agent_hung;
	agent.deaf = 2;
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	assert_string_equal(freeze.why.id, "E-FREEZE");
	assert_int_equal(agent.thaws, 3);
	assert_false(fb_libvirt_is_frozen(driver, ID));
}

static void
what_is_frozen_is_thawed_at_the_deadline(void **state)
{
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_libvirt_freeze freeze = { .driver = driver, .uuid = ID };

	(void)state;
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	freeze.domain = ref.domain;
	driver->freeze_timeout_ms = 1;
	assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
	while (fb_libvirt_is_frozen(driver, ID))
		fb_clock_wait(fb_clock_mono_ns() + 1000000);
	assert_ok(fb_libvirt_freeze_end(&freeze, &err));
	assert_int_equal(agent.thaws, 1);
	assert_string_equal(freeze.why.id, "E-FREEZE");
}

static void
one_that_thawed_by_itself_was_not_frozen(void **state)
{
	static const struct {
		int thawed; /* of 2 file systems */
		bool asleep, frozen;
	} cases[] = {
		{ 2, false, true },
		{ 0, true, false },  /* its agent says so */
		{ 0, false, false }, /* ... or did not notice */
		{ 1, false, false }, /* one of them alone */
	};
	AUTO_LAB struct lab *lab = open_live_lab();
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };

	(void)state;
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		struct fb_libvirt_freeze freeze = { .driver = driver,
			.domain = ref.domain, .uuid = ID };

		agent.thawed = cases[i].thawed;
		agent.asleep = cases[i].asleep;
		assert_ok(fb_libvirt_freeze_begin(&freeze, &err));
		assert_int_equal(freeze.why.code, FB_OK);
		assert_ok(fb_libvirt_freeze_end(&freeze, &err));
		if ((freeze.why.code == FB_OK) != cases[i].frozen)
			fail_msg("case %zu: %s", i, freeze.why.msg);
		assert_false(fb_libvirt_is_frozen(driver, ID));
	}
}

static void
hypervisors_pass_whatever_the_umask(void **state)
{
	static const char *const places[] = { "", "/" ID, "/" ID "/run.1" };
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "5")), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	struct fb_verb make = verb("run.1");
	mode_t before = umask(0077);

	(void)state;
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	(void)umask(before);
	for (size_t i = 0; i < FB_COUNT(places); i++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/scratch%s", lab->root, places[i]);
		struct stat st;

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0711);
	}
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
}

static void
a_name_too_long_for_a_socket_is_found_first(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(PLAIN("a", "0", ""), "scratch",
	    "/tmp/a-directory-that-has-a-long-name-because-somebody-likes-it");
	const struct fb_machine *machine = look(lab, ID);

	(void)state;
	assert_non_null(machine->problem);
	assert_int_equal(machine->problem->code, FB_ECONFIG);
}

/* ------------------------------------------------------------- captures */

static int
count_token(
    const char *machine, const char *token, void *arg, struct fb_error *error)
{
	(void)error;
	assert_string_equal(machine, ID);
	assert_string_equal(token, "run.1");
	++*(int *)arg;
	return FB_OK;
}

static int
take_bytes(void *arg, const void *bytes, size_t len, struct fb_error *error)
{
	(void)error;
	fb_buf_add(arg, bytes, len);
	return FB_OK;
}

static int
take_nothing(void *arg, struct fb_error *error)
{
	(void)arg;
	(void)error;
	return FB_OK;
}

static void
one_that_is_off_is_captured_and_stays_off(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "5")), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE char *scratch =
	    fb_format("%s/scratch/" ID, lab->root);
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	FB_AUTO_BUF struct fb_buf archive = { 0 };
	struct fb_sink sink = { .arg = &archive, .data = take_bytes,
		.cut = take_nothing };
	struct fb_verb make = verb("run.1");
	int seen = 0;

	(void)state;
	for (int twice = 0; twice < 2; twice++)
		assert_ok(fb_driver_create_snapshot(
		    lab->driver, machine, &make, &err));
	assert_int_equal(power(lab, machine), FB_POWER_DOWN);
	assert_ok(fb_driver_find_by_token(
	    lab->driver, machine, "run.1", &err));
	assert_ok(fb_driver_list_snapshots(
	    lab->driver, count_token, &seen, &err));
	assert_int_equal(seen, 1);
	assert_ok(fb_driver_open_volume(lab->driver, machine,
	    volume(machine, "definition"), "run.1", &artifact, &err));
	assert_ok(artifact->ops->produce(artifact, &sink, &err));
	assert_non_null(memmem(archive.data, archive.len, "domain.xml", 10));
	assert_non_null(memmem(archive.data, archive.len, ID, 36));
	for (int twice = 0; twice < 2; twice++)
		assert_ok(fb_driver_remove_snapshot(
		    lab->driver, machine, &make, &err));
	assert_fails(FB_ENOTFOUND, fb_driver_find_by_token(lab->driver,
	                               machine, "run.1", &err));
	assert_int_equal(access(scratch, F_OK), -1);
}

static void
a_capture_that_is_not_whole_is_made_again(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "5")), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE char *whole =
	    fb_format("%s/scratch/" ID "/run.1/whole", lab->root);
	struct fb_verb make = verb("run.1");

	(void)state;
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	assert_int_equal(unlink(whole), 0);
	assert_fails(FB_EFAILED, fb_driver_find_by_token(lab->driver,
	                             machine, "run.1", &err));
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	assert_ok(fb_driver_find_by_token(
	    lab->driver, machine, "run.1", &err));
	/* A job that is not there any more is no capture either. */
	put_text(lab->root, "scratch/" ID "/run.1/whole", "job\n");
	assert_fails(FB_EFAILED, fb_driver_find_by_token(lab->driver,
	                             machine, "run.1", &err));
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
}

static void
a_job_is_of_the_wanted_disks_and_has_its_socket(void **state)
{
	static const char *const wanted[] = { "vda", "vdl", NULL };
	FB_AUTO_FREE char *xml = fixture("good-disks");
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	FB_AUTO_BUF struct fb_buf job = { 0 };
	FB_AUTO_FREE char *socket = NULL;

	(void)state;
	read_domain(xml, &domain);
	fb_domain_backup_xml(
	    &domain, wanted, NULL, "/s/a & <b>/nbd", "/s/a & <b>", &job);
	socket = fb_domain_backup_socket(fb_buf_span(&job));
	assert_string_equal(socket, "/s/a & <b>/nbd");
	assert_non_null(strstr(fb_buf_str(&job),
	    "<disk name=\"vdl\" backup=\"yes\" type=\"file\" "
	    "exportname=\"vdl\">"
	    "<scratch file=\"/s/a &amp; &lt;b&gt;/vdl\"/>"));
	/* What is not said to be left alone would be backed up. */
	assert_non_null(strstr(fb_buf_str(&job),
	    "<disk name=\"hda\" backup=\"no\"/>"));
	{
		FB_AUTO_FREE char *below = fb_volume_backing(SPAN(
		    "<volume><target><path>/a</path></target><backingStore>"
		    "<path>/vm/t &amp; u.qcow2</path></backingStore></volume>"));

		assert_string_equal(below, "/vm/t & u.qcow2");
		assert_null(fb_volume_backing(SPAN("<volume/>")));
	}
	{
		static const char *const since[] = { "fb-1-a", NULL, NULL };
		FB_AUTO_BUF struct fb_buf later = { 0 };
		FB_AUTO_BUF struct fb_buf checkpoint = { 0 };

		fb_domain_backup_xml(
		    &domain, wanted, since, "/s/nbd", "/s", &later);
		assert_non_null(strstr(fb_buf_str(&later),
		    " backupmode=\"incremental\" incremental=\"fb-1-a\">"));
		fb_domain_checkpoint_xml(
		    &domain, wanted, "fb-1-b", &checkpoint);
		assert_non_null(strstr(fb_buf_str(&checkpoint),
		    "<name>fb-1-b</name>"));
		assert_non_null(strstr(fb_buf_str(&checkpoint),
		    "<disk name=\"vdl\" checkpoint=\"bitmap\"/>"));
		assert_non_null(strstr(fb_buf_str(&checkpoint),
		    "<disk name=\"hda\" checkpoint=\"no\"/>"));
	}
	assert_int_equal(
	    fb_checkpoint_time(SPAN("<domaincheckpoint><creationTime>1700000000"
	                            "</creationTime></domaincheckpoint>")),
	    1700000000);
	assert_int_equal(fb_checkpoint_time(SPAN("<domaincheckpoint/>")), 0);
	assert_int_equal(fb_checkpoint_time(SPAN("<domain/>")), 0);
	assert_null(fb_domain_backup_socket(SPAN("<domain/>")));
	assert_null(fb_domain_backup_socket(SPAN("")));
}

#define IMAGE_SIZE ((size_t)5 << 20)

static void
an_image_is_read_where_it_has_data(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *path = fb_format("%s/disk $HOME.raw", dir);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(IMAGE_SIZE, 1);
	FB_AUTO_FREE uint8_t *got = fb_alloc(IMAGE_SIZE, 1);
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_libvirt_changes none = { 0 };
	uint64_t start, end, at = 0, data = 0;

	(void)state;
	memset(bytes + (2u << 20), 'd', 65536);
	memset(bytes + IMAGE_SIZE - 65536, 'e', 65536);
	put_file(dir, "disk $HOME.raw", bytes, IMAGE_SIZE);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, IMAGE_SIZE), 0);
	{
		FB_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

		assert_int_equal(pwrite(fd, bytes + (2u << 20), 65536,
		                     2u << 20), 65536);
		assert_int_equal(pwrite(fd, bytes + IMAGE_SIZE - 65536, 65536,
		                     IMAGE_SIZE - 65536), 65536);
	}
	assert_ok(
	    fb_libvirt_read_image(NULL, path, "raw", &none, &artifact, &err));
	assert_int_equal(artifact->size, IMAGE_SIZE);
	while (at < artifact->size) {
		assert_ok(artifact->ops->extent(
		    artifact, at, &start, &end, &err));
		assert_true(start >= at && end >= start);
		if (start == artifact->size)
			break;
		assert_true(end > start);
		assert_ok(artifact->ops->read(artifact, start, got + start,
		    (size_t)(end - start), &err));
		data += end - start;
		at = end;
	}
	assert_memory_equal(got, bytes, IMAGE_SIZE);
	assert_true(data >= 2 * 65536 && data < IMAGE_SIZE);
	/* At any place, of any length. */
	assert_ok(artifact->ops->read(
	    artifact, (2u << 20) + 65530, got, 13, &err));
	assert_memory_equal(got, "dddddd\0\0\0\0\0\0\0", 13);
	fb_artifact_closep(&artifact);
	artifact = NULL;
	assert_fails(FB_EFAILED,
	    fb_libvirt_read_image(
	        NULL, "/nowhere/x.raw", "raw", &none, &artifact, &err));
	assert_fails(FB_EPROTO,
	    fb_libvirt_read_image(
	        NULL, "json:{}", "raw", &none, &artifact, &err));
	drop_dir(&dir);
}

static void
qemu_img(const char *const *words)
{
	struct fb_child_spec spec = { .argv = words, .lock_fd = -1 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	assert_ok(fb_child_run(&spec, &result, &err));
	assert_int_equal(result.exit_code, 0);
}

static void
a_bitmap_that_lacks_something_is_not_used(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *below = fb_format("%s/below $HOME.qcow2", dir);
	FB_AUTO_FREE char *path = fb_format("%s/disk $HOME.qcow2", dir);
	const char *const makes[][10] = {
		{ "qemu-img", "create", "-q", "-f", "qcow2", below, "8M" },
		{ "qemu-img", "bitmap", "--add", below, "only-below" },
		{ "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
		    "-b", below, path },
		{ "qemu-img", "bitmap", "--add", path, "whole" },
		{ "qemu-img", "bitmap", "--add", "--disable", path, "stopped" },
	};
	struct fb_libvirt_changes changes = { .token = fb_strdup("now"),
		.since = fb_strdup("then"),
		.bitmap = fb_strdup("whole") };
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	FB_AUTO_RANGES struct fb_ranges changed = { 0 };
	FB_AUTO_RANGES struct fb_ranges unknown = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(makes); i++) {
		const char *words[11] = { 0 };

		memcpy(words, makes[i], sizeof(makes[i]));
		qemu_img(words);
	}
	assert_ok(fb_libvirt_check_bitmap(NULL, path, "whole", &err));
	assert_fails(
	    FB_EFAILED, fb_libvirt_check_bitmap(NULL, path, "stopped", &err));
	assert_fails(
	    FB_EFAILED, fb_libvirt_check_bitmap(NULL, path, "only-below", &err));
	assert_fails(
	    FB_EFAILED, fb_libvirt_check_bitmap(NULL, "/nowhere", "whole", &err));
	assert_ok(fb_libvirt_read_image(
	    NULL, path, "qcow2", &changes, &artifact, &err));
	assert_string_equal(artifact->token, "now");
	assert_ok(artifact->ops->changed_blocks(
	    artifact, "then", &changed, &err));
	assert_false(changed.all);
	assert_int_equal(changed.count, 0);
	assert_fails(FB_EFAILED,
	    artifact->ops->changed_blocks(artifact, "other", &unknown, &err));
	fb_artifact_closep(&artifact);
	artifact = NULL;
	changes = (struct fb_libvirt_changes){ .token = fb_strdup("now"),
		.since = fb_strdup("then"),
		.bitmap = fb_strdup("stopped") };
	/* It is read all the same, and says that it does not know. */
	assert_ok(fb_libvirt_read_image(
	    NULL, path, "qcow2", &changes, &artifact, &err));
	assert_int_equal(artifact->size, 8u << 20);
	assert_fails(FB_EFAILED,
	    artifact->ops->changed_blocks(artifact, "then", &unknown, &err));
	assert_string_equal(err.id, "E-CHANGE-MAP");
	assert_string_equal(artifact->token, "now");
	drop_dir(&dir);
}

/* What libvirt has of a checkpoint, for a domain of its test driver. */
static virDomainCheckpointPtr
find_checkpoint(virDomainPtr domain, const char *name, unsigned flags)
{
	(void)domain, (void)name, (void)flags;
	return (virDomainCheckpointPtr)&real;
}

static virDomainCheckpointPtr
make_checkpoint(virDomainPtr domain, const char *xml, unsigned flags)
{
	return find_checkpoint(domain, xml, flags);
}

static char *
tell_checkpoint(virDomainCheckpointPtr checkpoint, unsigned flags)
{
	(void)checkpoint, (void)flags;
	return fb_strdup("<domaincheckpoint><creationTime>1700000000"
			 "</creationTime></domaincheckpoint>");
}

static int
leave_checkpoint(virDomainCheckpointPtr checkpoint)
{
	(void)checkpoint;
	return 0;
}

static int
drop_checkpoint(virDomainCheckpointPtr checkpoint, unsigned flags)
{
	(void)checkpoint, (void)flags;
	return 0;
}

static void
with_checkpoints(void)
{
	real = fb_libvirt;
	fb_libvirt.virDomainCheckpointLookupByName = find_checkpoint;
	fb_libvirt.virDomainCheckpointCreateXML = make_checkpoint;
	fb_libvirt.virDomainCheckpointGetXMLDesc = tell_checkpoint;
	fb_libvirt.virDomainCheckpointDelete = drop_checkpoint;
	fb_libvirt.virDomainCheckpointFree = leave_checkpoint;
}

static void
without_checkpoints(void)
{
	fb_libvirt.virDomainCheckpointLookupByName =
	    real.virDomainCheckpointLookupByName;
	fb_libvirt.virDomainCheckpointCreateXML =
	    real.virDomainCheckpointCreateXML;
	fb_libvirt.virDomainCheckpointGetXMLDesc =
	    real.virDomainCheckpointGetXMLDesc;
	fb_libvirt.virDomainCheckpointDelete = real.virDomainCheckpointDelete;
	fb_libvirt.virDomainCheckpointFree = real.virDomainCheckpointFree;
}

/* Capture it, with this in the archive; with a stamp it is off. */
static void
account(struct lab *lab, const char *stamp, const char *since,
    struct fb_libvirt_changes *ret_changes)
{
	static const char *const wanted[] = { "vda", NULL };
	struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)lab->driver;
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE const char **known =
	    fb_alloc(machine->volume_count, sizeof(*known));
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	struct fb_verb make = verb("run.1");
	struct fb_libvirt_begin begin = { .driver = driver,
		.machine = machine, .verb = &make, .live = &domain,
		.wanted = wanted, .stamp = stamp };

	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK)
			known[i] = since;
	make.owner = "0123456789abcdef";
	make.since = known;
	assert_ok(fb_libvirt_make_place(driver, ID, "run.1", &err));
	assert_ok(fb_libvirt_find(driver, ID, &ref, &err));
	assert_ok(fb_libvirt_read(ref.domain, false, &domain, &err));
	begin.domain = ref.domain;
	fb_libvirt_changes_release(ret_changes);
	assert_ok(stamp != NULL ? fb_libvirt_go_on_account(&begin, &err)
	                        : fb_libvirt_begin_account(&begin, &err));
	assert_ok(fb_libvirt_read_changes(
	    driver, ID, "run.1", "vda", ret_changes, &err));
	assert_non_null(ret_changes->token);
}

/* Its bitmap is from before it was captured off: an older copy of the image has
 * it as well, and lacks what was written until then. */
static void
one_captured_off_has_not_changed_or_nobody_knows(void **state)
{
	AUTO_LAB struct lab *lab =
	    open_lab(ON("/vm/a.qcow2", "qcow2"), NULL, NULL);
	FB_AUTO_CHANGES struct fb_libvirt_changes ran = { 0 }, off = { 0 },
	    now = { 0 };

	(void)state;
	with_checkpoints();
	account(lab, NULL, NULL, &ran);
	account(lab, "one", ran.token, &off);
	assert_string_equal(off.since, ran.token);
	assert_non_null(off.bitmap);
	assert_string_not_equal(off.token, ran.token);
	for (int stays = 0; stays < 3; stays++) {
		static const char *const stamps[] = { "one", "two", NULL };
		FB_AUTO_RANGES struct fb_ranges changed = { 0 };

		account(lab, stamps[stays], off.token, &now);
		assert_null(now.bitmap);
		assert_null(now.why);
		assert_ok(fb_libvirt_tell_changes(
		    NULL, &now, off.token, &changed, &err));
		assert_int_equal(changed.all, stays > 0);
		assert_int_equal(changed.count, 0);
		assert_int_equal(
		    strcmp(now.token, off.token) == 0, stays == 0);
	}
	/* The night after that it is known again. */
	account(lab, "two", off.token, &ran);
	account(lab, "two", ran.token, &now);
	assert_string_equal(now.since, ran.token);
	assert_string_equal(now.token, ran.token);
	without_checkpoints();
}

/* ------------------------------------------------------------- exports */

struct export_lab {
	char *dir, *path;
	struct fb_libvirt_driver driver;
	struct fb_machine machine;
	struct fb_volume volume;
};

static int
prove_export(struct export_lab *lab, bool for_export,
    struct fb_artifact **ret_artifact)
{
	struct fb_domain_disk disk = { .target = (char *)"vda",
		.type = (char *)"file", .source = lab->path };
	struct fb_domain domain = { .disks = &disk, .disk_count = 1 };
	const char *const wanted[] = { "vda", NULL };
	struct fb_verb verb = { .token = "t",
		.for_backup = true,
		.for_export = for_export };
	struct fb_libvirt_made made = { .driver = &lab->driver,
		.machine = &lab->machine,
		.verb = &verb,
		.kind = FB_LIBVIRT_OVERLAY,
		.domain = &domain,
		.wanted = wanted };
	struct fb_libvirt_changes none = { 0 };
	struct fb_artifact *image = NULL;

	assert_ok(fb_libvirt_make_place(&lab->driver, ID, "t", &err));
	assert_ok(fb_libvirt_write_record(&made, &err));
	assert_ok(
	    fb_libvirt_read_image(NULL, lab->path, "raw", &none, &image, &err));
	return fb_libvirt_prove(
	    &lab->driver, ID, "t", "vda", image, ret_artifact, &err);
}

static void
write_half(const struct export_lab *lab, char byte)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(IMAGE_SIZE / 2, 1);
	FB_AUTO_CLOSE int fd = open(lab->path, O_WRONLY | O_CLOEXEC);

	memset(bytes, byte, IMAGE_SIZE / 2);
	assert_int_equal(
	    pwrite(fd, bytes, IMAGE_SIZE / 2, 0), IMAGE_SIZE / 2);
}

static void
what_is_exported_stands_still(void **state)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(IMAGE_SIZE, 1);
	struct export_lab lab = { .dir = new_dir() };
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct timespec times[2];
	struct stat st;

	(void)state;
	memset(bytes, 'd', IMAGE_SIZE / 2);
	put_file(lab.dir, "disk.raw", bytes, IMAGE_SIZE);
	lab.path = fb_format("%s/disk.raw", lab.dir);
	lab.driver.local = true;
	lab.driver.scratch = fb_format("%s/scratch", lab.dir);
	lab.volume = (struct fb_volume){ .name = (char *)"vda",
		.kind = FB_VOLUME_DISK, .size = IMAGE_SIZE };
	lab.machine = (struct fb_machine){ .id = (char *)ID,
		.volumes = &lab.volume, .volume_count = 1 };

	assert_fails(FB_EUNSUP, prove_export(&lab, false, &artifact));
	assert_ok(prove_export(&lab, true, &artifact));
	assert_int_equal(artifact->size, IMAGE_SIZE);
	assert_ok(artifact->ops->prove(artifact, &err));
	assert_ok(artifact->ops->prove(artifact, &err));

	/* Somebody writes, and puts the file's times back. */
	assert_int_equal(stat(lab.path, &st), 0);
	write_half(&lab, 'e');
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, lab.path, times, 0), 0);
	assert_fails(FB_EFAILED, artifact->ops->prove(artifact, &err));
	assert_string_equal(err.id, "E-EXPORT");
	assert_non_null(strstr(err.msg, "not what it was"));
	write_half(&lab, 'd');
	times[1].tv_sec++;
	assert_int_equal(utimensat(AT_FDCWD, lab.path, times, 0), 0);
	assert_fails(FB_EFAILED, artifact->ops->prove(artifact, &err));
	assert_non_null(strstr(err.msg, "somebody wrote"));
	fb_artifact_closep(&artifact);
	artifact = NULL;

	/* It is not as long as the disk. */
	lab.volume.size = IMAGE_SIZE / 2;
	assert_fails(FB_EFAILED, prove_export(&lab, true, &artifact));
	assert_string_equal(err.id, "E-EXPORT");
	free(lab.driver.scratch);
	free(lab.path);
	drop_dir(&lab.dir);
}

/* ------------------------------------------------------------- restores */

static void
an_image_is_written_at_any_place(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *path = fb_format("%s/disk.raw", dir);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(IMAGE_SIZE, 1);
	FB_AUTO_TARGET struct fb_target *target = NULL;
	FB_AUTO_BUF struct fb_buf got = { 0 };
	uint64_t start, end;

	(void)state;
	memset(bytes, 'x', IMAGE_SIZE);
	put_file(dir, "disk.raw", bytes, IMAGE_SIZE);
	assert_ok(fb_libvirt_write_image(NULL, path, "raw", &target, &err));
	assert_int_equal(target->size, IMAGE_SIZE);
	assert_false(target->fresh);
	assert_ok(target->ops->extent(target, 0, &start, &end, &err));
	assert_int_equal(start, 0);
	memset(bytes + 12345, 'y', 2u << 20);
	assert_ok(target->ops->write(
	    target, 12345, bytes + 12345, 2u << 20, &err));
	memset(bytes + 3000001, 0, 1999999);
	assert_ok(target->ops->zero(target, 3000001, 1999999, &err));
	memset(bytes + 7, 0, 1);
	assert_ok(target->ops->zero(target, 7, 1, &err));
	assert_ok(target->ops->zero(target, IMAGE_SIZE, 0, &err));
	assert_ok(target->ops->sync(target, &err));
	/* Where data is, is asked anew after a change. */
	assert_ok(target->ops->extent(target, 4u << 20, &start, &end, &err));
	assert_true(start > (4u << 20));
	assert_fails(FB_EBUG,
	    target->ops->write(target, IMAGE_SIZE, "z", 1, &err));
	assert_fails(FB_EBUG, target->ops->zero(target, 1, UINT64_MAX, &err));
	fb_target_closep(&target);
	target = NULL;
	assert_ok(fb_io_read_file(path, IMAGE_SIZE, &got, &err));
	assert_int_equal(got.len, IMAGE_SIZE);
	assert_memory_equal(got.data, bytes, IMAGE_SIZE);
	drop_dir(&dir);
}

static void
what_it_starts_with_is_captured_and_put_back(void **state)
{
	char *dir = new_dir();
	FB_AUTO_FREE char *nvram = fb_format("%s/vars", dir);
	FB_AUTO_FREE char *gone = fb_format("%s/gone", dir);
	FB_AUTO_FREE char *xml = fb_format(
	    "<domain type='test'><name>a</name><uuid>" ID "</uuid>"
	    "<memory>1024</memory><os><type>hvm</type>"
	    "<loader readonly='yes' type='pflash'>/l</loader>"
	    "<nvram>%s</nvram><kernel>%s</kernel></os>"
	    TEST("runstate", "5") "</domain>",
	    nvram, gone);
	AUTO_LAB struct lab *lab = open_lab(xml, NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE char *definition =
	    fb_format("%s/scratch/" ID "/run.1/definition", lab->root);
	struct fb_verb make = verb("run.1");
	struct fb_restore_request request = { .machine = machine,
		.definition_dir = definition,
		.all_volumes = true };
	FB_AUTO_BUF struct fb_buf got = { 0 };

	(void)state;
	put_text(dir, "vars", "as it was");
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	put_text(dir, "vars", "as it became, and longer");
	assert_ok(fb_driver_restore_finish(
	    lab->driver, &request, &make, &err));
	assert_ok(fb_io_read_file(nvram, 100, &got, &err));
	assert_string_equal(fb_buf_str(&got), "as it was");
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
	drop_dir(&dir);
}

static int
check_restore(struct lab *lab, const struct fb_machine *machine,
    enum fb_restore_mode mode)
{
	struct fb_restore_request request = { .mode = mode,
		.machine = machine,
		.new_id = "new",
		.all_volumes = true };
	struct fb_restore_plan plan;
	int rc = fb_driver_restore_check(
	    lab->driver, &lab->fleet, &request, &plan, &err);

	if (rc == FB_OK)
		fb_restore_plan_release(&plan);
	return rc;
}

static virDomainSnapshotPtr
refuse_snapshot(virDomainPtr domain, const char *xml, unsigned flags)
{
	(void)domain, (void)xml, (void)flags;
	return NULL;
}

static void
a_snapshot_that_is_not_known_again_is_no_reason_to_stay_down(void **state)
{
	AUTO_LAB struct lab *lab = open_lab(
	    PLAIN("a", "0", TEST("runstate", "5")), NULL, NULL);
	const struct fb_machine *machine = look(lab, ID);
	FB_AUTO_FREE char *definition =
	    fb_format("%s/scratch/" ID "/run.1/definition", lab->root);
	struct fb_verb make = verb("run.1");
	struct fb_restore_request request = { .machine = machine,
		.definition_dir = definition,
		.all_volumes = true };
	struct fb_error missing = { 0 };

	(void)state;
	assert_ok(fb_driver_create_snapshot(
	    lab->driver, machine, &make, &err));
	put_dir(definition, "snapshots");
	put_text(definition, "snapshots/0001.xml",
	    "<domainsnapshot><name>s</name><disks><disk name='vda' "
	    "snapshot='no'/></disks></domainsnapshot>");
	make.ret_missing = &missing;
	real = fb_libvirt;
	fb_libvirt.virDomainSnapshotCreateXML = refuse_snapshot;
	assert_ok(fb_driver_restore_finish(
	    lab->driver, &request, &make, &err));
	fb_libvirt.virDomainSnapshotCreateXML =
	    real.virDomainSnapshotCreateXML;
	assert_true(missing.code < 0);
	assert_non_null(strstr(missing.msg, "the records of its snapshots"));
	assert_ok(fb_driver_remove_snapshot(
	    lab->driver, machine, &make, &err));
}

static void
what_cannot_be_restored_is_said_before(void **state)
{
	AUTO_LAB struct lab *saved = open_lab(
	    PLAIN("a", "0",
	        TEST("runstate", "5") TEST("hasmanagedsave", "1")),
	    NULL, NULL);
	AUTO_LAB struct lab *live =
	    open_lab(PLAIN("a", "0", ""), "capture", "live");
	struct fb_machine gone = {
		.id = (char *)(uintptr_t)"0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b1f"
	};

	(void)state;
	assert_fails(FB_ECONFLICT,
	    check_restore(saved, look(saved, ID), FB_RESTORE_IN_PLACE));
	assert_string_equal(err.id, "E-DOMAIN-SAVED");
	assert_fails(FB_ECONFLICT,
	    check_restore(live, look(live, ID), FB_RESTORE_IN_PLACE));
	assert_fails(
	    FB_EUNSUP, check_restore(live, &gone, FB_RESTORE_IN_PLACE));
	assert_fails(FB_EUNSUP,
	    check_restore(live, look(live, ID), FB_RESTORE_AS_NEW));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_digest_is_of_what_the_definition_means),
		cmocka_unit_test(
		    one_with_an_overlay_of_ours_is_what_it_is_without),
		cmocka_unit_test(
		    a_disk_with_another_image_than_ours_is_not_merged),
		cmocka_unit_test(
		    overlays_are_asked_for_the_disks_that_are_captured),
		cmocka_unit_test_setup_teardown(
		    a_merge_waits_for_nobody_who_reads_below_it, with_overlay,
		    without_overlay),
		cmocka_unit_test_setup_teardown(
		    what_is_read_while_a_merge_begins_does_not_count,
		    with_overlay, without_overlay),
		cmocka_unit_test_setup_teardown(
		    one_that_is_frozen_counts_as_down_until_it_is_thawed,
		    with_agent, without_agent),
		cmocka_unit_test_setup_teardown(
		    one_of_another_host_is_frozen_through_a_boot_of_this_one,
		    with_agent, without_agent),
		cmocka_unit_test_setup_teardown(
		    an_agent_has_its_time_from_when_it_is_asked, with_agent,
		    without_agent),
		cmocka_unit_test_setup_teardown(
		    an_agent_that_hangs_while_it_freezes_is_thawed, with_agent,
		    without_agent),
		cmocka_unit_test_setup_teardown(
		    what_is_frozen_is_thawed_at_the_deadline, with_agent,
		    without_agent),
		cmocka_unit_test_setup_teardown(
		    one_that_thawed_by_itself_was_not_frozen, with_agent,
		    without_agent),
		cmocka_unit_test(
		    a_domain_has_its_process_its_agent_and_its_chain),
		cmocka_unit_test(
		    the_firmwares_variables_are_found_however_they_are_named),
		cmocka_unit_test(what_is_mapped_becomes_another),
		cmocka_unit_test(what_a_domain_needs_of_its_host_is_read),
		cmocka_unit_test(
		    what_runs_beside_another_shares_nothing_with_it),
		cmocka_unit_test(what_is_no_domain_is_refused),
		cmocka_unit_test(
		    each_disk_is_listed_and_what_cannot_be_captured_says_why),
		cmocka_unit_test(
		    what_hands_errors_to_the_guest_is_not_read_while_that_runs),
		cmocka_unit_test(
		    a_disk_that_is_left_out_fails_its_machine_when_asked_to),
		cmocka_unit_test(only_domains_of_the_patterns_are_machines),
		cmocka_unit_test(one_that_is_saved_to_disk_is_refused),
		cmocka_unit_test(a_hypervisor_that_is_away_is_said_so),
		cmocka_unit_test(a_uri_is_of_this_host_or_of_another),
		cmocka_unit_test(a_domain_goes_down_and_comes_up),
		cmocka_unit_test(
		    one_that_would_not_stay_down_or_be_gone_is_not_stopped),
		cmocka_unit_test(one_that_somebody_paused_is_left_alone),
		cmocka_unit_test(one_that_we_paused_is_down_and_goes_on),
		cmocka_unit_test(a_mark_goes_when_what_it_marks_has_passed),
		cmocka_unit_test(
		    one_of_another_host_goes_down_late_whatever_this_one_does),
		cmocka_unit_test(one_that_crashed_and_is_kept_is_not_off),
		cmocka_unit_test(a_server_that_hangs_is_given_up),
		cmocka_unit_test(a_capture_of_images_that_changed_since_is_none),
		cmocka_unit_test(
		    one_whose_image_a_server_of_ours_keeps_is_started),
		cmocka_unit_test(one_that_somebody_started_is_not_captured),
		cmocka_unit_test(one_that_was_cut_off_is_told_from_one_that_shut_down),
		cmocka_unit_test(another_fleetbak_keeps_away_from_one_that_is_captured),
		cmocka_unit_test(hypervisors_pass_whatever_the_umask),
		cmocka_unit_test(a_name_too_long_for_a_socket_is_found_first),
		cmocka_unit_test(one_that_is_off_is_captured_and_stays_off),
		cmocka_unit_test(a_capture_that_is_not_whole_is_made_again),
		cmocka_unit_test(
		    a_job_is_of_the_wanted_disks_and_has_its_socket),
		cmocka_unit_test(an_image_is_read_where_it_has_data),
		cmocka_unit_test(a_bitmap_that_lacks_something_is_not_used),
		cmocka_unit_test(
		    one_captured_off_has_not_changed_or_nobody_knows),
		cmocka_unit_test(nobody_takes_one_over_while_it_is_let_go_on),
		cmocka_unit_test(
		    who_goes_on_with_a_capture_looks_after_its_guest),
		cmocka_unit_test(
		    what_ended_before_it_was_had_is_not_gone_on_with),
		cmocka_unit_test(room_is_promised_once),
		cmocka_unit_test(what_a_domain_names_is_not_removed),
		cmocka_unit_test(what_is_exported_stands_still),
		cmocka_unit_test(an_image_is_written_at_any_place),
		cmocka_unit_test(what_it_starts_with_is_captured_and_put_back),
		cmocka_unit_test(
		    a_snapshot_that_is_not_known_again_is_no_reason_to_stay_down),
		cmocka_unit_test(what_cannot_be_restored_is_said_before),
	};

	/* What it keeps open, it does so for good. */
	if (fb_libvirt_load() != NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
