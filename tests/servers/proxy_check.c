/* What every request to S3 must be like, from the protocol and our promises:
 * signed with all that counts, with its payload's hash, and no secret in it. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy.h"

static bool plain;
static char *secrets[16];
static size_t secret_count;
static size_t longest_secret;

void
check_setup(const char *secrets_path, bool is_plain)
{
	FILE *file = secrets_path != NULL ? fopen(secrets_path, "re") : NULL;
	char line[256];

	plain = is_plain;
	if (secrets_path != NULL && file == NULL) {
		perror(secrets_path);
		exit(1);
	}
	while (file != NULL && secret_count < 16 &&
	    fgets(line, sizeof(line), file) != NULL) {
		size_t len = strcspn(line, "\n");

		line[len] = '\0';
		if (len < 8)
			continue;
		secrets[secret_count++] = strdup(line);
		if (len > longest_secret)
			longest_secret = len;
	}
	if (file != NULL)
		(void)fclose(file);
}

/* The end of what came before is kept: a secret may lie across. */
static void
look_for_secrets(struct check *check, const void *bytes, size_t len)
{
	size_t keep;

	if (secret_count == 0)
		return;
	fb_buf_add(&check->tail, bytes, len);
	for (size_t i = 0; i < secret_count; i++)
		if (memmem(check->tail.data, check->tail.len, secrets[i],
		        strlen(secrets[i])) != NULL)
			log_wrong(check->number, "a secret in clear");
	keep = check->tail.len < longest_secret ? check->tail.len
	                                        : longest_secret - 1;
	memmove(
	    check->tail.data, check->tail.data + check->tail.len - keep, keep);
	check->tail.len = keep;
}

static bool
is_signed(const char *list, const char *name, size_t len)
{
	while (list != NULL && *list != '\0') {
		if (strncasecmp(list, name, len) == 0 &&
		    (list[len] == ';' || list[len] == ',' || list[len] == '\0'))
			return true;
		list += strcspn(list, ";,");
		if (*list != ';')
			return false;
		list++;
	}
	return false;
}

static bool
must_be_signed(const char *name, size_t len)
{
	return strncasecmp(name, "x-amz-", 6) == 0 ||
	    (len == 4 && strncasecmp(name, "host", 4) == 0) ||
	    (len == 11 && strncasecmp(name, "content-md5", 11) == 0);
}

static void
check_signature(const struct check *check, const struct head *head)
{
	char *value = head_value(head, "Authorization");
	const char *list =
	    value != NULL ? strstr(value, "SignedHeaders=") : NULL;
	const char *line = strchr(fb_buf_str(&head->text), '\n');

	if (value == NULL)
		log_wrong(check->number, "no Authorization");
	else if (strncmp(value, "AWS4-HMAC-SHA256 Credential=", 28) != 0 ||
	    list == NULL || strstr(value, "Signature=") == NULL)
		log_wrong(check->number, "Authorization is no SigV4");
	for (; list != NULL && line != NULL; line = strchr(line, '\n')) {
		size_t len = strcspn(++line, ":\r\n");

		if (must_be_signed(line, len) &&
		    !is_signed(list + 14, line, len))
			log_wrong(check->number, "unsigned header %.*s",
			    (int)len, line);
	}
	free(value);
}

static void
check_payload(struct check *check, const struct head *head)
{
	char *hash = head_value(head, "x-amz-content-sha256");
	bool upload = strcmp(head->method, "PUT") == 0 ||
	    strcmp(head->method, "POST") == 0;

	if (hash == NULL)
		log_wrong(check->number, "no x-amz-content-sha256");
	else if (strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64)
		log_wrong(check->number, "x-amz-content-sha256 is %.40s", hash);
	else
		(void)snprintf(
		    check->promised, sizeof(check->promised), "%s", hash);
	free(hash);
	if (upload && head->length < 0)
		log_wrong(check->number, "no Content-Length");
	if (head->chunked)
		log_wrong(check->number, "Transfer-Encoding: chunked");
}

void
check_head(struct check *check, const struct head *head)
{
	char *date;

	look_for_secrets(check, head->text.data, head->text.len);
	if (plain)
		return;
	check_signature(check, head);
	check_payload(check, head);
	date = head_value(head, "x-amz-date");
	if (date == NULL || strlen(date) != 16)
		log_wrong(check->number, "no x-amz-date");
	free(date);
	check->hash = EVP_MD_CTX_new();
	(void)EVP_DigestInit_ex(check->hash, EVP_sha256(), NULL);
}

void
check_body(struct check *check, const void *bytes, size_t len)
{
	look_for_secrets(check, bytes, len);
	if (check->hash != NULL)
		(void)EVP_DigestUpdate(check->hash, bytes, len);
}

void
check_end(struct check *check, bool whole)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[65];

	if (check->hash != NULL && whole && check->promised[0] != '\0') {
		(void)EVP_DigestFinal_ex(check->hash, digest, NULL);
		for (int i = 0; i < 32; i++)
			(void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
		if (strcmp(hex, check->promised) != 0)
			log_wrong(
			    check->number, "the payload has another hash");
	}
	EVP_MD_CTX_free(check->hash);
	check->hash = NULL;
	fb_buf_release(&check->tail);
}
