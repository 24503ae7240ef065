/* Encrypted repositories: who can open what, who can make others use what. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "../../src/repo/tables.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"
#include "repo_tools.h"

#define MIB (1u << 20)

/* A writer, and who may open what it writes. */
struct writer {
	struct depot *depot;
	struct fb_session session;
	char spool[128];
	struct fb_cipher_key domain;
	json_t *state;
	unsigned states, stop_after;
	struct fb_id_list packs;
};

static struct fb_buf recovery_pem, certificate;

static int
load_opener(void *arg, struct fb_opener **ret_opener, struct fb_error *error)
{
	const struct fb_buf *pem = arg;

	return fb_opener_parse(fb_buf_span(pem), ret_opener, error);
}

static int
keep_domain(void *arg, const char *repository,
    const struct fb_cipher_key *domain, struct fb_error *error)
{
	(void)error;
	assert_int_equal(strlen(repository), 32);
	*(struct fb_cipher_key *)arg = *domain;
	return FB_OK;
}

static struct fb_cipher_key first_domain;

static int
make_encrypted(void **state)
{
	FB_AUTO_OPENER struct fb_opener *opener = NULL;
	FB_AUTO_STORE struct fb_store *store = NULL;
	struct depot *depot;
	bool made;

	if (make_depot(state) != 0)
		return -1;
	depot = *state;
	fb_buf_clear(&recovery_pem);
	fb_buf_clear(&certificate);
	assert_ok(fb_opener_generate(&recovery_pem, &err));
	assert_ok(fb_opener_parse(fb_buf_span(&recovery_pem), &opener, &err));
	fb_opener_certificate(opener, "recovery", &certificate);
	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_ok(fb_repo_init_encrypted(
	    store, depot->key, keep_domain, &first_domain, &made, &err));
	assert_true(made);
	reopen(depot);
	assert_non_null(depot->repo->vault);
	return 0;
}

/* As a process begins: one that writes has recipients and its domain's key,
 * one that reads has a private key. */
static void
begin(struct depot *depot, const struct fb_cipher_key *domain,
    struct fb_buf *secret)
{
	reopen(depot);
	if (domain != NULL) {
		struct fb_recipients *recipients = fb_recipients_new();

		assert_ok(fb_recipients_add(
		    recipients, fb_buf_span(&certificate), &err));
		fb_vault_set_recipients(depot->repo->vault, recipients);
		fb_vault_set_domain(depot->repo->vault, domain);
	}
	if (secret != NULL)
		fb_vault_set_opener(depot->repo->vault, load_opener, secret);
}

static int
note_state(void *arg, const json_t *state, struct fb_error *error)
{
	struct writer *writer = arg;

	if (writer->stop_after > 0 && writer->states + 1 >= writer->stop_after)
		return fb_fail(error, FB_ENOSPACE, "no room for the journal");
	json_decref(writer->state);
	writer->state = json_deep_copy(state);
	writer->states++;
	return FB_OK;
}

static void
make_writer(struct writer *writer, struct depot *depot, const char *session,
    const struct fb_cipher_key *domain)
{
	*writer = (struct writer){ .depot = depot, .domain = *domain };
	(void)snprintf(
	    writer->session.id, sizeof(writer->session.id), "%s", session);
	(void)snprintf(writer->spool, sizeof(writer->spool), "%s/%s",
	    depot->spool, session);
	assert_int_equal(mkdir(writer->spool, 0700), 0);
}

static void
end_writer(struct writer *writer)
{
	json_decref(writer->state);
	fb_id_list_release(&writer->packs);
}

static struct fb_copier *
open_writer(struct writer *writer, const json_t *state)
{
	struct fb_copier_spec spec = { .session = &writer->session,
		.spool_dir = writer->spool,
		.workers = 2,
		.level = 1,
		.pack_size = 3 * MIB,
		.checkpoint = note_state,
		.arg = writer };
	struct fb_copier *copier;

	begin(writer->depot, &writer->domain, NULL);
	spec.repo = writer->depot->repo;
	assert_ok(fb_copier_open(&spec, state, &copier, &err));
	return copier;
}

static uint8_t *
make_bytes(size_t len, uint64_t seed)
{
	uint8_t *bytes = fb_alloc(len, 1);

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
		}
		bytes[i] = (uint8_t)(seed >> (i % 8 * 8));
		if (i / 100000 % 3 == 2)
			bytes[i] = (uint8_t)("secret words "[i % 13]);
	}
	return bytes;
}

/* Store it; *ret_recipe is its recipe, the result says what was new. */
static void
store_bytes(struct writer *writer, const uint8_t *bytes, size_t len,
    struct fb_copy_result *ret_result, struct fb_digest *ret_recipe)
{
	struct fb_copier *copier = open_writer(writer, NULL);
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(
	    copier, "v", "disk", true, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, bytes, len, &err));
	assert_ok(fb_copy_finish(copy, ret_result, &err));
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(
	    fb_copier_recipe(copier, "v", ret_recipe, &writer->packs, &err));
	assert_ok(fb_copier_hints(copier, writer->depot->key, &err));
	fb_copier_close(copier);
}

struct expected {
	const uint8_t *bytes;
	uint64_t at;
};

static int
compare(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	struct expected *expected = arg;

	(void)error;
	assert_int_equal(offset, expected->at);
	assert_non_null(bytes);
	assert_memory_equal(bytes, expected->bytes + offset, length);
	expected->at += length;
	return FB_OK;
}

/* Read it with a key; the error of that. */
static int
read_back(struct depot *depot, struct fb_buf *secret,
    const struct fb_digest *recipe, const uint8_t *bytes, size_t len)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct expected expected = { bytes, 0 };
	int rc;

	begin(depot, NULL, secret);
	assert_ok(fb_volume_open(depot->repo, recipe, &reader, &err));
	assert_ok(fb_volume_check(reader, &err));
	rc = fb_volume_read(reader, 0, len, 2, NULL, compare, &expected, &err);
	if (rc == FB_OK)
		assert_int_equal(expected.at, len);
	return rc;
}

#define S1 "20261121-013205123-3fa92c17"
#define S2 "20261121-013205124-3fa92c18"

static void
what_is_stored_comes_back_with_the_key_alone(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(8 * MIB, 7);
	FB_AUTO_BUF struct fb_buf other = { 0 };
	struct fb_copy_result result;
	struct fb_digest recipe, flat;
	struct writer writer;

	make_writer(&writer, depot, S1, &first_domain);
	store_bytes(&writer, bytes, 8 * MIB, &result, &recipe);
	assert_true(writer.packs.count >= 2);
	assert_ok(read_back(depot, &recovery_pem, &recipe, bytes, 8 * MIB));
	assert_fails(FB_EKEY, read_back(depot, NULL, &recipe, bytes, 8 * MIB));
	assert_string_equal(err.id, "E-DECRYPT-WITH");
	assert_ok(fb_opener_generate(&other, &err));
	assert_fails(
	    FB_EKEY, read_back(depot, &other, &recipe, bytes, 8 * MIB));
	assert_string_equal(err.id, "E-DECRYPT-KEY");
	fb_digest_of((struct fb_span){ bytes, 8 * MIB }, &flat);
	assert_int_not_equal(fb_digest_cmp(&flat, &result.flat), 0);
	fb_cipher_flat(&first_domain, &flat);
	assert_int_equal(fb_digest_cmp(&flat, &result.flat), 0);
	end_writer(&writer);
}

/* No stored object has a stretch of what was stored, compressed or not, nor
 * the plain id of a chunk. */
static void
packs_are_checked_without_a_key_and_show_nothing(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(4 * MIB, 7);
	struct fb_copy_result result;
	struct fb_digest recipe;
	struct writer writer;
	uint64_t size;

	make_writer(&writer, depot, S1, &first_domain);
	store_bytes(&writer, bytes, 4 * MIB, &result, &recipe);
	begin(depot, NULL, NULL);
	for (size_t i = 0; i < writer.packs.count; i++) {
		FB_AUTO_BUF struct fb_buf pack = { 0 };
		char key[FB_OBJECT_KEY_SIZE];

		fb_pack_key(&writer.packs.ids[i], key);
		assert_ok(fb_pack_verify(
		    depot->repo, &writer.packs.ids[i], false, &size, &err));
		read_object(depot, key, &pack);
		assert_null(memmem(pack.data, pack.len, bytes + 1000, 32));
		assert_null(memmem(pack.data, pack.len, "secret words", 12));
		assert_null(
		    memmem(pack.data, pack.len, "\x28\xb5\x2f\xfd\x60", 5));
		pack.data[5000] ^= 1;
		write_object(depot, key, fb_buf_span(&pack));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(
		        depot->repo, &writer.packs.ids[i], false, &size, &err));
	}
	end_writer(&writer);
}

static void
the_same_is_stored_once_in_a_domain_and_again_in_another(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(4 * MIB, 7);
	struct fb_cipher_key domain = { { 1, 2, 3 } };
	struct fb_copy_result first, again, other;
	struct fb_digest recipe, second, third;
	struct writer one, two, three;

	make_writer(&one, depot, S1, &first_domain);
	store_bytes(&one, bytes, 4 * MIB, &first, &recipe);
	make_writer(&two, depot, S2, &first_domain);
	store_bytes(&two, bytes, 4 * MIB, &again, &second);
	assert_int_equal(again.new_bytes, 0);
	assert_int_equal(fb_digest_cmp(&again.root, &first.root), 0);
	make_writer(&three, depot, "20261121-013205125-3fa92c19", &domain);
	store_bytes(&three, bytes, 4 * MIB, &other, &third);
	assert_int_equal(other.new_bytes, first.new_bytes);
	assert_int_not_equal(fb_digest_cmp(&other.root, &first.root), 0);
	assert_ok(read_back(depot, &recovery_pem, &second, bytes, 4 * MIB));
	assert_ok(read_back(depot, &recovery_pem, &third, bytes, 4 * MIB));
	end_writer(&one);
	end_writer(&two);
	end_writer(&three);
}

/* Put hints under another session's name, signed by a trusted key, which say
 * that its packs hold what the first session's hold. */
static void
poison_hints(struct depot *depot, const struct fb_cipher_key *domain,
    struct fb_span hints, const char *session)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *key = fb_format("hints/%s", session);
	FB_AUTO_FREE char *seal_key = fb_format("hints/%s.seal", session);
	struct fb_hint_seal seal = { .size = hints.len };

	memcpy(seal.session, session, sizeof(seal.session));
	fb_digest_of(hints, &seal.digest);
	if (domain != NULL) {
		seal.keyed = true;
		fb_hint_seal_encode_body(&seal, &text);
		fb_cipher_mac(domain, fb_buf_span(&text), &seal.domain);
		fb_buf_clear(&text);
	}
	fb_hint_seal_encode_signed(&seal, &text);
	assert_ok(
	    fb_sign(depot->key, fb_buf_span(&text), seal.signature, &err));
	fb_hint_seal_encode_signature(&seal, &text);
	write_object(depot, key, hints);
	write_object(depot, seal_key, fb_buf_span(&text));
}

/* A pack whose table claims the ids of what is to be backed up, and whose
 * frames hold something else. */
static void
poison(struct depot *depot, const struct fb_pack_table *claims,
    const struct fb_cipher_key *domain, const char *session,
    struct fb_digest *ret_pack)
{
	struct fb_pack_table table = *claims;
	FB_AUTO_FREE struct fb_pack_chunk *chunks =
	    fb_alloc(table.count, sizeof(*chunks));
	FB_AUTO_BUF struct fb_buf pack = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	struct fb_digest text_digest;
	char key[FB_OBJECT_KEY_SIZE], hex[FB_DIGEST_HEX_SIZE];
	char table_hex[FB_DIGEST_HEX_SIZE];

	memcpy(chunks, claims->chunks, table.count * sizeof(*chunks));
	table.chunks = chunks;
	memcpy(table.session, session, sizeof(table.session));
	for (size_t i = 0; i < table.count; i++) {
		struct fb_digest digest;
		uint8_t *frame = fb_buf_reserve(&pack, chunks[i].stored_length);

		fb_random(frame, chunks[i].stored_length);
		pack.len += chunks[i].stored_length;
		fb_digest_pieces(
		    (struct fb_span){ frame, chunks[i].stored_length },
		    &digest);
		memcpy(chunks[i].stored_digest, digest.bytes,
		    FB_STORED_DIGEST_LEN);
	}
	fb_pack_table_encode(&table, &text);
	fb_buf_add_le32(&pack, FB_PACK_MAGIC);
	fb_buf_add_le32(&pack, (uint32_t)text.len);
	fb_buf_add(&pack, text.data, text.len);
	fb_digest_of(fb_buf_span(&pack), ret_pack);
	fb_digest_of(fb_buf_span(&text), &text_digest);
	fb_pack_key(ret_pack, key);
	assert_ok(
	    fb_store_create(depot->repo->store, key, fb_buf_span(&pack), &err));
	fb_digest_hex(ret_pack, hex);
	fb_digest_hex(&text_digest, table_hex);
	fb_buf_add_fmt(&hints, "fleetbak-hints 1 %s\n%s %u %zu %s %zu\n",
	    session, hex, (unsigned)table.offset, text.len, table_hex,
	    table.count);
	for (size_t i = 0; i < table.count; i++)
		fb_buf_add(&hints, chunks[i].id.bytes, 8);
	poison_hints(depot, domain, fb_buf_span(&hints), session);
}

/* The table of a session's first pack, whose objects are then taken away: so
 * nothing but the poison says where these chunks are. */
static void
take_away(struct depot *depot, struct writer *writer, struct fb_table *table)
{
	struct fb_table_place place = { .pack = writer->packs.ids[0] };
	FB_AUTO_FREE char *hints = fb_format("hints/%s", writer->session.id);

	assert_ok(fb_table_fetch(depot->repo->store, &place, table, &err));
	assert_ok(fb_store_remove(depot->repo->store, hints, &err));
}

static bool
names(const struct writer *writer, const struct fb_digest *pack)
{
	return fb_id_list_has(&writer->packs, pack);
}

static void
poison_from_outside_the_domain_is_not_used(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(2 * MIB, 7);
	struct fb_cipher_key outside = { { 9 } };
	const struct fb_cipher_key *claims[] = { NULL, &outside };
	struct fb_copy_result first, again;
	struct fb_table table = { 0 };
	struct fb_digest recipe, pack;
	struct writer one, two;

	make_writer(&one, depot, S1, &first_domain);
	store_bytes(&one, bytes, 2 * MIB, &first, &recipe);
	take_away(depot, &one, &table);
	for (size_t i = 0; i < FB_COUNT(claims); i++) {
		FB_AUTO_FREE char *session =
		    fb_format("20261121-013205%03zu-3fa92c20", 200 + i);
		FB_AUTO_FREE char *hints = NULL;

		/* It signs with a key that we trust, and copies our tag. */
		poison(depot, &table.table, claims[i],
		    "20261121-013205126-3fa92c1a", &pack);
		make_writer(&two, depot, session, &first_domain);
		store_bytes(&two, bytes, 2 * MIB, &again, &recipe);
		assert_int_equal(again.new_bytes, first.new_bytes);
		assert_false(names(&two, &pack));
		assert_ok(
		    read_back(depot, &recovery_pem, &recipe, bytes, 2 * MIB));
		end_writer(&two);
		hints = fb_format("hints/%s", session);
		assert_ok(fb_store_remove(depot->repo->store, hints, &err));
	}
	fb_pack_table_release(&table.table);
	end_writer(&one);
}

/* Whoever has the domain's key and a trusted one is believed; the holder of
 * the private key sees it, and nobody else can. */
static void
poison_from_inside_is_used_and_found_with_the_key(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(2 * MIB, 7);
	struct fb_copy_result first, again;
	struct fb_table table = { 0 };
	struct fb_digest recipe, pack;
	struct writer one, two;
	uint64_t size;

	make_writer(&one, depot, S1, &first_domain);
	store_bytes(&one, bytes, 2 * MIB, &first, &recipe);
	take_away(depot, &one, &table);
	poison(depot, &table.table, &first_domain, S1, &pack);
	make_writer(&two, depot, S2, &first_domain);
	store_bytes(&two, bytes, 2 * MIB, &again, &recipe);
	assert_true(again.new_bytes < first.new_bytes);
	assert_true(names(&two, &pack));
	begin(depot, NULL, NULL);
	assert_ok(fb_pack_verify(depot->repo, &pack, false, &size, &err));
	begin(depot, NULL, &recovery_pem);
	assert_fails(
	    FB_ECORRUPT, fb_pack_verify(depot->repo, &pack, true, &size, &err));
	assert_fails(FB_ECORRUPT,
	    read_back(depot, &recovery_pem, &recipe, bytes, 2 * MIB));
	fb_pack_table_release(&table.table);
	end_writer(&one);
	end_writer(&two);
}

static bool
spool_has_key(const struct writer *writer, uint8_t key[FB_CIPHER_KEY_LEN])
{
	FB_AUTO_LISTING char **list = NULL;
	bool has = false;

	assert_ok(fb_io_list(writer->spool, &list, &err));
	for (char **name = list; *name != NULL; name++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/%s", writer->spool, *name);
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		if (strstr(*name, ".key") == NULL)
			continue;
		has = true;
		assert_ok(fb_io_read_file(path, 64, &bytes, &err));
		assert_int_equal(bytes.len, FB_CIPHER_KEY_LEN);
		memcpy(key, bytes.data, FB_CIPHER_KEY_LEN);
	}
	return has;
}

/* What a checkpoint keeps of the open pack goes on; the key that was on the
 * disk opens no pack that is stored. */
static void
a_run_that_was_cut_off_goes_on_with_another_key(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(8 * MIB, 9);
	struct fb_cipher_key spooled, none;
	struct fb_copy_result result;
	struct fb_copier *copier;
	struct fb_copy *copy;
	struct fb_digest recipe;
	struct writer writer;
	uint64_t offset;
	uint8_t id[FB_KEY_TAG_LEN];

	make_writer(&writer, depot, S1, &first_domain);
	copier = open_writer(&writer, NULL);
	assert_ok(fb_copy_begin(
	    copier, "a", "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, bytes, 2 * MIB, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_ok(fb_copier_checkpoint(copier, &err));
	assert_true(spool_has_key(&writer, spooled.bytes));
	assert_ok(fb_copy_begin(
	    copier, "v", "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, bytes + 2 * MIB, MIB, &err));
	fb_copy_abandon(copy);
	fb_copier_close(copier);

	copier = open_writer(&writer, writer.state);
	assert_ok(fb_copy_begin(
	    copier, "v", "disk", false, true, &copy, &offset, &err));
	assert_int_equal(offset, 0);
	assert_ok(fb_copy_data(copy, bytes, 8 * MIB, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_true(result.new_bytes < 7 * MIB);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "v", &recipe, &writer.packs, &err));
	fb_copier_close(copier);
	assert_false(spool_has_key(&writer, none.bytes));
	assert_ok(read_back(depot, &recovery_pem, &recipe, bytes, 8 * MIB));
	fb_pack_key_id(&spooled, id);
	for (size_t i = 0; i < writer.packs.count; i++) {
		struct fb_table_place place = { .pack = writer.packs.ids[i] };
		struct fb_table table = { 0 };

		assert_ok(
		    fb_table_fetch(depot->repo->store, &place, &table, &err));
		assert_memory_not_equal(id, table.table.key, sizeof(id));
		fb_pack_table_release(&table.table);
	}
	end_writer(&writer);
}

/* Keys come first: whatever is in the store can be opened. */
static void
no_pack_is_stored_before_its_key(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(8 * MIB, 9);
	FB_AUTO_LISTING char **list = NULL;
	FB_AUTO_FREE char *keys = object_path(depot, "keys");
	struct fb_copier *copier;
	struct fb_copy *copy;
	struct writer writer;
	uint64_t offset;
	int rc;

	make_writer(&writer, depot, S1, &first_domain);
	writer.stop_after = 1;
	copier = open_writer(&writer, NULL);
	assert_ok(fb_io_list(keys, &list, &err));
	assert_non_null(list[0]);
	assert_ok(fb_copy_begin(
	    copier, "v", "disk", false, false, &copy, &offset, &err));
	rc = fb_copy_data(copy, bytes, 8 * MIB, &err);
	fb_copy_abandon(copy);
	if (rc == FB_OK)
		rc = fb_copier_flush(copier, &err);
	assert_fails(FB_ENOSPACE, rc);
	fb_copier_close(copier);
	end_writer(&writer);
}

static void
rotation_opens_to_the_new_and_removal_shuts_out_the_old(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(4 * MIB, 7);
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	FB_AUTO_OPENER struct fb_opener *opener = NULL;
	FB_AUTO_BUF struct fb_buf fresh = { 0 };
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	struct fb_reseal_report report;
	struct fb_copy_result result;
	struct fb_digest recipe;
	struct writer writer;

	make_writer(&writer, depot, S1, &first_domain);
	store_bytes(&writer, bytes, 4 * MIB, &result, &recipe);
	assert_ok(fb_opener_generate(&fresh, &err));
	assert_ok(fb_opener_parse(fb_buf_span(&fresh), &opener, &err));
	fb_opener_certificate(opener, "fresh", &pem);
	assert_ok(fb_recipients_add(to, fb_buf_span(&pem), &err));

	begin(depot, NULL, NULL);
	assert_fails(FB_EKEY,
	    fb_vault_reseal(depot->repo->vault, to, false, &report, &err));
	begin(depot, NULL, &recovery_pem);
	assert_ok(
	    fb_vault_reseal(depot->repo->vault, to, false, &report, &err));
	assert_int_equal(report.sessions, 1);
	assert_int_equal(report.removed, 0);
	assert_ok(read_back(depot, &recovery_pem, &recipe, bytes, 4 * MIB));
	assert_ok(read_back(depot, &fresh, &recipe, bytes, 4 * MIB));

	begin(depot, NULL, &fresh);
	assert_ok(fb_vault_reseal(depot->repo->vault, to, true, &report, &err));
	assert_ok(read_back(depot, &fresh, &recipe, bytes, 4 * MIB));
	begin(depot, NULL, &recovery_pem);
	assert_ok(fb_vault_reseal(depot->repo->vault, to, true, &report, &err));
	assert_fails(
	    FB_EKEY, read_back(depot, &recovery_pem, &recipe, bytes, 4 * MIB));
	assert_ok(read_back(depot, &fresh, &recipe, bytes, 4 * MIB));
	end_writer(&writer);
}

/* Whoever can write to the store cannot make another key be taken. */
static void
planted_keys_are_passed_over(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(2 * MIB, 7);
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	struct fb_pack_key_entry entry;
	struct fb_pack_keys keys = {
		.session = S1, .domain = { { 5 } }, .items = &entry, .count = 1
	};
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf envelope = { 0 };
	struct fb_copy_result result;
	struct fb_table table = { 0 };
	struct fb_table_place place;
	struct fb_digest recipe;
	struct writer writer;

	make_writer(&writer, depot, S1, &first_domain);
	store_bytes(&writer, bytes, 2 * MIB, &result, &recipe);
	place = (struct fb_table_place){ .pack = writer.packs.ids[0] };
	assert_ok(fb_table_fetch(depot->repo->store, &place, &table, &err));
	memcpy(entry.id, table.table.key, sizeof(entry.id));
	fb_random(entry.key.bytes, sizeof(entry.key.bytes));
	assert_ok(fb_recipients_add(to, fb_buf_span(&certificate), &err));
	fb_pack_keys_encode(&keys, &text);
	assert_ok(fb_envelope_seal(to, fb_buf_span(&text), &envelope, &err));
	write_object(depot, "keys/" S1 ".7.cms", fb_buf_span(&envelope));
	/* And one with its right id, and another domain. */
	fb_buf_clear(&text);
	fb_buf_clear(&envelope);
	fb_pack_key_id(&entry.key, entry.id);
	fb_pack_keys_encode(&keys, &text);
	assert_ok(fb_envelope_seal(to, fb_buf_span(&text), &envelope, &err));
	write_object(depot, "keys/" S1 ".8.cms", fb_buf_span(&envelope));
	write_object(depot, "keys/" S1 ".9.cms", SPAN("no envelope"));
	assert_ok(read_back(depot, &recovery_pem, &recipe, bytes, 2 * MIB));
	fb_pack_table_release(&table.table);
	end_writer(&writer);
}

static void
a_writer_without_recipients_writes_nothing(void **state)
{
	struct depot *depot = *state;
	struct fb_keyring *ring;

	begin(depot, NULL, &recovery_pem);
	assert_fails(
	    FB_EKEY, fb_keyring_open(depot->repo->vault, S1, &ring, &err));
	assert_string_equal(err.id, "E-ENCRYPT-TO");
}

#define IN(test) \
	cmocka_unit_test_setup_teardown(test, make_encrypted, remove_depot)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN(what_is_stored_comes_back_with_the_key_alone),
		IN(packs_are_checked_without_a_key_and_show_nothing),
		IN(the_same_is_stored_once_in_a_domain_and_again_in_another),
		IN(poison_from_outside_the_domain_is_not_used),
		IN(poison_from_inside_is_used_and_found_with_the_key),
		IN(a_run_that_was_cut_off_goes_on_with_another_key),
		IN(no_pack_is_stored_before_its_key),
		IN(rotation_opens_to_the_new_and_removal_shuts_out_the_old),
		IN(planted_keys_are_passed_over),
		IN(a_writer_without_recipients_writes_nothing),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	fb_buf_release(&recovery_pem);
	fb_buf_release(&certificate);
	return failed;
}
