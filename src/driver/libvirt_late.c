#include "libvirt_late.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/late.h"

#define LIBVIRT      "libvirt.so.0"
#define LIBVIRT_QEMU "libvirt-qemu.so.0"
#define LIBNBD       "libnbd.so.0"

struct fb_libvirt fb_libvirt;
struct fb_nbd fb_nbd;

static pthread_once_t libvirt_once = PTHREAD_ONCE_INIT;
static char libvirt_trouble[FB_LATE_TROUBLE];
static pthread_once_t nbd_once = PTHREAD_ONCE_INIT;
static char nbd_trouble[FB_LATE_TROUBLE];

#define LIBVIRT_ROW(name) { #name, (void **)&fb_libvirt.name },
static const struct fb_late_row libvirt_rows[] = { FB_LIBVIRT_FUNCTIONS(
    LIBVIRT_ROW) };
/* What only QEMU has. */
static const struct fb_late_row qemu_rows[] = { LIBVIRT_ROW(
    virDomainQemuAgentCommand) };
#define NBD_ROW(name) { #name, (void **)&fb_nbd.name },
static const struct fb_late_row nbd_rows[] = { FB_NBD_FUNCTIONS(NBD_ROW) };

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

static void
load_libvirt(void)
{
	char ignored[FB_LATE_TROUBLE];

	if (!fb_late_load(LIBVIRT, libvirt_rows, FB_COUNT(libvirt_rows),
	        libvirt_trouble))
		return;
	if (fb_libvirt.virInitialize() < 0 || !start_events())
		(void)snprintf(libvirt_trouble, sizeof(libvirt_trouble),
		    "%s cannot be initialized", LIBVIRT);
	else
		fb_libvirt.virSetErrorFunc(NULL, say_nothing);
	/* Who needs the agent's call looks whether it is there. */
	(void)!fb_late_load(
	    LIBVIRT_QEMU, qemu_rows, FB_COUNT(qemu_rows), ignored);
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
	(void)!fb_late_load(LIBNBD, nbd_rows, FB_COUNT(nbd_rows), nbd_trouble);
}

const char *
fb_nbd_load(void)
{
	(void)pthread_once(&nbd_once, load_nbd);
	return nbd_trouble[0] != '\0' ? nbd_trouble : NULL;
}
