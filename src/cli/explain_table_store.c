#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What object storage and the way to it say; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-GC-LOCKED", "what is being deleted is locked", "11",
	    "A prune had begun to delete, and some of it was locked in the "
	    "meantime, by a run that used it again and was cut off. The rest "
	    "is deleted. What is locked from the start is left alone and is "
	    "no error.",
	    "A download that died between locking and committing.",
	    "Run prune again when the lock has ended." },
	{ "E-LEASE-ANSWER", "the lease service refuses", "1, 16 or 17",
	    "etcd answered with an error, which stands in the message, or not "
	    "as its JSON gateway does. Nothing was written.",
	    "Something else at that address; a gateway that is turned off; "
	    "authentication; a database that is full.",
	    "See to etcd: etcdctl endpoint status, etcdctl alarm list." },
	{ "E-LEASE-AWAY", "the lease service does not answer", "15",
	    "Who writes to this repository needs etcd, which could not be "
	    "reached for as long as retry_for says. No machine is stopped "
	    "meanwhile; one that was stopped before is started. Reading and "
	    "restoring need no etcd.",
	    "etcd is down, has no quorum, or is not reached from here.",
	    "See to etcd, then run it again." },
	{ "E-LEASE-HELD", "another writer is at it for too long", "11",
	    "A writer that lives holds what this one has to write. It is "
	    "named by its host and process.",
	    "A writer that hangs, or is stopped.",
	    "Look at that process, then run it again." },
	{ "E-LEASE-NONE", "the repository needs its lease service", "2",
	    "The server of this repository knows no conditional writes, so "
	    "that etcd decides who writes; and this host's configuration "
	    "names none. It can read and restore.",
	    "A configuration that was not copied whole.",
	    "Give the repository the key etcd, with the address that the "
	    "other writers use." },
	{ "E-LEASE-PLACE", "that is a copy of the repository", "20",
	    "etcd has the records of a repository with the same id at "
	    "another address. Writing to both would mix them up.",
	    "A bucket that was copied or renamed by other tools.",
	    "Write where it was; or make a copy with fleetbak copy. If it "
	    "was moved for good: remove the key "
	    "fleetbak/REPOSITORY/place from etcd." },
	{ "E-LIST-BEHIND", "the store's list of runs lags", "11",
	    "A run is committed, and the store's list of the runs does not "
	    "show it. Prune keeps what the listed runs need, so it deletes "
	    "nothing while one is missing in the list.",
	    "A server, or a cache before it, whose lists show what was written "
	    "only later; a replica that is behind.",
	    "Wait until fleetbak list runs shows the run, and prune again. Ask "
	    "the server itself, not a cache or a replica; fleetbak doctor "
	    "tries its lists out." },
	{ "E-LOCK-RENEW", "what the run uses is not locked as long as wanted",
	    "3",
	    "The run is stored and committed. Of what it uses again, some "
	    "could not be locked for longer, so that it may be deleted before "
	    "repositories.NAME.lock_for is over.",
	    "Keys without the right to lock objects (s3:GetObjectRetention, "
	    "s3:PutObjectRetention); an object of another lock mode.",
	    "Give the keys these rights; the next download tries again." },
	{ "E-PROXY", "the proxy refuses", "16",
	    "The HTTP proxy on the way to the server does not let the request "
	    "through. The server was not reached.",
	    "A proxy that wants a user and a password, or that forbids this "
	    "server or port; a proxy in the environment that is meant for "
	    "others.",
	    "Put user and password into HTTPS_PROXY or http_proxy, name the "
	    "server in NO_PROXY, or set 'proxy' of the repository." },
	{ "E-S3-ANSWER", "the server's answer makes no sense", "1",
	    "An S3 server answered with an error that fleetbak does not know, "
	    "or not as S3 does.",
	    "Another service at that address; a proxy on the way; a server "
	    "that speaks only a part of S3.",
	    "The message holds the server's own words. Check endpoint and "
	    "path_style." },
	{ "E-S3-BUSY", "the server goes on refusing", "15",
	    "The server was asked again and again, with pauses, and answered "
	    "each time that it has no time, or an error of its own.",
	    "An overloaded or failing server; too many clients.",
	    "Run it again later: a download goes on where it was." },
	{ "E-S3-CLOCK", "the clocks are too far apart", "15",
	    "Signed requests are good for some minutes. The time of this host "
	    "and the server's are further apart.",
	    "A host without NTP; a virtual machine that slept.",
	    "timedatectl; set the clock, and run it again." },
	{ "E-S3-DENIED", "the server refuses these keys", "16",
	    "The server does not know the access key, or the secret is not "
	    "its own, or it has expired, or it may not do that here.",
	    "A mistyped or rotated key; keys of another endpoint; a bucket "
	    "policy without a needed right.",
	    "Needed are, on the bucket: list it; on its objects: get and put; "
	    "for prune: delete. Check 'credentials' in the configuration." },
	{ "E-S3-DIGEST", "bytes were damaged on the way", "15",
	    "The server received other bytes than were signed, and stored "
	    "none of them.",
	    "A faulty network card, proxy or memory.",
	    "Run it again; when it comes back, test this host's memory." },
	{ "E-S3-KEYS", "no access key", "12",
	    "An S3 server wants an access key, and none was found where the "
	    "configuration says.",
	    "A variable that is not set in the service; a file that others "
	    "can read; a misspelled profile.",
	    "See 'Object storage' in fleetbak.conf(5)." },
	{ "E-S3-LOCK", "the bucket locks nothing", "2",
	    "The configuration has object_lock, and the bucket was made "
	    "without object lock, or its server knows none. Nothing was "
	    "stored that should have been locked.",
	    "A bucket that was made before; a server such as OpenStack "
	    "Swift.",
	    "Let fleetbak init make a new bucket, or have object lock switched "
	    "on for this one by who owns it; or take object_lock away." },
	{ "E-S3-NO-BUCKET", "there is no such bucket", "10",
	    "The server knows no bucket of that name.",
	    "A misspelled name; another endpoint or account.",
	    "fleetbak init makes the bucket and the repository." },
	{ "E-S3-QUOTA", "the bucket is full", "17",
	    "The server stores no more: a quota of the user or the bucket is "
	    "used up, or its disks are full.",
	    "More data than was planned for; packs that nobody needs.",
	    "fleetbak prune -n shows what could go; or raise the quota." },
	{ "E-S3-REGION", "the bucket is in another region", "2",
	    "The server says that requests for this bucket must be signed for "
	    "another region, or go to another address.",
	    "A missing or wrong 'region' or 'endpoint'.",
	    "The fix in the message names the region when the server did." },
	{ "E-S3-ROLE", "the role is not given", "16",
	    "The token service does not let this host take over the role that "
	    "the profile or AWS_ROLE_ARN names.",
	    "An identity token that has expired, because nobody writes new "
	    "ones; a role that trusts somebody else; a mistyped role.",
	    "The message holds the service's own words. Check the trust "
	    "policy of the role, and that the token's file is renewed." },
	{ "E-S3-UNREADABLE", "the server does not give an object's bytes out",
	    "14",
	    "The object is there, and is encrypted with a key that the server "
	    "does not have or may not use, or was moved to an archive.",
	    "Somebody overwrote it with a key of his own (SSE-C); a KMS key "
	    "that is disabled; a lifecycle rule that archives.",
	    "Bring it back from the archive, and take that rule away; in a "
	    "bucket that keeps versions: fleetbak doctor --fix." },
	{ "E-S3-UNSUP", "the server cannot do this", "1",
	    "The server does not implement what was asked for.",
	    "A server that speaks only a part of S3.",
	    "fleetbak needs conditional writes (If-None-Match, If-Match) where "
	    "more than one host writes." },
	{ "E-STORE-ONE-WRITER", "only one host may write at a time", "-",
	    "The server refuses writes under a condition, so two hosts that "
	    "write at once could overwrite each other's records. fleetbak "
	    "looks first and writes afterwards.",
	    "OpenStack Swift's S3 interface, and older servers.",
	    "See that no two commands that write (download, forget, prune) "
	    "run on two hosts at the same time, or use another server." },
	{ "E-STORE-PROBE", "a repository cannot be kept there", "1",
	    "The store was tried out and does not keep what every repository "
	    "relies on.",
	    "A simple imitation of S3; a cache on the way; an eventually "
	    "consistent server.",
	    "Use another server, or reach this one without the cache." },
	{ "E-TIMEOUT", "it took too long", "15, or 3",
	    "A deadline passed; what was running has been ended. Of a write to "
	    "a server nobody knows whether it was done: the next run looks.",
	    "A stop or start command that hangs; a server whose disks are "
	    "full: its writes and its deletions hang, and what it has can be "
	    "read.",
	    "Run the command by hand; raise stop_timeout or start_timeout. "
	    "Give the server room first (Ceph: ceph health detail, ceph osd "
	    "set-full-ratio), then fleetbak download, then fleetbak prune." },
	{ "E-TLS", "the server's certificate is not believed", "15",
	    "The server's certificate is of no authority that is trusted "
	    "here, or for another name, or has expired. Nothing was sent.",
	    "A private authority; an address in place of a name; somebody in "
	    "between.",
	    "Name the authority's certificate with 'ca'." },
	{ "E-TLS-CA", "the file of authorities cannot be used", "2",
	    "What 'ca' names is not a file of certificates in PEM.",
	    "A wrong path; a file in DER.",
	    "openssl x509 -in FILE -noout -subject" },
	{ "E-VERSION-DELETED", "somebody deleted what a backup needs", "14",
	    "The bucket keeps versions, and the newest of this object is the "
	    "mark of its removal. fleetbak never removes what a run needs.",
	    "Somebody, or a program, that has the key to write.",
	    "Find out who, and change the key. fleetbak doctor shows all of "
	    "it, fleetbak doctor --fix brings back the versions that are "
	    "right." },
	{ "E-VERSION-NONE", "no version is the right one", "14",
	    "None of the versions that the bucket keeps of this object has "
	    "the digest that it should have.",
	    "A version that was removed for good, because it was not locked "
	    "any more.",
	    "fleetbak verify says whom it harms; look for a copy of the "
	    "repository." },
	{ "E-VERSION-REPLACED", "somebody overwrote what a backup needs", "14",
	    "The bucket keeps versions, and the newest of this object is not "
	    "what fleetbak stored. fleetbak never overwrites what a run "
	    "needs.",
	    "Ransomware, or somebody else who has the key to write.",
	    "Find out who, and change the key. fleetbak doctor shows all of "
	    "it, fleetbak doctor --fix brings back the versions that are "
	    "right." },
	{ "E-UNANNOUNCED", "nothing keeps a prune from what is being read",
	    "0 (a warning)",
	    "A restore, verification or copy announces itself in the "
	    "repository, so that no prune deletes what it reads. The store "
	    "does not answer to that, or refuses it: after retry_for it is "
	    "read all the same. What is read is checked as always, so a "
	    "prune meanwhile makes it fail and never wrong.",
	    "A server that is full: its writes hang, and what is there can be "
	    "read. A lease service that is away.",
	    "Run no prune until it has ended. A shorter retry_for waits less; "
	    "make room on the server." },
};

size_t
fb_explain_store(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
