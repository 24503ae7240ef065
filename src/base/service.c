#include "fleetbak/base/service.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

bool
fb_service_listens(void)
{
	const char *name = getenv("NOTIFY_SOCKET");

	return name != NULL && (name[0] == '/' || name[0] == '@') &&
	    name[1] != '\0';
}

void
fb_service_notify(const char *text)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FB_AUTO_CLOSE int fd = -1;
	socklen_t len;

	if (!fb_service_listens() || strlen(name) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@') /* in the abstract name space */
		address.sun_path[0] = '\0';
	len =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		    (const struct sockaddr *)&address, len);
}

static bool
read_variable(const char *name, uint64_t max, uint64_t *ret_value)
{
	const char *text = getenv(name);
	struct fb_error ignored;

	return text != NULL &&
	    fb_text_u64((struct fb_span){ (const uint8_t *)text, strlen(text) },
	        max, ret_value, &ignored) == FB_OK;
}

int64_t
fb_service_watchdog_ns(void)
{
	uint64_t us = 0, pid = 0;

	if (!read_variable("WATCHDOG_USEC", INT64_MAX / 1000, &us))
		return 0;
	if (read_variable("WATCHDOG_PID", INT_MAX, &pid) &&
	    (pid_t)pid != getpid())
		return 0; /* another process is meant */
	return (int64_t)us * 1000;
}
