/*
 * RESTORE.txt and restore.sh, as they are put into a repository.
 *
 * They live beside this file as what they are, text and a script that
 * shellcheck reads; the assembler takes them in (from the directory make runs
 * in), so nothing is generated.
 */
#include "fleetbak/repo/repo.h"

#define EMBED(name, file)                     \
	__asm__(".section .rodata\n"          \
	        ".global " #name "_start\n"   \
	        #name "_start:\n"             \
	        ".incbin \"" file "\"\n"      \
	        ".global " #name "_end\n"     \
	        #name "_end:\n"               \
	        ".byte 0\n"                   \
	        ".previous\n");               \
	extern const uint8_t name##_start[], name##_end[]

EMBED(fb_rescue_txt, "src/repo/RESTORE.txt");
EMBED(fb_rescue_sh, "src/repo/restore.sh");

struct fb_span
fb_repo_restore_txt(void)
{
	return (struct fb_span){ fb_rescue_txt_start,
		(size_t)(fb_rescue_txt_end - fb_rescue_txt_start) };
}

struct fb_span
fb_repo_restore_sh(void)
{
	return (struct fb_span){ fb_rescue_sh_start,
		(size_t)(fb_rescue_sh_end - fb_rescue_sh_start) };
}
