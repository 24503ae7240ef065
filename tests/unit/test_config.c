/* The configuration says what it means, or says what is wrong with it. */
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "../../src/format/schema.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/config.h"

static struct fb_error err;

#define BASE \
	"fleet: {name: demo, rpo: 26h, timezone: Europe/Berlin}\n" \
	"state_dir: ./state\n" \
	"repositories:\n" \
	"  main: {url: \"file:./repo\", sign_with: \"file:./k/sign.pem\"}\n" \
	"trusted_signers: [\"file:./keys/sign.pub.pem\"]\n" \
	"sources:\n" \
	"  lab: {driver: local, root: ./machines, labels: {site: a}}\n" \
	"download: {jobs: 8, max_downtime: 60s}\n"

static int
parse_with(const char *text, const char *const *env, const char *const *sets,
    struct fb_config **ret)
{
	return fb_config_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, "f.yaml",
	    "/etc/fb", env, sets, ret, &err);
}

/* The text is refused with this id, message and hint ("" for any). */
static void
refuses_with(const char *text, const char *const *env,
    const char *const *sets, const char *id, const char *msg,
    const char *hint)
{
	struct fb_config *config = NULL;
	int rc = parse_with(text, env, sets, &config);

	if (rc == FB_OK)
		fb_config_free(config);
	assert_int_equal(rc, FB_ECONFIG);
	if (strstr(err.msg, msg) == NULL || strcmp(err.id, id) != 0 ||
	    strstr(err.hint, hint) == NULL)
		fail_msg("%s: %s (%s)\nwanted %s: %s (%s)", err.id, err.msg,
		    err.hint, id, msg, hint);
}

static void
refuses(const char *text, const char *id, const char *msg, const char *hint)
{
	refuses_with(text, NULL, NULL, id, msg, hint);
}

static void
every_setting_arrives(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;

	(void)state;
	assert_ok(parse_with(BASE "units: {rack: {subtree: lab/db-01}}\n", NULL,
	    NULL, &config));
	assert_string_equal(config->fleet_name, "demo");
	assert_int_equal(config->rpo_ms, 26 * 3600 * 1000);
	assert_string_equal(config->timezone, "Europe/Berlin");
	assert_string_equal(config->state_dir, "/etc/fb/state");
	assert_int_equal(config->repository_count, 1);
	assert_string_equal(config->repositories[0].name, "main");
	assert_string_equal(config->repositories[0].url, "file:/etc/fb/repo");
	assert_string_equal(
	    config->repositories[0].sign_with, "file:./k/sign.pem");
	assert_int_equal(config->trusted_signer_count, 1);
	assert_string_equal(
	    config->trusted_signers[0], "file:./keys/sign.pub.pem");
	assert_int_equal(config->source_count, 1);
	assert_string_equal(config->sources[0].name, "lab");
	assert_string_equal(config->sources[0].driver, "local");
	assert_int_equal(config->sources[0].jobs, 0);
	assert_string_equal(
	    json_string_value(
	        json_object_get(config->sources[0].options, "root")),
	    "/etc/fb/machines");
	assert_string_equal(
	    fb_labels_get(&config->sources[0].labels, "site"), "a");
	assert_null(fb_labels_get(&config->sources[0].labels, "rack"));
	assert_int_equal(config->unit_count, 1);
	assert_string_equal(config->units[0].subtree, "lab/db-01");
	assert_null(config->units[0].label);
	assert_int_equal(config->download.jobs, 8);
	assert_int_equal(config->download.max_downtime_ms, 60000);
}

static void
what_is_not_said_has_its_default(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;

	(void)state;
	assert_ok(parse_with("fleet: {name: x}\n"
	                     "repositories: {r: {url: \"file:///srv//b/./c/\"}}\n"
	                     "sources: {s: {driver: local, root: /m}}\n",
	    NULL, NULL, &config));
	assert_int_equal(config->rpo_ms, 0);
	assert_null(config->timezone);
	assert_null(config->repositories[0].sign_with);
	assert_string_equal(config->repositories[0].url, "file:/srv/b/c");
	assert_string_equal(config->state_dir, "/var/lib/fleetbak");
	assert_int_equal(config->download.jobs, 4);
	assert_int_equal(config->download.max_downtime_ms, 0);
	assert_int_equal(config->download.resume_within_ms, 6 * 3600 * 1000);
	assert_int_equal(config->download.max_obligation_age_ms,
	    UINT64_C(7) * 24 * 3600 * 1000);
	assert_int_equal(config->download.level, 3);
	assert_int_equal(config->download.digest, FB_DIGEST_TREE);
	assert_string_equal(
	    json_string_value(json_object_get(config->origins, "download.level")),
	    "built-in");
}

static void
the_order_of_the_file_is_kept(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;

	(void)state;
	assert_ok(parse_with("fleet: {name: x}\n"
	                     "repositories: {z: {url: \"file:z\"}, "
	                     "a: {url: \"file:a\"}, m: {url: \"file:m\"}}\n"
	                     "sources:\n  two: {root: /2, driver: local}\n"
	                     "  one: {root: /1, driver: local}\n",
	    NULL, NULL, &config));
	assert_string_equal(config->repositories[0].name, "z");
	assert_string_equal(config->repositories[1].name, "a");
	assert_string_equal(config->repositories[2].name, "m");
	assert_string_equal(config->sources[0].name, "two");
	assert_string_equal(config->sources[1].name, "one");
}

static void
a_limit_is_a_rate(void **state)
{
	static const char *const sets[] = { "sources.farm.limit_read=8200bit/s",
		NULL };
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	FB_AUTO_CONFIG struct fb_config *plain = NULL;

	(void)state;
	assert_ok(parse_with("fleet: {name: f}\n"
	    "repositories: {r: {url: \"file:r\"}}\n"
	    "sources: {farm: {driver: local, root: m, limit_read: 5MB/s}}\n"
	    "download: {limit_read: 1MiB/s, limit_upload: 80Mbit/s}\n",
	    NULL, sets, &config));
	assert_int_equal(config->download.limit_read.windows[0].bytes, 1 << 20);
	assert_int_equal(
	    config->download.limit_upload.windows[0].bytes, 10000000);
	assert_int_equal(config->sources[0].limit_read.windows[0].bytes, 1025);

	assert_ok(parse_with(BASE, NULL, NULL, &plain));
	assert_int_equal(plain->download.limit_read.count, 0);
	assert_int_equal(plain->download.limit_upload.count, 0);
	assert_int_equal(plain->sources[0].limit_read.count, 0);

	refuses("download: {limit_read: 1MiB}\n", "E-CFG-UNIT",
	    "f.yaml:1:24: download.limit_read '1MiB': not a rate: write "
	    "20MiB/s, or 160Mbit/s",
	    "");
	refuses("download: {limit_upload: 100B/s}\n", "E-CFG-RANGE",
	    "must be 1KiB/s at least", "");
}

static void
a_limit_is_windows_of_the_day(void **state)
{
	static const char *const sets[] = {
		"sources.farm.limit_read=22:00-06:00 unlimited, 5MB/s", NULL
	};
	FB_AUTO_CONFIG struct fb_config *config = NULL;

	(void)state;
	assert_ok(parse_with("fleet: {name: f}\n"
	    "repositories: {r: {url: \"file:r\"}}\n"
	    "sources: {farm: {driver: local, root: m}}\n"
	    "download:\n"
	    "  limit_read: Sat-Sun unlimited, 1MiB/s\n"
	    "  limit_upload: [Mon-Fri 07:00-19:00 20MiB/s, \"* unlimited\"]\n",
	    NULL, sets, &config));
	assert_int_equal(config->download.limit_read.count, 2);
	assert_int_equal(config->download.limit_upload.count, 2);
	assert_int_equal(config->download.limit_upload.windows[0].from, 420);
	assert_int_equal(config->sources[0].limit_read.count, 2);
	assert_string_equal(
	    json_string_value(json_object_get(
	        json_object_get(config->effective, "download"),
	        "limit_upload")),
	    "Mon-Fri 07:00-19:00 20MiB/s, * unlimited");

	refuses("download: {limit_read: Mon 1MiB}\n", "E-CFG-UNIT",
	    "f.yaml:1:24: download.limit_read: '1MiB': not a rate",
	    "write 20MiB/s");
	refuses("download: {limit_read: [1MiB/s, [1MiB/s]]}\n", "E-CFG-TYPE",
	    "a list where a single value belongs", "");
	refuses("download: {limit_read: []}\n", "E-CFG-TYPE",
	    "a list where a single value belongs", "");
}

static void
what_is_kept_is_said_in_words(void **state)
{
	static const char *const env[] = { "FLEETBAK_RETENTION_MAX_REMOVE=5%",
		"FLEETBAK_GROUPS_CRITICAL_MIN=9", NULL };
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	FB_AUTO_CONFIG struct fb_config *other = NULL;
	FB_AUTO_CONFIG struct fb_config *plain = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	assert_ok(parse_with(BASE
	    "retention: {keep: \"all within 48h, 14 daily\", min: 3, "
	    "max_remove: 100%, grace: 14d, orphans: keep 90d}\n"
	    "groups:\n  lab: {select: env=lab, keep: last 3}\n"
	    "  critical: {select: \"tier=db,pay-*\", keep: all, min: 7}\n",
	    NULL, NULL, &config));
	fb_retention_add_text(&text, &config->retention.keep);
	assert_string_equal(fb_buf_str(&text), "all within 48h, 14 daily");
	assert_int_equal(config->retention.keep.min, 3);
	assert_int_equal(config->retention.max_remove_percent, 100);
	assert_int_equal(
	    config->retention.grace_ms, UINT64_C(14) * 24 * 3600 * 1000);
	assert_int_equal(
	    config->retention.orphans_ms, UINT64_C(90) * 24 * 3600 * 1000);
	assert_int_equal(config->group_count, 2);
	assert_string_equal(config->groups[0].name, "lab");
	assert_string_equal(config->groups[0].select, "env=lab");
	assert_int_equal(config->groups[0].keep.rules[0].count, 3);
	assert_int_equal(config->groups[0].keep.min, 3);
	assert_string_equal(config->groups[1].select, "tier=db,pay-*");
	assert_int_equal(config->groups[1].keep.min, 7);

	assert_ok(parse_with(
	    BASE "groups: {critical: {select: x, keep: 1 yearly}}\n", env, NULL,
	    &other));
	assert_int_equal(other->retention.max_remove_percent, 5);
	assert_int_equal(other->groups[0].keep.min, 9);

	/* Nothing said: nothing may go. */
	assert_ok(parse_with(BASE, NULL, NULL, &plain));
	assert_int_equal(plain->retention.keep.rule_count, 0);
	assert_int_equal(plain->retention.keep.min, 2);
	assert_int_equal(plain->retention.max_remove_percent, 20);
	assert_int_equal(
	    plain->retention.grace_ms, UINT64_C(7) * 24 * 3600 * 1000);
	assert_int_equal(plain->retention.orphans_ms, 0);
	assert_int_equal(plain->group_count, 0);
}

static void
what_is_kept_is_judged_with_its_place(void **state)
{
	static const char *const env[] = { "FLEETBAK_RETENTION_KEEP=3 dayly",
		NULL };
	static const char *const sets[] = { "retention.keep=", NULL };

	(void)state;
	refuses("retention:\n  keep: all within 48h, 14 dayly\n",
	    "E-CFG-REFERENCE",
	    "f.yaml:2:9: retention.keep: 'dayly' at character 20: not one of",
	    "did you mean 'daily'?");
	refuses("retention: {keep: 3 daily within 4d}\n", "E-CFG-TYPE",
	    "f.yaml:1:19: retention.keep: 'within' at character 9", "");
	refuses("retention: {keep: all within 48}\n", "E-CFG-UNIT",
	    "retention.keep: '48' at character 12: not a span", "");
	refuses("retention: {kep: all}\n", "E-CFG-KEY",
	    "f.yaml:1:13: key 'kep': unknown in retention",
	    "did you mean 'keep'?");
	refuses("groups: {a: {select: x, keep: \"3 daily, 4 daily\"}}\n",
	    "E-CFG-DUPLICATE",
	    "f.yaml:1:31: groups.a.keep: '4 daily' at character 10", "");
	refuses(BASE "groups: {a: {keep: all}}\n", "E-CFG-MISSING",
	    "setting 'groups.a.select': required", "");
	refuses(BASE "groups: {a: {select: x}}\n", "E-CFG-MISSING",
	    "setting 'groups.a.keep': required", "");
	refuses("groups: {a: {select: \"\"}}\n", "E-CFG-TYPE",
	    "groups.a.select '': must not be empty", "");
	refuses("retention: {min: 0}\n", "E-CFG-RANGE", "1 to 1000", "");
	refuses("retention: {max_remove: 20}\n", "E-CFG-UNIT",
	    "f.yaml:1:25: retention.max_remove '20': not a percentage: write "
	    "20%",
	    "");
	refuses("retention: {max_remove: 101%}\n", "E-CFG-RANGE",
	    "'101%': must be 0% to 100%", "");
	refuses("retention: {max_remove: 020%}\n", "E-CFG-RANGE", "020%", "");
	refuses("retention: {max_remove: 20%%}\n", "E-CFG-UNIT", "", "");
	refuses("retention: {max_remove: \"%\"}\n", "E-CFG-UNIT", "", "");
	refuses("retention: {orphans: 90d}\n", "E-CFG-TYPE",
	    "retention.orphans '90d': write keep and a span: keep 90d", "");
	refuses("retention: {orphans: keep 90}\n", "E-CFG-TYPE", "", "");
	refuses("retention: {orphans: keep 0d}\n", "E-CFG-TYPE", "", "");
	refuses_with(BASE, env, NULL, "E-CFG-REFERENCE",
	    "environment FLEETBAK_RETENTION_KEEP: retention.keep: 'dayly' at "
	    "character 3",
	    "daily");
	refuses_with(BASE, NULL, sets, "E-CFG-REFERENCE",
	    "--set: retention.keep: at character 1: a word is missing", "");
}

static void
a_wrong_key_is_named_with_the_nearest_right_one(void **state)
{
	(void)state;
	refuses(BASE "downlaod: {jobs: 4}\n", "E-CFG-KEY",
	    "f.yaml:9:1: key 'downlaod': unknown", "did you mean 'download'?");
	refuses("fleet:\n  name: x\n  rop: 26h\n", "E-CFG-KEY",
	    "f.yaml:3:3: key 'rop': unknown in fleet", "did you mean 'rpo'?");
	refuses("sources:\n  lab: {driver: local, rot: /m}\n", "E-CFG-KEY",
	    "f.yaml:2:24: key 'rot': unknown in sources.lab",
	    "did you mean 'root'?");
	refuses("fleet.name: x\n", "E-CFG-KEY", "key 'fleet.name': unknown", "");
	refuses("fleet: {\"*\": x}\n", "E-CFG-KEY", "key '*': unknown", "name");
}

static void
a_duplicate_key_names_both_lines(void **state)
{
	(void)state;
	refuses(BASE "fleet: {name: y}\n", "E-CFG-DUPLICATE",
	    "f.yaml:9:1: key 'fleet': given twice, first in line 1, again in "
	    "line 9",
	    "");
	refuses("fleet: {name: a, rpo: 1h, name: b}\n", "E-CFG-DUPLICATE",
	    "f.yaml:1:27: key 'name': given twice", "");
}

static void
a_wrong_type_is_named(void **state)
{
	(void)state;
	refuses("download: {jobs: many}\n", "E-CFG-TYPE",
	    "f.yaml:1:18: download.jobs 'many': not a whole number", "");
	refuses("download: {jobs: 0x10}\n", "E-CFG-TYPE", "'0x10'", "");
	refuses("download: {jobs: 010}\n", "E-CFG-TYPE", "'010'", "");
	refuses("download: {jobs: 0}\n", "E-CFG-RANGE",
	    "download.jobs '0': must be 1 to 256", "");
	refuses("download: {jobs: 257}\n", "E-CFG-RANGE", "1 to 256", "");
	refuses("download: {jobs: 99999999999999999999999}\n", "E-CFG-RANGE",
	    "1 to 256", "");
	refuses("download: {jobs: -1}\n", "E-CFG-TYPE", "'-1'", "");
	refuses("download: {level: 20}\n", "E-CFG-RANGE", "1 to 19", "");
	refuses("fleet: [name]\n", "E-CFG-TYPE",
	    "f.yaml:1:8: fleet: a list where a map belongs", "");
	refuses("fleet: {name: {a: b}}\n", "E-CFG-TYPE",
	    "a map where a single value belongs", "");
	refuses("fleet:\n", "E-CFG-TYPE", "fleet: has no value", "");
	refuses("trusted_signers: \"file:x\"\n", "E-CFG-TYPE",
	    "a single value where a list belongs", "");
	refuses("fleet: {name: \"a b\"}\n", "E-NAME",
	    "f.yaml:1:15: fleet.name 'a b': not a name", "");
	refuses("sources: {../x: {driver: local}}\n", "E-NAME",
	    "sources '../x': not a name", "");
	refuses("fleet: {name: x, timezone: ../../etc}\n", "E-CFG-TYPE",
	    "not a time zone", "");
	if (access("/usr/share/zoneinfo/UTC", R_OK) == 0)
		refuses("fleet: {name: x, timezone: Europe/Berlinn}\n",
		    "E-CFG-REFERENCE", "no such time zone", "");
	refuses("fleet: {name: \"a\\nb\"}\n", "E-CFG-TYPE", "newline", "");
}

static void
a_span_without_a_unit_is_refused(void **state)
{
	(void)state;
	refuses("fleet: {name: x, rpo: 26}\n", "E-CFG-UNIT",
	    "f.yaml:1:23: fleet.rpo '26': needs a unit: 30s, 5min, 26h, 7d",
	    "");
	refuses("fleet: {name: x, rpo: 60m}\n", "E-CFG-UNIT",
	    "fleet.rpo '60m': write min or mo", "");
	refuses("fleet: {name: x, rpo: soon}\n", "E-CFG-UNIT",
	    "fleet.rpo 'soon': not a span", "");
}

static void
a_choice_names_what_is_known(void **state)
{
	(void)state;
	refuses("sources: {lab: {root: /m, driver: lokal}}\n",
	    "E-CFG-REFERENCE",
	    "f.yaml:1:35: sources.lab.driver 'lokal': unknown; known are: local",
	    "did you mean 'local'?");
	refuses("download: {digest: sha}\n", "E-CFG-REFERENCE",
	    "known are: tree, flat", "");
	refuses("repositories: {r: {url: \"ftp:bucket\"}}\n",
	    "E-CFG-REFERENCE",
	    "repositories.r.url 'ftp:bucket': unknown kind of repository; "
	    "known are: file:PATH, s3://BUCKET/PREFIX",
	    "");
	refuses("repositories: {r: {url: \"file://host/x\"}}\n",
	    "E-CFG-REFERENCE", "has no host", "");
}

#define S3(keys)                                                       \
	"fleet: {name: x}\nsources: {s: {driver: local, root: /m}}\n" \
	"repositories: {r: {" keys "}}\n"

static void
a_bucket_and_how_it_is_reached(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	const struct fb_config_repository *repo;

	(void)state;
	assert_ok(parse_with(
	    S3("url: \"s3://b-1.x/a/b/\", region: eu-1, "
	       "endpoint: \"http://127.0.0.1:7480/\", path_style: true, "
	       "credentials: \"profile:p\", ca: ca.pem, "
	       "proxy: \"http://[::1]:3128\", retry_for: 2s, "
	       "object_lock: compliance, lock_for: 10d"),
	    NULL, NULL, &config));
	repo = &config->repositories[0];
	assert_string_equal(repo->url, "s3://b-1.x/a/b");
	assert_string_equal(repo->endpoint, "http://127.0.0.1:7480");
	assert_string_equal(repo->region, "eu-1");
	assert_string_equal(repo->path_style, "true");
	assert_string_equal(repo->credentials, "profile:p");
	assert_string_equal(repo->ca, "/etc/fb/ca.pem");
	assert_string_equal(repo->proxy, "http://[::1]:3128");
	assert_int_equal(repo->retry_ms, 2000);
	assert_string_equal(repo->object_lock, "compliance");
	assert_int_equal(repo->lock_ms, 10 * 24 * 3600 * 1000);
}

static void
a_lock_has_a_mode_and_a_span(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	FB_AUTO_CONFIG struct fb_config *without = NULL;

	(void)state;
	assert_ok(parse_with(S3("url: \"s3://abc\", object_lock: governance"),
	    NULL, NULL, &config));
	assert_int_equal(config->repositories[0].lock_ms,
	    INT64_C(30) * 24 * 3600 * 1000);
	assert_ok(parse_with(S3("url: \"s3://abc\""), NULL, NULL, &without));
	assert_null(without->repositories[0].object_lock);
	assert_int_equal(without->repositories[0].lock_ms, 0);
	refuses(S3("url: \"s3://abc\", object_lock: forever"), "E-CFG-REFERENCE",
	    "repositories.r.object_lock", "");
	refuses(S3("url: \"s3://abc\", object_lock: governance, lock_for: 30"),
	    "E-CFG-UNIT", "repositories.r.lock_for", "");
	refuses(S3("url: \"s3://abc\", lock_for: 30d"), "E-CFG-MISSING",
	    "object_lock", "");
	refuses(S3("url: \"file:/r\", object_lock: governance"), "E-CFG-KEY",
	    "only an s3: repository", "");
}

static void
what_a_bucket_costs(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	const struct fb_config_repository *repo;

	(void)state;
	assert_ok(parse_with(
	    S3("url: \"s3://bucket\", min_storage: 30d, "
	       "price_put: \"0.005\", price_get: \"0.0004\", "
	       "price_storage: \"0.023\", currency: USD"),
	    NULL, NULL, &config));
	repo = &config->repositories[0];
	assert_true(repo->min_storage_ms == UINT64_C(30) * 24 * 3600 * 1000);
	assert_true(repo->price_put == 5000000);
	assert_true(repo->price_get == 400000);
	assert_true(repo->price_storage == 23000000);
	assert_string_equal(repo->currency, "USD");
	fb_config_freep(&config);
	assert_fails(FB_ECONFIG,
	    parse_with(S3("url: \"s3://bucket\", price_put: \"5 cents\""),
	        NULL, NULL, &config));
	assert_string_equal(err.id, "E-CFG-TYPE");
}

/* What opens the one opens its copy, unless the copy has its own. */
static void
a_copy_is_opened_as_what_it_is_a_copy_of(void **state)
{
	FB_AUTO_CONFIG struct fb_config *config = NULL;

	(void)state;
	assert_ok(parse_with(
	    "fleet: {name: x}\nsources: {s: {driver: local, root: /m}}\n"
	    "repositories:\n"
	    "  a: {url: \"s3://bucket\"}\n"
	    "  b: {url: \"file:/b\", copy_of: a}\n"
	    "  c: {url: \"file:/c\", decrypt_with: \"file:c.pem\"}\n"
	    "  d: {url: \"s3://other\", copy_of: c}\n"
	    "  e: {url: \"file:/e\", copy_of: c, "
	    "decrypt_with: \"file:e.pem\"}\n",
	    NULL, NULL, &config));
	assert_string_equal(config->repositories[1].decrypt_with,
	    FB_CONFIG_DECRYPT_WITH);
	assert_false(config->repositories[1].encrypt_given);
	assert_string_equal(
	    config->repositories[3].decrypt_with, "file:c.pem");
	assert_true(config->repositories[3].encrypt_given);
	assert_string_equal(
	    config->repositories[4].decrypt_with, "file:e.pem");
}

static void
an_address_of_object_storage_is_judged(void **state)
{
	static const char *const urls[] = { "s3:bucket", "s3://ab", "s3://Abc",
		"s3://.abc", "s3://abc-", "s3://abc//x", "s3://abc/.x",
		"s3://abc/x y", "s3://abc/x//" };
	static const char *const servers[] = { "host", "ftp://h", "http://",
		"http://h:", "http://h:123456", "http://h:x", "http://[::1",
		"https://h/path", "http://h?x" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(urls); i++) {
		FB_AUTO_FREE char *text =
		    fb_format(S3("url: \"%s\""), urls[i]);

		refuses(text, "E-CFG-REFERENCE", "repositories.r.url", "");
	}
	for (size_t i = 0; i < FB_COUNT(servers); i++) {
		FB_AUTO_FREE char *text = fb_format(
		    S3("url: \"s3://abc\", endpoint: \"%s\""), servers[i]);

		refuses(text, "E-CFG-TYPE", "repositories.r.endpoint", "");
	}
	refuses(S3("url: \"s3://k:hunter2@abc\""), "E-CFG-SECRET", "no user", "");
	assert_null(strstr(err.msg, "hunter2"));
	refuses(S3("url: \"s3://abc\", proxy: \"http://k:hunter2@h\""),
	    "E-CFG-SECRET", "repositories.r.proxy", "");
	assert_null(strstr(err.msg, "hunter2"));
	refuses(S3("url: \"s3://abc\", credentials: hunter2"), "E-CFG-SECRET",
	    "repositories.r.credentials", "profile:NAME");
	assert_null(strstr(err.msg, "hunter2"));
	refuses(S3("url: \"file:r\", region: x"), "E-CFG-KEY",
	    "repositories.r.region: only an s3: repository", "");
}

static void
a_literal_secret_is_refused_and_never_shown(void **state)
{
	static const char *const sets[] = {
		"repositories.main.sign_with=hunter2hunter2", NULL
	};

	(void)state;
	refuses("repositories: {r: {url: \"file:r\", sign_with: hunter2}}\n",
	    "E-CFG-SECRET", "f.yaml:1:46: repositories.r.sign_with: ", "cred:");
	assert_null(strstr(err.msg, "hunter2"));
	assert_null(strstr(err.hint, "hunter2"));
	refuses_with(BASE, NULL, sets, "E-CFG-SECRET", "--set: ", "env:NAME");
	assert_null(strstr(err.msg, "hunter2"));
	refuses("trusted_signers: [MCowBQYDK2VwAyEA]\n", "E-CFG-SECRET",
	    "trusted_signers: ", "");
	assert_null(strstr(err.msg, "MCow"));
}

static void
what_is_required_is_missed(void **state)
{
	(void)state;
	refuses("state_dir: /s\n", "E-CFG-MISSING",
	    "setting 'fleet.name': required, but missing", "");
	refuses("fleet: {rpo: 1h}\n", "E-CFG-MISSING",
	    "f.yaml:1:8: setting 'fleet.name'", "");
	refuses("fleet: {name: x}\nsources: {s: {driver: local, root: /m}}\n",
	    "E-CFG-MISSING", "repositories: required, but none is given",
	    "file:./repo");
	refuses("fleet: {name: x}\nrepositories: {r: {url: \"file:r\"}}\n",
	    "E-CFG-MISSING", "sources: required", "driver: local");
	refuses("fleet: {name: x}\nrepositories: {r: {}}\n", "E-CFG-MISSING",
	    "f.yaml:2:16: setting 'repositories.r.url'", "");
	refuses("fleet: {name: x}\nrepositories: {r: {url: \"file:r\"}}\n"
	        "sources:\n  s:\n    driver: local\n",
	    "E-CFG-MISSING", "f.yaml:4:3: setting 'sources.s.root'", "");
}

static void
units_are_cross_checked(void **state)
{
	(void)state;
	refuses(BASE "units: {a: {}}\n", "E-CFG-MISSING",
	    "f.yaml:9:9: units.a: needs one of subtree and label", "");
	refuses(BASE "units: {a: {subtree: x, label: y}}\n", "E-CFG-MISSING",
	    "can have only one", "");
	refuses(BASE "units: {a: {subtree: lba/db}}\n", "E-CFG-REFERENCE",
	    "units.a.subtree 'lba/db': there is no source 'lba'",
	    "did you mean 'lab'?");
	refuses(BASE "units: {a: {subtree: zzzzzzzzzzzz/db}}\n",
	    "E-CFG-REFERENCE", "there is no source 'zzzzzzzzzzzz'", "");
	assert_string_equal(err.hint, "");
	refuses(BASE "units: {a: {subtree: \"lab/d*\"}}\n", "E-NAME",
	    "units.a.subtree", "");
	refuses(BASE "units: {a: {label: \"rack=\"}}\n", "E-CFG-TYPE",
	    "units.a.label 'rack='", "");
}

static void
what_yaml_can_hide_is_refused(void **state)
{
	(void)state;
	refuses("fleet: &a {name: x}\n", "E-CFG-SYNTAX",
	    "f.yaml:1:8: anchor 'a'", "write the value out");
	refuses("fleet: *a\n", "E-CFG-SYNTAX", "f.yaml:1:8: alias 'a'", "");
	refuses("fleet: {name: !!str x}\n", "E-CFG-SYNTAX", "tag", "");
	refuses("fleet: {name: x}\n---\na: b\n", "E-CFG-SYNTAX",
	    "f.yaml:2:1: a second document", "");
	refuses("", "E-CFG-SYNTAX", "the file is empty", "");
	refuses("# nothing\n", "E-CFG-SYNTAX", "the file is empty", "");
	refuses("fleet:\n\tname: x\n", "E-CFG-SYNTAX", "f.yaml:2:1: not valid",
	    "never with tabs");
	refuses("fleet: {name: \"\\0\"}\n", "E-CFG-SYNTAX", "NUL", "");
	refuses("fleet: {name: \"\xff\"}\n", "E-CFG-SYNTAX",
	    "f.yaml:1:16: the file is not valid UTF-8", "");
	refuses("fleet: {name: \"\xed\xa0\x80\"}\n", "E-CFG-SYNTAX", "UTF-8", "");
	refuses("fleet: {name: \"\xc0\xaf\"}\n", "E-CFG-SYNTAX", "UTF-8", "");
	refuses("{[a]: b}\n", "E-CFG-SYNTAX", "a list stands where a key", "");
	refuses("fleet: [[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]\n",
	    "E-CFG-SYNTAX", "more than 16 levels", "");
	refuses("- a\n- b\n", "E-CFG-TYPE", "a list where a map belongs", "");
	refuses("fleet: {name: x\n", "E-CFG-SYNTAX", "not valid YAML", "");
}

static void
nul_and_size_are_bounded(void **state)
{
	struct fb_config *config = NULL;
	size_t len = FB_CONFIG_MAX + 1;
	FB_AUTO_FREE uint8_t *big = fb_alloc(len, 1);

	(void)state;
	memset(big, '#', len);
	assert_fails(FB_ECONFIG,
	    fb_config_parse((struct fb_span){ big, len }, "f", "/", NULL, NULL,
	        &config, &err));
	assert_fails(FB_ECONFIG,
	    fb_config_parse(SPAN("fleet:\0 x"), "f.yaml", "/", NULL, NULL,
	        &config, &err));
	assert_string_equal(err.msg, "f.yaml:1:7: the file holds a NUL byte");
	/* Many values are refused before they fill the memory. */
	for (size_t i = 0; i + 1 < len; i++)
		big[i] = (uint8_t)("[],"[i == 0 ? 0 : 2]);
	for (size_t i = 1; i + 2 < len; i += 2)
		big[i] = '1';
	assert_fails(FB_ECONFIG,
	    fb_config_parse((struct fb_span){ big, len - 1 }, "f", "/", NULL,
	        NULL, &config, &err));
	assert_non_null(strstr(err.msg, "20000 values"));
	assert_null(config);
}

static void
the_environment_and_sets_override_in_order(void **state)
{
	static const char *const env[] = { "HOME=/root",
		"FLEETBAK_DOWNLOAD_JOBS=16", "FLEETBAK_DOWNLOAD_LEVEL=9",
		"FLEETBAK_REPOSITORIES_MAIN_URL=file:../other",
		"FLEETBAK_TRUSTED_SIGNERS=[\"env:A\", \"env:B\"]", NULL };
	static const char *const sets[] = { "download.level=1",
		"sources.lab.jobs=2", "sources.lab.driver=local",
		"sources.new.driver=local",
		"sources.new.root=./n", NULL };
	FB_AUTO_CONFIG struct fb_config *config = NULL;
	const json_t *origins;

	(void)state;
	assert_ok(parse_with(BASE, env, sets, &config));
	origins = config->origins;
	assert_int_equal(config->download.jobs, 16);
	assert_int_equal(config->download.level, 1);
	assert_int_equal(config->sources[0].jobs, 2);
	assert_string_equal(config->sources[1].name, "new");
	assert_string_equal(
	    config->repositories[0].url, "file:/etc/fb/../other");
	assert_int_equal(config->trusted_signer_count, 2);
	assert_string_equal(config->trusted_signers[1], "env:B");
	assert_string_equal(
	    json_string_value(json_object_get(origins, "download.jobs")),
	    "environment FLEETBAK_DOWNLOAD_JOBS");
	assert_string_equal(
	    json_string_value(json_object_get(origins, "download.level")),
	    "--set");
	assert_string_equal(
	    json_string_value(json_object_get(origins, "download.max_downtime")),
	    "f.yaml:8");
	assert_int_equal(json_integer_value(json_object_get(
	                     json_object_get(config->effective, "download"),
	                     "jobs")),
	    16);
}

static void
a_bad_override_is_named(void **state)
{
	static const char *const bad_env[] = { "FLEETBAK_DOWNLOAD_JOBS=many",
		NULL };
	static const char *const no_such[] = {
		"FLEETBAK_REPOSITORIES_MIAN_URL=file:x", NULL
	};
	static const char *const wrong[] = { "download.jbos=4", NULL };
	static const char *const hostile[] = { "sources...driver=local", NULL };
	static const char *const no_value[] = { "download.jobs", NULL };

	(void)state;
	refuses_with(BASE, bad_env, NULL, "E-CFG-TYPE",
	    "environment FLEETBAK_DOWNLOAD_JOBS: download.jobs 'many': not", "");
	refuses_with(BASE, no_such, NULL, "E-CFG-REFERENCE",
	    "nothing in repositories has the name 'MIAN'", "");
	refuses_with(BASE, NULL, wrong, "E-CFG-KEY",
	    "--set: setting 'download.jbos': unknown",
	    "did you mean 'download.jobs'?");
	refuses_with(BASE, NULL, hostile, "E-CFG-KEY", "unknown", "");
	refuses_with(BASE, NULL, no_value, "E-CFG-SYNTAX", "SETTING=VALUE", "");
}

static void
an_unknown_variable_is_reported(void **state)
{
	static const char *const env[] = { "PATH=/bin",
		"FLEETBAK_DOWNLOAD_JOSB=1", "FLEETBAK_DOWNLOAD_JOBS=1",
		"FLEETBAK_SOURCES_LAB_ROOT=/m", "FLEETBAK_CONFIG=x",
		"FLEETBAK_XYZZYXYZZY=1", NULL };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	fb_config_unknown_variables(env, &text);
	assert_string_equal(fb_buf_str(&text),
	    "FLEETBAK_DOWNLOAD_JOSB (did you mean FLEETBAK_DOWNLOAD_JOBS?)\n"
	    "FLEETBAK_XYZZYXYZZY\n");
}

/* FLEETBAK_SOURCES_<NAME>_ROOT of sources.*.root. */
static char *
variable_of(const char *path)
{
	FB_AUTO_BUF struct fb_buf name = { 0 };

	fb_buf_add_str(&name, "FLEETBAK_");
	for (; *path != '\0'; path++) {
		if (*path == '*')
			fb_buf_add_str(&name, "<NAME>");
		else
			fb_buf_add_fmt(&name, "%c",
			    *path == '.'                    ? '_'
			        : *path >= 'a' && *path <= 'z' ? *path - 32
			                                       : *path);
	}
	return (char *)fb_buf_steal(&name);
}

static void
the_table_is_complete_and_its_defaults_are_good(void **state)
{
	const struct fb_setting *settings;
	size_t count = fb_config_settings(&settings);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const struct fb_setting *row = &settings[i];
		FB_AUTO_FREE char *variable = variable_of(row->path);
		const struct fb_scalar scalar = { .row = row,
			.place = "t",
			.what = row->path,
			.text = row->fallback,
			.base_dir = "/" };
		json_t *value = NULL;

		assert_string_equal(row->variable, variable);
		assert_non_null(row->help);
		assert_non_null(row->type);
		if (row->fallback == NULL)
			continue;
		assert_ok(fb_scalar_check(&scalar, &value, &err));
		json_decref(value);
	}
}

static void
the_json_schema_follows_the_table(void **state)
{
	FB_AUTO_JSON json_t *schema = fb_config_schema();
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const json_t *properties = json_object_get(schema, "properties");
	const json_t *source = json_object_get(
	    json_object_get(properties, "sources"), "additionalProperties");

	(void)state;
	assert_non_null(source);
	assert_non_null(json_object_get(
	    json_object_get(source, "properties"), "root"));
	assert_true(json_is_false(
	    json_object_get(source, "additionalProperties")));
	assert_int_equal(
	    json_integer_value(json_object_get(
	        json_object_get(json_object_get(json_object_get(properties,
	                                            "download"),
	                            "properties"),
	            "jobs"),
	        "default")),
	    4);
	fb_json_add(&text, schema);
	assert_non_null(strstr(fb_buf_str(&text), "2020-12"));
}

/* Read `text` by a table of two sections of which one's name begins the
 * other's; the answer is FB_OK or why not. */
static int
read_sections(const char *text, const char *fallback, json_t **ret_values)
{
	const struct fb_setting rows[] = {
		{ .path = "a.one", .kind = FB_SETTING_INTEGER, .max = 9,
		    .fallback = fallback },
		{ .path = "ab.two", .kind = FB_SETTING_INTEGER, .max = 9 },
	};
	struct fb_schema schema = { .rows = rows,
		.row_count = FB_COUNT(rows),
		.file = "f.yaml" };
	FB_AUTO_YAML struct fb_yaml_node *root = NULL;
	int rc;

	assert_ok(fb_yaml_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, 4096,
	    "f.yaml", &root, &err));
	rc = fb_schema_read(&schema, root, &err);
	*ret_values = json_incref(schema.values);
	fb_schema_release(&schema);
	return rc;
}

static void
a_section_is_not_mistaken_for_one_whose_name_it_begins(void **state)
{
	json_t *values;

	(void)state;
	assert_ok(read_sections("ab: {two: 2}\na: {one: 1}\n", NULL, &values));
	assert_int_equal(
	    json_integer_value(json_object_get(
	        json_object_get(values, "a"), "one")),
	    1);
	json_decref(values);
	assert_fails(FB_ECONFIG, read_sections("a: {two: 2}\n", NULL, &values));
	assert_string_equal(err.id, "E-CFG-KEY");
	json_decref(values);
}

/* The table's tests see to it that there is none. */
static void
a_default_that_is_no_value_is_refused(void **state)
{
	json_t *values;

	(void)state;
	assert_fails(FB_ECONFIG, read_sections("a: {}\n", "many", &values));
	assert_non_null(strstr(err.msg, "built-in: a.one 'many'"));
	json_decref(values);
}

/* Types that no setting of today has are judged all the same. */
static void
booleans_and_sizes_are_strict(void **state)
{
	static const struct fb_setting boolean = { .path = "b",
		.kind = FB_SETTING_BOOLEAN };
	static const struct fb_setting size = { .path = "s",
		.kind = FB_SETTING_SIZE };
	static const char *const bad[] = { "yes", "True", "1", "on", "" };
	struct fb_scalar scalar = { .row = &boolean,
		.place = "f:1:1",
		.what = "b",
		.text = "true" };
	json_t *value = NULL;

	(void)state;
	assert_ok(fb_scalar_check(&scalar, &value, &err));
	assert_true(json_is_true(value));
	scalar.text = "false";
	assert_ok(fb_scalar_check(&scalar, &value, &err));
	assert_true(json_is_false(value));
	fb_json_decrefp(&value);
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		scalar.text = bad[i];
		assert_fails(
		    FB_ECONFIG, fb_scalar_check(&scalar, &value, &err));
	}
	scalar.row = &size;
	scalar.text = "64KiB";
	assert_ok(fb_scalar_check(&scalar, &value, &err));
	fb_json_decrefp(&value);
	scalar.text = "64K";
	assert_fails(FB_ECONFIG, fb_scalar_check(&scalar, &value, &err));
	assert_string_equal(err.id, "E-CFG-UNIT");
}

static void
what_cannot_be_a_value_is_refused_where_it_stands(void **state)
{
	static const char *const env[] = { "FLEETBAK_SOURCES_A_B_ROOT=/x",
		NULL };
	char text[9000];

	(void)state;
	refuses("state_dir: \"\"\n", "E-CFG-TYPE", "the path is empty", "");
	refuses("repositories: {r: {url: \"file:\"}}\n", "E-CFG-TYPE",
	    "the path is empty", "");
	refuses("fleet: {timezone: \"a\\tb\"}\n", "E-CFG-TYPE",
	    "control character", "");
	(void)snprintf(
	    text, sizeof(text), "state_dir: /%08500d\n", 1);
	refuses(text, "E-CFG-RANGE", "longer than", "");
	refuses(BASE "# \xc3\xa4\nunits: {u: {label: \"\xff\"}}\n",
	    "E-CFG-SYNTAX", "", "");
	refuses(BASE "zzzzzzzzzzzzzzzz: {jobs: 4}\n", "E-CFG-KEY", "", "");
	refuses_with("fleet: {name: x}\n"
	             "repositories: {r: {url: \"file:/r\"}}\n"
	             "sources: {a-b: {driver: local, root: /m},\n"
	             "  a_b: {driver: local, root: /n}}\n",
	    env, NULL, "E-CFG-REFERENCE", "means both", "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    what_cannot_be_a_value_is_refused_where_it_stands),
		cmocka_unit_test(every_setting_arrives),
		cmocka_unit_test(what_is_not_said_has_its_default),
		cmocka_unit_test(the_order_of_the_file_is_kept),
		cmocka_unit_test(a_limit_is_a_rate),
		cmocka_unit_test(a_limit_is_windows_of_the_day),
		cmocka_unit_test(what_is_kept_is_said_in_words),
		cmocka_unit_test(what_is_kept_is_judged_with_its_place),
		cmocka_unit_test(a_wrong_key_is_named_with_the_nearest_right_one),
		cmocka_unit_test(a_duplicate_key_names_both_lines),
		cmocka_unit_test(a_wrong_type_is_named),
		cmocka_unit_test(a_span_without_a_unit_is_refused),
		cmocka_unit_test(a_choice_names_what_is_known),
		cmocka_unit_test(a_bucket_and_how_it_is_reached),
		cmocka_unit_test(what_a_bucket_costs),
		cmocka_unit_test(a_copy_is_opened_as_what_it_is_a_copy_of),
		cmocka_unit_test(a_lock_has_a_mode_and_a_span),
		cmocka_unit_test(an_address_of_object_storage_is_judged),
		cmocka_unit_test(a_literal_secret_is_refused_and_never_shown),
		cmocka_unit_test(what_is_required_is_missed),
		cmocka_unit_test(units_are_cross_checked),
		cmocka_unit_test(what_yaml_can_hide_is_refused),
		cmocka_unit_test(nul_and_size_are_bounded),
		cmocka_unit_test(the_environment_and_sets_override_in_order),
		cmocka_unit_test(a_bad_override_is_named),
		cmocka_unit_test(an_unknown_variable_is_reported),
		cmocka_unit_test(the_table_is_complete_and_its_defaults_are_good),
		cmocka_unit_test(the_json_schema_follows_the_table),
		cmocka_unit_test(
		    a_section_is_not_mistaken_for_one_whose_name_it_begins),
		cmocka_unit_test(a_default_that_is_no_value_is_refused),
		cmocka_unit_test(booleans_and_sizes_are_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
