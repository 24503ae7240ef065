#include <pthread.h>
#include <stdlib.h>

#include "test.h"

#include "../../src/crypto/lanes.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#define BYTES_LEN (4u << 20)
#define COUNT_MAX 300

/* Around a block of 64 bytes, around its padding, around a piece. */
static const size_t lengths[] = { 0, 1, 2, 54, 55, 56, 57, 63, 64, 65, 119,
	120, 127, 128, 129, 1000, 8127, 8128, 8183, 8184, 8191, 8192, 8193,
	16383, 16384, 16385, 80001, 262144 };

#define LENGTH_COUNT (sizeof(lengths) / sizeof(lengths[0]))

static uint8_t *bytes;

static int
make_bytes(void **state)
{
	uint32_t x = 1;

	(void)state;
	bytes = fb_alloc(BYTES_LEN, 1);
	for (size_t i = 0; i < BYTES_LEN; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24);
	}
	return 0;
}

static int
free_bytes(void **state)
{
	(void)state;
	free(bytes);
	return 0;
}

/* The definition. */
static struct fb_digest
by_hand(struct fb_span message)
{
	FB_AUTO_BUF struct fb_buf digests = { 0 };
	struct fb_digest digest;

	for (size_t at = 0; at < message.len; at += FB_PIECE_LEN) {
		size_t len = message.len - at;

		if (len > FB_PIECE_LEN)
			len = FB_PIECE_LEN;
		fb_digest_of(
		    (struct fb_span){ message.ptr + at, len }, &digest);
		fb_buf_add(&digests, digest.bytes, FB_DIGEST_LEN);
	}
	fb_digest_of(fb_buf_span(&digests), &digest);
	return digest;
}

static void
check_jobs(struct fb_digest_job *jobs, size_t count)
{
	fb_digest_pieces_many(jobs, count);
	for (size_t i = 0; i < count; i++) {
		struct fb_digest expected = by_hand(jobs[i].bytes);

		assert_int_equal(fb_digest_cmp(&expected, &jobs[i].digest), 0);
	}
}

static void
any_number_of_messages_of_any_length(void **state)
{
	struct fb_digest_job jobs[70];

	(void)state;
	for (size_t count = 0; count <= 70; count++) {
		for (size_t i = 0; i < count; i++)
			jobs[i].bytes = (struct fb_span){ bytes + i * 13,
				lengths[(i * 11 + count) % LENGTH_COUNT] };
		check_jobs(jobs, count);
	}
}

static void
one_message_of_each_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_COUNT; i++) {
		struct fb_span message = { bytes + i, lengths[i] };
		struct fb_digest digest, expected = by_hand(message);

		fb_digest_pieces(message, &digest);
		assert_int_equal(fb_digest_cmp(&expected, &digest), 0);
	}
}

/* What the man page says that stock tools print. */
static void
known_answers(void **state)
{
	char hex[FB_DIGEST_HEX_SIZE];
	uint8_t *zeros = fb_alloc(20000, 1);
	struct fb_digest digest;

	(void)state;
	fb_digest_pieces(SPAN("hello, world\n"), &digest);
	fb_digest_hex(&digest, hex);
	assert_string_equal(hex,
	    "74743aec8fc3daf7bffe600cdf6848cdd1105671c273733f544caba63dfcba92");
	fb_digest_pieces((struct fb_span){ zeros, 20000 }, &digest);
	fb_digest_hex(&digest, hex);
	assert_string_equal(hex,
	    "9cf1e362b1ba0409e48e1bfcc17c243ff333534e8ece8d2e043e08ab2b6b286f");
	free(zeros);
}

/* Lanes that are there hash what they are given, also when its lengths have
 * nothing in common. */
static void
lanes_agree_with_one_stream(void **state)
{
	static const size_t counts[] = { 1, 2, 3, 7, 8, 15, 16, 17, 31, 33,
		COUNT_MAX };
	struct fb_lane_message messages[COUNT_MAX];
	struct fb_digest digests[COUNT_MAX], expected;

	(void)state;
	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		for (size_t i = 0; i < counts[c]; i++)
			messages[i] = (struct fb_lane_message){
				bytes + i * 3, FB_LANE_MESSAGE_MAX - i * 211,
				digests[i].bytes
			};
		if (!fb_lanes_hash(messages, counts[c]))
			continue;
		for (size_t i = 0; i < counts[c]; i++) {
			fb_digest_of((struct fb_span){ messages[i].bytes,
			                 messages[i].len },
			    &expected);
			assert_int_equal(
			    fb_digest_cmp(&expected, &digests[i]), 0);
		}
	}
}

static void
one_message_is_no_work_for_lanes(void **state)
{
	struct fb_digest digest;
	struct fb_lane_message one = { bytes, 1000, digest.bytes };

	(void)state;
	assert_false(fb_lanes_hash(&one, 1));
	assert_false(fb_lanes_hash(&one, 0));
}

static void *
hash_in_thread(void *arg)
{
	struct fb_digest_job jobs[40];

	(void)arg;
	for (size_t round = 0; round < 20; round++) {
		for (size_t i = 0; i < 40; i++)
			jobs[i].bytes = (struct fb_span){ bytes + round * 77,
				i * 499 };
		check_jobs(jobs, 40);
	}
	return NULL;
}

static void
threads_have_lanes_of_their_own(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
		                     hash_in_thread, NULL),
		    0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_number_of_messages_of_any_length),
		cmocka_unit_test(one_message_of_each_length),
		cmocka_unit_test(known_answers),
		cmocka_unit_test(lanes_agree_with_one_stream),
		cmocka_unit_test(one_message_is_no_work_for_lanes),
		cmocka_unit_test(threads_have_lanes_of_their_own),
	};

	return cmocka_run_group_tests_name(
	    "digest_many", tests, make_bytes, free_bytes);
}
