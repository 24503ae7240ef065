/*
 * The rows of sources, a part of the table in config_schema.c, which gives
 * them their words; those of one driver stand together.
 */
	{ .path = "sources.*.driver", CHOICE, .required = true,
	    .choices = drivers,
	    .variable = "FLEETBAK_SOURCES_<NAME>_DRIVER",
	    .help = "What kind of source it is; decides which further keys it "
	            "has." },
	{ .path = "sources.*.labels", LABELS,
	    .variable = "FLEETBAK_SOURCES_<NAME>_LABELS",
	    .help = "Labels of every machine of the source; a machine's own "
	            "label of the same name wins." },
	{ .path = "sources.*.jobs", INTEGER, .min = 1, .max = 256,
	    .variable = "FLEETBAK_SOURCES_<NAME>_JOBS",
	    .help = "How many machines of this source are worked on at once; "
	            "download.jobs is the limit over all." },
	{ .path = "sources.*.limit_read", LIMITS,
	    .variable = "FLEETBAK_SOURCES_<NAME>_LIMIT_READ",
	    .help = "How fast a run reads from this source, all its machines "
	            "together, also by the time of day; download.limit_read is "
	            "the limit over all." },
	{ .path = "sources.*.root", PATH, .required = true, .driver = "local",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ROOT",
	    .help = "Directory whose subdirectories with a machine.yaml are "
	            "the machines." },
	{ .path = "sources.*.uri", STRING, .fallback = "qemu:///system",
	    .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_URI",
	    .help = "The libvirt that is asked, by its URI." },
	{ .path = "sources.*.machines", VECTOR, .min = 1,
	    .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_MACHINES",
	    .help = "Patterns of the names of the domains that are machines of "
	            "this source; all when not given." },
	{ .path = "sources.*.scratch", PATH,
	    .fallback = "/var/lib/libvirt/fleetbak", .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SCRATCH",
	    .help = "Directory of this host for what a capture needs: the "
	            "hypervisor's socket, and what guests overwrite while "
	            "they are read." },
	{ .path = "sources.*.tpm", PATH,
	    .fallback = "/var/lib/libvirt/swtpm", .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_TPM",
	    .help = "Directory of this host in which libvirt keeps the state "
	            "of the TPMs that it emulates." },
	{ .path = "sources.*.images", PATH, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_IMAGES",
	    .help = "Directory of this host in which the images of domains "
	            "that a restore makes are made; where they were when not "
	            "given." },
	{ .path = "sources.*.capture", CHOICE, .fallback = "stop",
	    .choices = captures, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CAPTURE",
	    .help = "stop: a domain that runs is shut down, frozen and "
	            "started.  live: it is not stopped." },
	{ .path = "sources.*.freeze", CHOICE, .fallback = "try",
	    .choices = freezes, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_FREEZE",
	    .help = "Whether the guest agent of a domain that is captured "
	            "without being stopped freezes its file systems for that "
	            "moment.  try: where it can.  require: a domain whose "
	            "agent cannot is not captured." },
	{ .path = "sources.*.freeze_timeout", SPAN, .fallback = "10s",
	    .min = 1000, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_FREEZE_TIMEOUT",
	    .help = "When a domain's file systems are thawed at the latest, "
	            "from when its agent was asked to freeze them." },
	{ .path = "sources.*.changes", CHOICE, .fallback = "checkpoints",
	    .choices = changes, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CHANGES",
	    .help = "checkpoints: a domain keeps two of libvirt's, by which "
	            "only what changed is read.  none: it keeps none, and all "
	            "is read each time." },
	{ .path = "sources.*.uncaptured", CHOICE, .fallback = "note",
	    .choices = left_out, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_UNCAPTURED",
	    .help = "What a disk that cannot be captured means for its domain. "
	            " note: the plan says so, and the rest is backed up.  "
	            "refuse: it is not backed up at all." },
	{ .path = "sources.*.stop_timeout", SPAN, .fallback = "3min",
	    .min = 1000, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_STOP_TIMEOUT",
	    .help = "How long a domain may take to shut down." },
	{ .path = "sources.*.after_stop_timeout", CHOICE, .fallback = "fail",
	    .choices = forces, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_AFTER_STOP_TIMEOUT",
	    .help = "What becomes of a domain that has not shut down by then. "
	            " fail: its capture fails, and it goes on.  force: it is "
	            "switched off, and what is captured is what a power cut "
	            "leaves." },
	{ .path = "sources.*.start_timeout", SPAN, .fallback = "2min",
	    .min = 1000, .driver = "libvirt",
	    .variable = "FLEETBAK_SOURCES_<NAME>_START_TIMEOUT",
	    .help = "How long the start of a domain may take." },
	{ .path = "sources.*.command", VECTOR, .min = 1, .required = true,
	    .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_COMMAND",
	    .help = "The executable of the plugin and its arguments; no shell "
	            "is involved." },
	{ .path = "sources.*.options", LABELS, .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_OPTIONS",
	    .help = "What the plugin is told, as it stands; its own manual "
	            "says which options it has." },
	{ .path = "sources.*.environment", LABELS, .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ENVIRONMENT",
	    .help = "Variables of the environment that the plugin gets." },
	{ .path = "sources.*.secrets", REFERENCES, .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SECRETS",
	    .help = "References to secrets, by the names of the variables in "
	            "which the plugin gets them." },
	{ .path = "sources.*.timeout", SPAN, .fallback = "5min", .min = 1,
	    .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_TIMEOUT",
	    .help = "How long the plugin may take for a verb that has no "
	            "deadline of its own." },
	{ .path = "sources.*.stall_timeout", SPAN, .fallback = "5min",
	    .min = 1, .driver = "plugin",
	    .variable = "FLEETBAK_SOURCES_<NAME>_STALL_TIMEOUT",
	    .help = "How long a volume that the plugin reads or writes may "
	            "not move a byte." },
	{ .path = "sources.*.socket", PATH, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SOCKET",
	    .help = "The daemon's Unix socket; this, or server." },
	{ .path = "sources.*.server", SERVER, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SERVER",
	    .help = "The daemon's address, where it listens on TCP; it asks "
	            "nobody who he is, so that whoever reaches it owns its "
	            "machines." },
	{ .path = "sources.*.memory", LABELS, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_MEMORY",
	    .help = "Memory of machines, by their ids: the daemon does not "
	            "tell it, and a restore gives it." },
	{ .path = "sources.*.storage", LABELS, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_STORAGE",
	    .help = "Sizes of machines' system disks, by their ids: the same." },
	{ .path = "sources.*.guest_config", REFERENCES,
	    .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_GUEST_CONFIG",
	    .help = "References to the guest_config of machines, by their ids: "
	            "JSON, which may hold secrets.  Its digest is part of the "
	            "topology; it is kept in no backup." },
	{ .path = "sources.*.create_timeout", SPAN, .fallback = "30min",
	    .min = 60000, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CREATE_TIMEOUT",
	    .help = "How long the daemon may take to make a snapshot.  When "
	            "nobody waits for it any more it leaves the machine paused "
	            "for some seconds." },
	{ .path = "sources.*.settle_time", SPAN, .fallback = "20s",
	    .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SETTLE_TIME",
	    .help = "How long a machine must be running before it is believed "
	            "that no stop that was given up comes late: the interval "
	            "in which the daemon looks at what is pending, and 15 "
	            "seconds." },
	{ .path = "sources.*.keep_snapshot", BOOLEAN, .fallback = "false",
	    .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_KEEP_SNAPSHOT",
	    .help = "Whether the newest snapshot of each machine stays on the "
	            "host until the next one, for a restore that sends no "
	            "bytes." },
	{ .path = "sources.*.serve", STRING, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SERVE",
	    .help = "ADDRESS:PORT of this machine where the host fetches what "
	            "is restored, by HTTP; port 0 is any that is free.  It is "
	            "open only while a machine is restored." },
	{ .path = "sources.*.spool", PATH, .driver = "computer-host",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SPOOL",
	    .help = "Directory where the disks of a restore are gathered until "
	            "the host has them; it needs room for one machine." },
	{ .path = "sources.*.server", SERVER, .required = true,
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SERVER",
	    .help = "The appliance's address, as https://HOST." },
	{ .path = "sources.*.user", STRING, .required = true,
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_USER",
	    .help = "The user that the appliance knows; of a tenant: "
	            "SUBDOMAIN\\USER." },
	{ .path = "sources.*.password", SECRET, .required = true,
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_PASSWORD",
	    .help = "Reference to the user's password." },
	{ .path = "sources.*.ca", PATH, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CA",
	    .help = "File of certificates, in PEM, which alone are believed "
	            "when the appliance shows its own; the system's when not "
	            "given." },
	{ .path = "sources.*.ssh_config", PATH, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SSH_CONFIG",
	    .help = "File for ssh's -F, which says how hypervisors are reached, "
	            "by their names on the appliance; ssh's own when not "
	            "given." },
	{ .path = "sources.*.image_format", CHOICE, .fallback = "qcow2",
	    .choices = images, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_IMAGE_FORMAT",
	    .help = "What the files of snapshots hold.  It is not guessed: a "
	            "guest can write into a raw image what begins like "
	            "another.  Devices are raw." },
	{ .path = "sources.*.removable", VECTOR, .min = 1,
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_REMOVABLE",
	    .help = "Patterns of the names of volumes that are removable media "
	            "and not backed up, beside those that the appliance, or "
	            "their names, tell to be." },
	{ .path = "sources.*.create_timeout", SPAN, .fallback = "30min",
	    .min = 1000, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CREATE_TIMEOUT",
	    .help = "How long the appliance may take to make a snapshot, to "
	            "remove one, or to go back to one." },
	{ .path = "sources.*.settle_time", SPAN, .fallback = "1min",
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SETTLE_TIME",
	    .help = "How long what the appliance says of a machine may lag "
	            "behind: so long what it did without an answer may come "
	            "late, and a machine must be up before it is believed." },
	{ .path = "sources.*.keep_snapshot", BOOLEAN, .fallback = "false",
	    .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_KEEP_SNAPSHOT",
	    .help = "Whether the newest snapshot of each machine stays on the "
	            "appliance until the next one: a restore in place goes "
	            "back to it, and there is no other." },
	{ .path = "sources.*.stop_timeout", SPAN, .fallback = "5min",
	    .min = 1000, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_STOP_TIMEOUT",
	    .help = "How long a machine may take to shut down." },
	{ .path = "sources.*.start_timeout", SPAN, .fallback = "5min",
	    .min = 1000, .driver = "morpheus",
	    .variable = "FLEETBAK_SOURCES_<NAME>_START_TIMEOUT",
	    .help = "How long the start of a machine may take." },
	{ .path = "sources.*.root_canister", STRING, .required = true,
	    .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ROOT_CANISTER",
	    .help = "Principal of the root canister, whose registry is the "
	            "fleet." },
	{ .path = "sources.*.icp", STRING, .fallback = "icp", .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ICP",
	    .help = "The icp command: a name that is looked for in PATH, or a "
	            "path." },
	{ .path = "sources.*.icp_environment", STRING, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ICP_ENVIRONMENT",
	    .help = "The environment of the icp command; this, or "
	            "icp_network." },
	{ .path = "sources.*.icp_network", STRING, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ICP_NETWORK",
	    .help = "The network of the icp command, by its name or URL." },
	{ .path = "sources.*.root_key", STRING, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_ROOT_KEY",
	    .help = "The root key of a network that is given by its URL." },
	{ .path = "sources.*.identity", STRING, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_IDENTITY",
	    .help = "The identity of the icp command, a controller of every "
	            "canister; its default one when not given." },
	{ .path = "sources.*.identity_password_file", PATH, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_IDENTITY_PASSWORD_FILE",
	    .help = "File with the password of that identity, which the icp "
	            "command reads." },
	{ .path = "sources.*.project", PATH, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_PROJECT",
	    .help = "The project's directory; where the configuration is when "
	            "not given." },
	{ .path = "sources.*.spool", PATH, .required = true, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SPOOL",
	    .help = "Directory for what was there before each snapshot, and "
	            "for the snapshots that are downloaded or restored; it "
	            "needs room for those of download.jobs canisters." },
	{ .path = "sources.*.fixed", VECTOR, .min = 1, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_FIXED",
	    .help = "Principals of canisters that are restored as themselves "
	            "only; the root always is." },
	{ .path = "sources.*.timeout", SPAN, .fallback = "5min", .min = 1,
	    .driver = "icp", .variable = "FLEETBAK_SOURCES_<NAME>_TIMEOUT",
	    .help = "How long the icp command may take for what has no "
	            "deadline of its own." },
	{ .path = "sources.*.transfer_timeout", SPAN, .fallback = "12h",
	    .min = 1000, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_TRANSFER_TIMEOUT",
	    .help = "How long the icp command may take to download or upload a "
	            "snapshot." },
	{ .path = "sources.*.stop_timeout", SPAN, .fallback = "5min",
	    .min = 1000, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_STOP_TIMEOUT",
	    .help = "How long a canister may take to stop." },
	{ .path = "sources.*.start_timeout", SPAN, .fallback = "2min",
	    .min = 1000, .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_START_TIMEOUT",
	    .help = "How long the start of a canister may take." },
	{ .path = "sources.*.settle_time", SPAN, .fallback = "1min",
	    .driver = "icp",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SETTLE_TIME",
	    .help = "How long a canister must be running before it is believed "
	            "that no stop that was given up comes late." },
	{ .path = "sources.*.url", STRING, .driver = "miosa",
	    .fallback = "https://api.miosa.ai/api/v1",
	    .variable = "FLEETBAK_SOURCES_<NAME>_URL",
	    .help = "Where the API is, with the part of its paths that all "
	            "have in common." },
	{ .path = "sources.*.api_key", SECRET, .required = true,
	    .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_API_KEY",
	    .help = "Reference to the key of the account." },
	{ .path = "sources.*.family", CHOICE, .fallback = "auto",
	    .choices = miosa_families, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_FAMILY",
	    .help = "Which paths the deployment serves; auto: it is asked." },
	{ .path = "sources.*.content", CHOICE, .fallback = "auto",
	    .choices = miosa_contents, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CONTENT",
	    .help = "What of a computer goes into the repository: the export "
	            "of its checkpoint, files of its snapshot, or only which "
	            "snapshot it is; auto: what the family can." },
	{ .path = "sources.*.trees", LABELS, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_TREES",
	    .help = "With files: the directories that are captured, each "
	            "under the name of the volume that it makes; without it "
	            "all, as root." },
	{ .path = "sources.*.tenant", STRING, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_TENANT",
	    .help = "The tenant that is asked about." },
	{ .path = "sources.*.workspace", STRING, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_WORKSPACE",
	    .help = "The workspace that is asked about." },
	{ .path = "sources.*.keep_snapshot", BOOLEAN, .fallback = "false",
	    .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_KEEP_SNAPSHOT",
	    .help = "Whether the newest snapshot of each computer stays with "
	            "MIOSA until the next one: in place, or as a new "
	            "computer, nothing else can be restored." },
	{ .path = "sources.*.create_timeout", SPAN, .fallback = "30min",
	    .min = 1000, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_CREATE_TIMEOUT",
	    .help = "How long a snapshot may take to be ready, or a restore "
	            "to be done." },
	{ .path = "sources.*.settle_time", SPAN, .fallback = "20s",
	    .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SETTLE_TIME",
	    .help = "How long a computer must be as it is before it is "
	            "believed that nothing that was asked for comes late." },
	{ .path = "sources.*.spool", PATH, .driver = "miosa",
	    .variable = "FLEETBAK_SOURCES_<NAME>_SPOOL",
	    .help = "Directory where what comes of a snapshot's files is "
	            "gathered, 2 GiB at most for each machine at work; "
	            "without it /var/tmp." },
