/*
 * The soak's own idea of content: SHA-256 over every volume of a machine, by
 * code that shares nothing with the program.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

struct hard_link {
	ino_t inode;
	char name[64];
};

struct hasher {
	EVP_MD_CTX *sha;
	struct hard_link links[64];
	size_t link_count;
};

static void
add(struct hasher *hasher, const void *bytes, size_t size)
{
	(void)EVP_DigestUpdate(hasher->sha, bytes, size);
}

static bool
add_file(struct hasher *hasher, const char *path)
{
	static char buffer[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t got;

	if (fd == -1)
		return false;
	while ((got = read(fd, buffer, sizeof(buffer))) > 0)
		add(hasher, buffer, (size_t)got);
	(void)close(fd);
	return got == 0;
}

static int
not_left_out(const struct dirent *entry)
{
	const char *name = entry->d_name;
	size_t len = strlen(name);

	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	    strcmp(name, ".fleetbak") != 0 &&
	    !(len > 4 && strcmp(name + len - 4, ".tmp") == 0);
}

/* The name under which the inode was met first, or NULL. */
static const char *
first_name(struct hasher *hasher, const struct stat *st, const char *name)
{
	struct hard_link *link;

	for (size_t i = 0; i < hasher->link_count; i++)
		if (hasher->links[i].inode == st->st_ino)
			return hasher->links[i].name;
	if (hasher->link_count == 64)
		return NULL;
	link = &hasher->links[hasher->link_count++];
	link->inode = st->st_ino;
	(void)snprintf(link->name, sizeof(link->name), "%.63s", name);
	return NULL;
}

static void add_tree(struct hasher *hasher, const char *path);

static void
add_entry(struct hasher *hasher, const char *path, const char *name)
{
	char line[512], target[PATH_MAX];
	const char *first;
	struct stat st;
	int len;

	if (lstat(path, &st) == -1)
		return;
	len = snprintf(line, sizeof(line), "%s %o %u %u %lld.%09ld %lld\n",
	    name, st.st_mode, st.st_uid, st.st_gid,
	    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
	    S_ISREG(st.st_mode) ? (long long)st.st_size : 0);
	add(hasher, line, (size_t)len);
	if (S_ISDIR(st.st_mode)) {
		add_tree(hasher, path);
	} else if (S_ISLNK(st.st_mode)) {
		ssize_t got = readlink(path, target, sizeof(target));

		if (got > 0)
			add(hasher, target, (size_t)got);
	} else if (S_ISREG(st.st_mode)) {
		first = st.st_nlink > 1 ? first_name(hasher, &st, name) : NULL;
		if (first != NULL)
			add(hasher, first, strlen(first));
		else
			(void)add_file(hasher, path);
	}
}

static void
add_tree(struct hasher *hasher, const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, not_left_out, alphasort);

	for (int i = 0; i < n; i++) {
		char child[PATH_MAX];

		(void)snprintf(
		    child, sizeof(child), "%s/%s", path, entries[i]->d_name);
		add_entry(hasher, child, entries[i]->d_name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	add(hasher, "/\n", 2);
}

static void
begin(struct hasher *hasher)
{
	hasher->sha = EVP_MD_CTX_new();
	(void)EVP_DigestInit_ex(hasher->sha, EVP_sha256(), NULL);
}

static void
end(struct hasher *hasher, struct digest *digest)
{
	(void)EVP_DigestFinal_ex(hasher->sha, digest->bytes, NULL);
	EVP_MD_CTX_free(hasher->sha);
}

void
digest_machine(const char *dir, bool restored, struct digest *digest)
{
	static const char *const disks[][2] = { { "disk.img", "root.img" },
		{ "disk2.img", "extra.img" } };
	struct hasher hasher = { 0 };
	char path[PATH_MAX];

	begin(&hasher);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(
		    path, sizeof(path), "%s/%s", dir, disks[i][restored]);
		add(&hasher, disks[i][1], strlen(disks[i][1]));
		if (add_file(&hasher, path))
			add(&hasher, ".", 1);
	}
	(void)snprintf(path, sizeof(path), "%s/data", dir);
	add_tree(&hasher, path);
	end(&hasher, digest);
}

bool
digest_file(const char *path, struct digest *digest)
{
	struct hasher hasher = { 0 };
	bool there;

	begin(&hasher);
	there = add_file(&hasher, path);
	end(&hasher, digest);
	return there;
}

bool
digest_same(const struct digest *a, const struct digest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
