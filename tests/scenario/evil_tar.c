/*
 * evil_tar: an archive of the members on standard input, one a line, however
 * wrong they are; "%41" in a field is the byte 0x41.
 *
 *	f NAME CONTENT      a file           d NAME         a directory
 *	l NAME TARGET       a symbolic link  h NAME TARGET  a hard link
 *	c NAME MAJOR:MINOR  a device         b NAME MAJOR:MINOR
 *	p NAME              a fifo           n NAME SIZE    a file that claims
 *	t NAME TYPE         any other type                  to be so large
 *	x KEY=VALUE         a pax header of the next member, g: of all others;
 *	                    a record of each line of it
 *	X KEY= SIZE         the same with a value of so many bytes
 *	L SIZE              a long name of GNU's, of so many bytes
 *
 * Everything is of user 1 and group 3, and has all three special bits.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512u

struct field {
	const char *bytes;
	size_t len;
};

static void
put(const void *bytes, size_t len)
{
	if (fwrite(bytes, 1, len, stdout) != len)
		exit(1);
}

static void
put_content(const char *bytes, size_t len)
{
	static const char zeros[BLOCK];

	put(bytes, len);
	if (len % BLOCK != 0)
		put(zeros, BLOCK - len % BLOCK);
}

/* In place, for it becomes shorter. */
static struct field
unescape(char *text)
{
	struct field field = { text, 0 };
	char *to = text;

	for (; *text != '\0'; text++) {
		char hex[3] = { 0 };

		*to = *text;
		if (*text == '%' && strlen(text) >= 3) {
			memcpy(hex, text + 1, 2);
			*to = (char)strtoul(hex, NULL, 16);
			text += 2;
		}
		to++;
	}
	field.len = (size_t)(to - field.bytes);
	return field;
}

static void
put_header(char type, struct field name, struct field target, uint64_t size,
    const char *device)
{
	char block[BLOCK] = { 0 };
	unsigned major = 0, minor = 0, sum = 0;

	memcpy(block, name.bytes, name.len < 100 ? name.len : 100);
	memcpy(block + 100, "0007755", 7);
	memcpy(block + 108, "0000001", 7);
	memcpy(block + 116, "0000003", 7);
	if (size >> 33 == 0) {
		(void)snprintf(block + 124, 12, "%011llo",
		    (unsigned long long)size);
	} else { /* base 256 */
		block[124] = (char)0x80;
		for (unsigned i = 0; i < 8; i++)
			block[135 - i] = (char)(size >> (8 * i));
	}
	memcpy(block + 136, "00000001000", 11);
	memset(block + 148, ' ', 8);
	block[156] = type;
	memcpy(block + 157, target.bytes,
	    target.len < 100 ? target.len : 100);
	memcpy(block + 257, "ustar\00000", 8);
	if (sscanf(device, "%u:%u", &major, &minor) == 2) {
		(void)snprintf(block + 329, 8, "%07o", major & 07777777);
		(void)snprintf(block + 337, 8, "%07o", minor & 07777777);
	}
	for (size_t i = 0; i < BLOCK; i++)
		sum += (uint8_t)block[i];
	(void)snprintf(block + 148, 8, "%06o", sum);
	put(block, BLOCK);
}

static const struct field none = { "", 0 };

/* "<length> <key>=<value>\n", where the length counts itself. */
static void
add_record(char *whole, size_t *used, const char *text, size_t text_len)
{
	size_t len = text_len + 3, before = 0;
	char number[32];

	while (len != before) {
		before = len;
		(void)snprintf(number, sizeof(number), "%zu", len);
		len = strlen(number) + text_len + 2;
	}
	memcpy(whole + *used, number, strlen(number));
	*used += strlen(number);
	whole[(*used)++] = ' ';
	memcpy(whole + *used, text, text_len);
	*used += text_len;
	whole[(*used)++] = '\n';
}

/* A record of each line. */
static void
put_pax(char type, struct field text)
{
	char *whole = malloc(text.len * 20 + 64);
	size_t used = 0, from = 0;

	if (whole == NULL)
		exit(1);
	while (from < text.len) {
		const char *end =
		    memchr(text.bytes + from, '\n', text.len - from);
		size_t to = end != NULL ? (size_t)(end - text.bytes) : text.len;

		add_record(whole, &used, text.bytes + from, to - from);
		from = to + 1;
	}
	put_header(type, (struct field){ "pax", 3 }, none, used, "");
	put_content(whole, used);
	free(whole);
}

/* "<prefix>" and `len` bytes after it. */
static char *
make_long(const char *prefix, size_t len)
{
	size_t used = strlen(prefix);
	char *text = malloc(used + len + 1);

	if (text == NULL)
		exit(1);
	memcpy(text, prefix, used);
	memset(text + used, 'a', len);
	text[used + len] = '\0';
	return text;
}

static void
put_large(char kind, const char *key, size_t size)
{
	char *text = make_long(kind == 'X' ? key : "", size);

	if (kind == 'X') {
		put_pax('x', (struct field){ text, strlen(text) });
	} else {
		put_header('L', (struct field){ "long", 4 }, none, size, "");
		put_content(text, size);
	}
	free(text);
}

static void
put_member(char kind, char *name_text, char *target_text)
{
	static const char letters[] = "flhdcbpn", types[] = "02153460";
	const char *letter = strchr(letters, kind);
	char device[64];
	struct field name, target;

	(void)snprintf(device, sizeof(device), "%.60s", target_text);
	if (kind == 'X' || kind == 'L') {
		put_large(kind, name_text,
		    strtoul(kind == 'X' ? target_text : name_text, NULL, 10));
		return;
	}
	name = unescape(name_text);
	if (kind == 'x' || kind == 'g') {
		put_pax(kind, name);
		return;
	}
	if (kind == 'n') {
		put_header('0', name, none, strtoull(target_text, NULL, 10),
		    "");
		return;
	}
	target = unescape(target_text);
	if (kind == 't') {
		put_header(target.bytes[0], name, none, 0, "");
		return;
	}
	if (letter == NULL)
		exit(2);
	put_header(types[letter - letters], name,
	    kind == 'f' ? none : target, kind == 'f' ? target.len : 0, device);
	if (kind == 'f')
		put_content(target.bytes, target.len);
}

int
main(void)
{
	static char line[1 << 20];
	static const char end[2 * BLOCK];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *space, *name;

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || line[1] != ' ')
			return 2;
		name = line + 2;
		space = line[0] == 'x' || line[0] == 'g' ? NULL
		                                         : strchr(name, ' ');
		if (space != NULL)
			*space++ = '\0';
		put_member(line[0], name,
		    space != NULL ? space : name + strlen(name));
	}
	put(end, sizeof(end));
	return fflush(stdout) == 0 ? 0 : 1;
}
