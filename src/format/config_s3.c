/*
 * What a configuration says about object storage: addresses, servers, and
 * where the keys are found.  None of it may hold a secret.
 */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#include "schema.h"

#define BUCKET_MIN 3
#define BUCKET_MAX 63
#define PREFIX_MAX 512

/* Of what is locked where lock_for is not given. */
#define LOCK_MS (30 * 24 * 3600 * UINT64_C(1000))

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Each part is what a key of a store may have for one. */
static bool
prefix_ok(const char *prefix, size_t len)
{
	char before = '/';

	for (size_t i = 0; i < len; i++) {
		if (strchr(LOWER UPPER DIGITS "._-/", prefix[i]) == NULL ||
		    (before == '/' && (prefix[i] == '/' || prefix[i] == '.')))
			return false;
		before = prefix[i];
	}
	return len <= PREFIX_MAX && (len == 0 || before != '/');
}

static bool
bucket_ok(const char *bucket, size_t len)
{
	return len >= BUCKET_MIN && len <= BUCKET_MAX &&
	    strspn(bucket, LOWER DIGITS ".-") >= len &&
	    strchr(".-", bucket[0]) == NULL &&
	    strchr(".-", bucket[len - 1]) == NULL;
}

int
fb_scalar_check_bucket(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	static const char scheme[] = "s3://";
	const char *bucket = in->text + strlen(scheme);
	FB_AUTO_FREE char *url = NULL;
	const char *prefix;
	size_t bucket_len, prefix_len;

	if (strncmp(in->text, scheme, strlen(scheme)) != 0)
		return fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "unknown kind of repository; write s3://BUCKET/PREFIX");
	if (strchr(bucket, '@') != NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SECRET",
		    "%s: %s: an address holds no user and no password "
		    "(value not shown)",
		    in->place, in->what);
	bucket_len = strcspn(bucket, "/");
	if (!bucket_ok(bucket, bucket_len))
		return fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "the bucket's name is %d to %d of a-z 0-9 . -, the first "
		    "and the last a letter or a digit",
		    BUCKET_MIN, BUCKET_MAX);
	prefix = bucket + bucket_len + (bucket[bucket_len] == '/');
	prefix_len = strlen(prefix);
	if (prefix_len > 0 && prefix[prefix_len - 1] == '/')
		prefix_len--; /* one at the end changes nothing */
	if (!prefix_ok(prefix, prefix_len))
		return fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "the prefix is at most %d of A-Z a-z 0-9 . _ - in parts "
		    "between single slashes, none of which begins with a dot",
		    PREFIX_MAX);
	url = fb_format("%s%.*s%s%.*s", scheme, (int)bucket_len, bucket,
	    prefix_len > 0 ? "/" : "", (int)prefix_len, prefix);
	*ret_value = json_string(url);
	return FB_OK;
}

/* A host's name or address, and a port. */
static bool
host_ok(const char *host, size_t len)
{
	size_t name = strspn(host, LOWER UPPER DIGITS ".-_");
	size_t port;

	if (host[0] == '[') {
		name = 1 + strspn(host + 1, DIGITS "abcdefABCDEF:.");
		if (name < 3 || host[name++] != ']')
			return false;
	}
	if (name == 0 || name > len)
		return false;
	if (name == len)
		return true;
	port = strspn(host + name + 1, DIGITS);
	return host[name] == ':' && port >= 1 && port <= 5 &&
	    name + 1 + port == len;
}

int
fb_scalar_check_server(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	size_t scheme = strncmp(in->text, "https://", 8) == 0 ? 8
	    : strncmp(in->text, "http://", 7) == 0            ? 7
	                                                      : 0;
	const char *host = in->text + scheme;
	size_t len = strcspn(host, "/");
	FB_AUTO_FREE char *url = NULL;

	if (strchr(in->text, '@') != NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SECRET",
		    "%s: %s: an address holds no user and no password "
		    "(value not shown)",
		    in->place, in->what);
	if (scheme == 0 || !host_ok(host, len))
		return fb_scalar_fail(in, "E-CFG-TYPE", err,
		    "not a server: write https://HOST or http://HOST:PORT");
	if (host[len] == '/' && host[len + 1] != '\0')
		return fb_scalar_fail(in, "E-CFG-TYPE", err,
		    "a server has no path; bucket and prefix stand in the url");
	url = fb_format("%.*s", (int)(scheme + len), in->text);
	*ret_value = json_string(url);
	return FB_OK;
}

/* The value may be the secret itself: no message shows it. */
int
fb_scalar_check_credentials(const struct fb_scalar *in, struct fb_error *err)
{
	static const char *const words[] = { "auto", "env", "imds",
		"web-identity" };
	static const char profile[] = "profile:";
	const char *name = in->text + strlen(profile);
	struct fb_error why;

	for (size_t i = 0; i < FB_COUNT(words); i++)
		if (strcmp(in->text, words[i]) == 0)
			return FB_OK;
	if (strncmp(in->text, profile, strlen(profile)) == 0 &&
	    fb_name_ok(name, strlen(name)))
		return FB_OK;
	if ((strncmp(in->text, "file:", 5) == 0 ||
	        strncmp(in->text, "cmd:", 4) == 0 ||
	        strncmp(in->text, "cred:", 5) == 0) &&
	    fb_secret_check(in->text, &why) == FB_OK)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-SECRET",
	    "%s: %s: does not say where keys are found, and a key itself does "
	    "not belong here (value not shown)",
	    in->place, in->what);
	return fb_hint(err,
	    "write env, profile:NAME, file:PATH, "
	    "cmd:PROGRAM ARG..., cred:NAME, imds, web-identity or auto");
}

/* How long is said, and not that. */
static int
check_lock(const struct fb_schema *schema, const char *name,
    const json_t *value, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("repositories.%s.lock_for", name);

	if (json_object_get(value, "lock_for") == NULL ||
	    json_object_get(value, "object_lock") != NULL)
		return FB_OK;
	return fb_schema_fail(schema, path, NULL, "E-CFG-MISSING", err,
	    "nothing is locked without object_lock: governance or "
	    "compliance");
}

/* Keys of object storage mean nothing to a directory. */
int
fb_config_check_s3(const struct fb_schema *schema, struct fb_error *err)
{
	static const char *const keys[] = { "endpoint", "region", "path_style",
		"credentials", "ca", "proxy", "retry_for", "object_lock",
		"lock_for", "etcd", "etcd_ca", "etcd_cert", "etcd_key",
		"lease_ttl" };
	static const char *const with_etcd[] = { "etcd_ca", "etcd_cert",
		"etcd_key", "lease_ttl" };
	const char *name;
	json_t *value;

	json_object_foreach(
	    json_object_get(schema->values, "repositories"), name, value)
	{
		const char *url =
		    json_string_value(json_object_get(value, "url"));

		bool s3 = strncmp(url, "s3:", 3) == 0;
		int rc = s3 ? check_lock(schema, name, value, err) : FB_OK;

		if (rc < 0)
			return rc;

		for (size_t i = 0; s3 && i < FB_COUNT(with_etcd); i++) {
			FB_AUTO_FREE char *path = fb_format(
			    "repositories.%s.%s", name, with_etcd[i]);

			if (json_object_get(value, with_etcd[i]) != NULL &&
			    json_object_get(value, "etcd") == NULL)
				return fb_schema_fail(schema, path, NULL,
				    "E-CFG-KEY", err, "belongs to etcd");
		}
		for (size_t i = 0; !s3 && i < FB_COUNT(keys); i++) {
			FB_AUTO_FREE char *path =
			    fb_format("repositories.%s.%s", name, keys[i]);

			if (json_object_get(value, keys[i]) != NULL)
				return fb_schema_fail(schema, path, NULL,
				    "E-CFG-KEY", err,
				    "only an s3: repository has this key");
		}
	}
	return FB_OK;
}

static char *
text_of(const json_t *section, const char *key)
{
	const char *text = json_string_value(json_object_get(section, key));

	return text != NULL ? fb_strdup(text) : NULL;
}

static uint64_t
amount_of(const json_t *section, const char *key)
{
	const char *text = json_string_value(json_object_get(section, key));
	struct fb_error judged;
	uint64_t amount = 0;

	if (text != NULL && fb_text_amount(text, &amount, &judged) < 0)
		return 0; /* uncovered: the schema has checked it */
	return amount;
}

static void
fill_prices(struct fb_config_repository *repository, const json_t *value)
{
	const char *least =
	    json_string_value(json_object_get(value, "min_storage"));
	struct fb_error judged;

	if (least != NULL &&
	    fb_text_span(least, &repository->min_storage_ms, &judged) < 0)
		/* uncovered: the schema has checked it */
		repository->min_storage_ms = 0;
	repository->price_put = amount_of(value, "price_put");
	repository->price_get = amount_of(value, "price_get");
	repository->price_storage = amount_of(value, "price_storage");
	repository->currency = text_of(value, "currency");
}

void
fb_config_fill_s3(struct fb_config_repository *repository, const json_t *value)
{
	const char *retry_for =
	    json_string_value(json_object_get(value, "retry_for"));
	const char *lock_for =
	    json_string_value(json_object_get(value, "lock_for"));
	const char *ttl =
	    json_string_value(json_object_get(value, "lease_ttl"));
	struct fb_error judged;

	repository->endpoint = text_of(value, "endpoint");
	repository->region = text_of(value, "region");
	repository->path_style = text_of(value, "path_style");
	repository->credentials = text_of(value, "credentials");
	repository->ca = text_of(value, "ca");
	repository->proxy = text_of(value, "proxy");
	fill_prices(repository, value);
	repository->etcd = text_of(value, "etcd");
	repository->etcd_ca = text_of(value, "etcd_ca");
	repository->etcd_cert = text_of(value, "etcd_cert");
	repository->etcd_key = text_of(value, "etcd_key");
	if (ttl != NULL &&
	    fb_text_span(ttl, &repository->lease_ttl_ms, &judged) < 0)
		/* uncovered: the schema has checked it */
		repository->lease_ttl_ms = 0;
	if (retry_for != NULL &&
	    fb_text_span(retry_for, &repository->retry_ms, &judged) < 0)
		/* uncovered: the schema has checked it */
		repository->retry_ms = 0;
	repository->object_lock = text_of(value, "object_lock");
	if (repository->object_lock != NULL)
		repository->lock_ms = LOCK_MS;
	if (lock_for != NULL &&
	    fb_text_span(lock_for, &repository->lock_ms, &judged) < 0)
		/* uncovered: the schema has checked it */
		repository->lock_ms = LOCK_MS;
}

void
fb_config_free_s3(struct fb_config_repository *repository)
{
	fb_freep(&repository->endpoint);
	fb_freep(&repository->region);
	fb_freep(&repository->path_style);
	fb_freep(&repository->credentials);
	fb_freep(&repository->ca);
	fb_freep(&repository->proxy);
	fb_freep(&repository->currency);
	fb_freep(&repository->object_lock);
	fb_freep(&repository->etcd);
	fb_freep(&repository->etcd_ca);
	fb_freep(&repository->etcd_cert);
	fb_freep(&repository->etcd_key);
}
