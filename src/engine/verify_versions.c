/*
 * In a place that keeps versions: what somebody has deleted or overwritten, and
 * which version of it is right.  What is found missing or damaged without that
 * is told here where it went; what is not found at all, as a run whose register
 * is gone, is found here.
 */
#include <string.h>

#include "fleetbak/repo/tampered.h"

#include "keys.h"
#include "verify_impl.h"

static struct fb_verify_damage *
find_damage(const struct verify *verify, const char *object)
{
	for (size_t i = 0; i < verify->report->damage_count; i++)
		if (strcmp(verify->report->damages[i].object, object) == 0)
			return &verify->report->damages[i];
	return NULL;
}

static bool
looks_at_all(const struct fb_verify_request *request)
{
	return request->run == NULL && request->machine_count == 0;
}

static void
tell(struct verify *verify, const struct fb_tampered *tampered)
{
	struct fb_verify_damage *damage = find_damage(verify, tampered->key);
	struct fb_error why = { 0 };
	size_t number;

	(void)fb_tampered_fail(tampered, &why);
	if (damage != NULL) {
		damage->err = why;
		return;
	}
	if (!looks_at_all(verify->request))
		return;
	number = add_damage(verify, tampered->key, &why);
	if (tampered->run[0] != '\0')
		add_harm(verify, number, tampered->run, NULL, NULL);
}

int
verify_versions(struct verify *verify, struct fb_error *err)
{
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	int rc;

	if (verify->report->damage_count == 0 && !looks_at_all(verify->request))
		return FB_OK;
	rc = fb_tampered_find(verify->repo, &list, err);
	if (rc == FB_EDENIED || rc == FB_EUNSUP) /* it is for who may look */
		return FB_OK;
	for (size_t i = 0; rc == FB_OK && i < list.count; i++)
		tell(verify, &list.items[i]);
	return rc;
}

static int
look_at_format(const struct fb_engine *engine, struct fb_tampered_list *list,
    struct fb_error *err)
{
	const struct fb_config_repository *config;
	FB_AUTO_STORE struct fb_store *store = NULL;
	struct fb_trust trust = { 0 };
	int rc = engine_need_repo(engine, &config, err);

	if (rc == FB_OK)
		rc = engine_open_store(engine, config, false, &store, err);
	if (rc == FB_OK)
		rc = engine_read_trust(engine, &trust, err);
	if (rc == FB_OK)
		rc = fb_tampered_format(store, &trust, list, err);
	fb_trust_release(&trust);
	return rc;
}

int
fb_verify_unopened(const struct fb_engine *engine, struct fb_error *err)
{
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	struct fb_error why = { 0 };
	int rc = err->code;

	if ((rc != FB_ENOREPO && rc != FB_EUNTRUSTED && rc != FB_ECORRUPT &&
	        rc != FB_ENOTFOUND) ||
	    look_at_format(engine, &list, &why) < 0 || list.count == 0)
		return rc;
	*err = (struct fb_error){ 0 };
	(void)fb_tampered_fail(&list.items[0], err);
	return fb_wrap(err, "'%s'", list.items[0].key);
}
