/*
 * Units, crontab and alert rules.  Nothing of them depends on this host but
 * through the configuration: the directories that are written to, and the
 * credentials that it names.
 */
#include "fleetbak/cli/timetable.h"

#include <string.h>

#include "fleetbak/base/mem.h"

/* What runs by itself. */
struct task {
	const char *name, *what, *arguments;
	const char *calendar; /* NULL: no timer */
	bool writes;          /* into sources: a run that stops machines */
};

static const struct task tasks[] = {
	{ "download", "back up the fleet", "-q download --lock-wait 30min",
	    "*-*-* 02:00:00", true },
	{ "verify", "read stored backups again and check them",
	    "-q verify --packs --lock-wait 2h", "Sun *-*-* 09:00:00", false },
	{ "prune", "apply retention and reclaim space",
	    "-q prune --yes --lock-wait 2h", "Sun *-*-* 12:00:00", false },
	/* The dead man's switch: it fails when the others did not run. */
	{ "status", "is every machine inside its recovery point objective",
	    "-q status --check", "*-*-* 08:30:00", false },
};

/* Everything that would be special to systemd is escaped; a word is quoted when
 * it has to be.  Only in a command line is '$' special. */
static void
quote(struct fb_buf *dst, const char *text, bool command)
{
	bool plain = text[0] != '\0' &&
	    text[strspn(text,
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	        "0123456789_./:=,@+-")] == '\0';

	if (!plain)
		fb_buf_add_str(dst, "\"");
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '%' || (c == '$' && command))
			fb_buf_add_fmt(dst, "%c%c", c, c);
		else if (c == '"' || c == '\\')
			fb_buf_add_fmt(dst, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fb_buf_add_fmt(dst, "\\x%02x", c);
		else
			fb_buf_add(dst, text, 1);
	}
	if (!plain)
		fb_buf_add_str(dst, "\"");
}

void
fb_timetable_quote(struct fb_buf *dst, const char *text)
{
	quote(dst, text, true);
}

/* For the shell, and then for cron, which makes a newline of each '%' that
 * has no backslash before it, quoted or not, and takes that backslash away. */
void
fb_timetable_quote_cron(struct fb_buf *dst, const char *text)
{
	bool plain = text[0] != '\0' &&
	    text[strspn(text,
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	        "0123456789_./:=,@+-")] == '\0';

	if (!plain)
		fb_buf_add_str(dst, "'");
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fb_buf_add_str(dst, "'\\''");
		else if (*text == '%')
			fb_buf_add_str(dst, "\\%");
		else
			fb_buf_add(dst, text, 1);
	}
	if (!plain)
		fb_buf_add_str(dst, "'");
}

/* Every NAME of a reference cred:NAME, once.  Where the file is missing systemd
 * would start nothing, not even what tells of it; so it gives an empty line
 * then, and we say what is wrong. */
static void
add_credentials(struct fb_buf *dst, const json_t *value, json_t *seen)
{
	const char *text = json_string_value(value);
	const char *key;
	json_t *member;
	size_t i;

	if (text != NULL && strncmp(text, "cred:", 5) == 0 &&
	    json_object_get(seen, text) == NULL) {
		(void)json_object_set_new(seen, text, json_true());
		fb_buf_add_fmt(dst,
		    "LoadCredential=%s:/etc/fleetbak/credentials/%s\n"
		    "SetCredential=%s:\\n\n",
		    text + 5, text + 5, text + 5);
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
	    add_credentials(dst, member, seen);
	json_array_foreach(value, i, member) add_credentials(dst, member, seen);
}

static void
add_writable(struct fb_buf *dst, const char *path)
{
	fb_buf_add_str(dst, "ReadWritePaths=-");
	quote(dst, path, false);
	fb_buf_add_str(dst, "\n");
}

static void
add_directory_of(struct fb_buf *dst, const char *path)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');

	if (slash == NULL || slash == dir)
		return;
	*slash = '\0';
	add_writable(dst, dir);
}

static bool
has_local_source(const struct fb_config *config)
{
	for (size_t i = 0; i < config->source_count; i++)
		if (strcmp(config->sources[i].driver, "local") == 0)
			return true;
	return false;
}

/* systemd makes state directories under /var/lib only.  What is made first is
 * made outside the confinement, which lets nothing come to be later. */
static void
add_state_dir(struct fb_buf *dst, const struct fb_timetable_spec *spec)
{
	static const char standard[] = "/var/lib/fleetbak";
	const char *dir = spec->config->state_dir;

	if (strcmp(dir, standard) == 0) {
		fb_buf_add_str(
		    dst, "StateDirectory=fleetbak\nStateDirectoryMode=0700\n");
		return;
	}
	fb_buf_add_str(dst,
	    "ExecStartPre=+/bin/sh -c \"[ -d \\\"$$1\\\" ] || "
	    "exec install -d -m 0700 -o \\\"$$2\\\" -- \\\"$$1\\\"\" sh ");
	fb_timetable_quote(dst, dir);
	fb_buf_add_fmt(dst, " %s\n", spec->user);
	add_writable(dst, dir);
}

/* Where it writes. */
static void
add_paths(struct fb_buf *dst, const struct fb_timetable_spec *spec)
{
	const struct fb_config *config = spec->config;

	add_state_dir(dst, spec);
	for (size_t i = 0; i < config->repository_count; i++)
		if (strncmp(config->repositories[i].url, "file:", 5) == 0)
			add_writable(dst, config->repositories[i].url + 5);
	for (size_t i = 0; i < config->source_count; i++) {
		const char *root = json_string_value(
		    json_object_get(config->sources[i].options, "root"));

		if (root != NULL)
			add_writable(dst, root);
	}
	if (config->metrics_textfile != NULL)
		add_directory_of(dst, config->metrics_textfile);
	if (config->log_file != NULL)
		add_directory_of(dst, config->log_file);
}

static bool
under_home(const char *path)
{
	return strncmp(path, "/home/", 6) == 0 ||
	    strncmp(path, "/root/", 6) == 0;
}

/* Does anything that it reads or writes lie where people live? */
static bool
is_at_home(const struct fb_config *config)
{
	bool home = under_home(config->path) || under_home(config->state_dir);

	for (size_t i = 0; i < config->repository_count; i++)
		home |=
		    under_home(config->repositories[i].url + strlen("file:"));
	for (size_t i = 0; i < config->source_count; i++) {
		const char *root = json_string_value(
		    json_object_get(config->sources[i].options, "root"));

		home |= root != NULL && under_home(root);
	}
	return home;
}

/* Who is not root needs no right of root's; root keeps those that reading
 * other people's files and taking snapshots need. */
static void
add_rights(struct fb_buf *dst, const struct fb_timetable_spec *spec)
{
	if (strcmp(spec->user, "root") == 0)
		fb_buf_add_str(dst,
		    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE "
		    "CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL "
		    "CAP_MKNOD CAP_SETFCAP CAP_SYS_ADMIN\n");
	else
		fb_buf_add_str(dst,
		    "CapabilityBoundingSet=\n"
		    "AmbientCapabilities=\n"
		    "PrivateUsers=yes\n"
		    "PrivateDevices=yes\n"
		    "DevicePolicy=closed\n"
		    "SystemCallFilter=~@privileged @resources\n");
	/* A machine's status command may look for its processes. */
	fb_buf_add_fmt(dst, "ProtectProc=%s\n",
	    has_local_source(spec->config) ? "default" : "invisible");
	fb_buf_add_fmt(dst, "ProtectHome=%s\n",
	    is_at_home(spec->config) ? "read-only" : "yes");
}

static const char hardening[] =
    "NoNewPrivileges=yes\n"
    "ProtectSystem=strict\n"
    "PrivateTmp=yes\n"
    "PrivateMounts=yes\n"
    "ProtectClock=yes\n"
    "ProtectHostname=yes\n"
    "ProtectControlGroups=yes\n"
    "ProtectKernelLogs=yes\n"
    "ProtectKernelModules=yes\n"
    "ProtectKernelTunables=yes\n"
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
    "RestrictNamespaces=yes\n"
    "RestrictRealtime=yes\n"
    "RestrictSUIDSGID=yes\n"
    "RemoveIPC=yes\n"
    "LockPersonality=yes\n"
    "MemoryDenyWriteExecute=yes\n"
    "KeyringMode=private\n"
    "SystemCallArchitectures=native\n"
    "SystemCallFilter=@system-service\n"
    "SystemCallErrorNumber=EPERM\n"
    "LimitCORE=0\n"
    "UMask=0077\n";

static const char neighbour[] = "Nice=10\n"
                                "IOSchedulingClass=best-effort\n"
                                "IOSchedulingPriority=7\n"
                                "CPUWeight=20\n"
                                "IOWeight=20\n"
                                "MemoryHigh=1G\n"
                                "MemoryMax=2G\n"
                                "TasksMax=512\n";

static void
add_command(struct fb_buf *dst, const char *key,
    const struct fb_timetable_spec *spec, const char *arguments)
{
	fb_buf_add_fmt(dst, "%s=", key);
	fb_timetable_quote(dst, spec->program);
	fb_buf_add_str(dst, " -c ");
	fb_timetable_quote(dst, spec->config->path);
	fb_buf_add_fmt(dst, " %s\n", arguments);
}

static void
add_head(struct fb_buf *dst, const char *what)
{
	fb_buf_add_fmt(dst,
	    "[Unit]\n"
	    "Description=fleetbak: %s\n"
	    "Documentation=man:fleetbak(1) man:fleetbak.conf(5)\n"
	    "Wants=network-online.target\n"
	    "After=network-online.target\n",
	    what);
}

static void
add_surroundings(struct fb_buf *dst, const struct fb_timetable_spec *spec)
{
	FB_AUTO_JSON json_t *seen = json_object();

	fb_buf_add_fmt(dst, "User=%s\n", spec->user);
	add_credentials(dst, spec->config->effective, seen);
	add_paths(dst, spec);
	fb_buf_add_str(dst, "\n# hardening\n");
	/* Of several filters the first says whether it allows or forbids. */
	fb_buf_add_str(dst, hardening);
	add_rights(dst, spec);
}

/* A run tells systemd that it lives, and how far it is; when it is told to
 * stop it asks for the time that the machines need to come up. */
static void
add_running(struct fb_buf *dst, const struct fb_timetable_spec *spec,
    const struct task *task)
{
	fb_buf_add_str(dst,
	    "Type=notify\n"
	    "NotifyAccess=main\n"
	    "WatchdogSec=5min\n"
	    "TimeoutStopSec=2min\n");
	add_command(dst, "ExecStart", spec, task->arguments);
	if (task->writes)
		add_command(
		    dst, "ExecStopPost", spec, "-q recover --lock-wait 5min");
	fb_buf_add_str(dst,
	    "# 21: the time is used up, and the next run goes on; nothing to "
	    "page for\n"
	    "SuccessExitStatus=21\n");
	if (task->writes && has_local_source(spec->config))
		fb_buf_add_str(dst,
		    "# what a machine's start command leaves running is the "
		    "machine, not ours to\n"
		    "# kill; fleetbak ends its own children\n"
		    "KillMode=process\n");
	else
		fb_buf_add_str(dst, "KillMode=mixed\n");
}

static int
make_service(const struct fb_timetable_spec *spec, const struct task *task,
    fb_timetable_visit *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *name = fb_format("fleetbak-%s.service", task->name);

	add_head(&text, task->what);
	fb_buf_add_str(
	    &text, "OnFailure=fleetbak-failure@%n.service\n\n[Service]\n");
	add_running(&text, spec, task);
	fb_buf_add_str(&text, "\n# be a good neighbour\n");
	fb_buf_add_str(&text, neighbour);
	fb_buf_add_str(&text, "\n");
	add_surroundings(&text, spec);
	return visit(name, fb_buf_span(&text), arg, err);
}

static int
make_timer(const struct task *task, fb_timetable_visit *visit, void *arg,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *name = fb_format("fleetbak-%s.timer", task->name);

	fb_buf_add_fmt(&text,
	    "[Unit]\n"
	    "Description=fleetbak: when to %s\n"
	    "Documentation=man:fleetbak(1)\n"
	    "\n"
	    "[Timer]\n"
	    "OnCalendar=%s\n"
	    "# many hosts do not begin at once; each at its own time every "
	    "day\n"
	    "RandomizedDelaySec=30min\n"
	    "FixedRandomDelay=yes\n"
	    "# at boot, when the host was down at that time\n"
	    "Persistent=yes\n"
	    "\n"
	    "[Install]\n"
	    "WantedBy=timers.target\n",
	    task->name, task->calendar);
	return visit(name, fb_buf_span(&text), arg, err);
}

/* After a crash of the host: start again what the dead run had stopped. */
static int
make_recover(const struct fb_timetable_spec *spec, fb_timetable_visit *visit,
    void *arg, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	add_head(&text, "start again what a dead run left stopped");
	fb_buf_add_str(&text,
	    "Before=fleetbak-download.service\n"
	    "OnFailure=fleetbak-failure@%n.service\n\n"
	    "[Service]\n"
	    "Type=oneshot\n");
	add_command(&text, "ExecStart", spec, "-q recover --lock-wait 5min");
	if (has_local_source(spec->config))
		fb_buf_add_str(&text, "KillMode=process\n");
	add_surroundings(&text, spec);
	fb_buf_add_str(&text, "\n[Install]\nWantedBy=multi-user.target\n");
	return visit("fleetbak-recover.service", fb_buf_span(&text), arg, err);
}

/* Who was killed could not say so. */
static int
make_failure(const struct fb_timetable_spec *spec, fb_timetable_visit *visit,
    void *arg, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	add_head(&text, "tell that %i failed");
	fb_buf_add_str(&text, "\n[Service]\nType=oneshot\n");
	add_command(&text, "ExecStart", spec, "-q notify --unit %i");
	add_surroundings(&text, spec);
	return visit("fleetbak-failure@.service", fb_buf_span(&text), arg, err);
}

int
fb_timetable_units(const struct fb_timetable_spec *spec,
    fb_timetable_visit *visit, void *arg, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < FB_COUNT(tasks); i++) {
		rc = make_service(spec, &tasks[i], visit, arg, err);
		if (rc == FB_OK)
			rc = make_timer(&tasks[i], visit, arg, err);
	}
	if (rc == FB_OK)
		rc = make_recover(spec, visit, arg, err);
	if (rc == FB_OK)
		rc = make_failure(spec, visit, arg, err);
	return rc;
}

static void
add_cron(struct fb_buf *dst, const struct fb_timetable_spec *spec,
    const char *when, const char *arguments)
{
	fb_buf_add_fmt(dst, "%s  %s  ", when, spec->user);
	fb_timetable_quote_cron(dst, spec->program);
	fb_buf_add_str(dst, " -c ");
	fb_timetable_quote_cron(dst, spec->config->path);
	fb_buf_add_fmt(dst, " %s\n", arguments);
}

void
fb_timetable_cron(const struct fb_timetable_spec *spec, struct fb_buf *dst)
{
	fb_buf_add_str(dst,
	    "# /etc/cron.d/fleetbak: for hosts without systemd\n"
	    "# -q says nothing when all is well, and everything when it is "
	    "not: cron mails then\n"
	    "SHELL=/bin/sh\n"
	    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
	    "/bin\n"
	    "MAILTO=root\n"
	    "# min hour day month weekday  user  command\n");
	add_cron(dst, spec, "0 2 * * *", tasks[0].arguments);
	add_cron(dst, spec, "0 9 * * 0", tasks[1].arguments);
	add_cron(dst, spec, "0 12 * * 0", tasks[2].arguments);
	fb_buf_add_str(dst, "# complains when the others did not run\n");
	add_cron(dst, spec, "30 8 * * *", tasks[3].arguments);
	fb_buf_add_str(
	    dst, "# what a run stopped before the host died comes up again\n");
	add_cron(dst, spec, "@reboot", "-q recover --lock-wait 5min");
}

const char *
fb_timetable_alerts(void)
{
	return "groups:\n"
	       "- name: fleetbak\n"
	       "  rules:\n"
	       "  - alert: FleetbakMachineOverRPO\n"
	       "    expr: >-\n"
	       "      time() - "
	       "fleetbak_machine_last_success_timestamp_seconds\n"
	       "      > fleetbak_machine_rpo_seconds\n"
	       "    for: 10m\n"
	       "    labels: {severity: critical}\n"
	       "    annotations:\n"
	       "      summary: \"{{ $labels.source }}/{{ $labels.machine }}: "
	       "its newest good backup is {{ $value | humanizeDuration }} "
	       "old\"\n"
	       "  - alert: FleetbakNotRunning\n"
	       "    expr: >-\n"
	       "      time() - fleetbak_last_run_timestamp_seconds"
	       "{command=\"download\"}\n"
	       "      > 26 * 3600\n"
	       "    labels: {severity: critical}\n"
	       "    annotations:\n"
	       "      summary: \"{{ $labels.fleet }}: a night was missed: no "
	       "download for {{ $value | humanizeDuration }}\"\n"
	       "  - alert: FleetbakRunFailed\n"
	       "    expr: >-\n"
	       "      fleetbak_last_run_exit_code{command!=\"status\"} != 0\n"
	       "      unless fleetbak_last_run_exit_code == 21\n"
	       "    labels: {severity: warning}\n"
	       "    annotations:\n"
	       "      summary: \"{{ $labels.fleet }}: {{ $labels.command }} "
	       "ended with exit status {{ $value }}; fleetbak explain "
	       "{{ $value }} says what it means\"\n"
	       "  - alert: FleetbakDamaged\n"
	       "    expr: fleetbak_repo_damaged_objects > 0\n"
	       "    labels: {severity: critical}\n"
	       "    annotations:\n"
	       "      summary: \"{{ $labels.repo }}: {{ $value }} objects are "
	       "damaged or missing\"\n"
	       "  - alert: FleetbakNotVerified\n"
	       "    expr: >-\n"
	       "      time() - fleetbak_last_run_timestamp_seconds"
	       "{command=\"verify\"}\n"
	       "      > 15 * 86400\n"
	       "    labels: {severity: warning}\n"
	       "    annotations:\n"
	       "      summary: \"{{ $labels.fleet }}: nothing was verified for "
	       "{{ $value | humanizeDuration }}\"\n"
	       "  - alert: FleetbakMetricsGone\n"
	       "    expr: absent(fleetbak_build_info)\n"
	       "    for: 2h\n"
	       "    labels: {severity: warning}\n"
	       "    annotations:\n"
	       "      summary: \"no metrics of fleetbak at all\"\n";
}
