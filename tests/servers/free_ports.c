/*
 * free_ports ADDRESS N: print N ports that nobody uses at the address.
 *
 * The address is one test's own (127.x.y.z), so what is free stays free.  At
 * 0.0.0.0 the kernel would give some of those from which every client of every
 * test goes out, and keeps them for a minute afterwards: there it is ports
 * below all of these, from another one on in each process.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOW_PORT 10000

/* It stays bound until the program ends, so that no two are the same. */
static int
free_port(struct in_addr address, int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = address,
		.sin_port = htons((uint16_t)port) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) == -1)
		return -1;
	return ntohs(at.sin_port);
}

/* The first port from which a client goes out. */
static int
first_of_clients(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	int first = 0;

	if (file == NULL || fscanf(file, "%d", &first) != 1)
		first = 0;
	if (file != NULL)
		(void)fclose(file);
	return first > 2 * LOW_PORT ? first : 32768;
}

static int
free_at_all(struct in_addr address)
{
	static int tried;
	int ports = first_of_clients() - LOW_PORT;

	while (tried < ports) {
		int port = free_port(address,
		    LOW_PORT + (int)(getpid() * 31L + tried++) % ports);

		if (port >= 0)
			return port;
	}
	return -1;
}

int
main(int argc, char **argv)
{
	struct in_addr address;
	long n = argc == 3 ? strtol(argv[2], NULL, 10) : 0;

	if (n < 1 || n > 100 || inet_pton(AF_INET, argv[1], &address) != 1) {
		(void)fprintf(stderr, "usage: free_ports ADDRESS N\n");
		return 2;
	}
	while (n-- > 0) {
		int port = address.s_addr == INADDR_ANY
		    ? free_at_all(address)
		    : free_port(address, 0);

		if (port < 0) {
			perror("free_ports");
			return 1;
		}
		(void)printf("%d\n", port);
	}
	return 0;
}
