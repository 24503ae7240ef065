#include "libvirt_late.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define LIBVIRT      "libvirt.so.0"
#define LIBVIRT_QEMU "libvirt-qemu.so.0"
#define LIBNBD       "libnbd.so.0"

struct fb_libvirt fb_libvirt;
struct fb_nbd fb_nbd;

static pthread_once_t libvirt_once = PTHREAD_ONCE_INIT;
static char libvirt_trouble[256];
static pthread_once_t nbd_once = PTHREAD_ONCE_INIT;
static char nbd_trouble[256];

static void *
open_library(const char *name, char *trouble, size_t size)
{
	void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	const char *why = library == NULL ? dlerror() : NULL;

	if (library == NULL)
		(void)snprintf(trouble, size, "%s",
		    why != NULL ? why : "it cannot be loaded");
	return library;
}

/* What it has to say comes back with each call; it would print it besides. */
static void
say_nothing(void *arg, virErrorPtr error)
{
	(void)arg;
	(void)error;
}

/* Without it nobody would notice a hypervisor that says nothing any more. */
static void *
run_events(void *arg)
{
	(void)arg;
	for (;;)
		(void)fb_libvirt.virEventRunDefaultImpl();
	return NULL;
}

static void
do_nothing(int timer, void *arg)
{
	(void)timer;
	(void)arg;
}

/* The first turn is taken here: what the loop needs is there when this
 * returns. */
static bool
take_turn(void)
{
	int timer = fb_libvirt.virEventAddTimeout(0, do_nothing, NULL, NULL);

	if (timer < 0 || fb_libvirt.virEventRunDefaultImpl() < 0)
		return false;
	return fb_libvirt.virEventRemoveTimeout(timer) == 0;
}

static bool
start_events(void)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	if (fb_libvirt.virEventRegisterDefaultImpl() < 0 || !take_turn())
		return false;
	/* Signals are for the others. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, run_events, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0 && pthread_detach(thread) == 0;
}

/* What only QEMU has. */
static void
load_libvirt_qemu(void)
{
	void *library = dlopen(LIBVIRT_QEMU, RTLD_NOW | RTLD_LOCAL);

	if (library != NULL)
		*(void **)&fb_libvirt.virDomainQemuAgentCommand =
		    dlsym(library, "virDomainQemuAgentCommand");
}

static void
load_libvirt(void)
{
	void *library = open_library(
	    LIBVIRT, libvirt_trouble, sizeof(libvirt_trouble));

	if (library == NULL)
		return;
#define TAKE(name) \
	*(void **)&fb_libvirt.name = dlsym(library, #name); \
	if (fb_libvirt.name == NULL) \
		(void)snprintf(libvirt_trouble, sizeof(libvirt_trouble), \
		    "%s has no %s", LIBVIRT, #name);
	FB_LIBVIRT_FUNCTIONS(TAKE)
	if (libvirt_trouble[0] != '\0')
		return;
	if (fb_libvirt.virInitialize() < 0 || !start_events())
		(void)snprintf(libvirt_trouble, sizeof(libvirt_trouble),
		    "%s cannot be initialized", LIBVIRT);
	else
		fb_libvirt.virSetErrorFunc(NULL, say_nothing);
	load_libvirt_qemu();
}

const char *
fb_libvirt_load(void)
{
	(void)pthread_once(&libvirt_once, load_libvirt);
	return libvirt_trouble[0] != '\0' ? libvirt_trouble : NULL;
}

static void
load_nbd(void)
{
	void *library =
	    open_library(LIBNBD, nbd_trouble, sizeof(nbd_trouble));

	if (library == NULL)
		return;
#define TAKE_NBD(name) \
	*(void **)&fb_nbd.name = dlsym(library, #name); \
	if (fb_nbd.name == NULL) \
		(void)snprintf(nbd_trouble, sizeof(nbd_trouble), \
		    "%s has no %s", LIBNBD, #name);
	FB_NBD_FUNCTIONS(TAKE_NBD)
}

const char *
fb_nbd_load(void)
{
	(void)pthread_once(&nbd_once, load_nbd);
	return nbd_trouble[0] != '\0' ? nbd_trouble : NULL;
}
