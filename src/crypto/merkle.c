#include <string.h>

#include "fleetbak/crypto/digest.h"

enum { TAG_DATA = 0, TAG_NODE = 1, TAG_ZERO = 2, TAG_ROOT = 3 };

void
fb_merkle_init(struct fb_merkle *merkle)
{
	memset(merkle, 0, sizeof(*merkle));
}

static uint8_t *
put_le64(uint8_t *to, uint64_t value)
{
	for (size_t i = 0; i < 8; i++)
		to[i] = (uint8_t)(value >> (8 * i));
	return to + 8;
}

/* `into` may be `left` or `right`. */
static void
join(const struct fb_digest *left, const struct fb_digest *right,
    struct fb_digest *into)
{
	uint8_t message[1 + 2 * FB_DIGEST_LEN] = { TAG_NODE };

	memcpy(message + 1, left->bytes, FB_DIGEST_LEN);
	memcpy(message + 1 + FB_DIGEST_LEN, right->bytes, FB_DIGEST_LEN);
	fb_digest_of((struct fb_span){ message, sizeof(message) }, into);
}

/*
 * The stack holds the roots of the full subtrees, one per bit set in
 * leaf_count, the largest first.  A new leaf is joined like a carry.
 */
static void
push(struct fb_merkle *merkle, struct fb_span leaf)
{
	size_t depth = (size_t)__builtin_popcountll(merkle->leaf_count);

	fb_digest_of(leaf, &merkle->stack[depth]);
	for (uint64_t carry = merkle->leaf_count; carry & 1; carry >>= 1) {
		join(&merkle->stack[depth - 1], &merkle->stack[depth],
		    &merkle->stack[depth - 1]);
		depth--;
	}
	merkle->leaf_count++;
}

void
fb_merkle_add_data(
    struct fb_merkle *merkle, uint64_t length, const struct fb_digest *id)
{
	uint8_t leaf[1 + 8 + 8 + FB_DIGEST_LEN] = { TAG_DATA };
	uint8_t *at = put_le64(leaf + 1, merkle->size);

	at = put_le64(at, length);
	memcpy(at, id->bytes, FB_DIGEST_LEN);
	push(merkle, (struct fb_span){ leaf, sizeof(leaf) });
	merkle->size += length;
}

void
fb_merkle_add_zero(struct fb_merkle *merkle, uint64_t length)
{
	uint8_t leaf[1 + 8 + 8] = { TAG_ZERO };

	(void)put_le64(put_le64(leaf + 1, merkle->size), length);
	push(merkle, (struct fb_span){ leaf, sizeof(leaf) });
	merkle->size += length;
}

void
fb_merkle_root(const struct fb_merkle *merkle, struct fb_digest *ret_root)
{
	size_t depth = (size_t)__builtin_popcountll(merkle->leaf_count);
	uint8_t message[1 + 8 + FB_DIGEST_LEN] = { TAG_ROOT };
	struct fb_digest top = { { 0 } };

	if (depth > 0)
		top = merkle->stack[--depth];
	while (depth > 0)
		join(&merkle->stack[--depth], &top, &top);
	memcpy(put_le64(message + 1, merkle->size), top.bytes, FB_DIGEST_LEN);
	fb_digest_of((struct fb_span){ message, sizeof(message) }, ret_root);
}
