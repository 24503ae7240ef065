/*
 * free_ports ADDRESS N: print N ports that nobody uses at the address.
 *
 * The address is one test's own (127.x.y.z), so what is free stays free.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* It stays bound until the program ends, so that no two are the same. */
static int
free_port(struct in_addr address)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = address };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) == -1)
		return -1;
	return ntohs(at.sin_port);
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
		int port = free_port(address);

		if (port < 0) {
			perror("free_ports");
			return 1;
		}
		(void)printf("%d\n", port);
	}
	return 0;
}
