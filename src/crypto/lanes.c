#include "lanes.h"

#ifndef FB_IPSEC_MB

bool
fb_lanes_hash(const struct fb_lane_message *messages, size_t count)
{
	(void)messages;
	(void)count;
	return false;
}

#else

#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <string.h>

#if IMB_VERSION_NUM < 0x10300
#error "libipsec-mb is older than 1.3, which hashes one by one: IPSEC_MB="
#endif

#include "broken.h"
#include "fleetbak/crypto/digest.h"

/* As many as fill the widest lanes twice, and one more. */
#define TRIAL_COUNT 33
#define TRIAL_STEP  251u

/*
 * A manager holds the lanes of one thread.  It is made when the thread first
 * hashes, and freed when it ends.
 */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t manager_key;
static size_t least; /* full lanes that beat OpenSSL; 0: none ever do */

static void
free_manager(void *manager)
{
	free_mb_mgr(manager);
}

static IMB_MGR *
new_manager(void)
{
	IMB_MGR *manager = alloc_mb_mgr(0);
	IMB_ARCH ignored;

	if (manager == NULL)
		fb_crypto_broken("no memory for a hash");
	init_mb_mgr_auto(manager, &ignored);
	return manager;
}

/*
 * By what the processor has, never by a stopwatch.  Of OpenSSL's speed in one
 * stream, with the SHA extensions and without them, a lane of 16 has a 7th
 * and a half, one of 8 a 10th and 0.4, and one of the two that interleave the
 * SHA extensions 0.58.
 */
static size_t
count_least(const IMB_MGR *manager)
{
	bool sha = (manager->features & IMB_FEATURE_SHANI) != 0;

	if ((manager->features & IMB_FEATURE_SELF_TEST_PASS) == 0)
		return 0;
	if (manager->used_arch == IMB_ARCH_AVX512)
		return sha ? 8 : 2;
	if (sha)
		return 2;
	return manager->used_arch == IMB_ARCH_AVX2 ? 3 : 0;
}

static size_t
take_done(const IMB_JOB *job)
{
	if (job->status != IMB_STATUS_COMPLETED)
		fb_crypto_broken("SHA-256 failed");
	return 1;
}

static void
hash_with(IMB_MGR *manager, const struct fb_lane_message *messages,
    size_t count)
{
	size_t done = 0;
	IMB_JOB *job;

	for (size_t i = 0; i < count; i++) {
		job = IMB_GET_NEXT_JOB(manager);
		job->cipher_mode = IMB_CIPHER_NULL;
		job->cipher_direction = IMB_DIR_ENCRYPT;
		job->chain_order = IMB_ORDER_HASH_CIPHER;
		job->hash_alg = IMB_AUTH_SHA_256;
		job->src = messages[i].bytes;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = messages[i].len;
		job->auth_tag_output = messages[i].digest;
		job->auth_tag_output_len_in_bytes = FB_DIGEST_LEN;
		for (job = IMB_SUBMIT_JOB(manager); job != NULL;
		     job = IMB_GET_COMPLETED_JOB(manager))
			done += take_done(job);
	}
	while ((job = IMB_FLUSH_JOB(manager)) != NULL)
		done += take_done(job);
	if (done != count)
		fb_crypto_broken("SHA-256 lost a message");
}

/* Does it say what OpenSSL says, about messages of all kinds of lengths? */
static bool
passes_trial(IMB_MGR *manager)
{
	struct fb_lane_message messages[TRIAL_COUNT];
	struct fb_digest digests[TRIAL_COUNT], expected;
	uint8_t bytes[TRIAL_COUNT * TRIAL_STEP];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167 + i / 256);
	memset(digests, 0, sizeof(digests));
	for (size_t i = 0; i < TRIAL_COUNT; i++)
		messages[i] = (struct fb_lane_message){ bytes + i,
			(TRIAL_COUNT - 1 - i) * TRIAL_STEP, digests[i].bytes };
	hash_with(manager, messages, TRIAL_COUNT);
	for (size_t i = 0; i < TRIAL_COUNT; i++) {
		fb_digest_of((struct fb_span){
		                 messages[i].bytes, messages[i].len },
		    &expected);
		if (fb_digest_cmp(&digests[i], &expected) != 0)
			return false;
	}
	return true;
}

static void
choose(void)
{
	IMB_MGR *manager = new_manager();

	least = count_least(manager);
	if (least > 0 && !passes_trial(manager))
		least = 0;
	if (pthread_key_create(&manager_key, free_manager) != 0)
		fb_crypto_broken("SHA-256 is not to be had");
	if (least == 0 || pthread_setspecific(manager_key, manager) != 0)
		free_mb_mgr(manager);
}

static IMB_MGR *
thread_manager(void)
{
	IMB_MGR *manager = pthread_getspecific(manager_key);

	if (manager != NULL)
		return manager;
	manager = new_manager();
	if (pthread_setspecific(manager_key, manager) != 0)
		fb_crypto_broken("no memory for a hash");
	return manager;
}

bool
fb_lanes_hash(const struct fb_lane_message *messages, size_t count)
{
	size_t sum = 0, longest = 0;

	(void)pthread_once(&once, choose);
	if (least == 0 || count < least)
		return false;
	for (size_t i = 0; i < count; i++) {
		sum += messages[i].len;
		if (messages[i].len > longest)
			longest = messages[i].len;
	}
	if (sum < longest * least)
		return false;
	hash_with(thread_manager(), messages, count);
	return true;
}

#endif
