/* Error ids of encrypted repositories. */
#include "fleetbak/base/attr.h"
#include "explain_rows.h"

static const struct fb_explanation rows[] = {
	{ "E-ATTEST", "an attestation is not believed", "0",
	    "What stands under attests/ for a pack of another domain is not "
	    "signed by a key of trusted_verifiers, or is of another pack, "
	    "domain or repository, or is damaged. The pack was left alone, and "
	    "what it holds is stored once more.",
	    "Somebody who can write to the store put it there; a verifier "
	    "whose key is not in trusted_verifiers any more.",
	    "Find out who. fleetbak verify --attest, where the private key is, "
	    "makes it anew." },
	{ "E-ATTEST-CLEAR", "there is nothing to attest", "20",
	    "In a repository in clear everybody can see what a pack holds, so "
	    "that nobody's word is needed for it.",
	    "verify --attest on the wrong repository.",
	    "Leave --attest away." },
	{ "E-DECRYPT-KEY", "the private key does not open it", "12",
	    "The keys of the packs are sealed to other recipients than the "
	    "private key of decrypt_with, or what is under keys/ was altered, "
	    "which cannot be told apart. Nothing was opened.",
	    "The key of another repository; recipients that were changed "
	    "after the backup.",
	    "fleetbak keys list shows the id of decrypt_with and of each "
	    "recipient. Use the key that was a recipient then." },
	{ "E-DECRYPT-WITH", "this host has no key that opens the repository",
	    "12",
	    "The repository is encrypted. A host without decrypt_with backs "
	    "up, verifies what can be checked without opening, and prunes; to "
	    "restore, and to show what is in an archive, the private key is "
	    "needed.",
	    "The private key is kept elsewhere, as it should be.",
	    "Bring it here for the time of the restore and set "
	    "repositories.NAME.decrypt_with; or restore where it is." },
	{ "E-DOMAIN", "a pack is of another domain", "0",
	    "What an earlier run stored is used again only inside one domain, "
	    "since nobody but the holder of the private key can look into it. "
	    "It was left alone, and the volume is read as a whole.",
	    "Another host backed the machine up; the host's domain key was "
	    "made anew.",
	    "Nothing: it costs space once. Where hosts should share what they "
	    "store, fleetbak verify --attest and trusted_verifiers let them." },
	{ "E-DOMAIN-KEY", "the domain key is damaged", "12",
	    "The file in the state directory that holds this host's domain key "
	    "does not hold one.",
	    "A damaged file system.",
	    "Bring the file back, or move it away: a new key is made then, and "
	    "everything is stored once more." },
	{ "E-ENCRYPT-TO", "there is nobody to encrypt to", "12",
	    "The repository is encrypted, and without recipients nobody could "
	    "open what would be written.",
	    "repositories.NAME.encrypt_to is not set on this host.",
	    "Set it to the certificate of the recovery key." },
	{ "E-ENVELOPE", "an object under keys/ is damaged", "14",
	    "It is not an envelope of CMS that holds keys of packs.",
	    "It was damaged, or put there by somebody else.",
	    "Another object of the same session may hold the same keys: "
	    "fleetbak keys rotate writes one." },
	{ "E-NOT-ENCRYPTED", "the repository is in clear", "20",
	    "The configuration has encrypt_to, and the repository was made "
	    "without encryption, which cannot be changed. Nothing was written.",
	    "encrypt_to was added after init.",
	    "Make a new repository in another place with fleetbak init, or "
	    "take encrypt_to away." },
	{ "E-PACK-KEY", "the key of a pack is gone", "14",
	    "No object under keys/ that opens holds the key that the pack's "
	    "table names: its content is lost.",
	    "Somebody removed or replaced objects under keys/.",
	    "Bring the objects keys/SESSION.*.cms back from a copy of the "
	    "repository." },
	{ "E-RECIPIENT", "nothing can be encrypted to that recipient", "12",
	    "What encrypt_to names is missing, is no certificate or public "
	    "key, or is one of a kind that nothing can be sealed to.",
	    "A private key in its place; an Ed25519 or short RSA key.",
	    "Use an X.509 certificate or a public key in PEM, of RSA from 2048 "
	    "bits on, P-256, P-384 or P-521." },
};

size_t
fb_explain_crypt(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
