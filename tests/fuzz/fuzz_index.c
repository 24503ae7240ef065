/* The files of the index: their list, which decodes again to what it encodes;
 * and segments, as they are, and with a digest that fits: whatever they say,
 * no look-up and no merge leaves what is there. */
#include "../../src/repo/index_files.h"
#include "../../src/repo/segment_impl.h"
#include "fuzz.h"

static void
try_list(struct fb_span text)
{
	FB_AUTO_BUF struct fb_buf first = { 0 };
	FB_AUTO_BUF struct fb_buf second = { 0 };
	struct fb_index_list list, again;
	struct fb_error err;

	if (fb_index_list_decode(text, &list, &err) < 0)
		return;
	fb_index_list_encode(&list, &first);
	must(fb_index_list_decode(fb_buf_span(&first), &again, &err) == FB_OK);
	fb_index_list_encode(&again, &second);
	must(first.len == second.len &&
	    memcmp(first.data, second.data, first.len) == 0);
	fb_index_list_release(&list);
	fb_index_list_release(&again);
}

/* The digest that the bytes ought to have, put into its place. */
static void
mend_digest(struct fb_buf *bytes)
{
	struct fb_digester *parts[SEGMENT_PARTS];
	struct fb_segment_shape shape;
	struct fb_digest digest;
	uint64_t ends[SEGMENT_PARTS + 1];

	if (bytes->len < SEGMENT_HEAD_LEN ||
	    !fb_segment_head_decode(bytes->data, &shape) ||
	    bytes->len < fb_segment_entries_at(&shape))
		return;
	ends[0] = SEGMENT_HEAD_LEN;
	ends[1] = fb_segment_fences_at(&shape);
	ends[2] = fb_segment_filter_at(&shape);
	ends[3] = fb_segment_digest_at(&shape);
	for (size_t i = 0; i < SEGMENT_PARTS; i++) {
		parts[i] = fb_digester_new();
		fb_digester_add(parts[i],
		    (struct fb_span){ bytes->data + ends[i],
		        (size_t)(ends[i + 1] - ends[i]) });
	}
	fb_segment_seal(&shape, parts, &digest);
	for (size_t i = 0; i < SEGMENT_PARTS; i++)
		fb_digester_free(parts[i]);
	memcpy(bytes->data + ends[3], digest.bytes, FB_DIGEST_LEN);
}

static void
try_segment(struct fb_span bytes)
{
	FB_AUTO_FREE char *path = fb_format("%s/index", scratch_dir());
	FB_AUTO_FREE char *merged = fb_format("%s/merged", scratch_dir());
	struct fb_segment *segment, *twice[2];
	struct fb_index_entry entry;
	struct fb_hint_pack pack;
	struct fb_error err;
	bool found;

	put_file(path, bytes);
	if (fb_segment_open(path, 1u << 20, &segment, &err) < 0)
		return;
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t prefix = i * UINT64_C(0x0410410410410410);

		if (bytes.len >= 16 * (i + 1))
			memcpy(&prefix, bytes.ptr + bytes.len - 16 * (i + 1),
			    8);
		if (fb_segment_find(
		        segment, prefix, &entry, &found, &err) == FB_OK &&
		    found)
			must(fb_segment_pack(
			         segment, entry.pack, &pack, &err) == FB_OK);
	}
	twice[0] = twice[1] = segment;
	if (fb_segment_merge(twice, 2, merged, false, &err) == FB_OK) {
		struct fb_segment *again;

		must(fb_segment_open(merged, 0, &again, &err) == FB_OK);
		must(fb_segment_count(again) <= fb_segment_count(segment));
		fb_segment_close(again);
	}
	fb_segment_close(segment);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_BUF struct fb_buf mended = { 0 };

	try_list((struct fb_span){ data, size });
	try_segment((struct fb_span){ data, size });
	fb_buf_add(&mended, data, size);
	mend_digest(&mended);
	try_segment(fb_buf_span(&mended));
	return 0;
}
