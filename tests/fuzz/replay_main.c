/* Feed each file named on the command line to a fuzz target, once: the
 * corpus is a regression test, with any compiler, in every `make check`. */
#include <fcntl.h>
#include <stdio.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define CORPUS_FILE_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct fb_error err = { 0 };
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		FB_AUTO_CLOSE int fd = fb_io_open(argv[i], O_RDONLY, 0, &err);

		if (fd < 0 ||
		    fb_io_read_all(fd, argv[i], CORPUS_FILE_MAX, &bytes, &err) <
		        0) {
			fprintf(stderr, "%s\n", err.msg);
			return 1;
		}
		(void)LLVMFuzzerTestOneInput(bytes.data, bytes.len);
	}
	printf("%d inputs replayed\n", argc - 1);
	return 0;
}
