#include <string.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/cli/exit.h"
#include "fleetbak/cli/help.h"

static const char selectors[] =
    "Machines are named as arguments, or chosen with -s EXPR; -s may be "
    "repeated, and each one narrows.\n"
    "\n"
    "  web-01            a machine, by id or name\n"
    "  lab/web-01        of this source: needed when two sources have one\n"
    "  web-*             a pattern: * ? [abc]\n"
    "  db-01+            it and everything that has it as ancestor\n"
    "  env=prod          a label; role= and source= work too\n"
    "  a,b               one or the other\n"
    "  web-*,&env=prod   both: web machines that are prod\n"
    "  web-*,!web-09     the first without the second\n"
    "\n"
    "Whatever matches no machine, or a plain name that two sources have, is "
    "an error (2) that shows the nearest names: nothing is ever left out in "
    "silence.\n";

static const char environment[] =
    "Every setting of the configuration has a variable: download.jobs is "
    "FLEETBAK_DOWNLOAD_JOBS.  An option wins over a variable, a variable "
    "over the file.  FLEETBAK_* variables that mean nothing are reported.\n"
    "\n"
    "  FLEETBAK_CONFIG        the configuration, as --config\n"
    "  XDG_CONFIG_HOME        not for root: fleetbak/fleetbak.yaml in it\n"
    "  CREDENTIALS_DIRECTORY  where cred:NAME looks first (systemd)\n"
    "  NO_COLOR               no colour\n"
    "  TZ                     the time zone that times are shown in\n"
    "  TMPDIR                 for short-lived files\n";

static const char recovery[] =
    "What can be done when things are bad, from the mildest up.\n"
    "\n"
    "  A machine is down that should be up\n"
    "      fleetbak recover -n        what is owed\n"
    "      fleetbak recover           start it again\n"
    "  A backup was cut off\n"
    "      fleetbak download          goes on with it\n"
    "  A restore was cut off; the machine is kept down, half restored\n"
    "      fleetbak status            names the restore\n"
    "      fleetbak restore --resume ID\n"
    "  One file was lost\n"
    "      fleetbak show MACHINE --files 'GLOB'\n"
    "      fleetbak restore MACHINE --target DIR --volume V --path PATH\n"
    "  One machine was lost\n"
    "      fleetbak restore MACHINE --in-place -n    then without -n\n"
    "  Every machine was lost\n"
    "      fleetbak restore --run latest --all --in-place -n\n"
    "  The machine that ran fleetbak was lost\n"
    "      Install fleetbak, write a configuration with the repository and "
    "the public key of the signer, then restore --target DIR: neither state "
    "nor the signing key is needed.\n"
    "  There is no fleetbak any more\n"
    "      sh REPOSITORY/restore.sh MACHINE VOLUME OUTPUT\n"
    "      RESTORE.txt beside it says how it is done by hand.\n"
    "  The repository is damaged\n"
    "      fleetbak verify --full     names what is damaged, what it harms, "
    "and the newest whole backup of each machine.\n";

static const char config[] =
    "The configuration is a YAML file: --config FILE, else $FLEETBAK_CONFIG, "
    "else $XDG_CONFIG_HOME/fleetbak/fleetbak.yaml (not for root), else "
    "/etc/fleetbak/fleetbak.yaml.  Relative paths in it are relative to it.\n"
    "\n"
    "  fleet: {name: demo, rpo: 26h}\n"
    "  state_dir: ./state\n"
    "  repositories:\n"
    "    main: {url: \"file:./repo\", sign_with: \"file:./keys/sign.pem\"}\n"
    "  trusted_signers: [\"file:./keys/sign.pub.pem\"]\n"
    "  sources:\n"
    "    lab: {driver: local, root: ./machines}\n"
    "\n"
    "fleetbak config check says whether it is right; fleetbak.conf(5) has "
    "every setting.\n";

static const struct fb_help_topic topics[] = {
	{ "config", "where the configuration is and how it begins", config },
	{ "environment", "variables", environment },
	{ "exit-codes", "what the exit status says", NULL },
	{ "recovery", "getting things back", recovery },
	{ "selectors", "which machines are meant", selectors },
};

size_t
fb_help_topics(const struct fb_help_topic **ret_topics)
{
	*ret_topics = topics;
	return FB_COUNT(topics);
}

static void
add_exit_codes(struct fb_buf *dst)
{
	const struct fb_exit_row *rows;
	size_t count = fb_exit_rows(&rows);

	fb_buf_add_fmt(dst, "%4s  %-11s  %-10s  %s\n", "CODE", "NAME",
	    "AGAIN?", "MEANING");
	for (size_t i = 0; i < count; i++) {
		fb_buf_add_fmt(dst, "%4d  %-11s  %-10s  ", (int)rows[i].exit,
		    rows[i].name, rows[i].retry);
		fb_buf_add_fmt(dst, "%s\n", rows[i].meaning);
	}
	fb_buf_add_str(dst, "\n");
	fb_help_wrap(dst,
	    "128+N: ended by signal N (130: ^C, 143: TERM).\n"
	    "\n"
	    "With several machines, 12, 13, 14 and 18 always win; if any "
	    "machine succeeded, the troubles of others are 3; if none did, it "
	    "is their common cause, else 1.\n",
	    0, 79);
}

bool
fb_help_topic(struct fb_buf *dst, const char *name)
{
	for (size_t i = 0; i < FB_COUNT(topics); i++) {
		if (strcmp(topics[i].name, name) != 0)
			continue;
		if (topics[i].text != NULL)
			fb_help_wrap(dst, topics[i].text, 0, 79);
		else
			add_exit_codes(dst);
		return true;
	}
	return false;
}
