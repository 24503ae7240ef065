/*
 * The table of settings: what the configuration may hold.  Reading, defaults,
 * overrides, the JSON Schema and the manual page all follow it.
 */
#include <string.h>

#include "fleetbak/base/mem.h"

#include "schema.h"

/* clang-format off */
#define NAME     .kind = FB_SETTING_NAME, .type = "name"
#define INTEGER  .kind = FB_SETTING_INTEGER, .type = "integer"
#define SPAN     .kind = FB_SETTING_SPAN, .type = "span"
#define LIMITS   .kind = FB_SETTING_LIMITS, .type = "rate or windows"
#define CHOICE   .kind = FB_SETTING_CHOICE, .type = "choice"
#define PATH     .kind = FB_SETTING_PATH, .type = "path"
#define URL      .kind = FB_SETTING_URL, .type = "url"
#define SERVER   .kind = FB_SETTING_SERVER, .type = "server"
#define CREDENTIALS .kind = FB_SETTING_CREDENTIALS, .type = "credentials"
#define SECRET   .kind = FB_SETTING_SECRET, .type = "reference"
#define SECRETS  .kind = FB_SETTING_SECRETS, .type = "list of references"
#define TIMEZONE .kind = FB_SETTING_TIMEZONE, .type = "time zone"
#define MACHINE  .kind = FB_SETTING_MACHINE, .type = "machine"
#define LABEL    .kind = FB_SETTING_LABEL, .type = "label"
#define POLICY   .kind = FB_SETTING_POLICY, .type = "policy"
#define ORPHANS  .kind = FB_SETTING_ORPHANS, .type = "keep span"
#define PERCENT  .kind = FB_SETTING_PERCENT, .type = "percentage"
#define AMOUNT   .kind = FB_SETTING_AMOUNT, .type = "amount"
#define STRING   .kind = FB_SETTING_STRING, .type = "text"
#define SELECTOR .kind = FB_SETTING_SELECTOR, .type = "selector"
#define VECTOR   .kind = FB_SETTING_VECTOR, .type = "list of texts"
#define REFERENCES .kind = FB_SETTING_REFERENCES, .type = "map of references"
#define LABELS   .kind = FB_SETTING_LABELS, .type = "map of texts"
#define BOOLEAN  .kind = FB_SETTING_BOOLEAN, .type = "boolean"
/* clang-format on */

static const char *const drivers[] = { "local", "libvirt", "plugin",
	"computer-host", "miosa", "morpheus", "icp", NULL };
static const char *const miosa_families[] = { "auto", "checkpoints",
	"snapshots", "account", NULL };
static const char *const miosa_contents[] = { "auto", "export", "files",
	"snapshot", NULL };
static const char *const captures[] = { "stop", "live", NULL };
static const char *const freezes[] = { "never", "try", "require", NULL };
static const char *const changes[] = { "checkpoints", "none", NULL };
static const char *const left_out[] = { "note", "refuse", NULL };
static const char *const forces[] = { "fail", "force", NULL };
static const char *const styles[] = { "auto", "true", "false", NULL };
static const char *const locks[] = { "governance", "compliance", NULL };
static const char *const digests[] = { "tree", "flat", NULL };
static const char *const notifiers[] = { "exec", "healthchecks", "webhook",
	NULL };
static const char *const images[] = { "qcow2", "raw", NULL };
static const char *const bodies[] = { "summary", "none", NULL };

/* Rows of one section stand together. */
static const struct fb_setting settings[] = {
	{ .path = "fleet.name", NAME, .required = true,
	    .variable = "FLEETBAK_FLEET_NAME",
	    .help = "Name of the fleet, as it stands in every manifest.  Runs "
	            "of another name are another fleet's." },
	{ .path = "fleet.rpo", SPAN, .variable = "FLEETBAK_FLEET_RPO",
	    .help = "How old the newest good backup of a machine may be before "
	            "status reports it as stale." },
	{ .path = "fleet.timezone", TIMEZONE,
	    .variable = "FLEETBAK_FLEET_TIMEZONE",
	    .help = "Time zone in which times are shown and days begin; the "
	            "host's own when not given." },
	{ .path = "state_dir", PATH, .fallback = "/var/lib/fleetbak",
	    .variable = "FLEETBAK_STATE_DIR",
	    .help = "Directory for journals, obligations, locks and the spool "
	            "of the open pack." },
	{ .path = "repositories.*.url", URL, .required = true,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_URL",
	    .help = "Where the repository is: file:PATH, a directory, or "
	            "s3://BUCKET/PREFIX, object storage." },
	{ .path = "repositories.*.endpoint", SERVER,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ENDPOINT",
	    .help = "Server of an s3: repository, without a path; AWS's own "
	            "in its region when not given." },
	{ .path = "repositories.*.region", NAME,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_REGION",
	    .help = "Region of the bucket; us-east-1 when not given." },
	{ .path = "repositories.*.path_style", CHOICE, .choices = styles,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_PATH_STYLE",
	    .help = "Whether the bucket's name stands in the path of each "
	            "request (true) or before the server's name (false); auto, "
	            "which it is when not given: in the path, but for AWS's "
	            "own servers." },
	{ .path = "repositories.*.credentials", CREDENTIALS,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_CREDENTIALS",
	    .help = "Where the access key of an s3: repository is found: env, "
	            "profile:NAME, file:PATH, cmd:PROGRAM ARG..., cred:NAME, "
	            "imds, web-identity, or auto, which it is when not "
	            "given." },
	{ .path = "repositories.*.ca", PATH,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_CA",
	    .help = "File of certificates, in PEM, which alone are believed "
	            "when an s3: server shows its own; that of SSL_CERT_FILE, "
	            "or the system's, when not given." },
	{ .path = "repositories.*.proxy", SERVER,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_PROXY",
	    .help = "HTTP proxy on the way to an s3: server; what the "
	            "environment says when not given." },
	{ .path = "repositories.*.retry_for", SPAN, .min = 1,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_RETRY_FOR",
	    .help = "How long a request to an s3: server that fails for a "
	            "reason that may pass is tried again; 5min when not "
	            "given." },
	{ .path = "repositories.*.object_lock", CHOICE, .choices = locks,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_OBJECT_LOCK",
	    .help = "How what is put into an s3: repository is locked against "
	            "deletion: governance, which who has the right may "
	            "override, or compliance, which nobody can.  Its bucket "
	            "has to be made with object lock." },
	{ .path = "repositories.*.lock_for", SPAN, .min = 1000,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_LOCK_FOR",
	    .help = "For how long at least what a run writes, or uses again, "
	            "cannot be deleted; 30d when object_lock is given." },
	{ .path = "repositories.*.etcd", SERVER,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ETCD",
	    .help = "Server of etcd, which decides who writes where an s3: "
	            "server knows no conditional writes.  init makes a "
	            "repository that needs it, and then every writer does." },
	{ .path = "repositories.*.etcd_ca", PATH,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ETCD_CA",
	    .help = "File of certificates, in PEM, which alone are believed "
	            "when etcd shows its own; the system's when not given." },
	{ .path = "repositories.*.etcd_cert", PATH,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ETCD_CERT",
	    .help = "File with the certificate, in PEM, that is shown to "
	            "etcd." },
	{ .path = "repositories.*.etcd_key", PATH,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ETCD_KEY",
	    .help = "File with the private key, in PEM, of etcd_cert." },
	{ .path = "repositories.*.lease_ttl", SPAN, .min = 2000,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_LEASE_TTL",
	    .help = "How long a writer of whom etcd hears nothing counts as "
	            "one; 30s when not given.  Others wait so long for what "
	            "he was writing when he died." },
	{ .path = "repositories.*.sign_with", SECRET,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_SIGN_WITH",
	    .help = "Reference to the private Ed25519 key that signs runs.  "
	            "Without it this host can read and restore, but not back "
	            "up." },
	{ .path = "repositories.*.encrypt_to",
	    SECRETS,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_ENCRYPT_TO",
	    .help = "References to the certificates, or public keys, of those "
	            "who can open the repository.  init makes an encrypted one "
	            "where this is given, and then it is needed to back up." },
	{ .path = "repositories.*.decrypt_with",
	    SECRET,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_DECRYPT_WITH",
	    .help = "Reference to a private key that opens the repository.  "
	            "It is needed to restore; a host that only backs up "
	            "should not have it." },
	{ .path = "repositories.*.copy_of", NAME,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_COPY_OF",
	    .help = "It is a copy of this repository, made by copy: it may be "
	            "behind, and no download goes there." },
	{ .path = "repositories.*.min_storage", SPAN,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_MIN_STORAGE",
	    .help = "How long the bucket's class of storage has each object "
	            "paid for, however early it is deleted (30d, 90d, 180d are "
	            "usual): prune says what that costs." },
	{ .path = "repositories.*.price_put", AMOUNT,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_PRICE_PUT",
	    .help = "Price of 1,000 requests that write or list (PUT, COPY, "
	            "POST, LIST), with which prune says what it costs." },
	{ .path = "repositories.*.price_get", AMOUNT,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_PRICE_GET",
	    .help = "Price of 1,000 requests that read (GET, HEAD)." },
	{ .path = "repositories.*.price_storage", AMOUNT,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_PRICE_STORAGE",
	    .help = "Price of 1 GiB stored for 30 days." },
	{ .path = "repositories.*.currency", NAME,
	    .variable = "FLEETBAK_REPOSITORIES_<NAME>_CURRENCY",
	    .help = "What the prices are in; it is printed behind sums." },
	{ .path = "trusted_signers", SECRETS,
	    .variable = "FLEETBAK_TRUSTED_SIGNERS",
	    .help = "References to the public keys whose signatures count." },
	{ .path = "trusted_verifiers", SECRETS,
	    .variable = "FLEETBAK_TRUSTED_VERIFIERS",
	    .help = "References to the public keys of those whose word for it "
	            "is enough that a pack of another domain holds what it "
	            "says: they hold a private key, and sign what verify "
	            "--attest has opened." },
#include "config_sources.h"
	{ .path = "units.*.subtree", MACHINE,
	    .variable = "FLEETBAK_UNITS_<NAME>_SUBTREE",
	    .help = "The unit is this machine and everything below it." },
	{ .path = "units.*.label", LABEL,
	    .variable = "FLEETBAK_UNITS_<NAME>_LABEL",
	    .help = "With key=value the unit is every machine that has it; "
	            "with a key alone there is one unit for each of its "
	            "values." },
	{ .path = "download.jobs", INTEGER, .fallback = "4", .min = 1,
	    .max = 256, .variable = "FLEETBAK_DOWNLOAD_JOBS",
	    .help = "How many machines are worked on at once.  The next one is "
	            "of the source that has the fewest under way, so that a "
	            "slow source keeps no other waiting." },
	{ .path = "download.max_downtime", SPAN,
	    .variable = "FLEETBAK_DOWNLOAD_MAX_DOWNTIME",
	    .help = "How long a machine may be down for its backup.  When it "
	            "takes longer the machine is started again and its capture "
	            "fails; a plan that expects more is refused.  Without it "
	            "there is no cap." },
	{ .path = "download.resume_within", SPAN, .fallback = "6h",
	    .variable = "FLEETBAK_DOWNLOAD_RESUME_WITHIN",
	    .help = "A run that was cut off is continued by the next one while "
	            "it is younger than this; an older one is closed." },
	{ .path = "download.max_obligation_age", SPAN, .fallback = "7d",
	    .variable = "FLEETBAK_DOWNLOAD_MAX_OBLIGATION_AGE",
	    .help = "A machine that was stopped longer ago than this is "
	            "reported instead of started." },
	{ .path = "download.digest", CHOICE, .fallback = "tree",
	    .choices = digests, .variable = "FLEETBAK_DOWNLOAD_DIGEST",
	    .help = "tree: each volume's digest is the root of a tree of "
	            "SHA-256; flat: the SHA-256 of all its bytes as well." },
	{ .path = "download.level", INTEGER, .fallback = "3", .min = 1,
	    .max = 19, .variable = "FLEETBAK_DOWNLOAD_LEVEL",
	    .help = "Level of zstd compression." },
	{ .path = "download.limit_read", LIMITS,
	    .variable = "FLEETBAK_DOWNLOAD_LIMIT_READ",
	    .help = "How fast a run reads from all sources together, such as "
	            "200MiB/s, or by the time of day: Mon-Fri 07:00-19:00 "
	            "20MiB/s, * unlimited.  What is not read (holes, what is "
	            "known to be unchanged) does not count." },
	{ .path = "download.limit_upload", LIMITS,
	    .variable = "FLEETBAK_DOWNLOAD_LIMIT_UPLOAD",
	    .help = "How fast a run puts packs into the repository, in the "
	            "mean over a pack, also by the time of day." },
	{ .path = "download.max_duration", SPAN, .min = 1,
	    .variable = "FLEETBAK_DOWNLOAD_MAX_DURATION",
	    .help = "How long a download may take.  Then it starts nothing "
	            "new, sees to it that its machines are up, and ends with "
	            "exit status 21; the next one goes on with it." },
	{ .path = "download.verify_unchanged", PERCENT, .fallback = "2%",
	    .variable = "FLEETBAK_DOWNLOAD_VERIFY_UNCHANGED",
	    .help = "How much of what a change map says is unchanged is read "
	            "all the same and compared, another share each time." },
	{ .path = "retention.keep", POLICY,
	    .variable = "FLEETBAK_RETENTION_KEEP",
	    .help = "Which snapshots of each machine prune keeps, such as: all "
	            "within 48h, 14 daily, 8 weekly, 12 monthly, 3 yearly.  "
	            "Without it prune removes nothing." },
	{ .path = "retention.min", INTEGER, .fallback = "2", .min = 1,
	    .max = 1000, .variable = "FLEETBAK_RETENTION_MIN",
	    .help = "How many of the newest whole snapshots of each machine "
	            "are kept whatever the policy says." },
	{ .path = "retention.max_remove", PERCENT, .fallback = "20%",
	    .variable = "FLEETBAK_RETENTION_MAX_REMOVE",
	    .help = "Prune refuses to remove more of all snapshots than this "
	            "at a time." },
	{ .path = "retention.grace", SPAN, .fallback = "7d",
	    .variable = "FLEETBAK_RETENTION_GRACE",
	    .help = "How long a forgotten run can be brought back before prune "
	            "may delete it." },
	{ .path = "retention.orphans", ORPHANS,
	    .variable = "FLEETBAK_RETENTION_ORPHANS",
	    .help = "keep SPAN: when a machine is not in the fleet any more, "
	            "all its snapshots go once the newest run is that much "
	            "younger than the newest of them.  Without it they are "
	            "kept as those of any other." },
	{ .path = "groups.*.select", SELECTOR, .required = true,
	    .variable = "FLEETBAK_GROUPS_<NAME>_SELECT",
	    .help = "Which machines are in the group, in the words of "
	            "--select.  Of several groups the last one counts." },
	{ .path = "groups.*.keep", POLICY, .required = true,
	    .variable = "FLEETBAK_GROUPS_<NAME>_KEEP",
	    .help = "The group's policy in place of retention.keep." },
	{ .path = "groups.*.min", INTEGER, .min = 1, .max = 1000,
	    .variable = "FLEETBAK_GROUPS_<NAME>_MIN",
	    .help = "The group's number in place of retention.min." },
	{ .path = "notify.*.type", CHOICE, .required = true,
	    .choices = notifiers, .variable = "FLEETBAK_NOTIFY_<NAME>_TYPE",
	    .help = "Who is told how a command went: exec runs a command, "
	            "which gets a JSON document on its standard input; "
	            "webhook posts the same document to a URL; healthchecks "
	            "pings a URL of healthchecks.io or a server like it." },
	{ .path = "notify.*.command", VECTOR, .min = 1,
	    .variable = "FLEETBAK_NOTIFY_<NAME>_COMMAND",
	    .help = "The command of an exec, as a list of words; no shell "
	            "reads it." },
	{ .path = "notify.*.url", SECRET,
	    .variable = "FLEETBAK_NOTIFY_<NAME>_URL",
	    .help = "Reference to the URL of a webhook or of healthchecks, "
	            "which is a secret: whoever knows it can use it." },
	{ .path = "notify.*.on", VECTOR, .min = 1,
	    .variable = "FLEETBAK_NOTIFY_<NAME>_ON",
	    .help = "Of what: start, success (exit status 0), failure (any "
	            "other but 21) and budget (21).  Without it healthchecks "
	            "are told of all four, the others of failures." },
	{ .path = "notify.*.commands", VECTOR, .min = 1,
	    .variable = "FLEETBAK_NOTIFY_<NAME>_COMMANDS",
	    .help = "Of which commands: download, verify, prune, copy and status, "
	            "which is status --check.  Without it healthchecks are "
	            "told of download alone, the others of all." },
	{ .path = "notify.*.body", CHOICE, .choices = bodies,
	    .fallback = "summary", .variable = "FLEETBAK_NOTIFY_<NAME>_BODY",
	    .help = "summary: what is told holds the text that stands at the "
	            "end of the command; none: it does not." },
	{ .path = "metrics.textfile", PATH,
	    .variable = "FLEETBAK_METRICS_TEXTFILE",
	    .help = "File for the textfile collector of Prometheus's "
	            "node_exporter, such as "
	            "/var/lib/prometheus/node-exporter/fleetbak.prom; written "
	            "at the end of every download, verify, prune and "
	            "copy, good or bad." },
	{ .path = "log.file", PATH, .variable = "FLEETBAK_LOG_FILE",
	    .help = "File that gets every line that goes to standard error, "
	            "with its time; SIGHUP opens it anew." },
};

size_t
fb_config_settings(const struct fb_setting **ret_settings)
{
	*ret_settings = settings;
	return FB_COUNT(settings);
}

#define NAME_PATTERN "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"

static json_t *
text_with_pattern(const char *pattern)
{
	return json_pack("{s:s, s:s}", "type", "string", "pattern", pattern);
}

static json_t *
describe_choice(const struct fb_setting *row)
{
	json_t *values = json_array();

	for (size_t i = 0; row->choices[i] != NULL; i++)
		(void)json_array_append_new(
		    values, json_string(row->choices[i]));
	return json_pack("{s:s, s:o}", "type", "string", "enum", values);
}

/* One text of windows with commas between them, or a list of windows. */
static json_t *
describe_limits(void)
{
#define DAY    "[A-Za-z]{3}"
#define TIME   "[0-2][0-9]:[0-5][0-9]"
#define LIMIT  "(unlimited|[0-9]+(\\.[0-9]+)?([kKMGT]?B|[KMGT]iB|[kKMG]?bit)/s)"
#define WINDOW " *((" DAY "(-" DAY ")?|\\*) +)?(" TIME "-" TIME " +)?" LIMIT " *"
	return json_pack("{s:[o, {s:s, s:o, s:i}]}", "oneOf",
	    text_with_pattern("^" WINDOW "(," WINDOW ")*$"), "type", "array",
	    "items", text_with_pattern("^" WINDOW "$"), "minItems", 1);
}

static json_t *
describe_type(const struct fb_setting *row)
{
	static const char reference[] = "^(file|env|cmd|fd|cred):.+";

	switch (row->kind) {
	case FB_SETTING_NAME:
		return text_with_pattern(NAME_PATTERN);
	case FB_SETTING_INTEGER:
		return json_pack("{s:s, s:I, s:I}", "type", "integer",
		    "minimum", (json_int_t)row->min, "maximum",
		    (json_int_t)row->max);
	case FB_SETTING_BOOLEAN:
		return json_pack("{s:s}", "type", "boolean");
	case FB_SETTING_SPAN:
		return text_with_pattern(
		    "^[0-9]+(\\.[0-9]+)?(ms|s|min|h|d|w|mo|y)$");
	case FB_SETTING_LIMITS:
		return describe_limits();
	case FB_SETTING_CHOICE:
		return describe_choice(row);
	case FB_SETTING_PERCENT:
		return text_with_pattern("^(100|[1-9]?[0-9])%$");
	case FB_SETTING_AMOUNT:
		return text_with_pattern("^[0-9]+(\\.[0-9]{1,9})?$");
	case FB_SETTING_ORPHANS:
		return text_with_pattern("^keep [0-9]+(ms|s|min|h|d|w|mo|y)$");
	case FB_SETTING_URL:
		return text_with_pattern("^(file:.+|s3://[a-z0-9].*)");
	case FB_SETTING_SERVER:
		return text_with_pattern("^https?://[^/@?#]+/?$");
	case FB_SETTING_CREDENTIALS:
		return text_with_pattern(
		    "^(auto|env|imds|web-identity|(profile|file|cmd|cred):.+)$");
	case FB_SETTING_SECRET:
		return text_with_pattern(reference);
	case FB_SETTING_SECRETS:
		return json_pack("{s:s, s:o}", "type", "array", "items",
		    text_with_pattern(reference));
	case FB_SETTING_VECTOR:
		return json_pack("{s:s, s:{s:s, s:i}}", "type", "array",
		    "items", "type", "string", "minLength", 1);
	case FB_SETTING_REFERENCES:
		return json_pack("{s:s, s:{s:s}, s:o}", "type", "object",
		    "propertyNames", "pattern", NAME_PATTERN,
		    "additionalProperties", text_with_pattern(reference));
	case FB_SETTING_LABELS:
		return json_pack("{s:s, s:{s:s}, s:{s:s}}", "type", "object",
		    "propertyNames", "pattern", NAME_PATTERN,
		    "additionalProperties", "type", "string");
	default:
		return json_pack(
		    "{s:s, s:i}", "type", "string", "minLength", 1);
	}
}

static json_t *
describe(const struct fb_setting *row)
{
	json_t *schema = describe_type(row);

	(void)json_object_set_new(
	    schema, "description", json_string(row->help));
	if (row->fallback != NULL)
		(void)json_object_set_new(schema, "default",
		    row->kind == FB_SETTING_INTEGER
		        ? json_loads(row->fallback, JSON_DECODE_ANY, NULL)
		        : json_string(row->fallback));
	return schema;
}

static json_t *
closed_object(void)
{
	return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties",
	    "additionalProperties", 0);
}

/* The schema of the section `key` of an object's schema; one of things with
 * names describes what each of them is. */
static json_t *
section_of(json_t *schema, const char *key, bool named)
{
	json_t *properties = json_object_get(schema, "properties");
	json_t *section = json_object_get(properties, key);

	if (section == NULL) {
		section = named
		    ? json_pack("{s:s, s:{s:s}, s:i, s:o}", "type", "object",
		          "propertyNames", "pattern", NAME_PATTERN,
		          "minProperties", 1, "additionalProperties",
		          closed_object())
		    : closed_object();
		(void)json_object_set_new(properties, key, section);
	}
	return named ? json_object_get(section, "additionalProperties")
	             : section;
}

static void
append_to(json_t *object, const char *key, json_t *value)
{
	json_t *list = json_object_get(object, key);

	if (list == NULL) {
		list = json_array();
		(void)json_object_set_new(object, key, list);
	}
	(void)json_array_append_new(list, value);
}

/* What two drivers call by one name has one place here: it says both, and no
 * default when those are not the same. */
static void
add_property(json_t *properties, const char *leaf, json_t *property)
{
	const json_t *old = json_object_get(properties, leaf);
	const char *text =
	    json_string_value(json_object_get(old, "description"));
	const char *more =
	    json_string_value(json_object_get(property, "description"));

	if (old != NULL &&
	    !json_equal(json_object_get(old, "default"),
	        json_object_get(property, "default")))
		(void)json_object_del(property, "default");
	if (text != NULL && more != NULL && strcmp(text, more) != 0)
		(void)json_object_set_new(property, "description",
		    json_sprintf("%s  Or: %s", text, more));
	(void)json_object_set_new(properties, leaf, property);
}

static void
add_row(json_t *schema, const struct fb_setting *row)
{
	const char *leaf = strrchr(row->path, '.');
	FB_AUTO_FREE char *head =
	    fb_format("%.*s", (int)strcspn(row->path, "."), row->path);
	json_t *section = schema;

	if (leaf != NULL)
		section =
		    section_of(schema, head, strchr(row->path, '*') != NULL);
	leaf = leaf != NULL ? leaf + 1 : row->path;
	add_property(
	    json_object_get(section, "properties"), leaf, describe(row));
	if (!row->required)
		return;
	if (row->driver == NULL)
		append_to(section, "required", json_string(leaf));
	else
		append_to(section, "allOf",
		    json_pack("{s:{s:{s:{s:s}}}, s:{s:[s]}}", "if",
		        "properties", "driver", "const", row->driver, "then",
		        "required", leaf));
}

json_t *
fb_config_schema(void)
{
	json_t *schema = json_pack("{s:s, s:s}", "$schema",
	    "https://json-schema.org/draft/2020-12/schema", "title",
	    "Configuration of fleetbak");
	FB_AUTO_JSON json_t *body = closed_object();

	(void)json_object_update(schema, body);
	for (size_t i = 0; i < FB_COUNT(settings); i++)
		add_row(schema, &settings[i]);
	(void)json_object_set_new(schema, "required",
	    json_pack("[s, s, s]", "fleet", "repositories", "sources"));
	return schema;
}
