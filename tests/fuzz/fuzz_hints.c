/* Hints: what is visited is, encoded again, what was read. */
#include <inttypes.h>

#include "../../src/repo/packer.h"
#include "fuzz.h"

#define SESSION "20261121-013205123-3fa92c17"

struct reading {
	struct fb_span bytes;
	struct fb_buf again;
	struct fb_pack_table table; /* of the pack that is being visited */
	struct fb_hint_pack pack;
	bool any;
};

static int
read_span(void *arg, uint64_t offset, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err)
{
	const struct reading *reading = arg;
	size_t left = offset < reading->bytes.len
	    ? reading->bytes.len - (size_t)offset
	    : 0;

	(void)err;
	*ret_len = left < len ? left : len;
	if (*ret_len > 0)
		memcpy(bytes, reading->bytes.ptr + offset, *ret_len);
	return FB_OK;
}

static void
end_pack(struct reading *reading)
{
	if (reading->any)
		fb_hints_add_pack(
		    &reading->again, &reading->pack, &reading->table);
	fb_freep(&reading->table.chunks);
	reading->table.count = 0;
	reading->any = false;
}

static int
visit_pack(void *arg, const struct fb_hint_pack *pack)
{
	struct reading *reading = arg;

	end_pack(reading);
	must(pack->count <= FB_PACK_CHUNKS_MAX &&
	    pack->table_offset <= FB_PACK_SIZE_MAX &&
	    pack->table_length <= FB_PACK_TABLE_MAX);
	reading->pack = *pack;
	reading->any = true;
	return 0;
}

static bool
visit_chunk(void *arg, uint32_t chunk, uint64_t prefix)
{
	struct reading *reading = arg;
	struct fb_pack_table *table = &reading->table;
	struct fb_pack_chunk *item;

	must(chunk == table->count && chunk < reading->pack.count);
	table->chunks = fb_realloc(
	    table->chunks, table->count + 1, sizeof(*table->chunks));
	item = &table->chunks[table->count++];
	memset(item, 0, sizeof(*item));
	for (unsigned i = 0; i < 8; i++)
		item->id.bytes[i] = (uint8_t)(prefix >> (8 * i));
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading reading = { .bytes = { data, size } };
	struct fb_hint_source source = { read_span, &reading };
	struct fb_hint_visitor visitor = { visit_pack, visit_chunk, &reading };

	fb_hints_add_head(&reading.again, SESSION);
	fb_hints_read(&source, SESSION, &visitor);
	end_pack(&reading);
	if (reading.again.len > sizeof("fleetbak-hints 1 " SESSION)) {
		must(reading.again.len <= size);
		must(memcmp(reading.again.data, data, reading.again.len) == 0);
	}
	fb_buf_release(&reading.again);
	return 0;
}
