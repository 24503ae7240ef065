/*
 * The configuration: YAML bytes to a checked struct, by one schema table
 * (src/format/config_schema.c) that also makes `config check|show|schema`,
 * the FLEETBAK_* variables and the lists in fleetbak.conf(5).
 *
 * Pure: files, environment and the clock are the caller's.
 */
#ifndef FB_FORMAT_CONFIG_H
#define FB_FORMAT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/format/json.h"
#include "fleetbak/format/limits.h"
#include "fleetbak/format/retention.h"

struct fb_error;

struct fb_label {
	char *key, *value;
};

struct fb_labels {
	struct fb_label *items; /* sorted by key */
	size_t count;
};

/* Of an s3: repository where neither is given. */
#define FB_CONFIG_ENCRYPT_TO   "file:./keys/recovery.crt"
#define FB_CONFIG_DECRYPT_WITH "file:./keys/recovery.pem"

struct fb_config_repository {
	char *name;
	char *url;       /* "file:/abs/path", made absolute, or
	                  * "s3://bucket/prefix" */
	char *sign_with; /* reference; NULL: this host cannot sign */
	char *copy_of;   /* name of the repository it is a copy of, or NULL */
	/* Of an s3: repository; NULL: not given. */
	char *endpoint;    /* "https://host:port" */
	char *region;
	char *path_style;  /* "true", "false", "auto" */
	char *credentials; /* which ones, never themselves */
	char *ca;          /* absolute path */
	char *proxy;       /* "http://host:port" */
	uint64_t retry_ms; /* 0: not given */
	char *object_lock; /* "governance", "compliance": what is put there
	                    * is locked ... */
	uint64_t lock_ms;  /* ... for so long */
	char *etcd;        /* "https://host:port" of the lease service */
	char *etcd_ca, *etcd_cert, *etcd_key; /* absolute paths */
	uint64_t lease_ttl_ms;                /* 0: not given */
	char **encrypt_to; /* references; none: nothing is encrypted */
	size_t encrypt_to_count;
	char *decrypt_with; /* reference; NULL: this host opens nothing */
	bool encrypt_given; /* else what is here is the default of s3: */
	uint64_t min_storage_ms; /* 0: not given */
	/* In billionths of a unit of the currency; 0: not given. */
	uint64_t price_put, price_get; /* of 1,000 requests */
	uint64_t price_storage;        /* of 1 GiB for 30 days */
	char *currency;                /* NULL: not given */
};

struct fb_config_source {
	char *name;
	char *driver;
	struct fb_labels labels;
	unsigned jobs;   /* machines of this source at once; 0: no own limit */
	struct fb_limits limit_read; /* from it; none: no own limit */
	json_t *options; /* the driver's own keys, typed by the schema; paths
	                  * absolute ("root" of local) */
	char *base_dir;  /* absolute: relative ones start here; NULL: "/" */
};

/* units: machines that share one quiescence window. */
struct fb_config_unit {
	char *name;
	char *subtree; /* selector of the root machine, or NULL */
	char *label;   /* "key" or "key=value", or NULL: one unit per value */
};

enum fb_digest_mode { FB_DIGEST_TREE, FB_DIGEST_FLAT };

struct fb_config_download {
	unsigned jobs;                /* machines at once, default 4 */
	uint64_t max_downtime_ms;     /* 0: no cap */
	uint64_t resume_within_ms;    /* default 6 h */
	uint64_t max_obligation_age_ms; /* default 7 d */
	enum fb_digest_mode digest;   /* default tree */
	int level;                    /* zstd level 1..19, default 3 */
	struct fb_limits limit_read;   /* from all sources */
	struct fb_limits limit_upload; /* into the repository */
	uint64_t max_duration_ms;     /* 0: none */
	unsigned verify_unchanged_percent; /* of what is not read because of
	                               * a change map; default 2 */
};

/* What prune may remove; see fleet/retention.h for what the words mean. */
struct fb_config_retention {
	struct fb_retention keep;  /* no rules: nothing is configured, and
	                            * nothing may be removed; its `min` counts */
	unsigned max_remove_percent; /* of the snapshots, default 20 */
	uint64_t grace_ms;   /* how long a forget can be undone, default 7 d */
	uint64_t orphans_ms; /* how long a machine that left the fleet is kept;
	                      * 0: as any other */
};

/* groups: machines with a policy of their own; the last one that chooses a
 * machine counts. */
struct fb_config_group {
	char *name;
	char *select; /* an expression of fleet/selector.h */
	struct fb_retention keep;
};

/* notify: who is told how a command went. */
enum fb_notify_type { FB_NOTIFY_EXEC, FB_NOTIFY_HEALTHCHECKS,
	FB_NOTIFY_WEBHOOK };
enum fb_notify_on {
	FB_NOTIFY_START = 1,
	FB_NOTIFY_SUCCESS = 2,
	FB_NOTIFY_FAILURE = 4,
	FB_NOTIFY_BUDGET = 8,
};
struct fb_config_notify {
	char *name;
	enum fb_notify_type type;
	char **command; /* of exec; ends with NULL */
	char *url;      /* of the others: a reference */
	unsigned on;    /* enum fb_notify_on, together */
	char **commands; /* of which; ends with NULL; NULL: of all */
	bool summary;   /* it gets the text of the summary */
};

struct fb_config {
	char *path;     /* of the file, for messages */
	char *base_dir; /* absolute; relative paths start here */
	char *fleet_name;
	uint64_t rpo_ms; /* 0: none */
	char *timezone;  /* IANA name or NULL */
	char *state_dir; /* absolute */
	struct fb_config_repository *repositories; /* in file order */
	size_t repository_count;
	char **trusted_signers; /* references */
	size_t trusted_signer_count;
	char **trusted_verifiers; /* references */
	size_t trusted_verifier_count;
	struct fb_config_source *sources; /* in file order */
	size_t source_count;
	struct fb_config_unit *units;
	size_t unit_count;
	struct fb_config_download download;
	struct fb_config_retention retention;
	struct fb_config_group *groups; /* in file order */
	size_t group_count;
	struct fb_config_notify *notify; /* in file order */
	size_t notify_count;
	char *metrics_textfile; /* absolute, or NULL */
	char *log_file;         /* absolute, or NULL */
	json_t *effective; /* the whole, every default filled in: config show */
	json_t *origins;   /* {"download.jobs": "fleetbak.yaml:12", ...} */
};

/* Largest configuration file. */
#define FB_CONFIG_MAX (1u << 20)

/*
 * Parse and check.  `environ_` ("FLEETBAK_DOWNLOAD_JOBS=8", ends with NULL,
 * may be NULL) and `sets` ("download.jobs=8", ends with NULL, may be NULL)
 * override the file, in this order.
 *
 * Owner:  `*ret_config` is the caller's.
 * Errors: FB_ECONFIG; the message reads
 *         "<path>:<line>:<column>: <what> '<value>': <why>", the hint names
 *         the nearest right spelling.  Ids: E-CFG-SYNTAX, E-CFG-KEY,
 *         E-CFG-DUPLICATE, E-CFG-TYPE, E-CFG-UNIT, E-CFG-REFERENCE,
 *         E-CFG-SECRET, E-CFG-MISSING, E-CFG-RANGE.
 */
FB_MUST_USE int fb_config_parse(struct fb_span yaml, const char *path,
    const char *base_dir, const char *const *environ_,
    const char *const *sets, struct fb_config **ret_config,
    struct fb_error *err);
void fb_config_free(struct fb_config *config);
void fb_config_freep(struct fb_config **config);
#define FB_AUTO_CONFIG FB_CLEANUP(fb_config_freep)

/* Names of FLEETBAK_* variables that no setting has: a warning each.
 * Appends "NAME" or "NAME (did you mean OTHER?)" lines. */
void fb_config_unknown_variables(
    const char *const *environ_, struct fb_buf *dst);

/* JSON Schema (2020-12) of the file, made from the table; a new reference. */
json_t *fb_config_schema(void);

/* The types a setting may have; `type` below is the same in words. */
enum fb_setting_kind {
	FB_SETTING_STRING,
	FB_SETTING_NAME,     /* fb_name_check() */
	FB_SETTING_INTEGER,  /* min to max */
	FB_SETTING_BOOLEAN,  /* true or false, no other spelling */
	FB_SETTING_SPAN,     /* with its unit: fb_text_span() */
	FB_SETTING_SIZE,     /* with its unit: fb_text_size() */
	FB_SETTING_LIMITS,   /* a rate, or fb_limits_parse(); a list is joined */
	FB_SETTING_CHOICE,   /* one of `choices` */
	FB_SETTING_PATH,     /* made absolute */
	FB_SETTING_RAW_PATH, /* kept as written, without ".." */
	FB_SETTING_URL,      /* file:PATH, made absolute; s3://BUCKET/PREFIX */
	FB_SETTING_SERVER,   /* http://HOST:PORT or https://HOST:PORT */
	FB_SETTING_CREDENTIALS, /* where an S3 server's keys are found */
	FB_SETTING_SECRET,   /* a reference: fb_secret_check() */
	FB_SETTING_SECRETS,  /* a list of references */
	FB_SETTING_TIMEZONE, /* Area/City */
	FB_SETTING_MACHINE,  /* [source/]id */
	FB_SETTING_LABEL,    /* key or key=value */
	FB_SETTING_LABELS,   /* map of texts */
	FB_SETTING_REFERENCES, /* map of references */
	FB_SETTING_VECTOR,   /* a list of texts that are not empty */
	FB_SETTING_POLICY,   /* fb_retention_parse() */
	FB_SETTING_ORPHANS,  /* "keep SPAN" */
	FB_SETTING_PERCENT,  /* "20%": 0% to 100% */
	FB_SETTING_AMOUNT,   /* "0.005": fb_text_amount() */
	FB_SETTING_SELECTOR, /* not empty; judged where machines are known */
};

/*
 * One row of the table, for the reader, man pages, help and `show`.  In
 * `path` a "*" stands for a name of the user's and "[]" for any member of a
 * list.
 */
struct fb_setting {
	const char *path;      /* "download.jobs", "sources.*.root" */
	const char *type;      /* "integer", "span", "size", "string", ... */
	const char *fallback;  /* default as text, NULL: none */
	bool required;
	const char *variable;  /* "FLEETBAK_DOWNLOAD_JOBS" or, for a named one,
	                        * "FLEETBAK_SOURCES_<NAME>_ROOT" */
	const char *help;      /* one or more sentences */
	enum fb_setting_kind kind;
	uint64_t min, max; /* of an integer; least ms of a span; fewest of a
	                    * list */
	const char *const *choices;  /* of a choice, ends with NULL */
	const char *driver;          /* only for sources of this driver */
};
size_t fb_config_settings(const struct fb_setting **ret_settings);

void fb_labels_release(struct fb_labels *labels);
const char *fb_labels_get(const struct fb_labels *labels, const char *key);

/*
 * machine.yaml of the local driver, by the same reader and an own table.
 */
enum fb_local_volume_kind { FB_LOCAL_DISK, FB_LOCAL_TREE, FB_LOCAL_CDROM,
	FB_LOCAL_FLOPPY };

struct fb_local_volume {
	char *name;
	enum fb_local_volume_kind kind;
	char *path; /* as written: relative to the machine's directory, or
	             * absolute */
	char **exclude; /* patterns, ends with NULL */
	char **changed; /* vector, NULL when absent: who knows what changed */
};

struct fb_local_machine {
	char *id, *role, *parent; /* role "" and parent NULL when absent */
	struct fb_labels labels;
	char **start, **stop, **status; /* vectors, NULL when absent */
	uint64_t stop_timeout_ms;  /* default 30 s */
	uint64_t start_timeout_ms; /* default 60 s */
	struct fb_local_volume *volumes;
	size_t volume_count;
	size_t id_offset, id_length; /* where the id's scalar stands in the
	                              * file, quotes included */
};

/* Errors: FB_ECONFIG as above. */
FB_MUST_USE int fb_local_machine_parse(struct fb_span yaml, const char *path,
    struct fb_local_machine **ret_machine, struct fb_error *err);
void fb_local_machine_free(struct fb_local_machine *machine);
void fb_local_machine_freep(struct fb_local_machine **machine);
#define FB_AUTO_LOCAL_MACHINE FB_CLEANUP(fb_local_machine_freep)

#endif
