/* A journal in memory, of records that a target makes up. */
#ifndef FUZZ_JOURNAL_WRITER_H
#define FUZZ_JOURNAL_WRITER_H

#include "fleetbak/format/json.h"
#include "fleetbak/journal/record.h"
#include "fuzz.h"

struct writer {
	struct fb_buf text;
	struct fb_digest chain;
	uint64_t sequence;
};

/* What is no record is left out. */
static inline void
add(struct writer *writer, const char *type, const json_t *body)
{
	struct fb_error ignored;
	struct fb_digest chain = writer->chain;

	if (fb_journal_line_add(&writer->text, writer->sequence + 1, &chain,
	        type, body, &ignored) < 0)
		return;
	writer->chain = chain;
	writer->sequence++;
}

static inline void
begin(struct writer *writer)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:i}", "format", 1);

	*writer = (struct writer){ 0 };
	fb_journal_seed(&writer->chain);
	add(writer, "journal", body);
}

#endif
