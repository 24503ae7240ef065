#include "soak.h"

/* splitmix64: small, and the same everywhere. */
uint64_t
random_u64(void)
{
	uint64_t z = walk.random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Each step draws from a stream of its own, so that a step which drew more
 * than last time does not change the ones behind it. */
void
random_begin(uint64_t seed, uint64_t step)
{
	walk.random = seed * UINT64_C(0x2545f4914f6cdd1d) + step * 7919;
	(void)random_u64();
}

unsigned
random_below(unsigned n)
{
	return (unsigned)(random_u64() % n);
}

bool
random_chance(unsigned percent)
{
	return random_below(100) < percent;
}

struct machine *
random_machine(bool (*fits)(const struct machine *))
{
	struct machine *found[MACHINES_MAX * 4];
	size_t n = 0;

	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present &&
		    (fits == NULL || fits(&walk.machines[i])))
			found[n++] = &walk.machines[i];
	return n == 0 ? NULL : found[random_below((unsigned)n)];
}
