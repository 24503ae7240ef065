/* What packer.c and resume.c share. */
#ifndef REPO_DATA_PACKER_IMPL_H
#define REPO_DATA_PACKER_IMPL_H

#include <pthread.h>

#include "fleetbak/repo/vault.h"

#include "index.h"
#include "index_files.h"
#include "packer.h"

#define PACK_RECORD_LEN  72 /* of the spool file "packs" */
#define CHUNK_RECORD_LEN 56 /* of the spool file "pack.N.chunks" */

#define LOCAL_NONE UINT32_MAX

/* Packs of the past that are kept in mind at most. */
#define FB_PAST_PACKS_MAX (1u << 18)

enum pack_kind {
	PACK_PAST, /* of a committed run, not looked at yet */
	PACK_GOOD, /* its table is known to be there */
	PACK_BAD,
	PACK_DROPPED, /* so said hints that are not believed */
	PACK_OPEN, /* ours */
	PACK_OWN,  /* ours, closed */
};

struct known_pack {
	struct fb_digest id, table_digest;
	uint32_t table_offset, table_length;
	uint32_t local;
	enum pack_kind kind;
};

struct spool_file {
	int fd;
	char *path;
	uint64_t size;
	bool dirty;
};

/* A pack that is being filled. */
struct open_pack {
	struct fb_pack_table table;
	size_t cap, saved; /* chunks; those in the spool's list */
	uint32_t number;   /* LOCAL_NONE: there is none */
	struct spool_file pack, chunks;
	struct fb_digester *digester;
	struct fb_cipher_key key;  /* of an encrypted repository */
	char *key_path, *old_path; /* in the spool, until the pack is stored */
};

struct fb_packer {
	struct fb_repo *repo;
	const struct fb_session *session;
	char *spool_dir;

	/* Before `lock`: held for writing where files come and go. */
	pthread_rwlock_t files_lock;
	struct fb_index_files past; /* of committed runs, kept for the next */
	struct fb_index_files own;  /* of this process alone */

	pthread_mutex_t lock; /* index, packs, map, opens[].number, .table */
	struct fb_index index;
	struct known_pack *packs;
	size_t pack_count, pack_cap;
	uint32_t *map; /* from ids to numbers: a hash table */
	size_t map_size;

	struct open_pack opens[FB_PACKER_LANES];
	struct open_pack *at; /* what is appended goes there */

	/* Of an encrypted repository. */
	struct fb_keyring *ring;      /* NULL: it is not */
	struct fb_digest_job *frames; /* the last ones of `at`, which have no
	                               * digest yet; borrowed */
	size_t frame_count, frame_cap;

	/* What lasts over a crash. */
	uint32_t *local_packs; /* from a lasting number to one of `packs` */
	uint32_t local_count;
	size_t local_cap;
	struct spool_file locals, hints;
	bool new_names; /* in the spool directory, not synced */
};

int fb_spool_open(struct spool_file *file, char *path, uint64_t size,
    struct fb_error *err); /* takes `path` over */
int fb_spool_append(
    struct spool_file *file, struct fb_span bytes, struct fb_error *err);
int fb_spool_sync(struct spool_file *file, struct fb_error *err);
void fb_spool_close(struct spool_file *file);

/* spool_key.c */
int fb_spool_key_write(
    const char *path, const struct fb_cipher_key *key, struct fb_error *err);
int fb_spool_key_read(
    const char *path, struct fb_cipher_key *ret_key, struct fb_error *err);
int fb_spool_key_remove(const char *path, struct fb_error *err);

/* With the lock held, or before there are threads. */
uint32_t fb_packer_new_pack(
    struct fb_packer *packer, const struct known_pack *pack);
/* Note a closed pack among the lasting numbers. */
int fb_packer_write_record(struct fb_packer *packer,
    const struct known_pack *pack, struct fb_error *err);
/* It has an id now. */
void fb_packer_map_pack(struct fb_packer *packer, uint32_t number);
/* Those from `first` on were never given out. */
void fb_packer_forget_packs(struct fb_packer *packer, uint32_t first);

/* Move what the index holds of the closed packs from `first` on into a new
 * file; false: that was not possible, and will not be tried again. */
bool fb_packer_spill(
    struct fb_packer *packer, struct fb_index_files *files, uint32_t first);
/* Join the files from `from` on, when they are many. */
void fb_packer_settle(
    struct fb_packer *packer, struct fb_index_files *files, size_t from);
/* So that the index takes one more chunk, if that is possible. */
void fb_packer_make_room(struct fb_packer *packer);
size_t fb_packer_past_room(const struct fb_packer *packer);
void fb_packer_set_local(
    struct fb_packer *packer, uint32_t local, uint32_t number);
void fb_packer_add_chunk(
    struct fb_packer *packer, const struct fb_pack_chunk *chunk);
void fb_packer_chunk_path(struct fb_packer *packer, uint32_t local,
    char **ret_pack, char **ret_chunks);
bool fb_packer_is_condemned(
    const struct fb_packer *packer, const struct fb_digest *id);
/* The object is there, and as long as what is known of its table says. */
int fb_packer_check_there(struct fb_packer *packer,
    const struct known_pack *pack, struct fb_error *err);
/* Of its table something was seen now, or not. */
void fb_packer_judge(struct fb_packer *packer, uint32_t number, bool good);

uint64_t fb_id_prefix(const struct fb_digest *id);

/* The pack at hand gets a key of its own, if it is to be encrypted. */
int fb_packer_take_key(struct fb_packer *packer, struct fb_error *err);
/* ... and another one, in another file. */
int fb_packer_change_key(struct fb_packer *packer, struct fb_error *err);

/* Continue from `state`: resume.c. */
int fb_packer_resume(
    struct fb_packer *packer, const json_t *state, struct fb_error *err);

#endif
