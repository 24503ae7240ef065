#include "test.h"

#include "fleetbak/base/text.h"

static struct fb_error err;

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

static void
a_number_is_plain_digits_within_its_limit(void **state)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "01",
		"00", "1.0", "0x1", "11", "18446744073709551616",
		"99999999999999999999999" };
	uint64_t value;

	(void)state;
	assert_ok(fb_text_u64(span_of("0"), 10, &value, &err));
	assert_int_equal(value, 0);
	assert_ok(fb_text_u64(span_of("10"), 10, &value, &err));
	assert_int_equal(value, 10);
	assert_ok(fb_text_u64(
	    span_of("18446744073709551615"), UINT64_MAX, &value, &err));
	assert_true(value == UINT64_MAX);
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_fails(
		    FB_ECONFIG, fb_text_u64(span_of(bad[i]), 10, &value, &err));
}

static void
a_size_is_a_number_and_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "512", 512 },
		{ "512B", 512 },
		{ "64KiB", 65536 },
		{ "1.5GiB", 1610612736 },
		{ "10MB", 10000000 },
		{ "1.1kB", 1100 },
		{ "0.001KiB", 1 },
		{ "16383PiB", UINT64_C(16383) << 50 },
		{ "15.999999EiB", UINT64_C(18446742920788047009) },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++) {
		uint64_t bytes;

		assert_ok(fb_text_size(good[i].text, &bytes, &err));
		assert_true(bytes == good[i].bytes);
	}
}

static void
an_unclear_size_is_refused(void **state)
{
	static const char *const bad[] = { "", "K", "1K", "1G", "1m", "1.5",
		"1.5B", "1.KiB", ".5KiB", "1.0000001MiB", "-1KiB", "1 KiB",
		"1KIB", "1kib", "1Kib", "16EiB", "16384PiB", "01KiB", "1e3",
		"99999999999999999999", "1KiBx", "1Mb" };
	uint64_t bytes = 42;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, fb_text_size(bad[i], &bytes, &err));
		assert_true(err.hint[0] != '\0');
	}
	assert_int_equal(bytes, 42);
}

static void
a_rate_is_so_much_a_second(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = { { "20MiB/s", UINT64_C(20) << 20 },
		{ "1.5kB/s", 1500 }, { "10B/s", 10 },
		{ "160Mbit/s", 20000000 }, { "1Gbit/s", 125000000 },
		{ "8bit/s", 1 }, { "1.5kbit/s", 187 } };
	static const char *const bad[] = { "", "/s", "s", "20", "20/s",
		"20MiB", "20MiB/min", "20M/s", "20Mb/s", "20 MiB/s", "bit/s",
		"7bit/s", "0MiB/s", "20MiBbit/s", "-1MiB/s", "1MiB/s/s",
		"1MiB/S", "17EiB/s",
		"1000000000000000000000000000000000000000000000MiB/s" };
	uint64_t bytes = 42;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++) {
		assert_ok(fb_text_rate(good[i].text, &bytes, &err));
		assert_int_equal(bytes, good[i].bytes);
	}
	bytes = 42;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, fb_text_rate(bad[i], &bytes, &err));
		assert_true(err.hint[0] != '\0');
	}
	assert_int_equal(bytes, 42);
}

static void
a_span_is_a_number_and_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = { { "0s", 0 }, { "250ms", 250 }, { "30s", 30000 },
		{ "5min", 300000 }, { "26h", 93600000 }, { "7d", 604800000 },
		{ "2w", 1209600000 }, { "1mo", 2592000000 },
		{ "1y", 31536000000 } };
	static const char *const bad[] = { "", "30", "5m", "h", "1.5h", "-1s",
		"1 s", "1S", "1sec", "01s", "1h30min", "18446744073709551615s",
		"99999999999999999999ms" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++) {
		uint64_t ms;

		assert_ok(fb_text_span(good[i].text, &ms, &err));
		assert_true(ms == good[i].ms);
	}
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		uint64_t ms;

		assert_fails(FB_ECONFIG, fb_text_span(bad[i], &ms, &err));
		assert_true(err.hint[0] != '\0');
	}
}

static void
sizes_are_shown_with_three_digits(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.00 KiB" },
		{ 1536, "1.50 KiB" },
		{ 10234, "9.99 KiB" },
		{ 10236, "10.0 KiB" },
		{ 102348, "99.9 KiB" },
		{ 102350, "100 KiB" },
		{ 1023 * 1024, "1023 KiB" },
		{ 1023 * 1024 + 600, "1.00 MiB" },
		{ 1610612736, "1.50 GiB" },
		{ UINT64_C(1) << 54, "16.0 PiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		fb_text_add_size(&text, cases[i].bytes);
		assert_string_equal(fb_buf_str(&text), cases[i].text);
	}
}

static void
spans_are_shown_with_two_units(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = { { 0, "0 ms" }, { 999, "999 ms" }, { 1000, "1 s" },
		{ 4270, "4.2 s" }, { 9999, "9.9 s" }, { 59999, "59 s" },
		{ 60000, "1 min" }, { 267000, "4 min 27 s" },
		{ 3600000, "1 h" }, { 11100000, "3 h 5 min" },
		{ 187200000, "2 d 4 h" },
		{ UINT64_MAX, "213503982334 d 14 h" } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		fb_text_add_span(&text, cases[i].ms);
		assert_string_equal(fb_buf_str(&text), cases[i].text);
	}
}

static void
any_byte_survives_the_escape(void **state)
{
	uint8_t all[256];
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf back = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	fb_text_add_escaped(&text, (struct fb_span){ all, sizeof(all) });
	for (size_t i = 0; i < text.len; i++)
		assert_true(text.data[i] > ' ' && text.data[i] < 0x7f);
	assert_ok(fb_text_unescape(fb_buf_span(&text), &back, &err));
	assert_int_equal(back.len, sizeof(all));
	assert_memory_equal(back.data, all, sizeof(all));
}

static void
only_what_escape_writes_is_unescaped(void **state)
{
	static const char *const bad[] = { "%", "%0", "%0A", "%41", "%g0",
		"a b", "\"", "\n", "\x7f", "\xff", "x%2", "%%" };
	FB_AUTO_BUF struct fb_buf back = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_fails(FB_ECORRUPT,
		    fb_text_unescape(span_of(bad[i]), &back, &err));
	fb_buf_clear(&back);
	assert_ok(fb_text_unescape(span_of("a%0a%25"), &back, &err));
	assert_string_equal(fb_buf_str(&back), "a\n%");
}

static void
an_amount_has_a_point_and_few_digits(void **state)
{
	static const struct {
		const char *text;
		uint64_t billionths;
	} good[] = { { "0", 0 }, { "0.005", 5000000 }, { "12", 12000000000 },
		{ "1.000000001", 1000000001 },
		{ "1000000", UINT64_C(1000000000000000) } };
	static const char *const bad[] = { "", ".5", "1.", "01", "-1", "1,5",
		"1.0000000001", "1000001", "1e3", "0.5 USD", "1.5.5" };
	uint64_t amount;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++) {
		assert_ok(fb_text_amount(good[i].text, &amount, &err));
		assert_true(amount == good[i].billionths);
	}
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_fails(
		    FB_ECONFIG, fb_text_amount(bad[i], &amount, &err));
}

static void
hex_has_one_form(void **state)
{
	static const char *const bad[] = { "", "00ff1", "00ff1g", "00FF10",
		"00ff1000", " 0ff10" };
	uint8_t bytes[3] = { 0, 0xff, 0x10 };
	char text[7];

	(void)state;
	fb_text_hex(bytes, sizeof(bytes), text);
	assert_string_equal(text, "00ff10");
	memset(bytes, 7, sizeof(bytes));
	assert_ok(fb_text_unhex(span_of(text), bytes, sizeof(bytes), &err));
	assert_memory_equal(bytes, "\x00\xff\x10", 3);
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_fails(FB_ECORRUPT,
		    fb_text_unhex(span_of(bad[i]), bytes, sizeof(bytes), &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_plain_digits_within_its_limit),
		cmocka_unit_test(a_size_is_a_number_and_a_unit),
		cmocka_unit_test(an_unclear_size_is_refused),
		cmocka_unit_test(a_rate_is_so_much_a_second),
		cmocka_unit_test(a_span_is_a_number_and_a_unit),
		cmocka_unit_test(sizes_are_shown_with_three_digits),
		cmocka_unit_test(spans_are_shown_with_two_units),
		cmocka_unit_test(any_byte_survives_the_escape),
		cmocka_unit_test(only_what_escape_writes_is_unescaped),
		cmocka_unit_test(an_amount_has_a_point_and_few_digits),
		cmocka_unit_test(hex_has_one_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
