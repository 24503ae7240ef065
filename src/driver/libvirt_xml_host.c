/* What a domain's XML names of its host besides disks. */
#include <stdlib.h>

#include "libvirt_xml.h"
#include "libvirt_xml_parts.h"

static void
read_tpm(const xmlNode *devices, struct fb_domain_host *host)
{
	const xmlNode *backend = child_of(child_of(devices, "tpm"), "backend");
	const xmlNode *source = child_of(backend, "source");
	FB_AUTO_FREE char *type = attribute(backend, "type");
	FB_AUTO_FREE char *kept = attribute(source, "type");

	if (type == NULL)
		return;
	if (strcmp(type, "emulator") != 0)
		host->tpm_elsewhere = fb_format("of type '%s'", type);
	else if (source != NULL && (kept == NULL || strcmp(kept, "dir") != 0))
		host->tpm_elsewhere = fb_format("on a source of type '%s'",
		    kept != NULL ? kept : "");
	else
		host->tpm = fb_strdup(attribute_is(backend, "version", "1.2")
		        ? "tpm1.2"
		        : "tpm2");
	if (host->tpm != NULL)
		host->tpm_path = attribute(source, "path");
}

static bool
has_network(const struct fb_domain_host *host, const char *name)
{
	for (size_t i = 0; i < host->network_count; i++)
		if (strcmp(host->networks[i], name) == 0)
			return true;
	return false;
}

static void
read_networks(const xmlNode *devices, struct fb_domain_host *host)
{
	size_t count = 0;

	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next)
		count += is_named(node, "interface");
	host->networks = fb_alloc(count + 1, sizeof(char *));
	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next) {
		FB_AUTO_FREE char *name = NULL;

		if (!is_named(node, "interface") ||
		    !attribute_is(node, "type", "network"))
			continue;
		name = attribute(child_of(node, "source"), "network");
		if (name != NULL && !has_network(host, name))
			host->networks[host->network_count++] =
			    FB_STEAL(name);
	}
}

void
read_host(const xmlNode *root, struct fb_domain_host *host)
{
	const xmlNode *devices = child_of(root, "devices");

	read_tpm(devices, host);
	read_networks(devices, host);
}

void
release_host(struct fb_domain_host *host)
{
	for (size_t i = 0; i < host->network_count; i++)
		free(host->networks[i]);
	free(host->networks);
	free(host->tpm);
	free(host->tpm_path);
	free(host->tpm_elsewhere);
}
