/* A line for each request; targets as they came, and no headers. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *file;
static unsigned long count, under_way;
static int64_t start_ms;

void
log_open(const char *path)
{
	file = fopen(path, "ae");
	if (file == NULL) {
		perror(path);
		exit(1);
	}
	start_ms = now_ms();
}

unsigned long
log_number(unsigned long *ret_at_once)
{
	unsigned long number;

	(void)pthread_mutex_lock(&lock);
	number = ++count;
	*ret_at_once = ++under_way;
	(void)pthread_mutex_unlock(&lock);
	return number;
}

void
log_begin(unsigned long number, enum fault fault, const struct head *head)
{
	(void)pthread_mutex_lock(&lock);
	(void)fprintf(file, "# %lu %s %s %s\n", number, fault_name(fault),
	    head->method, head->target);
	(void)fflush(file);
	(void)pthread_mutex_unlock(&lock);
}

void
log_wrong(unsigned long number, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)pthread_mutex_lock(&lock);
	(void)fprintf(file, "! %lu ", number);
	(void)vfprintf(file, fmt, args);
	(void)fputc('\n', file);
	(void)fflush(file);
	(void)pthread_mutex_unlock(&lock);
	va_end(args);
}

void
log_end(unsigned long number, int64_t began_ms, const struct head *head,
    int status, int64_t up, int64_t down, enum fault fault,
    unsigned long at_once)
{
	(void)pthread_mutex_lock(&lock);
	under_way--;
	(void)fprintf(file, "%lu %lld %s %s %d %lld %lld %s %lu\n", number,
	    (long long)(began_ms - start_ms), head->method, head->target,
	    status, (long long)up, (long long)down, fault_name(fault),
	    at_once);
	(void)fflush(file);
	(void)pthread_mutex_unlock(&lock);
}
