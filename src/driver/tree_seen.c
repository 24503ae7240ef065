#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "tree_seen.h"

static size_t
slot_of(dev_t dev, ino_t ino)
{
	return (ino ^ dev) % FB_TREE_LINK_SLOTS;
}

struct fb_tree_link *
fb_tree_link_get(const struct fb_tree_links *links, const struct stat *st)
{
	struct fb_tree_link *link =
	    links->slots[slot_of(st->st_dev, st->st_ino)];

	while (link != NULL &&
	    (link->dev != st->st_dev || link->ino != st->st_ino))
		link = link->next;
	return link;
}

struct fb_tree_link *
fb_tree_link_find(
    struct fb_tree_links *links, const struct stat *st, const char *path)
{
	struct fb_tree_link *link = fb_tree_link_get(links, st);
	struct fb_tree_link **slot =
	    &links->slots[slot_of(st->st_dev, st->st_ino)];

	if (link != NULL)
		return link;
	link = fb_alloc(1, sizeof(*link));
	link->dev = st->st_dev;
	link->ino = st->st_ino;
	link->left = st->st_nlink;
	link->path = fb_strdup(path);
	link->next = *slot;
	*slot = link;
	return NULL;
}

void
fb_tree_link_count(struct fb_tree_links *links, struct fb_tree_link *link)
{
	struct fb_tree_link **slot =
	    &links->slots[slot_of(link->dev, link->ino)];

	if (link->left > 2) {
		link->left--;
		return;
	}
	while (*slot != link)
		slot = &(*slot)->next;
	*slot = link->next;
	free(link->path);
	free(link);
}

void
fb_tree_link_forget(struct fb_tree_links *links, const struct stat *st)
{
	struct fb_tree_link *link = fb_tree_link_find(links, st, "");

	if (link == NULL)
		link = fb_tree_link_find(links, st, "");
	link->left = 0;
	fb_tree_link_count(links, link);
}

void
fb_tree_links_release(struct fb_tree_links *links)
{
	for (size_t i = 0; i < FB_TREE_LINK_SLOTS; i++)
		while (links->slots[i] != NULL) {
			struct fb_tree_link *link = links->slots[i];

			links->slots[i] = link->next;
			free(link->path);
			free(link);
		}
}

const char *
fb_tree_owner(struct fb_tree_owners *owners, uint32_t id, bool group)
{
	struct fb_tree_owner *slots = group ? owners->groups : owners->users;
	struct fb_tree_owner *slot = &slots[id % FB_TREE_OWNER_SLOTS];
	char room[4096];
	struct passwd pw, *got_pw = NULL;
	struct group gr, *got_gr = NULL;
	const char *name = NULL;

	if (slot->used && slot->id == id)
		return slot->name;
	if (group) {
		(void)getgrgid_r(id, &gr, room, sizeof(room), &got_gr);
		name = got_gr != NULL ? gr.gr_name : NULL;
	} else {
		(void)getpwuid_r(id, &pw, room, sizeof(room), &got_pw);
		name = got_pw != NULL ? pw.pw_name : NULL;
	}
	*slot = (struct fb_tree_owner){ .used = true, .id = id };
	if (name != NULL && strlen(name) < sizeof(slot->name))
		memcpy(slot->name, name, strlen(name));
	return slot->name;
}
