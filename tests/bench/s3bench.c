/*
 * s3bench: what an S3 server gives to a client that does nothing else.
 *
 *	s3bench ENDPOINT BUCKET SIZE COUNT CONNECTIONS hash|unsigned
 *
 * COUNT objects of SIZE bytes are put, then got, over so many connections at
 * once, by one thread; a line of JSON for each of the two.  The credentials
 * are AWS_ACCESS_KEY_ID's and AWS_SECRET_ACCESS_KEY's, S3_CA a file of
 * authorities.  With "hash" the payload's is taken and signed anew for each
 * upload, as every client has to that knows no digest before; "unsigned"
 * leaves it out.
 */
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *endpoint, *bucket, *key_id, *secret;
static size_t size;
static bool hashed;
static char *payload;

struct transfer {
	CURL *easy;
	struct curl_slist *headers;
	size_t done; /* bytes */
};

static void
die(const char *what)
{
	(void)fprintf(stderr, "s3bench: %s\n", what);
	exit(1);
}

static double
seconds(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
hex(const unsigned char *bytes, char out[65])
{
	for (int i = 0; i < 32; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void
sha256(const void *bytes, size_t len, char out[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL) != 1)
		die("no SHA-256");
	hex(digest, out);
}

static void
hmac(unsigned char key[32], size_t key_len, const void *from, const char *text)
{
	unsigned len = 32;
	unsigned char out[EVP_MAX_MD_SIZE];

	if (HMAC(EVP_sha256(), from, (int)key_len, (const unsigned char *)text,
	        strlen(text), out, &len) == NULL)
		die("no HMAC");
	memcpy(key, out, 32);
}

/* Signature version 4 over host, date and payload hash. */
static struct curl_slist *
sign(const char *method, const char *path, const char *payload_hash)
{
	static const char names[] = "host;x-amz-content-sha256;x-amz-date";
	const char *host = strstr(endpoint, "://") + 3;
	char text[2048], digest[65], stamp[17], day[9], secret_text[256];
	unsigned char key[32];
	struct curl_slist *list = NULL;
	time_t now = time(NULL);
	struct tm tm;

	(void)gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	(void)strftime(day, sizeof(day), "%Y%m%d", &tm);
	(void)snprintf(text, sizeof(text),
	    "%s\n%s\n\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n"
	    "%s\n%s",
	    method, path, host, payload_hash, stamp, names, payload_hash);
	sha256(text, strlen(text), digest);
	(void)snprintf(text, sizeof(text),
	    "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s", stamp,
	    day, digest);
	(void)snprintf(secret_text, sizeof(secret_text), "AWS4%s", secret);
	hmac(key, strlen(secret_text), secret_text, day);
	hmac(key, 32, key, "us-east-1");
	hmac(key, 32, key, "s3");
	hmac(key, 32, key, "aws4_request");
	hmac(key, 32, key, text);
	hex(key, digest);
	(void)snprintf(text, sizeof(text),
	    "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/s3/"
	    "aws4_request, SignedHeaders=%s, Signature=%s",
	    key_id, day, names, digest);
	list = curl_slist_append(list, text);
	(void)snprintf(text, sizeof(text), "x-amz-date: %s", stamp);
	list = curl_slist_append(list, text);
	(void)snprintf(
	    text, sizeof(text), "x-amz-content-sha256: %s", payload_hash);
	return curl_slist_append(list, text);
}

static size_t
give(char *to, size_t unit, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	size_t len = unit * n;

	if (len > size - transfer->done)
		len = size - transfer->done;
	memcpy(to, payload + transfer->done, len);
	transfer->done += len;
	return len;
}

static size_t
take(char *from, size_t unit, size_t n, void *arg)
{
	(void)from;
	((struct transfer *)arg)->done += unit * n;
	return unit * n;
}

static void
begin(CURLM *multi, struct transfer *transfer, bool upload, long number)
{
	char path[512], url[1024], hash[65] = "UNSIGNED-PAYLOAD";
	const char *ca = getenv("S3_CA");
	CURL *easy = curl_easy_init();

	if (easy == NULL)
		die("no memory");
	(void)snprintf(path, sizeof(path), "/%s/bench/%06ld", bucket, number);
	(void)snprintf(url, sizeof(url), "%s%s", endpoint, path);
	if (hashed)
		sha256(payload, upload ? size : 0, hash);
	*transfer = (struct transfer){ easy,
		sign(upload ? "PUT" : "GET", path, hash), 0 };
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(
	    easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 20);
	curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	if (ca != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
	if (upload) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, give);
		curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
		curl_easy_setopt(
		    easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
	}
	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		die("no transfer");
}

static void
end(CURLM *multi, const CURLMsg *message)
{
	char *private = NULL;
	struct transfer *transfer;

	curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
	transfer = (struct transfer *)(void *)private;
	if (message->data.result != CURLE_OK)
		die(curl_easy_strerror(message->data.result));
	if (transfer->done != size)
		die("not as many bytes as there should be");
	curl_multi_remove_handle(multi, transfer->easy);
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	transfer->easy = NULL;
}

static void
run(bool upload, long count, long connections)
{
	CURLM *multi = curl_multi_init();
	struct transfer *transfers =
	    calloc((size_t)connections, sizeof(*transfers));
	double began = seconds(CLOCK_MONOTONIC), wall;
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	long next = 0, ended = 0;
	int left, active;

	if (multi == NULL || transfers == NULL)
		die("no memory");
	while (ended < count) {
		CURLMsg *message;

		for (long i = 0; i < connections && next < count; i++)
			if (transfers[i].easy == NULL)
				begin(multi, &transfers[i], upload, next++);
		curl_multi_perform(multi, &active);
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
			if (message->msg == CURLMSG_DONE) {
				end(multi, message);
				ended++;
			}
		curl_multi_poll(multi, NULL, 0, 100, NULL);
	}
	wall = seconds(CLOCK_MONOTONIC) - began;
	(void)printf("{\"op\": \"%s\", \"seconds\": %.3f, \"mib_per_s\": %.1f, "
	             "\"objects_per_s\": %.1f, \"cpu\": %.2f}\n",
	    upload ? "put" : "get", wall,
	    (double)size * (double)count / 1048576 / wall, (double)count / wall,
	    seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	curl_multi_cleanup(multi);
	free(transfers);
}

int
main(int argc, char **argv)
{
	long count, connections;

	key_id = getenv("AWS_ACCESS_KEY_ID");
	secret = getenv("AWS_SECRET_ACCESS_KEY");
	if (argc != 7 || key_id == NULL || secret == NULL ||
	    strstr(argv[1], "://") == NULL) {
		(void)fprintf(stderr,
		    "usage: s3bench ENDPOINT BUCKET SIZE COUNT CONNECTIONS "
		    "hash|unsigned\n");
		return 2;
	}
	endpoint = argv[1];
	bucket = argv[2];
	size = strtoul(argv[3], NULL, 10);
	count = strtol(argv[4], NULL, 10);
	connections = strtol(argv[5], NULL, 10);
	hashed = strcmp(argv[6], "hash") == 0;
	if (size < 1 || count < 1 || connections < 1 || connections > 1000)
		die("a size, a count and at most 1000 connections are wanted");
	payload = malloc(size);
	if (payload == NULL)
		die("no memory");
	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(i * 2654435761u >> 13);
	curl_global_init(CURL_GLOBAL_ALL);
	run(true, count, connections);
	run(false, count, connections);
	curl_global_cleanup();
	free(payload);
	return 0;
}
