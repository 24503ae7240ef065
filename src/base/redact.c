/*
 * What must not leave in a text.  The list lives as long as the process: a
 * secret may be in a message long after it was used.
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"

#define INSTEAD "[secret]"

static struct {
	pthread_mutex_t lock;
	char **items;
	size_t *lens;
	size_t count;
} secrets = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool
is_known(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < secrets.count; i++)
		if (secrets.lens[i] == len &&
		    memcmp(secrets.items[i], bytes, len) == 0)
			return true;
	return false;
}

static void
add_line(const uint8_t *bytes, size_t len)
{
	char *copy;

	while (len > 0 && (bytes[len - 1] == '\r' || bytes[len - 1] == ' '))
		len--;
	/* The frame of a PEM is no secret. */
	if (len < FB_REDACT_MIN || memcmp(bytes, "-----", 5) == 0 ||
	    is_known(bytes, len))
		return;
	copy = fb_alloc(len + 1, 1);
	memcpy(copy, bytes, len);
	secrets.items = fb_realloc(
	    secrets.items, secrets.count + 1, sizeof(*secrets.items));
	secrets.lens =
	    fb_realloc(secrets.lens, secrets.count + 1, sizeof(*secrets.lens));
	secrets.items[secrets.count] = copy;
	secrets.lens[secrets.count++] = len;
}

void
fb_redact_add(struct fb_span secret)
{
	(void)pthread_mutex_lock(&secrets.lock);
	while (secret.len > 0) {
		const uint8_t *end = memchr(secret.ptr, '\n', secret.len);
		size_t len =
		    end != NULL ? (size_t)(end - secret.ptr) : secret.len;

		add_line(secret.ptr, len);
		len += end != NULL;
		secret.ptr += len;
		secret.len -= len;
	}
	(void)pthread_mutex_unlock(&secrets.lock);
}

static void
replace(struct fb_buf *text, const char *secret, size_t len)
{
	struct fb_buf clean = { 0 };
	const uint8_t *at, *rest = text->data;
	size_t left = text->len;

	while (left > 0 && (at = memmem(rest, left, secret, len)) != NULL) {
		fb_buf_add(&clean, rest, (size_t)(at - rest));
		fb_buf_add_str(&clean, INSTEAD);
		left -= (size_t)(at - rest) + len;
		rest = at + len;
	}
	if (clean.len == 0)
		return;
	if (left > 0)
		fb_buf_add(&clean, rest, left);
	fb_buf_release(text);
	*text = clean;
}

void
fb_redact(struct fb_buf *text)
{
	(void)pthread_mutex_lock(&secrets.lock);
	for (size_t i = 0; i < secrets.count; i++)
		replace(text, secrets.items[i], secrets.lens[i]);
	(void)pthread_mutex_unlock(&secrets.lock);
}
