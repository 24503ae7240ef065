/* A page to be printed: how to restore with stock tools alone. */
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"
#include "keys_reseal.h"

/* Certificates that fit on a page; more of them are a system's whole store. */
#define CA_MAX 16384

static const char how[] =
    " 2. Write the signer's key below into signer.pem.\n"
    " 3. What is there:\n"
    "        sh REPO/restore.sh -k signer.pem -l\n"
    " 4. Get it back:\n"
    "        sh REPO/restore.sh -k signer.pem%s \\\n"
    "            MACHINE VOLUME OUTPUT\n"
    "    A disk becomes an image: dd if=OUTPUT of=/dev/DISK bs=1M\n"
    "    A tree becomes an archive: tar --xattrs --acls -xpf OUTPUT\n"
    " 5. If restore.sh is gone, REPO/RESTORE.txt says how to do it by hand.\n";

static const char by_hand[] =
    "\n"
    "By hand, in REPO, if both are gone\n"
    "  runs/RUN/VOLUMES names for each volume its SIZE and RECIPE, that is\n"
    "  recipes/HH/RECIPE (HH: its first two digits).  There \"packs N\" is\n"
    "  followed by N packs, \"runs N\" by N lines\n"
    "      OFFSET LENGTH PACK FROM COUNT FIRST CHUNKS\n"
    "  of which each makes LENGTH bytes at OFFSET of the volume: COUNT bytes\n"
    "  at FROM of packs/HH/<pack number PACK, from 0>.pack.  The end of the\n"
    "  pack is text and says \"session SID\" and \"key ID\".\n"
    "      openssl cms -decrypt -inform DER -in keys/SID.N.cms \\\n"
    "          -inkey recovery.pem\n"
    "  prints lines \"ID HEX\", for one of the N.  With that pack, and HEX:\n"
    "      truncate -s SIZE OUTPUT\n"
    "  and for each line of the runs\n"
    "      B=$((FROM / 16))\n"
    "      dd if=PACK bs=1M iflag=skip_bytes,count_bytes skip=$((B * 16)) \\\n"
    "          count=$((FROM - B * 16 + COUNT)) |\n"
    "      openssl enc -d -aes-256-ctr -K HEX -iv $(printf %032x $B) |\n"
    "      tail -c +$((FROM - B * 16 + 1)) | zstd -dc |\n"
    "      dd of=OUTPUT bs=1M iflag=fullblock oflag=seek_bytes \\\n"
    "          seek=OFFSET conv=notrunc\n"
    "  What no line makes is zeros.\n";

/* A word of a shell. */
static void
add_word(struct fb_buf *page, const char *text, size_t len)
{
	fb_buf_add_str(page, "'");
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\'')
			fb_buf_add_str(page, "'\\''");
		else
			fb_buf_add(page, text + i, 1);
	fb_buf_add_str(page, "'");
}

/* As the store decides it: in the path, but where AWS can do otherwise. */
static bool
in_path(const struct fb_config_repository *config, const char *bucket)
{
	const char *style =
	    config->path_style != NULL ? config->path_style : "auto";

	if (strcmp(style, "auto") != 0)
		return strcmp(style, "true") == 0;
	return (config->endpoint != NULL &&
	           strstr(config->endpoint, ".amazonaws.com") == NULL) ||
	    memchr(bucket, '.', strcspn(bucket, "/")) != NULL;
}

static void
add_place(struct fb_buf *page, const struct fb_config_repository *config,
    const char *bucket)
{
	fb_buf_add_fmt(page,
	    "Server      %s\n"
	    "            S3, region %s, the bucket's name in the %s\n"
	    "            %s\n",
	    config->endpoint != NULL ? config->endpoint : "AWS",
	    config->region != NULL ? config->region : "us-east-1",
	    in_path(config, bucket) ? "path" : "host's name",
	    config->ca != NULL ? "its authority is below, ca.pem"
	                       : "its authority is one that systems know");
}

static void
add_bucket_fetch(struct fb_buf *page,
    const struct fb_config_repository *config, const char *bucket)
{
	const char *region =
	    config->region != NULL ? config->region : "us-east-1";
	FB_AUTO_FREE char *remote = fb_format(":s3:%s", bucket);
	size_t len = strlen(remote);

	fb_buf_add_str(page,
	    " 1. Bring a copy of the repository here, into a directory REPO, "
	    "with an\n    access key that may list and read the bucket, in the "
	    "environment as\n    AWS_ACCESS_KEY_ID and "
	    "AWS_SECRET_ACCESS_KEY");
	fb_buf_add_str(page,
	    config->ca != NULL
	        ? "; write the server's authority\n    below into ca.pem:\n"
	        : ":\n");
	while (len > 0 && remote[len - 1] == '/')
		len--;
	fb_buf_add_str(page, "        rclone copy ");
	add_word(page, remote, len);
	fb_buf_add_fmt(page,
	    " REPO \\\n            --s3-env-auth --s3-provider %s",
	    config->endpoint != NULL ? "Other" : "AWS");
	if (config->endpoint != NULL) {
		fb_buf_add_str(page, " \\\n            --s3-endpoint ");
		add_word(page, config->endpoint, strlen(config->endpoint));
	}
	fb_buf_add_str(page, " \\\n            --s3-region ");
	add_word(page, region, strlen(region));
	fb_buf_add_fmt(page, " --s3-force-path-style=%s%s\n",
	    in_path(config, bucket) ? "true" : "false",
	    config->ca != NULL ? " --ca-cert ca.pem" : "");
}

/* How a copy comes here. */
static void
add_fetch(struct fb_buf *page, const struct fb_config_repository *config)
{
	const char *url = config->url;
	bool bucket = strncmp(url, "s3://", 5) == 0;

	fb_buf_add_fmt(page,
	    "You need: sh, awk, coreutils, zstd, openssl 3%s; on any Linux.\n"
	    "\n",
	    bucket ? ", and rclone 1.60" : "");
	if (bucket) {
		add_bucket_fetch(page, config, url + 5);
		return;
	}
	fb_buf_add_str(page,
	    " 1. Bring a copy of the repository here, into a directory REPO:\n"
	    "        cp -a ");
	if (strncmp(url, "file:", 5) == 0)
		url += 5;
	add_word(page, url, strlen(url));
	fb_buf_add_str(page, " REPO\n");
}

static int
add_authority(struct fb_buf *page, const struct fb_config_repository *config,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	int rc;

	if (config->ca == NULL || strncmp(config->url, "s3://", 5) != 0)
		return FB_OK;
	rc = fb_io_read_file(config->ca, CA_MAX, &pem, err);
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	fb_buf_add_str(page, "\nThe server's authority\n");
	if (rc < 0 || strstr(fb_buf_str(&pem), "PRIVATE") != NULL) {
		fb_buf_add_fmt(page,
		    "    is not on this page: keep a copy of the certificates "
		    "of\n    %s with it, as ca.pem.\n",
		    config->ca);
		return FB_OK;
	}
	fb_buf_add(page, pem.data, pem.len);
	return FB_OK;
}

static int
add_signers(struct fb_cli *cli, struct fb_buf *page, struct fb_error *err)
{
	for (size_t i = 0; i < cli->config->trusted_signer_count; i++) {
		FB_AUTO_BUF struct fb_buf pem = { 0 };
		int rc = fb_secret_read(cli->config->trusted_signers[i],
		    cli->config->base_dir, false, &pem, err);

		if (rc < 0)
			return rc;
		fb_buf_add_str(page, "\nThe signer's public key\n");
		fb_buf_add(page, pem.data, pem.len);
	}
	return FB_OK;
}

static int
add_recipients(struct fb_cli *cli, struct fb_buf *page, struct fb_error *err)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = NULL;
	int rc = fb_engine_recipients(&cli->engine, &to, err);

	if (rc < 0)
		return rc;
	fb_buf_add_str(page,
	    "\nThe private key that opens it is NOT on this page: keep it with "
	    "it,\nas recovery.pem, where no backed up host can reach it.  One "
	    "of these:\n");
	for (size_t i = 0; i < fb_recipients_count(to); i++)
		fb_buf_add_fmt(page, "    %s  %s\n", fb_recipients_id(to, i),
		    fb_recipients_name(to, i));
	fb_buf_add_str(page,
	    "    (the first 16 digits of what this prints:\n"
	    "    openssl pkey -in recovery.pem -pubout -outform DER | "
	    "sha256sum)\n");
	return FB_OK;
}

int
fb_keys_sheet(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(&cli->engine);
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	FB_AUTO_BUF struct fb_buf page = { 0 };
	int rc = fb_engine_repo(&cli->engine, &repo, err);

	if (rc < 0)
		return rc;
	fb_buf_add_fmt(&page,
	    "How to restore the backups of fleet %s without fleetbak\n\n"
	    "Repository  %s\n            %s, %s\n",
	    cli->config->fleet_name, config->url, repo->format.repository,
	    repo->vault != NULL ? "encrypted" : "not encrypted");
	if (strncmp(config->url, "s3://", 5) == 0)
		add_place(&page, config, config->url + 5);
	if (repo->vault != NULL)
		rc = add_recipients(cli, &page, err);
	if (rc < 0)
		return rc;
	fb_buf_add_str(&page, "\n");
	add_fetch(&page, config);
	fb_buf_add_fmt(
	    &page, how, repo->vault != NULL ? " -d recovery.pem" : "");
	if (repo->vault != NULL)
		fb_buf_add_str(&page, by_hand);
	rc = add_signers(cli, &page, err);
	if (rc == FB_OK)
		rc = add_authority(&page, config, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "sheet", fb_buf_str(&page));
	fb_buf_add(&cli->text, page.data, page.len);
	return FB_OK;
}
