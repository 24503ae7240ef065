/*
 * What Morpheus says, and what it leaves open: names, volumes, processes, the
 * paths of snapshots; and whether one on the hypervisor is frozen, which is
 * looked at by a script that runs here, without ssh.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "http_script.h"

#include "../../src/driver/morpheus_internal.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

static void
names_give_their_tokens_back(void **state)
{
	static const char *const tokens[] = {
		"20261129-012345678-3fa92c17.1", "a", "0-x", "a-b-c",
		"12345678-a" };
	static const char *const owners[] = { NULL, "r1", "0" };
	const char *owner;

	(void)state;
	for (size_t t = 0; t < FB_COUNT(tokens); t++)
		for (size_t o = 0; o < FB_COUNT(owners); o++) {
			FB_AUTO_FREE char *name =
			    fb_morpheus_name("12", tokens[t], owners[o]);

			assert_string_equal(
			    fb_morpheus_token_of(name, "12", &owner),
			    tokens[t]);
			assert_null(fb_morpheus_token_of(name, "1", &owner));
			assert_null(fb_morpheus_token_of(name, "2", &owner));
		}
}

static void
other_names_are_not_ours(void **state)
{
	static const char *const names[] = { "", "fleetbak-", "fleetbak-12",
		"fleetbak-12-", "fleetbak-12-0", "fleetbak-12-0-",
		"fleetbak-12-1-t", "fleetbak-12-00-t", "fleetbak-12-0123456-t",
		"fleetbak-12-0123456g-t", "fleetbak-12-0-a/b",
		"fleetbak-12-0-..", " fleetbak-12-0-t", "Fleetbak-12-0-t" };
	const char *owner;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(names); i++)
		assert_null(fb_morpheus_token_of(names[i], "12", &owner));
}

/* ------------------------------------------------------------- volumes */

static void
volumes_have_names_that_are_good_and_their_own(void **state)
{
	static const char text[] =
	    "{\"id\":1,\"volumes\":["
	    "{\"id\":1,\"name\":\"root\",\"maxStorage\":10},"
	    "{\"id\":2,\"name\":\"data\"},{\"id\":3,\"name\":\"data\"},"
	    "{\"id\":4,\"name\":\"a/../b\"},{\"id\":5},"
	    "{\"id\":6,\"name\":\"definition\"}]}";
	static const char *const wanted[] = { "root", "data-2", "data-3",
		"volume-4", "volume-5", "definition-6" };
	struct fb_morpheus m = { .removable = (char *[]){ NULL } };
	FB_AUTO_JSON json_t *server = json_loads(text, 0, NULL);
	FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes = { 0 };

	(void)state;
	assert_ok(fb_morpheus_volumes(&m, server, &volumes, &err));
	assert_int_equal(volumes.count, FB_COUNT(wanted));
	for (size_t i = 0; i < volumes.count; i++) {
		assert_string_equal(volumes.items[i].name, wanted[i]);
		assert_false(volumes.items[i].removable);
	}
	assert_int_equal(volumes.items[0].size, 10);
}

/* One that is called like what another one is made to be called. */
static void
no_two_volumes_have_a_name(void **state)
{
	static const char text[] =
	    "{\"id\":1,\"volumes\":["
	    "{\"id\":9,\"name\":\"data-7\"},{\"id\":7,\"name\":\"data\"},"
	    "{\"id\":8,\"name\":\"data\"},{\"id\":5,\"name\":\"a/b\"},"
	    "{\"id\":6,\"name\":\"volume-5\"},{\"id\":3,\"name\":\"x-3\"}]}";
	static const char *const wanted[] = { "data-7-9", "data-7", "data-8",
		"volume-5", "volume-5-6", "x-3" };
	struct fb_morpheus m = { .removable = (char *[]){ NULL } };
	FB_AUTO_JSON json_t *server = json_loads(text, 0, NULL);
	FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes = { 0 };

	(void)state;
	assert_ok(fb_morpheus_volumes(&m, server, &volumes, &err));
	assert_int_equal(volumes.count, FB_COUNT(wanted));
	for (size_t i = 0; i < volumes.count; i++)
		assert_string_equal(volumes.items[i].name, wanted[i]);
}

static void
media_are_known_by_type_by_pattern_and_by_name(void **state)
{
	static const struct {
		const char *text;
		bool removable, guessed;
	} cases[] = {
		{ "{\"id\":1,\"name\":\"root\"}", false, false },
		{ "{\"id\":1,\"name\":\"cdrom\"}", true, true },
		{ "{\"id\":1,\"name\":\"CD-ROM 1\"}", true, true },
		{ "{\"id\":1,\"name\":\"cd\"}", true, true },
		{ "{\"id\":1,\"name\":\"dvd_0\"}", true, true },
		{ "{\"id\":1,\"name\":\"cdr-archive\"}", false, false },
		{ "{\"id\":1,\"name\":\"cdrom-images\"}", false, false },
		{ "{\"id\":1,\"name\":\"isolated\"}", false, false },
		{ "{\"id\":1,\"name\":\"x\",\"type\":\"cdrom\"}", true, false },
		{ "{\"id\":1,\"name\":\"x\",\"type\":\"disk\"}", false, false },
		{ "{\"id\":1,\"name\":\"x\",\"volumeType\":"
		  "{\"code\":\"cdrom\",\"category\":\"cd\"}}", true, false },
		{ "{\"id\":1,\"name\":\"tools-2\"}", true, false },
	};
	struct fb_morpheus m = { .removable =
		(char *[]){ (char[]){ "tools-*" }, NULL } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_JSON json_t *server =
		    json_pack("{s:[o]}", "volumes",
		        json_loads(cases[i].text, 0, NULL));
		FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes =
		    { 0 };

		assert_ok(fb_morpheus_volumes(&m, server, &volumes, &err));
		assert_int_equal(
		    volumes.items[0].removable, cases[i].removable);
		assert_int_equal(volumes.items[0].guessed, cases[i].guessed);
	}
}

/* ------------------------------------------------------------- exports */

static void
paths_that_cannot_be_a_snapshot_s_are_refused(void **state)
{
#define FILE_OF(rest) "{\"volume\":{\"id\":7}," rest "}"
#define GOOD "\"type\":\"file\",\"path\":\"/vm/over\",\"exportPath\":\"/vm/base\""
	static const struct {
		const char *files, *id;
	} cases[] = {
		{ FILE_OF(GOOD), NULL },
		{ "", "E-MORPHEUS-EXPORT" },
		{ FILE_OF(GOOD) "," FILE_OF(GOOD), "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"file\",\"path\":\"/vm/over\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"rbd\",\"exportPath\":\"pool/image@snap\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"tape\",\"exportPath\":\"/vm/base\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"file\",\"exportPath\":\"vm/base\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"file\",\"exportPath\":\"/vm/../etc/x\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"file\",\"exportPath\":\"/vm/a\\nb\""),
		    "E-MORPHEUS-EXPORT" },
		{ FILE_OF("\"type\":\"block\",\"path\":\"/dev/dm-1\","
		          "\"exportPath\":\"/dev/dm-1\""),
		    "E-MORPHEUS-LIVE" },
		{ FILE_OF(GOOD) ",{\"volume\":{\"id\":8},\"type\":\"file\","
		                "\"path\":\"/vm/base\"}",
		    "E-MORPHEUS-LIVE" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *text = fb_format(
		    "{\"snapshotFiles\":[%s]}", cases[i].files);
		struct fb_morpheus_snapshot snapshot = {
			.json = json_loads(text, 0, NULL)
		};
		struct fb_morpheus_file file;
		int rc = fb_morpheus_file_of(&snapshot, 7, &file, &err);

		assert_non_null(snapshot.json);
		if (cases[i].id == NULL)
			assert_ok(rc);
		else {
			assert_fails(FB_EUNSUP, rc);
			assert_string_equal(err.id, cases[i].id);
		}
		fb_morpheus_snapshot_release(&snapshot);
	}
}

/* ---------------------------------------------------- on the hypervisor */

/* A directory with a program in ssh's place, and what is looked at. */
struct host {
	char dir[32];
	char *path, *live, *old_path;
	struct fb_morpheus_place place;
};

static void
put(const struct host *host, const char *name, const char *text, mode_t mode)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", host->dir, name);

	assert_ok(fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, mode,
	    &err));
}

/* The beginning of a qcow2 image. */
static void
put_header(const struct host *host, uint8_t version, uint8_t backing,
    uint8_t features, size_t len)
{
	FB_AUTO_FREE char *path = fb_format("%s/base", host->dir);
	uint8_t bytes[104] = { 'Q', 'F', 'I', 0xfb, [7] = version,
		[14] = backing, [79] = features, [103] = 104 };

	assert_ok(fb_io_replace(
	    path, (struct fb_span){ bytes, len }, 0600, &err));
}

static void
begin_host(struct host *host)
{
	FB_AUTO_FREE char *path = NULL;

	*host = (struct host){ .dir = "/tmp/fleetbak-hv-XXXXXX" };
	assert_non_null(mkdtemp(host->dir));
	put(host, "ssh",
	    "#!/bin/sh\nfor word; do :; done\nexec sh -c \"$word\"\n", 0700);
	put(host, "id", "#!/bin/sh\necho 0\n", 0700);
	put(host, "base", "the bytes of a disk", 0600);
	put(host, "over", "those of its overlay", 0600);
	host->old_path = fb_strdup(getenv("PATH"));
	path = fb_format("%s:%s", host->dir, host->old_path);
	(void)setenv("PATH", path, 1);
	(void)setenv("HOME", host->dir, 1);
	host->place = (struct fb_morpheus_place){
		.far = fb_libvirt_far_to_host("hv-1", NULL, "mark"),
		.record = fb_strdup("fleetbak-12-0-t"),
		.name = fb_strdup("7"),
		.path = fb_format("%s/base", host->dir),
		.live = fb_format("%s/over", host->dir),
		.type = fb_strdup("file")
	};
}

static void
end_host(struct host *host)
{
	(void)setenv("PATH", host->old_path, 1);
	free(host->old_path);
	fb_morpheus_place_release(&host->place);
	assert_ok(fb_io_remove_tree(host->dir, &err));
}

static void
assert_live(const struct host *host, const char *why)
{
	bool qcow2;

	assert_fails(FB_ECONFLICT,
	    fb_morpheus_look_at(&host->place, &qcow2, &err));
	assert_string_equal(err.id, "E-MORPHEUS-LIVE");
	assert_non_null(strstr(err.msg, why));
}

static void
what_nobody_writes_to_is_frozen(void **state)
{
	struct host host;
	bool qcow2;

	(void)state;
	begin_host(&host);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	assert_false(qcow2);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	free(host.place.name);
	host.place.name = fb_strdup("8");
	put_header(&host, 3, 0, 0, 104);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	assert_true(qcow2);
	end_host(&host);
}

/* A guest may write such a header, and qemu-nbd would read what it names. */
static void
images_that_name_other_files_are_refused(void **state)
{
	static const struct {
		uint8_t version, backing, features;
		size_t len;
		const char *why; /* NULL: it is a good one */
	} cases[] = {
		{ 2, 0, 0, 72, NULL },
		{ 2, 0, 4, 104, NULL },
		{ 3, 0, 0xfb, 104, NULL },
		{ 2, 1, 0, 104, "backing file" },
		{ 3, 1, 0, 104, "backing file" },
		{ 3, 1, 4, 104, "another file" },
		{ 3, 0, 4, 104, "another file" },
		{ 3, 0, 0xff, 104, "another file" },
		{ 3, 0, 0, 79, "no header" },
		{ 2, 0, 0, 15, "no header" },
		{ 1, 0, 0, 104, "no header" },
		{ 4, 0, 0, 104, "no header" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		struct host host;
		bool qcow2 = false;
		int rc;

		begin_host(&host);
		put_header(&host, cases[i].version, cases[i].backing,
		    cases[i].features, cases[i].len);
		rc = fb_morpheus_look_at(&host.place, &qcow2, &err);
		if (cases[i].why == NULL) {
			assert_ok(rc);
			assert_true(qcow2);
		} else {
			assert_fails(FB_EUNSUP, rc);
			assert_string_equal(err.id, "E-MORPHEUS-FORMAT");
			assert_non_null(strstr(err.msg, cases[i].why));
		}
		end_host(&host);
	}
}

static void
what_somebody_writes_to_is_not(void **state)
{
	struct host host;
	bool qcow2;
	int fd;

	(void)state;
	begin_host(&host);
	fd = open(host.place.path, O_RDONLY | O_CLOEXEC);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	(void)close(fd);
	fd = open(host.place.path, O_RDWR | O_CLOEXEC);
	assert_live(&host, "open to write");
	(void)close(fd);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	end_host(&host);
}

/* Who is not root does not see what others have open. */
static void
who_is_not_root_is_told_so(void **state)
{
	struct host host;
	bool qcow2;

	(void)state;
	begin_host(&host);
	put(&host, "id", "#!/bin/sh\necho 1000\n", 0700);
	assert_fails(FB_EUNSUP,
	    fb_morpheus_look_at(&host.place, &qcow2, &err));
	assert_string_equal(err.id, "E-MORPHEUS-EXPORT");
	assert_non_null(strstr(err.msg, "1000"));
	assert_non_null(strstr(err.hint, "root"));
	end_host(&host);
}

static void
what_changed_since_it_was_looked_at_is_not(void **state)
{
	struct host host;
	bool qcow2;
	int fd;

	(void)state;
	begin_host(&host);
	assert_ok(fb_morpheus_look_at(&host.place, &qcow2, &err));
	fd = open(host.place.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	(void)close(fd);
	assert_live(&host, "it was");
	end_host(&host);
}

static void
the_live_disk_by_another_name_is_not(void **state)
{
	struct host host;

	(void)state;
	begin_host(&host);
	assert_int_equal(unlink(host.place.live), 0);
	assert_int_equal(symlink("base", host.place.live), 0);
	assert_live(&host, "writes to");
	end_host(&host);
}

static void
what_is_missing_or_of_another_kind_is_said(void **state)
{
	struct host host;
	bool qcow2;

	(void)state;
	begin_host(&host);
	free(host.place.type);
	host.place.type = fb_strdup("block");
	assert_fails(FB_EFAILED,
	    fb_morpheus_look_at(&host.place, &qcow2, &err));
	assert_non_null(strstr(err.msg, "no block device"));
	assert_int_equal(unlink(host.place.path), 0);
	assert_fails(FB_ENOTFOUND,
	    fb_morpheus_look_at(&host.place, &qcow2, &err));
	end_host(&host);
}

/* ------------------------------------------------------- what it is asked */

/* Answers to be given, made of their bodies; the first one is a token's. */
struct lab {
	struct script script;
	struct host host;
	char *answers[SCRIPT_MAX];
	struct fb_driver *driver;
	struct fb_machine machine;
	char id[3];
};

/* Its directory's name stands for the first "@". */
static char *
with_dir(const struct lab *lab, const char *body)
{
	size_t len = strcspn(body, "@");

	return body[len] == '\0'
	    ? fb_strdup(body)
	    : fb_format("%.*s%s%s", (int)len, body, lab->host.dir,
	          body + len + 1);
}

static struct fb_morpheus *
begin(struct lab *lab, const char *const *bodies, size_t count)
{
	FB_AUTO_FREE char *text = NULL;
	FB_AUTO_JSON json_t *options = NULL;
	struct fb_config_source source = { .name = (char[]){ "lab" },
		.driver = (char[]){ "morpheus" }, .base_dir = lab->host.dir };

	*lab = (struct lab){ 0 };
	begin_host(&lab->host);
	put(&lab->host, "password", "hush\n", 0600);
	for (size_t i = 0; i <= count; i++) {
		FB_AUTO_FREE char *body = with_dir(lab,
		    i > 0 ? bodies[i - 1] : "{\"access_token\":\"tok\"}");

		lab->answers[i] = body[0] == '4'
		    ? fb_format("HTTP/1.1 %.3s X\r\nConnection: close\r\n"
		                "Content-Length: %zu\r\n\r\n%s",
		          body, strlen(body + 3), body + 3)
		    : fb_format("HTTP/1.1 200 X\r\nConnection: close\r\n"
		                "Content-Length: %zu\r\n\r\n%s",
		          strlen(body), body);
	}
	script_start(&lab->script, (const char *const *)lab->answers,
	    count + 1);
	text = fb_format("{\"server\":\"http://127.0.0.1:%u\","
	                 "\"user\":\"u\",\"password\":\"file:password\","
	                 "\"settle_time\":\"0ms\",\"image_format\":\"raw\"}",
	    lab->script.port);
	options = source.options = json_loads(text, 0, NULL);
	assert_ok(fb_driver_open(&source, &lab->driver, &err));
	(void)snprintf(lab->id, sizeof(lab->id), "12");
	lab->machine.id = lab->id;
	lab->machine.name = lab->id;
	lab->machine.stop_timeout_ms = lab->machine.start_timeout_ms = 60000;
	return (struct fb_morpheus *)lab->driver;
}

static void
end(struct lab *lab)
{
	fb_driver_close(lab->driver);
	script_end(&lab->script);
	script_release(&lab->script);
	for (size_t i = 0; i < SCRIPT_MAX; i++)
		free(lab->answers[i]);
	end_host(&lab->host);
}

#define ON  "{\"server\":{\"id\":12,\"powerState\":\"on\"}}"
#define OFF "{\"server\":{\"id\":12,\"powerState\":\"off\"}}"
#define ODD "{\"server\":{\"id\":12,\"powerState\":\"paused\"}}"
#define DONE "{\"success\":true}"

static struct fb_verb
verb_of(const char *token)
{
	return (struct fb_verb){ .token = token, .lock_fd = -1 };
}

static void
a_stop_is_done_when_the_power_says_so(void **state)
{
	static const char *const bodies[] = { ON, DONE, ON, ODD, OFF };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 5);
	assert_ok(fb_driver_stop(lab.driver, &lab.machine, &verb, &err));
	end(&lab);
}

static void
success_false_is_a_failure_whatever_the_status(void **state)
{
	static const char *const bodies[] = { ON,
		"{\"success\":false,\"msg\":\"not allowed\"}" };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 2);
	assert_fails(FB_EFAILED,
	    fb_driver_stop(lab.driver, &lab.machine, &verb, &err));
	assert_non_null(strstr(err.msg, "not allowed"));
	end(&lab);
}

static void
errors_are_a_failure_whatever_success_says(void **state)
{
	static const char *const bodies[] = { ON,
		"{\"success\":true,\"errors\":{\"name\":\"is bad\"}}" };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 2);
	assert_fails(FB_EFAILED,
	    fb_driver_stop(lab.driver, &lab.machine, &verb, &err));
	end(&lab);
}

static void
what_is_neither_on_nor_off_is_not_touched(void **state)
{
	static const char *const bodies[] = { ODD };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 1);
	assert_fails(FB_ECONFLICT,
	    fb_driver_start(lab.driver, &lab.machine, &verb, &err));
	end(&lab);
}

static int
discover(struct lab *lab, const char *const *bodies, size_t count,
    struct fb_fleet *fleet)
{
	int rc;

	(void)begin(lab, bodies, count);
	rc = fb_driver_discover(lab->driver, fleet, &err);
	end(lab);
	return rc;
}

static void
a_list_that_is_not_whole_is_no_fleet(void **state)
{
	static const char *const shorter[] = {
		"{\"servers\":[{\"id\":1,\"volumes\":[]}],"
		"\"meta\":{\"total\":3}}",
		"{\"servers\":[{\"id\":2,\"volumes\":[]}],"
		"\"meta\":{\"total\":3}}",
		"{\"servers\":[],\"meta\":{\"total\":3}}" };
	static const char *const untold[] = {
		"{\"servers\":[{\"id\":1,\"volumes\":[]}]}" };
	struct fb_fleet fleet = { 0 };
	struct lab lab;

	(void)state;
	assert_fails(FB_EPROTO, discover(&lab, shorter, 3, &fleet));
	assert_string_equal(err.id, "E-API-LIST");
	fb_fleet_release(&fleet);
	fleet = (struct fb_fleet){ 0 };
	assert_fails(FB_EPROTO, discover(&lab, untold, 1, &fleet));
	assert_string_equal(err.id, "E-API-LIST");
	fb_fleet_release(&fleet);
}

static void
what_passes_is_no_part_of_a_description(void **state)
{
#define SERVER_OF(rest) \
	"{\"servers\":[{\"id\":12,\"name\":\"db 1\",\"maxCores\":2," rest \
	"\"volumes\":[{\"id\":3,\"name\":\"root\",\"maxStorage\":1024}]}]," \
	"\"meta\":{\"total\":1}}"
	static const char *const bodies[][1] = {
		{ SERVER_OF("\"powerState\":\"on\",\"status\":\"provisioned\","
		            "\"parentServer\":{\"id\":1,\"name\":\"hv1\"},") },
		{ SERVER_OF("\"powerState\":\"off\",\"status\":\"x\","
		            "\"parentServer\":{\"id\":2,\"name\":\"hv2\"},"
		            "\"lastUpdated\":\"today\",") },
		{ SERVER_OF("\"maxMemory\":5,\"powerState\":\"off\",") } };
	struct fb_fleet fleets[3] = { 0 };
	struct lab lab;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_ok(discover(&lab, bodies[i], 1, &fleets[i]));
		assert_int_equal(fleets[i].count, 1);
	}
	assert_string_equal(fleets[0].machines[0].name, "12");
	assert_int_equal(fleets[0].machines[0].power, FB_POWER_UP);
	assert_null(fleets[0].machines[0].problem);
	assert_int_equal(fb_digest_cmp(&fleets[0].machines[0].description,
	                     &fleets[1].machines[0].description),
	    0);
	assert_int_not_equal(fb_digest_cmp(&fleets[0].machines[0].description,
	                         &fleets[2].machines[0].description),
	    0);
	assert_string_equal(
	    fleets[2].machines[0].problem->id, "E-MORPHEUS-HOST");
	for (size_t i = 0; i < 3; i++)
		fb_fleet_release(&fleets[i]);
}

#define NONE "{\"snapshots\":[]}"
#define LISTED(status) \
	"{\"snapshots\":[" \
	"{\"id\":4,\"name\":\"fleetbak-12-0-t1\",\"status\":\"complete\"}," \
	"{\"id\":6,\"name\":\"fleetbak-12-0-t\",\"status\":\"complete\"}," \
	"{\"id\":5,\"name\":\"fleetbak-12-0-t\",\"status\":\"" status "\"}]}"

static void
the_snapshot_of_the_very_token_is_found(void **state)
{
	static const char *const bodies[] = { LISTED("complete"),
		LISTED("creating"), NONE };
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };
	struct fb_morpheus *m;
	struct lab lab;

	(void)state;
	m = begin(&lab, bodies, 3);
	assert_ok(fb_morpheus_look(m, "12", "t", &found, &err));
	assert_int_equal(found.id, 5);
	assert_ok(fb_morpheus_look(m, "12", "t", &found, &err));
	assert_int_equal(found.id, 6);
	assert_fails(
	    FB_ENOTFOUND, fb_morpheus_look(m, "12", "t", &found, &err));
	end(&lab);
}

static void
a_process_that_fails_is_a_failure_with_its_reason(void **state)
{
	static const char *const bodies[] = { NONE, ON,
		"{\"success\":true,\"processIds\":[42]}",
		"{\"process\":{\"id\":42,\"status\":\"odd word\"}}",
		"{\"process\":{\"id\":42,\"status\":\"failed\","
		"\"reason\":\"no room\"}}" };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 5);
	verb.for_export = true;
	assert_fails(FB_EFAILED,
	    fb_driver_create_snapshot(lab.driver, &lab.machine, &verb, &err));
	assert_string_equal(err.id, "E-MORPHEUS-PROCESS");
	assert_non_null(strstr(err.msg, "no room"));
	assert_non_null(strstr(lab.script.asked[3],
	    "\"forExport\":true"));
	assert_non_null(strstr(lab.script.asked[3],
	    "\"name\":\"fleetbak-12-0-t\""));
	end(&lab);
}

static void
a_removal_is_done_when_it_is_not_listed(void **state)
{
	static const char *const bodies[] = { LISTED("complete"), ON, DONE,
		LISTED("deleting"),
		"{\"snapshots\":[{\"id\":5,\"name\":\"fleetbak-12-0-t\"}]}",
		ON, DONE, NONE };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 8);
	assert_ok(fb_driver_remove_snapshot(
	    lab.driver, &lab.machine, &verb, &err));
	assert_memory_equal(
	    lab.script.asked[3], "DELETE /api/snapshots/6 ", 24);
	end(&lab);
}

static void
machines_that_are_gone_have_nothing_to_remove(void **state)
{
	static const char *const bodies[] = {
		"404{\"success\":false,\"msg\":\"not found\"}" };
	struct fb_verb verb = verb_of("t");
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 1);
	assert_ok(fb_driver_remove_snapshot(
	    lab.driver, &lab.machine, &verb, &err));
	end(&lab);
}

/* The plan may be hours old. */
static void
an_instance_that_got_another_server_is_not_reverted(void **state)
{
	static const char *const bodies[] = { LISTED("complete"),
		"{\"server\":{\"id\":12,\"powerState\":\"off\","
		"\"instance\":{\"id\":7}}}",
		"{\"servers\":[{\"id\":12,\"instance\":{\"id\":7}},"
		"{\"id\":13,\"instance\":{\"id\":7}}],"
		"\"meta\":{\"total\":2}}" };
	struct fb_verb verb = verb_of("t");
	struct fb_restore_request request = { .mode = FB_RESTORE_IN_PLACE,
		.all_volumes = true, .snapshot = "t" };
	struct lab lab;

	(void)state;
	(void)begin(&lab, bodies, 3);
	request.machine = &lab.machine;
	assert_fails(FB_ECONFLICT,
	    fb_morpheus_restore_finish(lab.driver, &request, &verb, &err));
	assert_non_null(strstr(err.msg, "not only this server"));
	assert_memory_equal(lab.script.asked[3], "GET /api/servers?", 17);
	end(&lab);
}

/* --------------------------------------------------------------- bytes */

static void
bytes_come_from_the_exported_path(void **state)
{
	static const char *const bodies[] = {
		"{\"snapshots\":[{\"id\":5,\"name\":\"fleetbak-12-0-t\","
		"\"status\":\"complete\",\"snapshotFiles\":[{\"type\":\"file\","
		"\"path\":\"/nowhere\",\"exportPath\":\"@/disk\","
		"\"volume\":{\"id\":3}}]}]}",
		"{\"server\":{\"id\":12,\"parentServer\":{\"name\":\"hv1\"},"
		"\"volumes\":[{\"id\":3,\"name\":\"root\"}]}}" };
	FB_AUTO_ARTIFACT struct fb_artifact *disk = NULL;
	FB_AUTO_FREE char *path = NULL;
	struct fb_morpheus *m;
	char bytes[16];
	struct lab lab;
	int fd;

	(void)state;
	m = begin(&lab, bodies, 2);
	path = fb_format("%s/disk", lab.host.dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(pwrite(fd, "here it is", 10, 524288), 10);
	(void)close(fd);
	assert_ok(fb_morpheus_open_disk(m, "12", "t", "root", &disk, &err));
	assert_int_equal(disk->size, 1 << 20);
	assert_ok(disk->ops->read(disk, 524288, bytes, 10, &err));
	assert_memory_equal(bytes, "here it is", 10);
	assert_ok(disk->ops->prove(disk, &err));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "elsewhere", 9, 4096), 9);
	(void)close(fd);
	assert_fails(FB_ECONFLICT, disk->ops->prove(disk, &err));
	assert_string_equal(err.id, "E-MORPHEUS-LIVE");
	fb_artifact_closep(&disk);
	disk = NULL;
	end(&lab);
}

static void
an_image_that_is_shorter_than_its_volume_is_refused(void **state)
{
	static const char *const bodies[] = {
		"{\"snapshots\":[{\"id\":5,\"name\":\"fleetbak-12-0-t\","
		"\"status\":\"complete\",\"snapshotFiles\":[{\"type\":\"file\","
		"\"path\":\"/nowhere\",\"exportPath\":\"@/disk\","
		"\"volume\":{\"id\":3}}]}]}",
		"{\"server\":{\"id\":12,\"parentServer\":{\"name\":\"hv1\"},"
		"\"volumes\":[{\"id\":3,\"name\":\"root\","
		"\"maxStorage\":1048577}]}}" };
	struct fb_volume volume = { .name = (char[]){ "root" },
		.kind = FB_VOLUME_DISK };
	struct fb_artifact *disk = NULL;
	FB_AUTO_FREE char *path = NULL;
	struct lab lab;
	int fd;

	(void)state;
	(void)begin(&lab, bodies, 2);
	path = fb_format("%s/disk", lab.host.dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	(void)close(fd);
	assert_fails(FB_EUNSUP,
	    fb_morpheus_open_volume(
	        lab.driver, &lab.machine, &volume, "t", &disk, &err));
	assert_string_equal(err.id, "E-MORPHEUS-EXPORT");
	end(&lab);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_give_their_tokens_back),
		cmocka_unit_test(other_names_are_not_ours),
		cmocka_unit_test(volumes_have_names_that_are_good_and_their_own),
		cmocka_unit_test(no_two_volumes_have_a_name),
		cmocka_unit_test(media_are_known_by_type_by_pattern_and_by_name),
		cmocka_unit_test(paths_that_cannot_be_a_snapshot_s_are_refused),
		cmocka_unit_test(what_nobody_writes_to_is_frozen),
		cmocka_unit_test(images_that_name_other_files_are_refused),
		cmocka_unit_test(what_somebody_writes_to_is_not),
		cmocka_unit_test(who_is_not_root_is_told_so),
		cmocka_unit_test(what_changed_since_it_was_looked_at_is_not),
		cmocka_unit_test(the_live_disk_by_another_name_is_not),
		cmocka_unit_test(what_is_missing_or_of_another_kind_is_said),
		cmocka_unit_test(a_stop_is_done_when_the_power_says_so),
		cmocka_unit_test(success_false_is_a_failure_whatever_the_status),
		cmocka_unit_test(errors_are_a_failure_whatever_success_says),
		cmocka_unit_test(what_is_neither_on_nor_off_is_not_touched),
		cmocka_unit_test(a_list_that_is_not_whole_is_no_fleet),
		cmocka_unit_test(what_passes_is_no_part_of_a_description),
		cmocka_unit_test(the_snapshot_of_the_very_token_is_found),
		cmocka_unit_test(a_process_that_fails_is_a_failure_with_its_reason),
		cmocka_unit_test(a_removal_is_done_when_it_is_not_listed),
		cmocka_unit_test(machines_that_are_gone_have_nothing_to_remove),
		cmocka_unit_test(
		    an_instance_that_got_another_server_is_not_reverted),
		cmocka_unit_test(bytes_come_from_the_exported_path),
		cmocka_unit_test(
		    an_image_that_is_shorter_than_its_volume_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
