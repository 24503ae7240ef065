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

static void
add_once(char **list, size_t *count, char *name)
{
	for (size_t i = 0; name != NULL && i < *count; i++)
		if (strcmp(list[i], name) == 0) {
			free(name);
			return;
		}
	if (name != NULL)
		list[(*count)++] = name;
}

static void
read_interface(const xmlNode *node, struct fb_domain_host *host)
{
	const xmlNode *source = child_of(node, "source");

	if (attribute_is(node, "type", "network"))
		add_once(host->networks, &host->network_count,
		    attribute(source, "network"));
	if (attribute_is(node, "type", "bridge"))
		add_once(host->bridges, &host->bridge_count,
		    attribute(source, "bridge"));
	add_once(host->macs, &host->mac_count,
	    attribute(child_of(node, "mac"), "address"));
}

static void
read_interfaces(const xmlNode *devices, struct fb_domain_host *host)
{
	size_t count = 1;

	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next)
		count += is_named(node, "interface");
	host->networks = fb_alloc(count, sizeof(char *));
	host->bridges = fb_alloc(count, sizeof(char *));
	host->macs = fb_alloc(count, sizeof(char *));
	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next)
		if (is_named(node, "interface"))
			read_interface(node, host);
}

static void
free_list(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void
read_host(const xmlNode *root, struct fb_domain_host *host)
{
	const xmlNode *devices = child_of(root, "devices");

	read_tpm(devices, host);
	read_interfaces(devices, host);
}

void
release_host(struct fb_domain_host *host)
{
	free_list(host->networks, host->network_count);
	free_list(host->bridges, host->bridge_count);
	free_list(host->macs, host->mac_count);
	free(host->tpm);
	free(host->tpm_path);
	free(host->tpm_elsewhere);
}
