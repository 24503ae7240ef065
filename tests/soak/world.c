/*
 * The world outside: who makes, changes, renames, breaks and removes machines
 * behind fleetbak's back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

struct machine *
find_machine(const char *id)
{
	for (size_t i = 0; i < walk.machine_count; i++)
		if (strcmp(walk.machines[i].id, id) == 0)
			return &walk.machines[i];
	return NULL;
}

char *
machine_dir(const struct machine *machine)
{
	return path_of("machines/%s", machine->id);
}

bool
machine_is_up(const struct machine *machine)
{
	return exists(path_of("machines/%s/up", machine->id));
}

static void
fill(uint8_t *bytes, size_t size)
{
	/* Half of it does not compress, half of it repeats. */
	for (size_t i = 0; i < size; i += 8) {
		uint64_t value = i % 8192 < 4096 ? random_u64()
		                                 : UINT64_C(0x6665656c6c6f6f66);

		memcpy(bytes + i, &value, size - i < 8 ? size - i : 8);
	}
}

static void
write_extent(const char *path, off_t size)
{
	static uint8_t bytes[1 << 16];
	size_t length = 1 + random_below(sizeof(bytes));
	off_t at = (off_t)(random_u64() % (uint64_t)size);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (at + (off_t)length > size)
		length = (size_t)(size - at);
	fill(bytes, length);
	if (fd == -1 || pwrite(fd, bytes, length, at) != (ssize_t)length)
		fail("cannot write %s", path);
	(void)close(fd);
}

static void
make_disk(const char *path)
{
	off_t size = 16384 + (off_t)random_below(64) * 4096;
	unsigned extents = random_below(5);

	if (random_chance(25))
		size += random_below(4096);
	if (random_chance(10))
		size *= 8;
	put_file(path, "boot", 4);
	if (truncate(path, size) == -1)
		fail("truncate %s", path);
	for (unsigned i = 0; i < extents; i++)
		write_extent(path, size);
}

static void
make_small_file(const char *path)
{
	uint8_t bytes[6000];
	size_t size = random_below(sizeof(bytes));

	fill(bytes, size);
	put_file(path, bytes, size);
	if (random_chance(30))
		(void)chmod(path, 0400 + random_below(64) * 8);
}

static void
make_tree(const char *dir)
{
	char path[700];

	(void)mkdir(dir, 0755);
	(void)snprintf(path, sizeof(path), "%s/sub", dir);
	(void)mkdir(path, 0750);
	(void)snprintf(path, sizeof(path), "%s/hello", dir);
	make_small_file(path);
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	put_file(path, "made\n", 5);
	(void)snprintf(path, sizeof(path), "%s/sub/with space", dir);
	make_small_file(path);
	(void)snprintf(path, sizeof(path), "%s/left.tmp", dir);
	put_file(path, "left out", 8);
	if (random_chance(50)) {
		char other[700];

		(void)snprintf(path, sizeof(path), "%s/hello", dir);
		(void)snprintf(other, sizeof(other), "%s/sub/hard", dir);
		(void)!link(path, other);
		(void)snprintf(other, sizeof(other), "%s/soft", dir);
		(void)!symlink("sub/with space", other);
	}
}

static void
write_yaml(const struct machine *machine, bool disk2, bool tree)
{
	char text[2000], parent[100] = "", commands[1200] = "", volumes[300];
	const struct machine *other = random_machine(NULL);

	/* An older machine, so that no circle is made. */
	if (other != NULL && other < machine && random_chance(40))
		(void)snprintf(
		    parent, sizeof(parent), "parent: %s\n", other->id);
	if (machine->commands)
		(void)snprintf(commands, sizeof(commands),
		    "start: [%s, machine, start]\nstop: [%s, machine, stop]\n"
		    "status: [%s, machine, status]\n"
		    "stop_timeout: 20s\nstart_timeout: 20s\n",
		    path_of("keeper"), path_of("keeper"), path_of("keeper"));
	(void)snprintf(volumes, sizeof(volumes),
	    "volumes:\n  - {name: root, kind: disk, path: disk.img}\n%s%s",
	    disk2 ? "  - {name: extra, kind: disk, path: disk2.img}\n" : "",
	    tree ? "  - {name: data, kind: tree, path: data, "
	           "exclude: [\"*.tmp\"]}\n"
	         : "");
	(void)snprintf(text, sizeof(text),
	    "id: %s\nrole: %s\n%slabels: {rack: %s}\n%s%s", machine->id,
	    random_chance(50) ? "web" : "db", parent,
	    random_chance(50) ? "r1" : "r2", commands, volumes);
	put_file(path_of("machines/%s/machine.yaml", machine->id), text,
	    strlen(text));
}

static struct machine *
new_row(const char *id)
{
	struct machine *machine = find_machine(id);

	if (machine == NULL) {
		if (walk.machine_count == MACHINES_MAX * 4)
			return NULL;
		machine = &walk.machines[walk.machine_count++];
	}
	free(machine->moments);
	*machine = (struct machine){ .present = true };
	(void)snprintf(machine->id, sizeof(machine->id), "%s", id);
	return machine;
}

struct machine *
world_add_machine(const char *id)
{
	struct machine *machine = new_row(id);
	bool disk2 = random_chance(30), tree = random_chance(70);
	char *dir;

	if (machine == NULL)
		return NULL;
	dir = machine_dir(machine);
	machine->commands = random_chance(80);
	if (mkdir(dir, 0755) == -1)
		fail("mkdir %s", dir);
	make_disk(path_of("machines/%s/disk.img", id));
	if (disk2)
		make_disk(path_of("machines/%s/disk2.img", id));
	if (tree)
		make_tree(path_of("machines/%s/data", id));
	if (random_chance(50))
		put_file(path_of("machines/%s/shifty", id), "", 0);
	write_yaml(machine, disk2, tree);
	if (machine->commands && random_chance(80))
		world_power(machine, true);
	digest_machine(dir, false, &machine->content);
	return machine;
}

void
world_remove_machine(struct machine *machine)
{
	remove_tree(machine_dir(machine));
	machine->present = false;
	machine->half = machine->owed = machine->up = false;
}

/* Another id makes another machine, with the same content. */
void
world_rename_machine(struct machine *machine, const char *id)
{
	struct machine before = *machine;
	struct machine *now = new_row(id);

	if (now == NULL)
		return;
	if (rename(path_of("machines/%s", before.id),
	        path_of("machines/%s", id)) == -1)
		fail("cannot rename %s: %s", before.id, strerror(errno));
	shell("sed -i 's/^id: .*/id: %s/' '%s'", id,
	    path_of("machines/%s/machine.yaml", id));
	now->commands = before.commands;
	now->up = before.up;
	now->content = before.content;
	now->fail_stop = before.fail_stop;
	now->fail_start = before.fail_start;
	now->unknown = before.unknown;
	machine->present = false;
	machine->owed = machine->half = machine->up = false;
	remove_tree(path_of("machines/%s/.fleetbak", id));
}

static void
mutate_tree(const struct machine *machine)
{
	char name[60];

	(void)snprintf(name, sizeof(name), "sub/f%u", random_below(12));
	if (random_chance(30)) {
		(void)unlink(path_of("machines/%s/data/%s", machine->id, name));
		return;
	}
	make_small_file(path_of("machines/%s/data/%s", machine->id, name));
	if (random_chance(20))
		make_small_file(path_of("machines/%s/data/hello", machine->id));
	if (random_chance(20))
		(void)mkdir(path_of("machines/%s/data/d%u", machine->id,
		                random_below(5)),
		    0700);
}

void
world_mutate(struct machine *machine)
{
	const char *disk = path_of("machines/%s/disk.img", machine->id);
	struct stat st;

	if (stat(disk, &st) == 0 && st.st_size > 0)
		write_extent(disk, st.st_size);
	if (random_chance(10))
		(void)!truncate(disk, st.st_size + 4096);
	disk = path_of("machines/%s/disk2.img", machine->id);
	if (random_chance(50) && stat(disk, &st) == 0 && st.st_size > 0)
		write_extent(disk, st.st_size);
	if (exists(path_of("machines/%s/data", machine->id)))
		mutate_tree(machine);
	digest_machine(machine_dir(machine), false, &machine->content);
}

void
world_power(struct machine *machine, bool up)
{
	const char *path = path_of("machines/%s/up", machine->id);

	if (up)
		put_file(path, "", 0);
	else
		(void)unlink(path);
	/* Whether an obligation of before still holds cannot be told apart
	 * from outside. */
	if (machine->owed)
		machine->forgiving = true;
	machine->up = up;
}

void
world_flag(struct machine *machine, const char *flag, bool on)
{
	const char *path = path_of("machines/%s/%s", machine->id, flag);

	if (on)
		put_file(path, "", 0);
	else
		(void)unlink(path);
	if (strcmp(flag, "fail-stop") == 0)
		machine->fail_stop = on;
	else if (strcmp(flag, "fail-start") == 0)
		machine->fail_start = on;
	else
		machine->unknown = on;
}

void
world_write_config(void)
{
	static const char *const units[] = { "",
		"units:\n  shop: {subtree: lab/m1}\n",
		"units:\n  racks: {label: rack}\n" };
	const char *unit = units[walk.units];
	char text[1200];

	/* The subtree must have its root. */
	if (walk.units == 1 && !exists(path_of("machines/m1/machine.yaml")))
		unit = "";
	(void)snprintf(text, sizeof(text),
	    "fleet: {name: soak, rpo: 26h}\n"
	    "state_dir: ./state\n"
	    "repositories:\n"
	    "  main: {url: \"file:./repo\", "
	    "sign_with: \"file:./keys/sign.pem\"}\n"
	    "trusted_signers: [\"file:./keys/sign.pub.pem\"]\n"
	    "sources:\n"
	    "  lab: {driver: local, root: ./machines, labels: {site: a}}\n"
	    "download: {jobs: %u, max_downtime: 60s, level: %u}\n"
	    "retention: {keep: \"%s\", grace: 1h}\n%s",
	    walk.jobs, walk.level,
	    walk.keep_all ? "all" : "all within 12h, 2 daily", unit);
	put_file(path_of("fleetbak.yaml"), text, strlen(text));
}

void
world_make(void)
{
	unsigned machines;

	walk.jobs = random_chance(75) ? 1 : 2 + random_below(2);
	walk.level = 1 + random_below(3);
	walk.keep_all = random_chance(50);
	walk.units = random_chance(50) ? 0 : 1 + (int)random_below(2);
	(void)mkdir(path_of("machines"), 0755);
	(void)mkdir(path_of("keys"), 0700);
	put_file(path_of("events"), "", 0);
	machines = 1 + random_below(6);
	for (unsigned i = 1; i <= machines; i++) {
		char id[ID_MAX];

		(void)snprintf(id, sizeof(id), "m%u", i);
		(void)world_add_machine(id);
	}
	world_write_config();
	say("a fleet of %u, jobs %u, units %d", machines, walk.jobs,
	    walk.units);
}
