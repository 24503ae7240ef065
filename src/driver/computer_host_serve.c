/*
 * What the host fetches from us: the disks of one restore, under names that
 * cannot be guessed, each of them once, for as long as the restore lasts.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"

#include "computer_host_internal.h"
#include "httpd_late.h"

#define FILES_MAX 80

/* Who holds connections and says nothing must not keep the host out. */
#define CONNECTIONS      32U
#define CONNECTIONS_EACH 8U
#define IDLE_S           300U

struct file {
	char *name, *path; /* path: "/SECRET/NAME" */
	bool fetched;
};

struct fb_chost_served {
	struct MHD_Daemon *daemon;
	char *dir, *host; /* host: as it stands in a URL */
	unsigned port;

	pthread_mutex_t lock; /* guards the rest */
	struct file files[FILES_MAX];
	size_t count;
};

/* The file of a path, which is then spent; NULL: there is none. */
static char *
spend(struct fb_chost_served *served, const char *path)
{
	char *file = NULL;

	(void)pthread_mutex_lock(&served->lock);
	for (size_t i = 0; i < served->count; i++)
		if (strcmp(served->files[i].path, path) == 0 &&
		    !served->files[i].fetched) {
			served->files[i].fetched = true;
			file = fb_format(
			    "%s/%s", served->dir, served->files[i].name);
		}
	(void)pthread_mutex_unlock(&served->lock);
	return file;
}

static enum MHD_Result
refuse(struct MHD_Connection *connection)
{
	struct MHD_Response *response = fb_httpd.create_response_from_buffer(
	    0, NULL, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	result = fb_httpd.queue_response(
	    connection, MHD_HTTP_NOT_FOUND, response);
	fb_httpd.destroy_response(response);
	return result;
}

static enum MHD_Result
handle(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload,
    size_t *upload_len, void **state)
{
	struct fb_chost_served *served = arg;
	FB_AUTO_FREE char *path = NULL;
	struct fb_error ignored = { 0 };
	struct MHD_Response *response = NULL;
	enum MHD_Result result;
	struct stat st;
	int fd = -1;

	(void)version;
	(void)upload;
	(void)state;
	if (*upload_len > 0)
		return MHD_NO;
	if (strcmp(method, "GET") == 0)
		path = spend(served, url);
	if (path != NULL)
		fd = fb_io_open(path, O_RDONLY, 0, &ignored);
	if (fd >= 0 && fstat(fd, &st) == 0)
		response = fb_httpd.create_response_from_fd64(
		    (uint64_t)st.st_size, fd); /* and closes it */
	if (response == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return refuse(connection);
	}
	result = fb_httpd.queue_response(connection, MHD_HTTP_OK, response);
	fb_httpd.destroy_response(response);
	return result;
}

static int
bad_address(const char *address, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-CHOST-SERVE",
	    "'%s' is no ADDRESS:PORT to serve at", address);
	return fb_hint(err,
	    "an address of this machine that the host reaches, as "
	    "192.0.2.1:8089 or [2001:db8::1]:0; port 0 is any that is free");
}

/* "All of them" is no address that the host could ask. */
static bool
is_unspecified(const struct sockaddr *address)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (address->sa_family == AF_INET) {
		memcpy(&v4, address, sizeof(v4));
		return v4.sin_addr.s_addr == htonl(INADDR_ANY);
	}
	memcpy(&v6, address, sizeof(v6));
	return IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) ||
	    (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) &&
	        memcmp(&v6.sin6_addr.s6_addr[12], "\0\0\0", 4) == 0);
}

/* An address is a number: a name could be another machine's. */
static int
parse(const char *address, struct addrinfo **ret_at, char **ret_host,
    struct fb_error *err)
{
	static const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	const char *colon = strrchr(address, ':');
	FB_AUTO_FREE char *host = NULL;
	FB_AUTO_FREE char *plain = NULL;
	size_t len;

	if (colon == NULL || colon == address || colon[1] == '\0')
		return bad_address(address, err);
	host = fb_format("%.*s", (int)(colon - address), address);
	len = strlen(host);
	plain = host[0] == '[' && host[len - 1] == ']'
	    ? fb_format("%.*s", (int)len - 2, host + 1)
	    : fb_strdup(host);
	if (getaddrinfo(plain, colon + 1, &hints, ret_at) != 0)
		return bad_address(address, err);
	if (is_unspecified((*ret_at)->ai_addr)) {
		freeaddrinfo(FB_STEAL(*ret_at));
		return bad_address(address, err);
	}
	*ret_host = FB_STEAL(host);
	return FB_OK;
}

int
fb_chost_serve_check(const char *address, struct fb_error *err)
{
	struct addrinfo *at = NULL;
	FB_AUTO_FREE char *host = NULL;
	int rc = parse(address, &at, &host, err);

	if (rc == FB_OK)
		freeaddrinfo(at);
	return rc;
}

static int
start(struct fb_chost_served *served, const char *address,
    const struct addrinfo *at, struct fb_error *err)
{
	const union MHD_DaemonInfo *info;

	served->daemon = fb_httpd.start_daemon(
	    MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
	        (at->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0),
	    0, NULL, NULL, handle, served, MHD_OPTION_SOCK_ADDR, at->ai_addr,
	    MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT, CONNECTIONS_EACH,
	    MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
	if (served->daemon == NULL)
		return fb_fail_id(err, FB_EUNREACH, "E-CHOST-SERVE",
		    "cannot serve at '%s': %s", address, strerror(errno));
	info = fb_httpd.get_daemon_info(
	    served->daemon, MHD_DAEMON_INFO_BIND_PORT);
	if (info == NULL)
		return fb_fail(err, FB_EBUG, "the port is not known");
	served->port = info->port;
	return FB_OK;
}

int
fb_chost_serve(const char *address, const char *dir,
    struct fb_chost_served **ret_served, struct fb_error *err)
{
	const char *trouble = fb_httpd_load();
	struct fb_chost_served *served;
	struct addrinfo *at = NULL;
	char *host = NULL;
	int rc;

	if (trouble != NULL) {
		(void)fb_fail_id(err, FB_ESYS, "E-CHOST-SERVE",
		    "what serves HTTP is not to be had: %s", trouble);
		return fb_hint(
		    err, "install libmicrohttpd (Debian: libmicrohttpd12)");
	}
	rc = parse(address, &at, &host, err);
	if (rc < 0)
		return rc;
	served = fb_alloc(1, sizeof(*served));
	served->dir = fb_strdup(dir);
	served->host = host;
	(void)pthread_mutex_init(&served->lock, NULL);
	rc = start(served, address, at, err);
	freeaddrinfo(at);
	if (rc < 0) {
		fb_chost_served_stop(served);
		return rc;
	}
	*ret_served = served;
	return FB_OK;
}

char *
fb_chost_served_url(struct fb_chost_served *served, const char *name)
{
	uint8_t secret[16];
	char hex[2 * sizeof(secret) + 1];
	struct file *file;
	char *url;

	if (served->count == FILES_MAX)
		abort(); /* a machine has fewer disks */
	fb_random(secret, sizeof(secret));
	fb_text_hex(secret, sizeof(secret), hex);
	(void)pthread_mutex_lock(&served->lock);
	file = &served->files[served->count++];
	file->name = fb_strdup(name);
	file->path = fb_format("/%s/%s", hex, name);
	url = fb_format(
	    "http://%s:%u%s", served->host, served->port, file->path);
	(void)pthread_mutex_unlock(&served->lock);
	return url;
}

void
fb_chost_served_stop(struct fb_chost_served *served)
{
	if (served == NULL)
		return;
	if (served->daemon != NULL)
		fb_httpd.stop_daemon(served->daemon);
	for (size_t i = 0; i < served->count; i++) {
		free(served->files[i].name);
		free(served->files[i].path);
	}
	free(served->dir);
	free(served->host);
	(void)pthread_mutex_destroy(&served->lock);
	free(served);
}
