/*
 * The disks of a snapshot, on the hypervisor: are they frozen, and their bytes.
 *
 * A path that the appliance names may be that of the live disk.  It is read
 * when it is another one than that, nobody has it open to write to it, and its
 * metadata are those that it had when the snapshot was made; that is looked at
 * once more when all was read, and samples of it must be the same bytes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

#include "definition.h"
#include "libvirt_checkpoint.h"
#include "libvirt_internal.h"
#include "morpheus_internal.h"

/* So many pieces, evenly over the disk. */
#define SAMPLES     16
#define SAMPLE_SIZE ((size_t)65536)

/* How long a hypervisor that does not answer is asked again. */
#define AGAIN_MS 20000

#define SAID_MAX 4096

#define RECORDS "dir=$HOME/.fleetbak/morpheus/$1\n"

/*
 * What it was at first is kept there, because whoever goes on after a crash
 * has not seen it.  Times of a file tell that it was written to; of a device,
 * how much was written to it since the host came up.
 *
 * A guest may have written the header of an image, and qemu-nbd would read any
 * file that it names: so nothing opens an image, not even to ask what it is,
 * before its header says that it has all its bytes itself.  These are, by QEMU's
 * docs/interop/qcow2.rst, the version at 4, the offset of a backing file's name
 * at 8, and the third of the incompatible features that end at 79, for data that
 * lie elsewhere.
 */
static const char look_there[] = RECORDS
    "name=$2 path=$3 live=$4 type=$5\n"
    "user=$(id -u) || exit 1\n"
    "[ \"$user\" = 0 ] || { echo \"user $user\"; exit 0; }\n"
    "[ -e \"$path\" ] || exit 44\n"
    "if [ \"$type\" = block ]; then\n"
    "	[ -b \"$path\" ] || { echo \"'$path' is no block device\" >&2; exit 1; }\n"
    "else\n"
    "	[ -f \"$path\" ] || { echo \"'$path' is no file\" >&2; exit 1; }\n"
    "fi\n"
    "if [ -n \"$live\" ] && [ \"$path\" -ef \"$live\" ]; then\n"
    "	echo 'live it is the disk that the machine writes to'\n"
    "	exit 0\n"
    "fi\n"
    "for fd in /proc/[0-9]*/fd/*; do\n"
    "	[ \"$fd\" -ef \"$path\" ] 2>/dev/null || continue\n"
    "	while read -r key value; do\n"
    "		case $key$value in\n"
    "		flags:*[!04])\n"
    "			pid=${fd#/proc/}\n"
    "			echo \"live process ${pid%%/*} has it open to write\"\n"
    "			exit 0\n"
    "			;;\n"
    "		esac\n"
    "	done 2>/dev/null <\"${fd%/fd/*}/fdinfo/${fd##*/}\"\n"
    "done 2>/dev/null\n"
    "if [ \"$type\" = block ]; then\n"
    "	major=$(stat -L -c %t \"$path\") && minor=$(stat -L -c %T \"$path\") ||\n"
    "		exit 1\n"
    "	sys=/sys/dev/block/$((0x$major)):$((0x$minor))\n"
    "	read -r size <\"$sys/size\" || exit 1\n"
    "	read -r a b c d e f writes g h i j discards k <\"$sys/stat\" || exit 1\n"
    "	now=\"device $major:$minor $size $writes $discards\"\n"
    "else\n"
    "	now=$(stat -L -c 'file %d %i %s %y' \"$path\") || exit 1\n"
    "fi\n"
    "if [ -f \"$dir/$name\" ]; then\n"
    "	was=$(cat \"$dir/$name\") || exit 1\n"
    "	if [ \"$was\" != \"$now\" ]; then\n"
    "		echo \"live it was '$was' and is '$now'\"\n"
    "		exit 0\n"
    "	fi\n"
    "else\n"
    "	umask 077\n"
    "	mkdir -p \"$dir\" && echo \"$now\" >\"$dir/.$name.$$\" &&\n"
    "		mv \"$dir/.$name.$$\" \"$dir/$name\" || exit 1\n"
    "fi\n"
    "header=$(head -c 80 \"$path\" | od -An -v -tx1 | tr -d ' \\n')\n"
    "case $header in\n"
    "514649fb*) [ \"$type\" != block ] || { echo qcow2; exit 0; } ;;\n"
    "*) echo raw; exit 0 ;;\n"
    "esac\n"
    "case $(echo \"$header\" | cut -c 9-32,160) in\n"
    "000000020000000000000000*) echo qcow2 ;;\n"
    "000000030000000000000000[012389ab]) echo qcow2 ;;\n"
    "00000003????????????????[4-7c-f])\n"
    "	echo 'more has its data in another file'\n"
    "	;;\n"
    "00000002????????????????*|00000003????????????????[0-9a-f])\n"
    "	echo 'more has a backing file'\n"
    "	;;\n"
    "*) echo 'more has no header of version 2 or 3' ;;\n"
    "esac\n";

static const char forget_there[] = RECORDS "rm -rf \"$dir\"\n";

/* --------------------------------------------------------------- paths */

static int
no_export(struct fb_error *err, const char *why)
{
	(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-EXPORT",
	    "the snapshot cannot be read: %s", why);
	return fb_hint(err, "the plugin of the datastore has to export "
			    "snapshots to the hypervisor");
}

/* A path of a file there, and nothing else. */
static bool
is_plain(const char *path)
{
	if (path[0] != '/' || strlen(path) > 4000)
		return false;
	for (const char *c = path; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f ||
		    (c[0] == '/' && c[1] == '.' && c[2] == '.' &&
		        (c[3] == '/' || c[3] == '\0')))
			return false;
	return true;
}

static int
find_file(const struct fb_morpheus_snapshot *snapshot, int64_t volume,
    const json_t **ret_file, struct fb_error *err)
{
	const json_t *list = json_object_get(snapshot->json, "snapshotFiles");
	const json_t *file;
	size_t index;

	*ret_file = NULL;
	json_array_foreach(list, index, file) {
		if (fb_morpheus_id(json_object_get(file, "volume"), "id") !=
		    volume)
			continue;
		if (*ret_file != NULL)
			return no_export(err, "it has the volume twice");
		*ret_file = file;
	}
	return *ret_file != NULL
	    ? FB_OK
	    : no_export(err, "it does not have the volume");
}

int
fb_morpheus_file_of(const struct fb_morpheus_snapshot *snapshot,
    int64_t volume, struct fb_morpheus_file *ret_file, struct fb_error *err)
{
	const json_t *list = json_object_get(snapshot->json, "snapshotFiles");
	const json_t *file, *other;
	size_t index;
	int rc = find_file(snapshot, volume, &file, err);

	if (rc < 0)
		return rc;
	ret_file->path = fb_morpheus_text(file, "exportPath");
	ret_file->live = fb_morpheus_text(file, "path");
	ret_file->type = fb_morpheus_text(file, "type");
	if (strcmp(ret_file->type, "rbd") == 0)
		return no_export(err, "it lies in Ceph, where it is not read");
	if (strcmp(ret_file->type, "file") != 0 &&
	    strcmp(ret_file->type, "block") != 0)
		return no_export(err, "it is neither a file nor a device");
	if (ret_file->path[0] == '\0')
		return no_export(err, "it has no exportPath");
	if (!is_plain(ret_file->path))
		return no_export(err, "its exportPath is no absolute path");
	json_array_foreach(list, index, other) {
		if (strcmp(fb_morpheus_text(other, "path"), ret_file->path) !=
		    0)
			continue;
		(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-LIVE",
		    "'%s' is exported as the snapshot, and is the live disk",
		    ret_file->path);
		return fb_hint(err, "the plugin of the datastore does not "
				    "export snapshots");
	}
	return FB_OK;
}

void
fb_morpheus_place_release(struct fb_morpheus_place *place)
{
	fb_libvirt_far_free(place->far);
	free(place->record);
	free(place->name);
	free(place->path);
	free(place->live);
	free(place->type);
	*place = (struct fb_morpheus_place){ 0 };
}

int
fb_morpheus_place(struct fb_morpheus *m, const char *host,
    const struct fb_morpheus_snapshot *snapshot, int64_t volume,
    struct fb_morpheus_place *ret_place, struct fb_error *err)
{
	struct fb_morpheus_file file;
	int rc = fb_morpheus_file_of(snapshot, volume, &file, err);

	if (rc < 0)
		return rc;
	ret_place->far = fb_libvirt_far_to_host(host, m->ssh_config, m->mark);
	if (ret_place->far == NULL)
		return fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-HOST",
		    "morpheus names no hypervisor that ssh could reach");
	ret_place->record = fb_strdup(snapshot->name);
	ret_place->name = fb_format("%lld", (long long)volume);
	ret_place->path = fb_strdup(file.path);
	ret_place->live = fb_strdup(is_plain(file.live) ? file.live : "");
	ret_place->type = fb_strdup(file.type);
	return FB_OK;
}

static int
fail_user(const char *user, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-EXPORT",
	    "the snapshot cannot be read: on the hypervisor we are the user "
	    "%.*s, who does not see whether others have it open to write",
	    (int)strcspn(user, "\n"), user);
	return fb_hint(err, "say 'User root' for the hypervisor in the file of "
			    "ssh_config");
}

/* The text of the answer, from its second word to the end of the line. */
static int
fail_looked(const struct fb_morpheus_place *place, const char *text,
    struct fb_error *err)
{
	bool more = strncmp(text, "more ", 5) == 0;
	const char *why;
	int len;

	if (strncmp(text, "user ", 5) == 0)
		return fail_user(text + 5, err);
	if (!more && strncmp(text, "live ", 5) != 0)
		return fb_fail(err, FB_EPROTO,
		    "cannot look at '%s': what came is no answer", place->path);
	why = text + 5;
	len = (int)strcspn(why, "\n");
	if (!more) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-MORPHEUS-LIVE",
		    "'%s' is not frozen: %.*s", place->path, len, why);
		return fb_hint(err,
		    "the plugin of the datastore does not export snapshots, or "
		    "somebody wrote to this one");
	}
	(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-FORMAT",
	    "the image '%s' %.*s, and is not opened", place->path, len, why);
	return fb_hint(err, "images are read that have all their bytes "
			    "themselves: the guest may have named the other "
			    "file");
}

int
fb_morpheus_look_at(const struct fb_morpheus_place *place, bool *ret_qcow2,
    struct fb_error *err)
{
	const char *const args[] = { place->record, place->name, place->path,
		place->live, place->type, NULL };
	FB_AUTO_BUF struct fb_buf said = { 0 };
	FB_AUTO_FREE char *what = fb_format("look at '%s'", place->path);
	const char *text;
	int rc = fb_libvirt_far_run(place->far, what, look_there, args,
	    (struct fb_span){ 0 }, SAID_MAX, &said, err);

	if (rc < 0)
		return rc;
	text = fb_buf_str(&said);
	*ret_qcow2 = strcmp(text, "qcow2\n") == 0;
	if (*ret_qcow2 || strcmp(text, "raw\n") == 0)
		return FB_OK;
	return fail_looked(place, text, err);
}

void
fb_morpheus_let_go(struct fb_morpheus *m, const char *host,
    const struct fb_morpheus_snapshot *snapshot)
{
	const char *const args[] = { snapshot->name, NULL };
	struct fb_libvirt_far *far =
	    fb_libvirt_far_to_host(host, m->ssh_config, m->mark);
	const json_t *file;
	size_t index;
	struct fb_error why = { 0 };
	int rc;

	if (far == NULL)
		return;
	/* Where it cannot be reached it is not asked again for each disk. */
	rc = fb_libvirt_far_run(far, "forget a snapshot", forget_there, args,
	    (struct fb_span){ 0 }, 0, NULL, &why);
	json_array_foreach(
	    json_object_get(snapshot->json, "snapshotFiles"), index, file)
		if (rc == FB_OK)
			rc = fb_libvirt_far_end_image(far,
			    fb_morpheus_text(file, "exportPath"), &why);
	fb_libvirt_far_free(far);
}

/* ------------------------------------------------------------- reading */

struct disk {
	struct fb_artifact base;
	struct fb_morpheus_place place;
	const char *format;
	uint64_t told; /* the size of the volume, by the appliance */
	struct fb_artifact *image; /* NULL: it broke off */
	struct fb_digest sample;
	pthread_mutex_t lock;
};

/* One thing to be asked of the image. */
struct asking {
	uint64_t offset;
	void *bytes; /* NULL: where data is */
	size_t len;
	uint64_t *ret_start, *ret_end;
};

static int
fail_format(const struct disk *disk, bool qcow2, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-FORMAT",
	    "'%s' %s, and the source says that files are %s",
	    disk->place.path,
	    qcow2 ? "begins as a qcow2 image" : "is no qcow2 image",
	    disk->format);
	return fb_hint(err, "see to image_format of the source; it is not "
			    "taken from the file, which the guest may have "
			    "written");
}

static int
open_image(struct disk *disk, struct fb_error *err)
{
	struct fb_libvirt_changes none = { 0 };
	bool qcow2, wanted = strcmp(disk->format, "qcow2") == 0;
	int rc = fb_morpheus_look_at(&disk->place, &qcow2, err);

	if (rc < 0)
		return rc;
	if (qcow2 != wanted && strcmp(disk->place.type, "file") == 0)
		return fail_format(disk, qcow2, err);
	rc = fb_libvirt_read_image(disk->place.far, disk->place.path,
	    disk->format, &none, &disk->image, err);
	if (rc < 0)
		return rc;
	if (disk->base.size == 0)
		disk->base.size = disk->image->size;
	if (disk->base.size != disk->image->size)
		return fb_fail_id(err, FB_ECONFLICT, "E-MORPHEUS-LIVE",
		    "'%s' has another size than before", disk->place.path);
	return FB_OK;
}

static int
ask_once(struct disk *disk, const struct asking *a, struct fb_error *err)
{
	int rc = disk->image != NULL ? FB_OK : open_image(disk, err);

	if (rc == FB_OK && a->bytes == NULL)
		rc = disk->image->ops->extent(disk->image, a->offset,
		    a->ret_start, a->ret_end, err);
	else if (rc == FB_OK)
		rc = disk->image->ops->read(
		    disk->image, a->offset, a->bytes, a->len, err);
	if (rc < 0)
		fb_artifact_closep(&disk->image);
	if (rc < 0)
		disk->image = NULL;
	return rc;
}

static bool
may_pass(const struct fb_error *err)
{
	return err->code == FB_EFAILED || err->code == FB_ETIMEOUT ||
	    err->code == FB_EUNREACH || err->code == FB_EPROTO;
}

/* A connection that breaks off is made anew, and what is there looked at as
 * at first. */
static int
ask(struct disk *disk, const struct asking *a, struct fb_error *err)
{
	struct fb_morpheus_wait wait = fb_morpheus_wait_for(AGAIN_MS, NULL);
	struct fb_error late = { 0 };
	int rc;

	(void)pthread_mutex_lock(&disk->lock);
	for (;;) {
		rc = ask_once(disk, a, err);
		if (rc == FB_OK || !may_pass(err) ||
		    fb_morpheus_wait(&wait, "it fails", &late) < 0)
			break;
		*err = (struct fb_error){ 0 };
	}
	(void)pthread_mutex_unlock(&disk->lock);
	return rc;
}

static int
disk_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct asking a = { from, NULL, 0, ret_start, ret_end };

	return ask((struct disk *)base, &a, err);
}

static int
disk_read(struct fb_artifact *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct asking a = { offset, bytes, len, NULL, NULL };

	return len > 0 ? ask((struct disk *)base, &a, err) : FB_OK;
}

static int
take_sample(
    struct disk *disk, struct fb_digest *ret_digest, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(SAMPLE_SIZE, 1);
	uint64_t size = disk->base.size;
	size_t len = size < SAMPLE_SIZE ? (size_t)size : SAMPLE_SIZE;

	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t at = (size - len) / (SAMPLES - 1) * i;
		int rc = disk_read(&disk->base, at, bytes, len, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ bytes, len });
	}
	fb_digester_peek(digester, ret_digest);
	return FB_OK;
}

static int
disk_prove(struct fb_artifact *base, struct fb_error *err)
{
	struct disk *disk = (struct disk *)base;
	struct fb_digest sample;
	bool qcow2;
	int rc = take_sample(disk, &sample, err);

	if (rc == FB_OK)
		rc = fb_morpheus_look_at(&disk->place, &qcow2, err);
	if (rc == FB_OK && fb_digest_cmp(&sample, &disk->sample) != 0)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-MORPHEUS-LIVE",
		    "'%s' is not frozen: it has other bytes than before",
		    disk->place.path);
	return rc;
}

static void
disk_close(struct fb_artifact *base)
{
	struct disk *disk = (struct disk *)base;

	fb_artifact_closep(&disk->image);
	fb_morpheus_place_release(&disk->place);
	(void)pthread_mutex_destroy(&disk->lock);
	free(disk);
}

static const struct fb_artifact_ops disk_ops = {
	.extent = disk_extent,
	.read = disk_read,
	.prove = disk_prove,
	.close = disk_close,
};

static int
find_place(struct fb_morpheus *m, const char *machine, const char *token,
    const char *name, struct fb_morpheus_place *ret_place,
    uint64_t *ret_told, struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes = { 0 };
	int rc = fb_morpheus_look(m, machine, token, &found, err);

	if (rc == FB_OK && !fb_morpheus_is_whole(&found))
		rc = fb_fail(err, FB_EFAILED, "the snapshot '%s' is %s",
		    found.name, found.status);
	if (rc == FB_OK)
		rc = fb_morpheus_server(m, machine, &server, err);
	if (rc == FB_OK)
		rc = fb_morpheus_volumes(m, server.json, &volumes, err);
	for (size_t i = 0; rc == FB_OK && i < volumes.count; i++)
		if (strcmp(volumes.items[i].name, name) == 0) {
			*ret_told = volumes.items[i].size;
			return fb_morpheus_place(m,
			    fb_morpheus_host_of(&found, &server), &found,
			    volumes.items[i].id, ret_place, err);
		}
	return rc < 0 ? rc
	              : fb_fail(err, FB_ENOTFOUND,
	                    "the machine has no volume '%s' any more", name);
}

int
fb_morpheus_open_disk(struct fb_morpheus *m, const char *machine,
    const char *token, const char *name, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	struct disk *disk = fb_alloc(1, sizeof(*disk));
	int rc;

	disk->base.ops = &disk_ops;
	(void)pthread_mutex_init(&disk->lock, NULL);
	rc = find_place(
	    m, machine, token, name, &disk->place, &disk->told, err);
	disk->format = rc == FB_OK && m->qcow2 &&
	        strcmp(disk->place.type, "file") == 0
	    ? "qcow2"
	    : "raw";
	if (rc == FB_OK)
		rc = open_image(disk, err);
	if (rc == FB_OK)
		rc = take_sample(disk, &disk->sample, err);
	if (rc < 0) {
		disk_close(&disk->base);
		return rc;
	}
	*ret_artifact = &disk->base;
	return FB_OK;
}

/* It may be longer, by rounding up. */
static int
check_whole(const struct fb_artifact *base, struct fb_error *err)
{
	const struct disk *disk = (const struct disk *)base;

	if (base->size >= disk->told)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-EXPORT",
	    "the snapshot cannot be read: '%s' has %llu bytes, and the volume "
	    "%llu",
	    disk->place.path, (unsigned long long)base->size,
	    (unsigned long long)disk->told);
	return fb_hint(err, "see on the hypervisor whether the export was cut "
			    "off; run the command again when it is whole");
}

static int
open_definition(struct fb_morpheus *m, const char *id,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_JSON json_t *document = NULL;
	int rc = fb_morpheus_server(m, id, &server, err);

	if (rc < 0)
		return rc;
	document = fb_morpheus_document(server.json);
	return fb_definition_open(NULL, document, ret_artifact, err);
}

int
fb_morpheus_open_volume(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_volume *volume,
    const char *token, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_ARTIFACT struct fb_artifact *disk = NULL;
	int rc;

	if (volume->kind == FB_VOLUME_DEFINITION)
		return open_definition(m, machine->id, ret_artifact, err);
	if (token == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "morpheus gives the bytes of snapshots only");
	rc = fb_morpheus_open_disk(
	    m, machine->id, token, volume->name, &disk, err);
	if (rc == FB_OK)
		rc = check_whole(disk, err);
	if (rc == FB_OK)
		*ret_artifact = FB_STEAL(disk);
	return rc;
}
