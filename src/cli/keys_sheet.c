/* A page to be printed: how to restore with stock tools alone. */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"
#include "keys_reseal.h"

static const char how[] =
    "You need: sh, awk, coreutils, zstd, and openssl 3; on any Linux.\n"
    "\n"
    " 1. Bring a copy of the repository here, into a directory REPO.\n"
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
    "By hand, if both are gone\n"
    "  runs/RUN/VOLUMES names for each volume its RECIPE, recipes/HH/RECIPE;\n"
    "  there \"packs N\" is followed by N packs, \"runs N\" by N lines\n"
    "      OFFSET LENGTH PACK FROM COUNT FIRST CHUNKS\n"
    "  of which each makes LENGTH bytes at OFFSET of the volume: COUNT bytes\n"
    "  at FROM of packs/HH/<pack number PACK, from 0>.pack.  The end of the\n"
    "  pack is text and says \"session SID\" and \"key ID\".\n"
    "      openssl cms -decrypt -inform DER -in keys/SID.N.cms \\\n"
    "          -inkey recovery.pem\n"
    "  prints lines \"ID HEX\", for one of the N.  With B = FROM / 16:\n"
    "      dd if=PACK bs=1M iflag=skip_bytes,count_bytes skip=$((B * 16)) \\\n"
    "          count=$((FROM - B * 16 + COUNT)) |\n"
    "      openssl enc -d -aes-256-ctr -K HEX -iv $(printf %032x B) |\n"
    "      tail -c +$((FROM - B * 16 + 1)) | zstd -dc |\n"
    "      dd of=OUTPUT bs=1M iflag=fullblock oflag=seek_bytes \\\n"
    "          seek=OFFSET conv=notrunc\n"
    "  What no line makes is zeros.\n";

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
	if (repo->vault != NULL)
		rc = add_recipients(cli, &page, err);
	if (rc < 0)
		return rc;
	fb_buf_add_str(&page, "\n");
	fb_buf_add_fmt(
	    &page, how, repo->vault != NULL ? " -d recovery.pem" : "");
	if (repo->vault != NULL)
		fb_buf_add_str(&page, by_hand);
	rc = add_signers(cli, &page, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "sheet", fb_buf_str(&page));
	fb_buf_add(&cli->text, page.data, page.len);
	return FB_OK;
}
