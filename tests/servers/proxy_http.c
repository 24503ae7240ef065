/* HTTP/1.1 as far as a proxy has to understand it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy.h"

#define HEAD_MAX ((size_t)256 << 10)

void
head_clear(struct head *head)
{
	fb_buf_release(&head->text);
	free(head->target);
	*head = (struct head){ .length = -1 };
}

/* Where the line of a header begins, behind the first line; NULL: nowhere. */
static char *
find_header(const struct head *head, const char *name)
{
	size_t len = strlen(name);
	char *line = strchr(fb_buf_str(&head->text), '\n');

	for (; line != NULL; line = strchr(line, '\n')) {
		line++;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return line;
	}
	return NULL;
}

char *
head_value(const struct head *head, const char *name)
{
	const char *line = find_header(head, name);
	size_t len;

	if (line == NULL)
		return NULL;
	line += strlen(name) + 1;
	line += strspn(line, " \t");
	len = strcspn(line, "\r\n");
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	return strndup(line, len);
}

void
head_set(struct head *head, const char *name, const char *value)
{
	struct fb_buf text = { 0 };
	char *line = find_header(head, name);
	char *start = (char *)head->text.data;
	size_t before =
	    line != NULL ? (size_t)(line - start) : head->text.len - 2;
	size_t behind =
	    line != NULL ? before + strcspn(line, "\n") + 1 : before;

	fb_buf_add(&text, start, before);
	if (value != NULL)
		fb_buf_add_fmt(&text, "%s: %s\r\n", name, value);
	fb_buf_add(&text, start + behind, head->text.len - behind);
	fb_buf_release(&head->text);
	head->text = text;
}

static bool
has_word(const struct head *head, const char *name, const char *word)
{
	char *value = head_value(head, name);
	bool found = value != NULL && strcasestr(value, word) != NULL;

	free(value);
	return found;
}

static bool
first_line(struct head *head, bool answer)
{
	const char *line = fb_buf_str(&head->text);
	const char *target, *version;

	if (answer)
		return sscanf(line, "HTTP/1.1 %d", &head->status) == 1;
	if (sscanf(line, "%15[A-Z]", head->method) != 1 ||
	    line[strlen(head->method)] != ' ')
		return false;
	target = line + strlen(head->method) + 1;
	version = target + strcspn(target, " \r\n");
	head->target = strndup(target, (size_t)(version - target));
	return strncmp(version, " HTTP/1.1\r\n", 11) == 0;
}

bool
head_read(struct end *from, struct head *head, bool answer)
{
	char *value, *end;
	size_t len;

	head_clear(head);
	while (from->in.data == NULL ||
	    (end = memmem(from->in.data, from->in.len, "\r\n\r\n", 4)) == NULL)
		if (from->in.len > HEAD_MAX || !end_fill(from))
			return false;
	len = (size_t)(end + 4 - (char *)from->in.data);
	fb_buf_add(&head->text, from->in.data, len);
	memmove(from->in.data, from->in.data + len, from->in.len - len);
	from->in.len -= len;
	if (memchr(head->text.data, '\0', len) != NULL ||
	    !first_line(head, answer))
		return false;
	value = head_value(head, "Content-Length");
	if (value != NULL)
		head->length = strtoll(value, NULL, 10);
	free(value);
	head->chunked = has_word(head, "Transfer-Encoding", "chunked");
	head->close = has_word(head, "Connection", "close");
	head->expect = has_word(head, "Expect", "100-continue");
	return true;
}

static void
taken(struct end *from, size_t len)
{
	memmove(from->in.data, from->in.data + len, from->in.len - len);
	from->in.len -= len;
}

/* `left` bytes, or all up to the end when it is negative; `raw_only`: they
 * are a chunk's frame. */
static bool
read_bytes(struct end *from, int64_t left, take_fn *take, void *arg)
{
	while (left != 0) {
		size_t n;

		if (from->in.len == 0 && !end_fill(from))
			return left < 0;
		n = from->in.len;
		if (left > 0 && (int64_t)n > left)
			n = (size_t)left;
		if (!take(arg, from->in.data, n, from->in.data, n))
			return false;
		taken(from, n);
		if (left > 0)
			left -= (int64_t)n;
	}
	return true;
}

/* A line of a chunked body; its number, or -1. */
static int64_t
read_line(struct end *from, take_fn *take, void *arg)
{
	int64_t size;
	char *line_end;
	size_t len;

	while (from->in.data == NULL ||
	    (line_end = memchr(from->in.data, '\n', from->in.len)) == NULL)
		if (from->in.len > 1024 || !end_fill(from))
			return -1;
	len = (size_t)(line_end + 1 - (char *)from->in.data);
	size = (int64_t)strtoull((char *)from->in.data, NULL, 16);
	if (len == 2)
		size = 0;
	if (!take(arg, from->in.data, len, NULL, 0))
		return -1;
	taken(from, len);
	return size;
}

static bool
read_chunks(struct end *from, take_fn *take, void *arg)
{
	int64_t size;

	do {
		size = read_line(from, take, arg);
		if (size < 0 || !read_bytes(from, size, take, arg) ||
		    read_line(from, take, arg) < 0)
			return false;
	} while (size > 0);
	return true;
}

bool
body_read(struct end *from, const struct head *head, take_fn *take, void *arg)
{
	bool answer = head->status != 0;

	if (head->chunked)
		return read_chunks(from, take, arg);
	if (head->length >= 0)
		return read_bytes(from, head->length, take, arg);
	if (answer)
		return read_bytes(from, -1, take, arg);
	return true;
}
