/* Maps of a restore in a file are what the words of --map are. */
#include "test.h"

#include <string.h>

#include "fleetbak/format/maps.h"

static struct fb_error err;

static int
read_maps(const char *yaml, char ***ret_maps)
{
	return fb_maps_read(
	    (struct fb_span){ (const uint8_t *)yaml, strlen(yaml) }, "f.yaml",
	    ret_maps, &err);
}

static void
a_file_is_the_words_of_an_option(void **state)
{
	static const char *const wanted[] = { "network:a net=br lan",
		"network:*=other", "disk:vda=fast $pool/", "disk:vdb=/a=b:c" };
	FB_AUTO_MAPS char **maps = NULL;

	(void)state;
	assert_int_equal(FB_OK,
	    read_maps("network: {a net: br lan, \"*\": other}\n"
	              "disk:\n"
	              "  vda: fast $pool/\n"
	              "  vdb: \"/a=b:c\"\n",
	        &maps));
	for (size_t i = 0; i < FB_COUNT(wanted); i++)
		assert_string_equal(wanted[i], maps[i]);
	assert_null(maps[FB_COUNT(wanted)]);
}

static void
what_is_no_map_is_refused_where_it_stands(void **state)
{
	static const struct {
		const char *yaml, *says;
	} bad[] = {
		{ "[a]\n", "f.yaml:1:1: " },
		{ "disk: {vda: /a}\ndisks: {vda: /b}\n", "f.yaml:2:1: " },
		{ "disk: /a\n", "f.yaml:1:7: " },
		{ "disk: {vda: [/a]}\n", "f.yaml:1:13: " },
		{ "disk: {vda: \"\"}\n", "f.yaml:1:8: " },
		{ "disk: {\"\": /a}\n", "f.yaml:1:8: " },
		{ "pool: {a=b: c}\n", "f.yaml:1:8: " },
		{ "disk: {vda: /a, vda: /b}\n", "f.yaml:1:17: " },
		{ "disk: {vda: &a /a}\n", "f.yaml:1:13: " },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		FB_AUTO_MAPS char **maps = NULL;

		assert_fails(FB_ECONFIG, read_maps(bad[i].yaml, &maps));
		assert_null(maps);
		if (strstr(err.msg, bad[i].says) == NULL)
			fail_msg("%s: %s", bad[i].yaml, err.msg);
	}
}

static void
a_map_has_a_length(void **state)
{
	FB_AUTO_BUF struct fb_buf yaml = { 0 };
	FB_AUTO_MAPS char **maps = NULL;

	(void)state;
	fb_buf_add_str(&yaml, "disk: {vda: /");
	for (size_t i = 0; i < FB_MAP_BYTES_MAX; i++)
		fb_buf_add_str(&yaml, "a");
	fb_buf_add_str(&yaml, "}\n");
	assert_fails(FB_ECONFIG, read_maps(fb_buf_str(&yaml), &maps));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_the_words_of_an_option),
		cmocka_unit_test(what_is_no_map_is_refused_where_it_stands),
		cmocka_unit_test(a_map_has_a_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
