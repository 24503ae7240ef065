/* A journal's records: what decodes encodes back to the same bytes, as far
 * as the chain and the canonical form allow it; whole files are replayed. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/journal/replay.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_line(struct fb_span line)
{
	FB_AUTO_JOURNAL_LINE struct fb_journal_line record = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_BUF struct fb_buf json = { 0 };
	struct fb_digest chain;
	struct fb_error err;

	if (fb_journal_line_decode(line, &record, &err) < 0)
		return;
	fb_json_add(&json, record.body);
	fb_journal_seed(&chain);
	if (fb_journal_line_add(&again, record.sequence, &chain, record.type,
	        record.body, &err) < 0)
		abort();
	if (fb_digest_cmp(&chain, &record.chain) != 0 ||
	    json.len != record.json.len ||
	    memcmp(json.data, record.json.ptr, json.len) != 0)
		return; /* another chain, or not canonical: refused later */
	if (again.len != line.len + 1 ||
	    memcmp(again.data, line.ptr, line.len) != 0)
		abort();
}

/* Records come numbered without a gap. */
static int
count_record(
    const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	uint64_t *last = arg;

	(void)err;
	if (*last != 0 && record->sequence != *last + 1)
		abort();
	*last = record->sequence;
	return FB_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err;
	FB_AUTO_CLOSE int fd = memfd_create("journal", MFD_CLOEXEC);
	const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
	struct replay_end end, again;
	uint64_t last = 0;

	check_line((struct fb_span){
	    data, newline != NULL ? (size_t)(newline - data) : size });
	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
		abort();
	if (replay_file(fd, "input", count_record, &last, &end, &err) < 0)
		return 0;
	/* With its torn tail cut it is whole, and says the same. */
	last = 0;
	if (end.size > size || ftruncate(fd, (off_t)end.size) == -1 ||
	    replay_file(fd, "input", count_record, &last, &again, &err) < 0 ||
	    again.torn || again.size != end.size ||
	    again.sequence != end.sequence)
		abort();
	return 0;
}
