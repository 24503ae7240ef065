/*
 * What a writer that was taken over can put into an encrypted repository: a
 * pack that claims to hold what another pack holds, and does not, with hints
 * that name it and a seal by the writer's own key.
 *
 * poison CONFIG SESSION PACK
 *	PACK is the file of the other pack; prints the key of the new one
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/engine.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/vault.h"

#define OBJECT_MAX (256u << 20)

static struct fb_engine engine;
static struct fb_error err;

static void
must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "poison: %s: %s\n", what, err.msg);
	exit(1);
}

static void
open_config(const char *path)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_config *config;
	FB_AUTO_FREE char *dir = fb_strdup(path);

	*strrchr(dir, '/') = '\0';
	must(fb_io_read_file(path, 1u << 20, &text, &err), path);
	must(fb_config_parse(
	         fb_buf_span(&text), path, dir, NULL, NULL, &config, &err),
	    path);
	engine.config = config;
}

static void
read_table(const char *path, struct fb_pack_table *table)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t offset;

	must(fb_io_read_file(path, OBJECT_MAX, &bytes, &err), path);
	must(fb_pack_tail_decode(
	         (struct fb_span){ bytes.data + bytes.len - FB_PACK_TAIL_LEN,
	             FB_PACK_TAIL_LEN },
	         &offset, &err),
	    path);
	offset += FB_PACK_SKIP_LEN;
	must(fb_pack_table_decode((struct fb_span){ bytes.data + offset,
	                              bytes.len - (size_t)offset },
	         table, &err),
	    path);
}

/* The same ids, and other contents of the same lengths. */
static void
fill(struct fb_pack_table *table, const struct fb_cipher_key *key,
    struct fb_buf *pack)
{
	FB_AUTO_BUF struct fb_buf content = { 0 };
	uint8_t *poison = fb_buf_reserve(&content, FB_CHUNK_MAX);

	memset(poison, 'P', FB_CHUNK_MAX);
	for (size_t i = 0; i < table->count; i++) {
		struct fb_pack_chunk *chunk = &table->chunks[i];
		size_t room = ZSTD_compressBound(chunk->length);
		uint8_t *frame = fb_buf_reserve(pack, room);
		struct fb_digest digest;

		chunk->offset = (uint32_t)pack->len;
		chunk->stored_length = (uint32_t)ZSTD_compress(
		    frame, room, poison, chunk->length, 1);
		fb_cipher_apply(
		    key, chunk->offset, frame, chunk->stored_length);
		fb_digest_pieces(
		    (struct fb_span){ frame, chunk->stored_length }, &digest);
		memcpy(
		    chunk->stored_digest, digest.bytes, FB_STORED_DIGEST_LEN);
		pack->len += chunk->stored_length;
	}
	table->offset = pack->len;
}

static void
add_le32(struct fb_buf *dst, size_t value)
{
	for (int i = 0; i < 4; i++)
		fb_buf_add(dst, &(uint8_t){ (uint8_t)(value >> (8 * i)) }, 1);
}

/* The pack into the store, and its line and ids into the hints. */
static void
put_pack(struct fb_repo *repo, const char *session, struct fb_pack_table *table,
    struct fb_buf *hints)
{
	FB_AUTO_BUF struct fb_buf pack = { 0 }, text = { 0 };
	struct fb_pack_key_entry entry;
	struct fb_keyring *ring;
	char key[FB_OBJECT_KEY_SIZE], hex[2][FB_DIGEST_HEX_SIZE];
	struct fb_digest id, digest;

	must(fb_keyring_open(repo->vault, session, &ring, &err), "keys");
	must(fb_keyring_take(ring, &entry, &err), "a key");
	fb_keyring_close(ring);
	(void)snprintf(table->session, sizeof(table->session), "%s", session);
	memcpy(table->key, entry.id, sizeof(entry.id));
	fill(table, &entry.key, &pack);
	fb_pack_table_encode(table, &text);
	add_le32(&pack, FB_PACK_MAGIC);
	add_le32(&pack, text.len);
	fb_buf_add(&pack, text.data, text.len);
	fb_digest_of(fb_buf_span(&pack), &id);
	fb_digest_of(fb_buf_span(&text), &digest);
	fb_pack_key(&id, key);
	must(fb_store_create(repo->store, key, fb_buf_span(&pack), &err), key);
	printf("%s\n", key);
	fb_digest_hex(&id, hex[0]);
	fb_digest_hex(&digest, hex[1]);
	fb_buf_add_fmt(hints, "fleetbak-hints 1 %s\n%s %u %zu %s %zu\n",
	    session, hex[0], (unsigned)table->offset, text.len, hex[1],
	    table->count);
	for (size_t i = 0; i < table->count; i++)
		fb_buf_add(hints, table->chunks[i].id.bytes, 8);
}

static void
put_hints(struct fb_repo *repo, const char *session, struct fb_span hints)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	FB_AUTO_FREE char *name = fb_format("hints/%s", session);
	FB_AUTO_FREE char *sealed = fb_format("%s.seal", name);
	FB_AUTO_BUF struct fb_buf body = { 0 }, text = { 0 };
	struct fb_hint_seal seal = { .size = hints.len, .keyed = true };

	(void)snprintf(seal.session, sizeof(seal.session), "%s", session);
	fb_digest_of(hints, &seal.digest);
	fb_hint_seal_encode_body(&seal, &body);
	fb_cipher_mac(
	    fb_vault_domain(repo->vault), fb_buf_span(&body), &seal.domain);
	fb_hint_seal_encode_signed(&seal, &text);
	must(fb_engine_sign_key(&engine, &key, &err), "key");
	must(fb_sign(key, fb_buf_span(&text), seal.signature, &err), "sign");
	fb_hint_seal_encode_signature(&seal, &text);
	must(fb_store_create(repo->store, name, hints, &err), name);
	must(fb_store_create(repo->store, sealed, fb_buf_span(&text), &err),
	    sealed);
}

int
main(int argc, char **argv)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	struct fb_pack_table table = { 0 };

	if (argc != 4) {
		fputs("usage: poison CONFIG SESSION PACK\n", stderr);
		return 2;
	}
	open_config(argv[1]);
	must(fb_engine_repo(&engine, &repo, &err), "repository");
	must(fb_engine_encrypt(&engine, repo, &err), "repository");
	read_table(argv[3], &table);
	put_pack(repo, argv[2], &table, &hints);
	put_hints(repo, argv[2], fb_buf_span(&hints));
	fb_pack_table_release(&table);
	return 0;
}
