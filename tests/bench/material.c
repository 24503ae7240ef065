#include "material.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORDS     24000
#define TEMPLATES 3000
#define SYLLABLES 50

static uint8_t *pool;

static uint64_t
split_mix(uint64_t *x)
{
	uint64_t z = (*x += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static uint64_t
rotate(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

struct random
random_from(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t parts[3] = { a, b * UINT64_C(0xD1342543DE82EF95),
		c * UINT64_C(0xAF251AF3B0F025B5) };
	uint64_t x = seed * UINT64_C(0x9E3779B97F4A7C15);
	struct random r;

	for (int i = 0; i < 3; i++) {
		uint64_t mixed = split_mix(&x);

		x ^= mixed + parts[i];
	}
	for (int i = 0; i < 4; i++)
		r.s[i] = split_mix(&x);
	for (int i = 0; i < 8; i++)
		(void)random_next(&r);
	return r;
}

uint64_t
random_next(struct random *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t
random_below(struct random *r, uint64_t limit)
{
	__extension__ typedef unsigned __int128 wide;

	if (limit == 0)
		return 0;
	return (uint64_t)(((wide)random_next(r) * limit) >> 64);
}

double
random_unit(struct random *r)
{
	return (double)(random_next(r) >> 11) * 0x1.0p-53;
}

double
random_exponential(struct random *r, double mean)
{
	return -mean * log(1.0 - random_unit(r));
}

/* Few are frequent, most are rare. */
static uint64_t
random_zipf(struct random *r, unsigned count)
{
	return (uint64_t)(exp(random_unit(r) * log((double)count)) - 1);
}

void
random_fill(struct random *r, uint8_t *bytes, uint64_t len)
{
	while (len > 0) {
		uint64_t value = random_next(r);
		uint64_t part = len < 8 ? len : 8;

		memcpy(bytes, &value, part);
		bytes += part;
		len -= part;
	}
}

static void
make_permutation(struct random *r, uint8_t table[256])
{
	for (unsigned i = 0; i < 256; i++)
		table[i] = (uint8_t)i;
	for (unsigned i = 255; i > 0; i--) {
		uint64_t j = random_below(r, i + 1);
		uint8_t x = table[i];

		table[i] = table[j];
		table[j] = x;
	}
}

void
material(uint8_t *bytes, uint64_t len, uint64_t position, uint64_t seed,
    uint64_t id)
{
	while (len > 0) {
		uint64_t round = position / MATERIAL_LEN;
		uint64_t at = position % MATERIAL_LEN;
		uint64_t part = MATERIAL_LEN - at < len ? MATERIAL_LEN - at : len;

		if (round == 0 && id == 0) {
			memcpy(bytes, pool + at, part);
		} else {
			struct random r = random_from(seed, 77, id, round);
			uint8_t table[256];

			make_permutation(&r, table);
			for (uint64_t i = 0; i < part; i++)
				bytes[i] = table[pool[at + i]];
		}
		bytes += part;
		len -= part;
		position += part;
	}
}

/* The words and the machine instructions that the pool repeats. */
struct vocabulary {
	char word[WORDS][16];
	uint8_t word_len[WORDS];
	uint8_t code[TEMPLATES][8];
	uint8_t code_len[TEMPLATES];
	uint8_t operands[TEMPLATES];
};

static void
make_word(struct random *r, unsigned number, char word[16])
{
	static const char syllables[SYLLABLES][4] = { "ba", "be", "bi", "co",
		"da", "de", "di", "en", "er", "es", "fi", "ga", "in", "it",
		"ka", "la", "le", "li", "lo", "ma", "me", "mi", "na", "ne",
		"ni", "no", "on", "or", "pa", "pe", "ra", "re", "ri", "ro",
		"sa", "se", "si", "so", "ta", "te", "ti", "to", "tra", "un",
		"ve", "vi", "al", "an", "ar", "as" };
	uint64_t count = 1 + random_below(r, 2);
	size_t len = 0;

	count += number > 200;
	count += number > 4000 && random_below(r, 2) != 0;
	while (count-- > 0 && len < 12) {
		const char *part = syllables[random_below(r, SYLLABLES)];

		memcpy(word + len, part, strlen(part));
		len += strlen(part);
	}
	word[len] = '\0';
	if (random_below(r, 12) == 0)
		word[0] = (char)(word[0] - 'a' + 'A');
}

static struct vocabulary *
make_vocabulary(struct random *r)
{
	struct vocabulary *known = calloc(1, sizeof(*known));

	if (known == NULL)
		abort();
	for (unsigned i = 0; i < WORDS; i++) {
		make_word(r, i, known->word[i]);
		known->word_len[i] = (uint8_t)strlen(known->word[i]);
	}
	for (unsigned i = 0; i < TEMPLATES; i++) {
		known->code_len[i] = (uint8_t)(1 + random_below(r, 5));
		random_fill(r, known->code[i], sizeof(known->code[i]));
		if (random_below(r, 3) != 0)
			known->code[i][0] = 0x48;
		if (random_below(r, 3) == 0)
			known->operands[i] = (uint8_t)(1 + random_below(r, 3));
	}
	return known;
}

/* What is being made: pool[at] to pool[end] is this file's share. */
struct maker {
	struct random r;
	const struct vocabulary *known;
	uint64_t at, end;
};

/* Something that stood here before, near or far. */
static void
add_repeat(struct maker *m)
{
	uint64_t far = m->at < 8 * MIB ? m->at - 64 : 8 * MIB - 64;
	uint64_t back =
	    64 + random_below(&m->r, random_below(&m->r, 5) != 0 ? 32000 : far);
	double mean = random_below(&m->r, 8) != 0 ? 20 : 260;
	uint64_t len = 8 + (uint64_t)random_exponential(&m->r, mean);

	if (back > m->at)
		back = m->at;
	if (len > m->end - m->at)
		len = m->end - m->at;
	if (len > back)
		len = back;
	memcpy(pool + m->at, pool + m->at - back, len);
	m->at += len;
}

static void
add_rest(struct maker *m, int byte)
{
	memset(pool + m->at, byte, m->end - m->at);
	m->at = m->end;
}

static void
add_indent(struct maker *m)
{
	uint64_t indent;

	pool[m->at++] = '\n';
	indent = random_below(&m->r, 4) * 2;
	if (m->at + indent + 2 < m->end) {
		memset(pool + m->at, ' ', indent);
		m->at += indent;
	}
}

static void
add_word(struct maker *m)
{
	uint64_t word = random_zipf(&m->r, WORDS);
	uint64_t len = m->known->word_len[word];
	uint64_t what;

	if (len + 2 > m->end - m->at) {
		add_rest(m, '\n');
		return;
	}
	memcpy(pool + m->at, m->known->word[word], len);
	m->at += len;
	what = random_below(&m->r, 16);
	if (what == 0)
		add_indent(m);
	else if (what == 1 && m->at + 14 < m->end)
		m->at += (uint64_t)snprintf((char *)pool + m->at, 14, "=%u;",
		    (unsigned)random_below(&m->r, 100000));
	else
		pool[m->at++] = what < 3 ? '_'
		    : what < 4           ? '('
		    : what < 5           ? ','
		                         : ' ';
}

static void
add_code(struct maker *m)
{
	uint64_t code = random_zipf(&m->r, TEMPLATES);
	uint64_t len = m->known->code_len[code];

	if (len + 8 > m->end - m->at) {
		add_rest(m, 0);
		return;
	}
	memcpy(pool + m->at, m->known->code[code], len);
	m->at += len;
	for (int i = 0; i < m->known->operands[code]; i++)
		pool[m->at++] = (uint8_t)random_next(&m->r);
	if (random_below(&m->r, 12) == 0) {
		memset(pool + m->at, 0, 3);
		m->at += 3;
	}
}

/* A table of numbers that rise. */
static void
add_table(struct maker *m)
{
	uint64_t number = random_next(&m->r) & 0xffffffff;
	uint64_t rows = 8 + random_below(&m->r, 200);

	while (rows-- > 0 && m->at + 16 <= m->end) {
		uint32_t value;

		number += 8 + random_below(&m->r, 120);
		memcpy(pool + m->at, &number, 8);
		value = (uint32_t)random_below(&m->r, 8);
		memcpy(pool + m->at + 8, &value, 4);
		value = (uint32_t)random_below(&m->r, 100000);
		memcpy(pool + m->at + 12, &value, 4);
		m->at += 16;
	}
	if (m->at + 16 > m->end)
		add_rest(m, 0);
}

/* One file: text, code, tables, or what is compressed already. */
static void
make_file(struct maker *m)
{
	uint64_t len =
	    (4096 + (uint64_t)random_exponential(&m->r, 40000) + 4095) &
	    ~UINT64_C(4095);
	uint64_t end, kind;

	if (len > MATERIAL_LEN - m->at)
		len = MATERIAL_LEN - m->at;
	end = m->at + len;
	m->end = end - (len > 4096 ? random_below(&m->r, 4096) : 0);
	kind = random_below(&m->r, 100);
	if (kind < 6) {
		random_fill(&m->r, pool + m->at, m->end - m->at);
		m->at = m->end;
	}
	while (m->at < m->end) {
		if (m->at > 70000 &&
		    random_below(&m->r, kind < 50 ? 7 : 11) == 0)
			add_repeat(m);
		else if (kind < 50)
			add_word(m);
		else if (kind < 90)
			add_code(m);
		else
			add_table(m);
	}
	m->end = end;
	add_rest(m, 0);
}

void
material_make(void)
{
	struct maker m = { .r = random_from(0x5eed, 1001, 0, 0) };
	struct vocabulary *known = make_vocabulary(&m.r);

	/* Shared with the processes that write the images. */
	pool = mmap(NULL, MATERIAL_LEN, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pool == MAP_FAILED)
		abort();
	m.known = known;
	while (m.at < MATERIAL_LEN)
		make_file(&m);
	free(known);
}

/* Every %u and %0Nu of `format` by one of the numbers; "%%" is a percent. */
static size_t
expand(char *to, const char *format, const unsigned *numbers)
{
	char *at = to;

	while (*format != '\0') {
		int width = 0;

		if (*format != '%') {
			*at++ = *format++;
			continue;
		}
		format++;
		if (*format == '%') {
			*at++ = *format++;
			continue;
		}
		if (*format == '0') {
			width = format[1] - '0';
			format += 2;
		}
		format++;
		at += snprintf(at, 16, "%0*u", width, *numbers++);
	}
	return (size_t)(at - to);
}

size_t
material_log_line(
    struct random *r, char *line, uint64_t *seconds, unsigned machine)
{
	static const char *const services[] = { "systemd[1]", "sshd[%u]",
		"kernel", "CRON[%u]", "nginx[%u]", "postgres[%u]",
		"dockerd[%u]", "dhclient[%u]" };
	static const char *const messages[] = {
		"Accepted publickey for deploy from 10.%u.%u.%u port %u ssh2",
		"Started Session %u of user %u. (%u/%u)",
		"GET /api/v1/items/%u?page=%u HTTP/1.1 200 %u %u",
		"checkpoint complete: wrote %u buffers (%u%%); "
		"write=%u.%03u s",
		"pam_unix(cron:session): session opened for user %u(uid=%u) "
		"by (uid=%u) %u",
		"[%u.%06u] eth0: renewed lease, RX bytes %u TX bytes %u",
		"connection from 192.168.%u.%u:%u closed after %u ms"
	};
	unsigned day, second, numbers[4];
	const char *format;
	size_t len;

	*seconds += random_below(r, 4);
	day = (unsigned)(*seconds / 86400);
	second = (unsigned)(*seconds % 86400);
	len = (size_t)snprintf(line, LOG_LINE_MAX,
	    "2026-%02u-%02uT%02u:%02u:%02u.%06u host%02u ",
	    1 + (day / 28) % 12, 1 + day % 28, second / 3600,
	    second / 60 % 60, second % 60,
	    (unsigned)random_below(r, 1000000), machine);
	numbers[0] = (unsigned)random_below(r, 32768);
	format = services[random_below(r, 8)];
	len += expand(line + len, format, numbers);
	line[len++] = ':';
	line[len++] = ' ';
	numbers[3] = (unsigned)random_below(r, 65536);
	for (int i = 2; i >= 0; i--)
		numbers[i] = (unsigned)random_below(r, 256);
	format = messages[random_below(r, 7)];
	len += expand(line + len, format, numbers);
	line[len++] = '\n';
	return len;
}
