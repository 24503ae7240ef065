/*
 * Recipes and packs, read: whatever they say, what comes out is contiguous,
 * inside the volume, and each piece is what its id names.  Lines:
 *
 *	z SIZE               the volume's size
 *	c TEXT               a chunk, well made
 *	b LENGTH             a chunk of zeros, well made
 *	f LENGTH HEX         a frame of any bytes that claims a length
 *	r O L P PO PL F N    a run of the recipe
 *	R O F N              the same of N chunks from F on, as they are
 *
 * Digests are right, so that what they guard is reached.
 */
#include <inttypes.h>
#include <zstd.h>

#include "../../src/repo/tables.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest_many.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/volume.h"
#include "fuzz.h"

#define SESSION    "20261121-013205123-3fa92c17"
#define CHUNKS_MAX 16

struct world {
	struct fb_repo repo;
	struct fb_pack_chunk chunks[CHUNKS_MAX];
	struct fb_pack_table table;
	struct fb_buf pack, runs;
	uint64_t run_count, size;
	struct fb_digest recipe;
};

static void
add_frame(struct world *world, struct fb_span frame, uint64_t length,
    const struct fb_digest *id)
{
	struct fb_pack_chunk *chunk = &world->chunks[world->table.count];
	struct fb_digest digest;

	if (world->table.count == CHUNKS_MAX || frame.len == 0)
		return;
	fb_digest_pieces(frame, &digest);
	chunk->id = *id;
	memcpy(chunk->stored_digest, digest.bytes, FB_STORED_DIGEST_LEN);
	chunk->offset = (uint32_t)world->table.offset;
	chunk->stored_length = (uint32_t)frame.len;
	chunk->length = (uint32_t)length;
	world->table.offset += frame.len;
	world->table.count++;
	fb_buf_add(&world->pack, frame.ptr, frame.len);
}

static void
add_content(struct world *world, struct fb_span content)
{
	FB_AUTO_BUF struct fb_buf frame = { 0 };
	size_t room = ZSTD_compressBound(content.len);
	struct fb_digest id;

	fb_digest_pieces(content, &id);
	frame.len = ZSTD_compress(fb_buf_reserve(&frame, room), room,
	    content.ptr, content.len, 1);
	must(!ZSTD_isError(frame.len));
	add_frame(world, fb_buf_span(&frame), content.len, &id);
}

static void
add_zeros(struct world *world, uint64_t length)
{
	FB_AUTO_FREE uint8_t *zeros = fb_alloc(2 * FB_CHUNK_MAX, 1);

	if (length <= (uint64_t)2 * FB_CHUNK_MAX)
		add_content(
		    world, (struct fb_span){ zeros, (size_t)length });
}

/* "LENGTH HEX"; its id is that of what it opens to. */
static void
add_raw(struct world *world, const char *text)
{
	FB_AUTO_FREE uint8_t *frame = fb_alloc(strlen(text) + 1, 1);
	FB_AUTO_FREE uint8_t *content = NULL;
	uint64_t length = 0;
	struct fb_error ignored;
	struct fb_digest id;
	size_t digits, len;
	int used = 0;

	if (sscanf(text, "%10" SCNu64 " %n", &length, &used) != 1 ||
	    used == 0)
		return;
	digits = strspn(text + used, "0123456789abcdef");
	if (fb_text_unhex((struct fb_span){ (const uint8_t *)text + used,
	                      digits / 2 * 2 },
	        frame, digits / 2, &ignored) < 0)
		return;
	content = fb_alloc(FB_CHUNK_MAX, 1);
	len = ZSTD_decompress(content, FB_CHUNK_MAX, frame, digits / 2);
	if (ZSTD_isError(len))
		len = 0;
	fb_digest_pieces((struct fb_span){ content, len }, &id);
	add_frame(
	    world, (struct fb_span){ frame, digits / 2 }, length, &id);
}

static void
add_run(struct world *world, const char *text)
{
	struct fb_recipe_run run = { 0 };

	if (sscanf(text, "%20" SCNu64 " %9" SCNu32 " %9" SCNu32, &run.offset,
	        &run.first, &run.count) != 3 ||
	    run.first >= world->table.count)
		return;
	run.pack_offset = world->chunks[run.first].offset;
	for (uint32_t i = 0; i < run.count; i++) {
		if (run.first + i >= world->table.count)
			break;
		run.pack_length += world->chunks[run.first + i].stored_length;
		run.length += world->chunks[run.first + i].length;
	}
	fb_recipe_add_run(&world->runs, &run);
	world->run_count++;
}

static void
add_line(struct world *world, struct fb_span line)
{
	FB_AUTO_FREE char *text = NULL;

	if (line.len < 2 || line.ptr[1] != ' ')
		return;
	text = fb_alloc(line.len, 1);
	memcpy(text, line.ptr + 2, line.len - 2);
	switch (line.ptr[0]) {
	case 'z':
		world->size = strtoull(text, NULL, 10);
		break;
	case 'c':
		add_content(world, (struct fb_span){ line.ptr + 2,
		                       line.len - 2 });
		break;
	case 'b':
		add_zeros(world, strtoull(text, NULL, 10));
		break;
	case 'f':
		add_raw(world, text);
		break;
	case 'R':
		add_run(world, text);
		break;
	case 'r':
		fb_buf_add(&world->runs, line.ptr + 2, line.len - 2);
		fb_buf_add(&world->runs, "\n", 1);
		world->run_count++;
		break;
	default:
		break;
	}
}

static void
store_pack(struct world *world, struct fb_recipe_pack *place)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_error err;

	world->table.chunks = world->chunks;
	memcpy(world->table.session, SESSION, sizeof(SESSION));
	fb_pack_table_encode(&world->table, &text);
	place->table_offset = (uint32_t)world->pack.len;
	place->table_length = (uint32_t)text.len;
	fb_digest_of(fb_buf_span(&text), &place->table_digest);
	fb_buf_add_le32(&world->pack, FB_PACK_MAGIC);
	fb_buf_add_le32(&world->pack, (uint32_t)text.len);
	fb_buf_add(&world->pack, text.data, text.len);
	fb_digest_of(fb_buf_span(&world->pack), &place->id);
	fb_pack_key(&place->id, key);
	must(fb_store_create(world->repo.store, key,
	         fb_buf_span(&world->pack), &err) == FB_OK);
}

static void
store_recipe(struct world *world, const struct fb_recipe_pack *pack)
{
	struct fb_recipe_head head = { .session = SESSION,
		.kind = "disk",
		.size = world->size,
		.pack_count = 1 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_error err;

	fb_recipe_add_head(&text, &head);
	fb_recipe_add_pack(&text, pack);
	fb_recipe_add_runs(&text, world->run_count);
	fb_buf_add(&text, world->runs.data, world->runs.len);
	fb_recipe_add_end(&text);
	fb_digest_of(fb_buf_span(&text), &world->recipe);
	fb_recipe_key(&world->recipe, key);
	must(fb_store_create(world->repo.store, key, fb_buf_span(&text),
	         &err) == FB_OK);
}

/* The volume as its chunks tell it, and as it is read. */
struct reading {
	uint64_t chunks_at, bytes_at, size;
	uint64_t data, seen; /* each byte is there to be read */
};

static int
visit_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *err)
{
	struct reading *reading = arg;

	(void)err;
	must(offset == reading->chunks_at && length > 0);
	must(length <= reading->size - offset);
	must(chunk == NULL || length <= FB_CHUNK_MAX);
	reading->chunks_at += length;
	return FB_OK;
}

static int
visit_bytes(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	struct reading *reading = arg;

	must(offset == reading->bytes_at && length > 0);
	must(length <= reading->size - offset);
	reading->bytes_at += length;
	if (bytes == NULL)
		return FB_OK;
	for (uint64_t i = 0; i < length; i += 64)
		reading->seen += ((const uint8_t *)bytes)[i];
	reading->data += length;
	/* The same chunk may stand there any number of times. */
	if (reading->data > (8u << 20))
		return fb_fail(err, FB_ECANCELED, "that is enough");
	return FB_OK;
}

static void
read_volume(struct world *world)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct reading reading = { .size = world->size };
	struct fb_error err;
	int rc;

	if (fb_volume_open(&world->repo, &world->recipe, &reader, &err) < 0) {
		must(err.code == FB_ECORRUPT);
		return;
	}
	must(fb_volume_data_size(reader) <= world->size);
	rc = fb_volume_chunks(
	    reader, 0, world->size, visit_chunk, &reading, &err);
	must(rc == FB_OK || rc == FB_ECORRUPT);
	must(rc < 0 || reading.chunks_at == world->size);
	(void)!fb_volume_check(reader, &err);
	rc = fb_volume_read(reader, 0, world->size, 1, NULL, visit_bytes,
	    &reading, &err);
	must(rc == FB_OK || rc == FB_ECORRUPT || rc == FB_ECANCELED);
	must(rc < 0 || reading.bytes_at == world->size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = { 0 };
	struct fb_span rest = { data, size };
	struct fb_recipe_pack pack;
	struct fb_error err;
	uint64_t bytes;

	must(fb_store_open("mem:", true, NULL, &world.repo.store, &err) == FB_OK);
	world.repo.tables =
	    fb_tables_new(world.repo.store, FB_TABLES_BYTES_MAX);
	while (rest.len > 0)
		add_line(&world, take_line(&rest));
	store_pack(&world, &pack);
	store_recipe(&world, &pack);
	read_volume(&world);
	(void)!fb_pack_verify(&world.repo, &pack.id, true, &bytes, &err);
	fb_tables_free(world.repo.tables);
	fb_store_close(world.repo.store);
	fb_buf_release(&world.pack);
	fb_buf_release(&world.runs);
	return 0;
}
