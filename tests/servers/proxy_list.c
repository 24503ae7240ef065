/* Lists that lag: they leave out what was put a moment ago.  Paths are
 * encoded, and keys are where the list was asked for so: both are decoded. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "proxy.h"

struct put {
	char *path; /* /bucket/key */
	int64_t ms;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct put *recent;
static size_t count;

/* "%2F" is "/". */
static char *
decoded(const char *text, size_t len)
{
	char *out = strndup(text, len), *to = out;

	for (const char *at = out; *at != '\0';) {
		char hex[3] = "", *end = hex;
		long byte = 0;

		if (*at == '%' && at[1] != '\0') {
			memcpy(hex, at + 1, 2);
			byte = strtol(hex, &end, 16);
		}
		*to++ = end == hex + 2 ? (char)byte : *at;
		at += end == hex + 2 ? 3 : 1;
	}
	*to = '\0';
	return out;
}

void
list_put(const char *target)
{
	(void)pthread_mutex_lock(&lock);
	recent = fb_realloc(recent, count + 1, sizeof(*recent));
	recent[count++] = (struct put){
		decoded(target, strcspn(target, "?")),
		now_ms(),
	};
	(void)pthread_mutex_unlock(&lock);
}

static bool
is_recent(const char *bucket, size_t bucket_len, const char *key, size_t len,
    int64_t lag_ms)
{
	int64_t since = now_ms() - lag_ms;
	bool found = false;

	(void)pthread_mutex_lock(&lock);
	for (size_t i = count; i-- > 0 && recent[i].ms > since && !found;) {
		const char *path = recent[i].path;

		found = strncmp(path, bucket, bucket_len) == 0 &&
		    path[bucket_len] == '/' &&
		    strlen(path + bucket_len + 1) == len &&
		    memcmp(path + bucket_len + 1, key, len) == 0;
	}
	(void)pthread_mutex_unlock(&lock);
	return found;
}

void
list_hide(struct fb_buf *xml, const char *target, int64_t lag_ms)
{
	struct fb_buf left = { 0 };
	const char *at = fb_buf_str(xml), *entry;
	size_t bucket_len = strcspn(target, "?");

	if (bucket_len > 0 && target[bucket_len - 1] == '/')
		bucket_len--;
	while ((entry = strstr(at, "<Contents>")) != NULL) {
		const char *end = strstr(entry, "</Contents>");
		const char *key = strstr(entry, "<Key>");
		char *plain;

		if (end == NULL || key == NULL || key > end)
			break;
		end += strlen("</Contents>");
		key += strlen("<Key>");
		fb_buf_add(&left, at, (size_t)(entry - at));
		plain = decoded(key, strcspn(key, "<"));
		if (!is_recent(
		        target, bucket_len, plain, strlen(plain), lag_ms))
			fb_buf_add(&left, entry, (size_t)(end - entry));
		free(plain);
		at = end;
	}
	fb_buf_add_str(&left, at);
	fb_buf_release(xml);
	*xml = left;
}
