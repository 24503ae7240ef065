#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What a run says that several workers share; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-SHARD-COUNT", "the workers disagree about the number of shards",
	    "2",
	    "The worker that began the shared run said another number of "
	    "shards. Nothing was touched.",
	    "A job array that was submitted again with another size.",
	    "Give all workers of one name the same N, or a new name." },
	{ "E-SHARD-HELD", "another worker has this shard", "0 (a warning)",
	    "Somebody else does this shard. This worker waits for signs of "
	    "life: while there are some it goes on waiting, and when there "
	    "are none for long enough it takes the shard over.",
	    "A worker that died, and the one that comes after it.",
	    "Wait; or, when it is known to be dead, download --take-over." },
	{ "E-SHARD-KEPT", "a worker's node remembers what it could not do",
	    "0 (a warning)",
	    "A worker of the shared run has ended, but a machine did not "
	    "start, or a snapshot could not be removed. Its state directory "
	    "remembers that, and its next command tries again.",
	    "A source that does not answer.",
	    "Nothing, if that node is there; if it is lost, fleetbak seal "
	    "--run NAME --take-over does it here." },
	{ "E-SHARD-LEFT", "something of a worker is left yet", "1",
	    "The shared run is sealed or given up. A machine that one of its "
	    "workers stopped did not start, or its snapshot could not be "
	    "removed; or another node remembers that. Where it was tried "
	    "the state directory remembers it.",
	    "A source that does not answer; a machine that will not start.",
	    "See the warnings that came before; then the same command again, "
	    "with --take-over if the node that remembers is lost." },
	{ "E-SHARD-NOTHING", "there is nothing to seal", "20",
	    "Every shard is there, and no machine of any of them was stored.",
	    "A source that none of the workers reached.",
	    "Give it up with fleetbak forget --run NAME; run it again under "
	    "another name." },
	{ "E-SHARD-NUMBER", "that is no shard", "2",
	    "--shard takes K/N with K from 1 to N, any/N, auto or auto/N. "
	    "auto asks SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT, else "
	    "JOB_COMPLETION_INDEX and JOB_COMPLETION_COUNT.",
	    "Counting from 0; auto outside of a job array.",
	    "Write it out: --shard 1/8." },
	{ "E-SHARD-SOURCE", "a worker saw a machine that is not seen here", "2",
	    "What a dead worker has left can only be done where its sources "
	    "are configured and its machines are seen: a machine that is not "
	    "known here is not gone.",
	    "seal or forget on a host of another configuration, or with a "
	    "mount less than the workers'.",
	    "Do it on a host that sees what the workers saw. A machine that "
	    "is gone for good: seal or forget with --force, or recover "
	    "--force." },
	{ "E-SHARD-TOPOLOGY", "the workers see different fleets", "19",
	    "All shards of a run must be of one topology and one selection. "
	    "This worker, or this shard, has another. Nothing was touched.",
	    "The fleet changed between two workers; configurations that "
	    "differ; a source that one of them cannot reach.",
	    "Compare 'fleetbak topology' on both; then run it under a new "
	    "name." },
	{ "E-SHARDS-MISSING", "some shards are not there yet", "20",
	    "A shared run is sealed when every shard was committed.",
	    "Workers that are not done, or have died.",
	    "Wait for them; fleetbak download --run NAME --shard any/N does "
	    "what nobody does, and seals." },
	{ "E-SHARED-NAME", "a shared run cannot be called so", "2",
	    "The name stands in keys of the repository.",
	    "A space or a slash in it.",
	    "Up to 64 letters, digits, '_', '-' and '.'." },
	{ "E-SHARED-SEALED", "the shared run is over", "20",
	    "It is sealed, or was given up: no shard of it is done any more.",
	    "A name that was used before.",
	    "Take a new name for every run, as the id of the job." },
	{ "E-SHARED-UNKNOWN", "there is no such shared run", "1",
	    "No worker has begun a shared run of this name in this repository.",
	    "A misspelling; another repository (-r).",
	    "fleetbak list runs names those that are not sealed." },
};

size_t
fb_explain_shard(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
