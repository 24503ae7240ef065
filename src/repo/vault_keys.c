/* The objects under keys/: envelopes that hold the keys of packs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/sign.h"

#include "vault_impl.h"

/* Of one session; a store that has more is not ours. */
#define OBJECTS_MAX 65536

/* Keys are made ahead: few at first, then more at a time. */
#define BATCH_FIRST 4u
#define BATCH_MOST  256u

#define NUMBERS_OWN (FB_KEYS_NUMBER_MAX / 2)

/* Objects of others that stand where ours would go. */
#define NUMBERS_TRIED 64

struct fb_keyring {
	struct fb_vault *vault;
	char session[FB_RUN_ID_SIZE];
	struct fb_pack_key_entry *items; /* sealed, and not given out */
	size_t count, batch;
	uint64_t number; /* of the next object */
};

/* The names of a session's objects. */
struct numbers {
	uint64_t *items;
	size_t count;
	uint64_t next;
};

static int
note_number(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct numbers *numbers = arg;
	uint64_t number;

	(void)size;
	if (!fb_keys_key_parse(key, NULL, &number))
		return FB_OK;
	if (numbers->count == OBJECTS_MAX)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-KEY",
		    "there are more than %d objects beside '%s'", OBJECTS_MAX,
		    key);
	if ((numbers->count & (numbers->count - 1)) == 0)
		numbers->items = fb_realloc(numbers->items,
		    numbers->count == 0 ? 1 : numbers->count * 2,
		    sizeof(*numbers->items));
	numbers->items[numbers->count++] = number;
	/* Far ones are not ours, and would leave no room. */
	if (number >= numbers->next && number < NUMBERS_OWN)
		numbers->next = number + 1;
	return FB_OK;
}

static int
list_numbers(struct fb_vault *vault, const char *session,
    struct numbers *numbers, struct fb_error *err)
{
	FB_AUTO_FREE char *prefix = fb_format("keys/%s.", session);

	return fb_store_list(vault->store, prefix, note_number, numbers, err);
}

static void
add_domain(struct vault_session *session, const struct fb_cipher_key *domain)
{
	for (size_t i = 0; i < session->domain_count; i++)
		if (memcmp(session->domains[i].bytes, domain->bytes,
		        FB_CIPHER_KEY_LEN) == 0)
			return;
	session->domains = fb_realloc(session->domains,
	    session->domain_count + 1, sizeof(*session->domains));
	session->domains[session->domain_count++] = *domain;
}

static void
add_keys(struct vault_session *session, const struct fb_pack_keys *keys)
{
	session->items = fb_realloc(session->items,
	    session->count + keys->count + 1, sizeof(*session->items));
	if (keys->count > 0)
		memcpy(session->items + session->count, keys->items,
		    keys->count * sizeof(*keys->items));
	session->count += keys->count;
	add_domain(session, &keys->domain);
}

/* Rotation wrote the same keys again. */
static void
sort_keys(struct vault_session *session)
{
	struct fb_pack_keys all = { .items = session->items,
		.count = session->count };
	size_t count = 0;

	fb_pack_keys_sort(&all);
	for (size_t i = 0; i < all.count; i++)
		if (i == 0 ||
		    memcmp(all.items[i].id, all.items[i - 1].id,
		        FB_KEY_TAG_LEN) != 0)
			all.items[count++] = all.items[i];
	session->count = count;
}

static void
add_number(uint64_t **numbers, size_t *count, uint64_t number)
{
	*numbers = fb_realloc(*numbers, *count + 1, sizeof(**numbers));
	(*numbers)[(*count)++] = number;
}

/* One object.  What is not for us, or is not what it should be, is passed
 * over: whoever can write to the store can put it there. */
static int
load_object(struct fb_vault *vault, struct vault_session *session,
    uint64_t number, struct fb_error *why, struct fb_error *err)
{
	FB_AUTO_PACK_KEYS struct fb_pack_keys keys = { 0 };
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf envelope = { 0 };
	char key[FB_KEYS_KEY_SIZE];
	int rc;

	fb_keys_key(session->id, number, key);
	rc = fb_store_get(
	    vault->store, key, FB_ENVELOPE_MAX, &envelope, NULL, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK; /* removed since */
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	session->objects++;
	if (rc == FB_OK)
		rc = fb_envelope_open(
		    vault->opener, fb_buf_span(&envelope), &text, err);
	if (rc == FB_OK)
		rc = fb_pack_keys_decode(fb_buf_span(&text), &keys, err);
	if (rc == FB_OK && strcmp(keys.session, session->id) != 0)
		rc = fb_fail_id(
		    err, FB_ECORRUPT, "E-ENVELOPE", "it is of another session");
	if (rc < 0) {
		*why = *err;
		(void)fb_wrap(why, "'%s'", key);
		add_number(&session->shut, &session->shut_count, number);
		return FB_OK;
	}
	add_number(&session->opened, &session->opened_count, number);
	add_keys(session, &keys);
	return FB_OK;
}

int
fb_vault_load(struct fb_vault *vault, const char *id,
    struct vault_session *ret_session, struct fb_error *err)
{
	struct vault_session session = { 0 };
	struct numbers numbers = { 0 };
	struct fb_error why = { 0 };
	int rc = list_numbers(vault, id, &numbers, err);

	memcpy(session.id, id, sizeof(session.id));
	for (size_t i = 0; rc == FB_OK && i < numbers.count; i++)
		rc = load_object(vault, &session, numbers.items[i], &why, err);
	free(numbers.items);
	if (rc == FB_OK && session.objects == 0)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-KEY",
		    "there is no object 'keys/%s.*.cms': the keys of its "
		    "packs are gone",
		    id);
	if (rc == FB_OK && session.opened_count == 0) {
		*err = why;
		rc = why.code;
		if (rc == FB_EKEY)
			(void)fb_hint(err,
			    "it is sealed to others than decrypt_with, key "
			    "%s; 'fleetbak keys list' shows what is "
			    "configured",
			    fb_opener_id(vault->opener));
	}
	if (rc < 0) {
		fb_vault_session_release(&session);
		return rc;
	}
	sort_keys(&session);
	session.next = numbers.next;
	*ret_session = session;
	return FB_OK;
}

int
fb_vault_put(struct fb_vault *vault, const struct fb_recipients *recipients,
    const struct fb_pack_keys *keys, uint64_t *number, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf envelope = { 0 };
	char key[FB_KEYS_KEY_SIZE] = "";
	int rc;

	fb_pack_keys_encode(keys, &text);
	rc = fb_envelope_seal(recipients, fb_buf_span(&text), &envelope, err);
	for (int i = 0; rc == FB_OK && i < NUMBERS_TRIED; i++) {
		fb_keys_key(keys->session, (*number)++, key);
		rc = fb_store_create(
		    vault->store, key, fb_buf_span(&envelope), err);
		if (rc != FB_EEXISTS)
			break;
		rc = FB_OK;
		if (i == NUMBERS_TRIED - 1)
			rc = fb_fail(err, FB_ECONFLICT,
			    "'%s' and others before it are taken", key);
	}
	return rc < 0 ? fb_wrap(err, "keys of packs") : FB_OK;
}

static int
fill(struct fb_keyring *ring, struct fb_error *err)
{
	struct fb_pack_keys keys = { .domain = ring->vault->domain,
		.count = ring->batch };
	int rc;

	memcpy(keys.session, ring->session, sizeof(keys.session));
	keys.items = fb_alloc(keys.count, sizeof(*keys.items));
	for (size_t i = 0; i < keys.count; i++) {
		fb_random(keys.items[i].key.bytes, FB_CIPHER_KEY_LEN);
		fb_pack_key_id(&keys.items[i].key, keys.items[i].id);
	}
	fb_pack_keys_sort(&keys);
	rc = fb_vault_put(
	    ring->vault, ring->vault->recipients, &keys, &ring->number, err);
	fb_cipher_wipe(&keys.domain);
	if (rc < 0) {
		fb_pack_keys_release(&keys);
		return rc;
	}
	free(ring->items);
	ring->items = keys.items;
	ring->count = keys.count;
	if (ring->batch < BATCH_MOST)
		ring->batch *= 4;
	return FB_OK;
}

int
fb_keyring_open(struct fb_vault *vault, const char *session,
    struct fb_keyring **ret_ring, struct fb_error *err)
{
	struct fb_keyring *ring;
	struct numbers numbers = { 0 };
	int rc = fb_vault_may_write(vault, err);

	if (rc == FB_OK) /* of a run that was cut off there are some */
		rc = list_numbers(vault, session, &numbers, err);
	free(numbers.items);
	if (rc < 0)
		return rc;
	ring = fb_alloc(1, sizeof(*ring));
	ring->vault = vault;
	ring->batch = BATCH_FIRST;
	ring->number = numbers.next;
	memcpy(ring->session, session, sizeof(ring->session));
	rc = fill(ring, err);
	if (rc < 0) {
		fb_keyring_close(ring);
		return rc;
	}
	*ret_ring = ring;
	return FB_OK;
}

void
fb_keyring_close(struct fb_keyring *ring)
{
	if (ring == NULL)
		return;
	for (size_t i = 0; i < ring->count; i++)
		fb_cipher_wipe(&ring->items[i].key);
	free(ring->items);
	free(ring);
}

int
fb_keyring_take(struct fb_keyring *ring, struct fb_pack_key_entry *ret_entry,
    struct fb_error *err)
{
	int rc = ring->count == 0 ? fill(ring, err) : FB_OK;

	if (rc < 0)
		return rc;
	*ret_entry = ring->items[--ring->count];
	fb_cipher_wipe(&ring->items[ring->count].key);
	return FB_OK;
}
