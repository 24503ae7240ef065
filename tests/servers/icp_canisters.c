/* What canisters are, and their power. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "icp.h"

#include "fleetbak/base/mem.h"

static void
set(json_t *object, const char *name, const char *value)
{
	(void)json_object_set_new(object, name, json_string(value));
}

/* "Stopping" ends when it was seen often enough. */
static void
look(json_t *canister)
{
	json_int_t left =
	    json_integer_value(json_object_get(canister, "stopping"));

	if (strcmp(icp_get(canister, "status"), "Stopping") != 0)
		return;
	if (left > 0)
		(void)json_object_set_new(
		    canister, "stopping", json_integer(left - 1));
	else
		set(canister, "status", "Stopped");
}

void
icp_must_be_stopped(json_t *canister)
{
	const char *id = icp_get(canister, "id");

	look(canister);
	if (strcmp(icp_get(canister, "status"), "Running") == 0)
		icp_error("Canister %s (%s) is currently running. Please stop "
		          "the canister first with `icp canister stop`.",
		    id, id);
	if (strcmp(icp_get(canister, "status"), "Stopping") == 0)
		icp_error("Canister %s (%s) is still stopping. Please wait "
		          "for it to fully stop.",
		    id, id);
}

static json_t *
controllers(const json_t *canister)
{
	json_t *given = json_object_get(canister, "controllers");

	return given != NULL ? json_incref(given)
	                     : json_pack("[s]", "2vxsx-fae");
}

static json_t *
module_json(const json_t *canister)
{
	FB_AUTO_FREE char *dir = icp_canister_dir(canister);
	FB_AUTO_FREE char *hash = icp_module_hash(dir);

	if (icp.on[ICP_MODULE])
		return json_sprintf("0x%s", icp.text[ICP_MODULE]);
	return hash == NULL || icp.on[ICP_NO_MODULE]
	    ? json_null()
	    : json_sprintf("0x%s", hash);
}

static json_t *
status_json(const json_t *canister)
{
	return json_pack(
	    "{s:O,s:s,s:{s:o,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:{s:s},s:[]},s:o,"
	    "s:s,s:s,s:s,s:s,s:{s:s,s:s,s:s,s:s}}",
	    "id", json_object_get(canister, "id"), "status",
	    icp.on[ICP_SAYS] ? icp.text[ICP_SAYS]
	                     : icp_get(canister, "status"),
	    "settings", "controllers", controllers(canister),
	    "compute_allocation", "0", "memory_allocation", "0",
	    "freezing_threshold", "2592000", "reserved_cycles_limit",
	    "5000000000000", "wasm_memory_limit", "3221225472",
	    "wasm_memory_threshold", "0", "log_memory_limit", "4096",
	    "log_visibility", "type", "Controllers", "environment_variables",
	    "module_hash", module_json(canister), "memory_size", "2097152",
	    "cycles", "3000000000000", "reserved_cycles", "0",
	    "idle_cycles_burned_per_day", "1000", "query_stats",
	    "num_calls_total", "0", "num_instructions_total", "0",
	    "request_payload_bytes_total", "0",
	    "response_payload_bytes_total", "0");
}

static void
print(json_t *json, bool line)
{
	FB_AUTO_FREE char *text = json_dumps(json, JSON_COMPACT);

	fb_buf_add_fmt(&icp.out, "%s%s", text, line ? "\n" : "");
	json_decref(json);
}

static void
print_text(const json_t *canister)
{
	json_t *hash = module_json(canister);

	fb_buf_add_fmt(&icp.out, "Canister Id: %s\n", icp_get(canister, "id"));
	if (!icp.on[ICP_PUBLIC])
		fb_buf_add_fmt(&icp.out, "Canister Status Report:\n  Status: "
		                         "%s\n",
		    icp.on[ICP_SAYS] ? icp.text[ICP_SAYS]
		                     : icp_get(canister, "status"));
	fb_buf_add_fmt(&icp.out, "  Controllers: 2vxsx-fae\n"
	                         "  Module hash: %s\n",
	    json_is_string(hash) ? json_string_value(hash) : "<none>");
	json_decref(hash);
}

void
icp_status(void)
{
	json_t *canister = icp_canister(2);

	look(canister);
	if (!icp.json)
		print_text(canister);
	else if (icp.on[ICP_PUBLIC])
		print(json_pack("{s:O,s:o,s:o}", "id",
		          json_object_get(canister, "id"), "controllers",
		          controllers(canister), "module_hash",
		          module_json(canister)),
		    true);
	else
		print(status_json(canister), true);
}

void
icp_stop(void)
{
	json_t *canister = icp_canister(2);
	const char *id = icp_get(canister, "id");

	look(canister);
	if (strcmp(icp_get(canister, "status"), "Running") != 0) {
		icp_effect("stop-again", id, NULL);
		return;
	}
	icp_effect("stop", id, NULL);
	set(canister, "status", icp.on[ICP_STOPPING] ? "Stopping" : "Stopped");
	(void)json_object_set_new(canister, "stopping",
	    json_integer((json_int_t)icp.argument[ICP_STOPPING]));
	if (icp.on[ICP_STOPPING])
		icp_error("The replica returned a rejection error: reject code "
		          "SysTransient, reject message Stop canister request "
		          "timed out, error code None");
}

void
icp_start(void)
{
	json_t *canister = icp_canister(2);
	const char *id = icp_get(canister, "id");

	look(canister);
	icp_effect(strcmp(icp_get(canister, "status"), "Running") == 0
	        ? "start-again"
	        : "start",
	    id, NULL);
	set(canister, "status", "Running");
}

static bool
form_is(const char *form)
{
	return strcmp(icp.on[ICP_REGISTRY] ? icp.text[ICP_REGISTRY] : "ok",
	           form) == 0;
}

/* Flat, or as the root's method gives it: with a record in each row. */
static json_t *
row(const json_t *canister)
{
	json_t *id = json_object_get(canister, "id");
	const char *parent = icp_get(canister, "parent");
	FB_AUTO_FREE char *dir = icp_canister_dir(canister);
	FB_AUTO_FREE char *hash = icp_module_hash(dir);
	json_t *role = json_object_get(canister, "role");
	json_t *kind = json_object_get(canister, "kind");

	if (form_is("flat"))
		return json_pack("{s:O,s:O*,s:O*,s:s?,s:s?}", "pid", id,
		    "role", role, "kind", kind, "parent_pid",
		    parent[0] != '\0' ? parent : NULL, "module_hash", hash);
	return json_pack("{s:O,s:O*,s:O*,s:{s:O,s:O*,s:o,s:s?}}", "pid", id,
	    "role", role, "kind", kind, "record", "pid", id, "role", role,
	    "parent_pid",
	    parent[0] != '\0' ? json_pack("[s]", parent) : json_null(),
	    "module_hash", hash);
}

static void
add_candid(struct fb_buf *text, const json_t *canister)
{
	const char *parent = icp_get(canister, "parent");
	FB_AUTO_FREE char *dir = icp_canister_dir(canister);
	FB_AUTO_FREE char *hash = icp_module_hash(dir);

	fb_buf_add_fmt(text,
	    "      record {\n        pid = principal \"%s\";\n"
	    "        role = \"%s\";\n        record = record {\n"
	    "          pid = principal \"%s\";\n          role = \"%s\";\n",
	    icp_get(canister, "id"), icp_get(canister, "role"),
	    icp_get(canister, "id"), icp_get(canister, "role"));
	fb_buf_add_str(text, "          parent_pid = ");
	if (parent[0] != '\0')
		fb_buf_add_fmt(text, "opt principal \"%s\";\n", parent);
	else
		fb_buf_add_str(text, "null;\n");
	fb_buf_add_str(text, "          module_hash = ");
	if (hash == NULL)
		fb_buf_add_str(text, "null;\n");
	else {
		fb_buf_add_str(text, "opt blob \"");
		for (const char *c = hash; *c != '\0'; c += 2)
			fb_buf_add_fmt(text, "\\%.2s", c);
		fb_buf_add_str(text, "\";\n");
	}
	fb_buf_add_str(text, "        };\n      };\n");
}

/* One that the root does not know is a canister all the same. */
static bool
is_registered(const json_t *canister)
{
	return !json_is_false(json_object_get(canister, "registered"));
}

/* As the real command prints what it has decoded. */
static char *
candid(json_t *canisters)
{
	struct fb_buf text = { 0 };
	const char *id;
	json_t *canister;

	fb_buf_add_str(&text, "(\n  variant {\n    Ok = vec {\n");
	json_object_foreach(canisters, id, canister)
		if (is_registered(canister))
			add_candid(&text, canister);
	fb_buf_add_str(&text, "    }\n  },\n)");
	return (char *)fb_buf_steal(&text);
}

static void
check_call(void)
{
	const char *method = icp.count > 3 ? icp.words[3] : "";

	if (strcmp(method, "canic_subnet_registry") != 0)
		icp_error("The replica returned a rejection error: reject code "
		          "DestinationInvalid, reject message Canister %s has "
		          "no query method '%s', error code Some(\"IC0536\")",
		    icp.words[2], method);
	if (icp.count < 5)
		icp_complain("a call without arguments asks a person");
	else if (strcmp(icp.words[4], "()") != 0)
		icp_complain("arguments of the registry: %s", icp.words[4]);
}

/* "registry=ok|list|flat|candid|err|empty" */
void
icp_call(void)
{
	json_t *canisters = json_object_get(icp.state, "canisters");
	json_t *root = icp_canister(2), *list = json_array(), *canister;
	FB_AUTO_FREE char *text = candid(canisters);
	const char *id;

	check_call();
	if (icp_get(root, "parent")[0] != '\0')
		icp_error("Canister %s is not the root", icp_get(root, "id"));
	json_object_foreach(canisters, id, canister)
		if (!form_is("empty") && is_registered(canister))
			(void)json_array_append_new(list, row(canister));
	if (!icp.json)
		fb_buf_add_fmt(&icp.out, "%s\n", text);
	else if (form_is("candid"))
		print(json_pack("{s:s,s:n,s:s}", "response_bytes",
		          "4449444c00", "response_text", "response_candid",
		          text),
		    false);
	else if (form_is("err"))
		print(json_pack("{s:s}", "Err", "not the root"), true);
	else if (form_is("list") || form_is("flat"))
		print(json_incref(list), true);
	else
		print(json_pack("{s:O}", "Ok", list), true);
	json_decref(list);
}
