/* The connection to libvirt, and what it says when something is wrong. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_internal.h"

struct meaning {
	enum fb_code code;
	const char *id;
};

/* A broken connection tells nothing of what the other side did. */
static struct meaning
meaning_of(const virError *error, bool effect)
{
	switch (error->code) {
	case VIR_ERR_NO_DOMAIN:
		return (struct meaning){ FB_ENOTFOUND, "E-MACHINE-GONE" };
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_AUTH_CANCELLED:
	case VIR_ERR_AUTH_UNAVAILABLE:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_OPERATION_DENIED:
		return (struct meaning){ FB_EDENIED, "E-SRC-DENIED" };
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_INVALID_CONN:
	case VIR_ERR_RPC:
	case VIR_ERR_GNUTLS_ERROR:
	case VIR_ERR_LIBSSH:
	case VIR_ERR_SSH:
		break;
	case VIR_ERR_SYSTEM_ERROR:
	case VIR_ERR_INTERNAL_ERROR:
		if (error->domain == VIR_FROM_RPC ||
		    error->domain == VIR_FROM_REMOTE ||
		    error->domain == VIR_FROM_STREAMS)
			break;
		return (struct meaning){ FB_EFAILED, NULL };
	case VIR_ERR_OPERATION_TIMEOUT:
		return (struct meaning){ FB_ETIMEOUT, NULL };
	case VIR_ERR_OPERATION_INVALID:
		return (struct meaning){ FB_ECONFLICT, NULL };
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_OPERATION_UNSUPPORTED:
	case VIR_ERR_CONFIG_UNSUPPORTED:
		return (struct meaning){ FB_EUNSUP, NULL };
	default:
		return (struct meaning){ FB_EFAILED, NULL };
	}
	return effect
	    ? (struct meaning){ FB_EUNKNOWN, NULL }
	    : (struct meaning){ FB_EUNREACH, "E-SRC-UNREACHABLE" };
}

int
fb_libvirt_fail(struct fb_error *err, bool effect, const char *fmt, ...)
{
	const virError *error = fb_libvirt.virGetLastError();
	struct meaning meaning = { FB_EFAILED, NULL };
	const char *said = "it does not say why";
	char tried[FB_ERROR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(tried, sizeof(tried), fmt, args);
	va_end(args);
	if (error != NULL) {
		meaning = meaning_of(error, effect);
		if (error->message != NULL)
			said = error->message;
	}
	return meaning.id != NULL
	    ? fb_fail_id(err, meaning.code, meaning.id, "%s: libvirt: %s",
	          tried, said)
	    : fb_fail(err, meaning.code, "%s: libvirt: %s", tried, said);
}

int
fb_libvirt_effect(virDomainPtr domain, const char *what, struct fb_error *err)
{
	const char *name = fb_libvirt.virDomainGetName(domain);
	FB_AUTO_FREE char *step =
	    fb_format("libvirt %s %s", what, name != NULL ? name : "");

	return fb_seam_refuse(fb_seam(FB_STEP_DRIVER, step), err);
}

/* SCHEME[+TRANSPORT]://[HOST]/...: on this host without HOST, by whatever
 * socket. */
bool
fb_libvirt_is_local(const char *uri)
{
	const char *colon = strstr(uri, "://");
	const char *plus = memchr(uri, '+',
	    colon != NULL ? (size_t)(colon - uri) : 0);

	if (colon == NULL || colon[3] != '/')
		return false;
	return plus == NULL || strncmp(plus, "+unix:", 6) == 0;
}

/*
 * libvirt waits for ever for a daemon that accepts and says nothing.  So a
 * thread of its own opens the connection, and is left alone when it takes too
 * long: whoever is the last one clears away.
 */
#define OPEN_S 30

/* A daemon that answers nothing for so long, whatever was asked, is away. */
#define PROBE_S     5
#define PROBE_COUNT 6

struct opening {
	pthread_mutex_t lock;
	pthread_cond_t ended_cond;
	bool ended, left;
	char *uri;
	virConnectPtr connection;
	struct fb_error err;
};

static void
opening_free(struct opening *opening)
{
	if (opening->connection != NULL)
		(void)fb_libvirt.virConnectClose(opening->connection);
	(void)pthread_cond_destroy(&opening->ended_cond);
	(void)pthread_mutex_destroy(&opening->lock);
	free(opening->uri);
	free(opening);
}

static void *
open_uri(void *arg)
{
	struct opening *opening = arg;
	virConnectPtr connection = fb_libvirt.virConnectOpen(opening->uri);
	struct fb_error err = { 0 };
	bool left;

	if (connection == NULL)
		(void)fb_libvirt_fail(
		    &err, false, "cannot connect to '%s'", opening->uri);
	else /* Where there is no daemon there is nothing to probe. */
		(void)fb_libvirt.virConnectSetKeepAlive(
		    connection, PROBE_S, PROBE_COUNT);
	(void)pthread_mutex_lock(&opening->lock);
	opening->connection = connection;
	opening->err = err;
	opening->ended = true;
	left = opening->left;
	(void)pthread_cond_signal(&opening->ended_cond);
	(void)pthread_mutex_unlock(&opening->lock);
	if (left)
		opening_free(opening);
	return NULL;
}

static struct opening *
opening_new(const char *uri)
{
	struct opening *opening = fb_alloc(1, sizeof(*opening));
	pthread_condattr_t attr;

	opening->uri = fb_strdup(uri);
	(void)pthread_mutex_init(&opening->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&opening->ended_cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	return opening;
}

/* FB_EUNREACH: not within OPEN_S. */
static int
await_opening(struct opening *opening, virConnectPtr *ret_connection,
    struct fb_error *err)
{
	struct timespec until;
	bool ended;
	int rc = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += OPEN_S;
	(void)pthread_mutex_lock(&opening->lock);
	while (!opening->ended && rc == 0)
		rc = pthread_cond_timedwait(
		    &opening->ended_cond, &opening->lock, &until);
	ended = opening->ended;
	opening->left = !ended;
	if (!ended)
		(void)fb_fail(err, FB_EUNREACH,
		    "cannot connect to '%s': it has not answered for %d s",
		    opening->uri, OPEN_S);
	(void)pthread_mutex_unlock(&opening->lock);
	if (!ended)
		return err->code;
	*ret_connection = FB_STEAL(opening->connection);
	if (*ret_connection == NULL)
		*err = opening->err;
	opening_free(opening);
	return *ret_connection == NULL ? err->code : FB_OK;
}

static int
open_connection(struct fb_libvirt_driver *driver, struct fb_error *err)
{
	struct opening *opening = opening_new(driver->uri);
	pthread_t thread;

	if (pthread_create(&thread, NULL, open_uri, opening) != 0) {
		opening_free(opening);
		return fb_fail(err, FB_ESYS, "cannot start a thread");
	}
	(void)pthread_detach(thread);
	if (await_opening(opening, &driver->connection, err) == FB_OK)
		return FB_OK;
	/* What cannot be connected to is away, whatever the reason. */
	if (err->code != FB_EDENIED) {
		err->code = FB_EUNREACH;
		err->id = "E-SRC-UNREACHABLE";
	}
	return err->code;
}

/* A daemon that is restarted is back within this. */
#define RESTART_NS (INT64_C(15) * 1000000000)
#define TRY_NS     INT64_C(100000000)

/* Nobody tells of a connection that broke while it was idle: a question
 * without weight does. */
static bool
is_alive(virConnectPtr connection)
{
	unsigned long version;

	return fb_libvirt.virConnectGetLibVersion(connection, &version) == 0;
}

/* One that was lost is waited for: its daemon is restarted, say, while QEMU
 * goes on. */
static int
open_again(struct fb_libvirt_driver *driver, struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + RESTART_NS;

	(void)fb_libvirt.virConnectClose(driver->connection);
	driver->connection = NULL;
	for (;;) {
		int rc = open_connection(driver, err);
		int64_t now = fb_clock_mono_ns();

		if (rc != FB_EUNREACH || now >= deadline)
			return rc;
		fb_clock_wait(now + TRY_NS);
	}
}

int
fb_libvirt_connect(struct fb_libvirt_driver *driver,
    virConnectPtr *ret_connection, struct fb_error *err)
{
	int rc = FB_OK;

	(void)pthread_mutex_lock(&driver->lock);
	if (driver->connection == NULL)
		rc = open_connection(driver, err);
	else if (!is_alive(driver->connection))
		rc = open_again(driver, err);
	if (rc == FB_OK) {
		(void)fb_libvirt.virConnectRef(driver->connection);
		*ret_connection = driver->connection;
	}
	(void)pthread_mutex_unlock(&driver->lock);
	return rc;
}

int
fb_libvirt_xml(virDomainPtr domain, bool live, struct fb_buf *ret_xml,
    struct fb_error *err)
{
	unsigned flags = VIR_DOMAIN_XML_SECURE;
	char *xml;

	if (!live)
		flags |= VIR_DOMAIN_XML_INACTIVE;
	xml = fb_libvirt.virDomainGetXMLDesc(domain, flags);
	if (xml == NULL)
		return fb_libvirt_fail(err, false, "cannot read the XML");
	fb_buf_add_str(ret_xml, xml);
	free(xml);
	return FB_OK;
}

int
fb_libvirt_read(virDomainPtr domain, bool live, struct fb_domain *ret_domain,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc = fb_libvirt_xml(domain, live, &xml, err);

	return rc < 0 ? rc
	              : fb_domain_read(fb_buf_span(&xml), ret_domain, err);
}

int
fb_libvirt_find(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ret_ref, struct fb_error *err)
{
	int rc = fb_libvirt_connect(driver, &ret_ref->connection, err);

	if (rc < 0)
		return rc;
	ret_ref->domain = fb_libvirt.virDomainLookupByUUIDString(
	    ret_ref->connection, uuid);
	if (ret_ref->domain == NULL)
		return fb_libvirt_fail(
		    err, false, "cannot find the domain '%s'", uuid);
	return FB_OK;
}

void
fb_libvirt_ref_release(struct fb_libvirt_ref *ref)
{
	if (ref->domain != NULL)
		(void)fb_libvirt.virDomainFree(ref->domain);
	if (ref->connection != NULL)
		(void)fb_libvirt.virConnectClose(ref->connection);
	*ref = (struct fb_libvirt_ref){ 0 };
}

int
fb_libvirt_state(virDomainPtr domain, int *ret_state, struct fb_error *err)
{
	int reason;

	if (fb_libvirt.virDomainGetState(domain, ret_state, &reason, 0) < 0)
		return fb_libvirt_fail(err, false, "cannot tell its state");
	return FB_OK;
}

bool
fb_libvirt_is_off(int state)
{
	return state == VIR_DOMAIN_SHUTOFF;
}

bool
fb_libvirt_is_up(int state)
{
	return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED;
}
