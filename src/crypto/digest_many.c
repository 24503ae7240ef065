#include "fleetbak/crypto/digest_many.h"

void
fb_digest_many(struct fb_digest_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fb_digest_of(jobs[i].bytes, &jobs[i].digest);
}
