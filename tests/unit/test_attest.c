/* Attestations: who says it, of which pack, for whom. */
#include "test.h"

#include "../../src/repo/attested.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

#define CHUNKS 3

struct world {
	struct fb_repo repo;
	struct fb_trust trust;
	struct fb_sign_key *verifier, *stranger;
	struct fb_pack_chunk chunks[CHUNKS];
	struct fb_table table;
	uint8_t tag[FB_KEY_TAG_LEN];
	struct fb_digest ids[CHUNKS];
	struct fb_attestation good;
};

static struct fb_sign_key *
new_key(struct fb_verify_key **ret_public)
{
	FB_AUTO_BUF struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	struct fb_sign_key *key;

	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_ok(fb_sign_key_parse(fb_buf_span(&private_pem), &key, &err));
	if (ret_public != NULL)
		assert_ok(fb_verify_key_parse(
		    fb_buf_span(&public_pem), ret_public, &err));
	return key;
}

static int
begin(void **state)
{
	struct world *world = fb_alloc(1, sizeof(*world));
	struct fb_verify_key *public;

	world->verifier = new_key(&public);
	world->stranger = new_key(NULL);
	fb_trust_add(&world->trust, public);
	memset(world->repo.format.repository, 'a', 32);
	memset(world->tag, 7, sizeof(world->tag));
	world->table.pack.bytes[0] = 1;
	world->table.digest.bytes[0] = 2;
	world->table.length = 100;
	world->table.table.offset = 4000;
	world->table.table.chunks = world->chunks;
	world->table.table.count = CHUNKS;
	for (uint8_t i = 0; i < CHUNKS; i++)
		world->ids[i].bytes[5] = i;
	world->good = (struct fb_attestation){ .pack = world->table.pack,
		.table = world->table.digest, .offset = 4000, .length = 100,
		.ids = world->ids, .count = CHUNKS };
	memcpy(world->good.repository, world->repo.format.repository, 33);
	memcpy(world->good.domain, world->tag, sizeof(world->tag));
	*state = world;
	return 0;
}

static int
end(void **state)
{
	struct world *world = *state;

	fb_sign_key_free(world->verifier);
	fb_sign_key_free(world->stranger);
	fb_trust_release(&world->trust);
	fb_freep(&world);
	return 0;
}

static void
sign(struct fb_attestation *attestation, const struct fb_sign_key *key,
    struct fb_buf *text)
{
	fb_buf_clear(text);
	fb_attestation_encode_signed(attestation, text);
	assert_ok(
	    fb_sign(key, fb_buf_span(text), attestation->signature, &err));
	fb_attestation_encode_signature(attestation, text);
}

static int
check(const struct world *world, const struct fb_buf *text)
{
	FB_AUTO_ATTESTATION struct fb_attestation found = { 0 };
	int rc = fb_attestation_check(&world->repo, &world->trust,
	    &world->table, world->tag, fb_buf_span(text), &found, &err);

	if (rc < 0) {
		assert_string_equal(err.id, "E-ATTEST");
		return rc;
	}
	assert_int_equal(found.count, CHUNKS);
	assert_memory_equal(found.ids, world->ids, sizeof(world->ids));
	return rc;
}

static void
what_a_trusted_verifier_says_counts(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	sign(&world->good, world->verifier, &text);
	assert_ok(check(world, &text));
	sign(&world->good, world->stranger, &text);
	assert_fails(FB_EUNTRUSTED, check(world, &text));
}

static void
it_counts_for_one_pack_one_domain_and_one_repository(void **state)
{
	struct world *world = *state;
	struct fb_attestation others[7];
	FB_AUTO_BUF struct fb_buf text = { 0 };

	for (size_t i = 0; i < FB_COUNT(others); i++)
		others[i] = world->good;
	others[0].repository[3] = 'b';
	others[1].domain[3]++;
	others[2].pack.bytes[3]++;
	others[3].table.bytes[3]++;
	others[4].offset++;
	others[5].length++;
	others[6].count--;
	for (size_t i = 0; i < FB_COUNT(others); i++) {
		sign(&others[i], world->verifier, &text);
		assert_fails(FB_EUNTRUSTED, check(world, &text));
	}
}

static void
no_byte_of_it_can_be_changed(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	sign(&world->good, world->verifier, &text);
	for (size_t i = 0; i < text.len; i++) {
		text.data[i] ^= 1;
		assert_true(check(world, &text) < 0);
		text.data[i] ^= 1;
	}
	for (text.len--; text.len > 0; text.len -= text.len < 7 ? text.len : 7)
		assert_true(check(world, &text) < 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    what_a_trusted_verifier_says_counts, begin, end),
		cmocka_unit_test_setup_teardown(
		    it_counts_for_one_pack_one_domain_and_one_repository, begin,
		    end),
		cmocka_unit_test_setup_teardown(
		    no_byte_of_it_can_be_changed, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
