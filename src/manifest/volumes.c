#include <string.h>

#include "fleetbak/base/name.h"
#include "fleetbak/manifest/manifest.h"

bool
fb_volumes_line(
    char *line, char **ret_source, char **ret_machine, char **ret_volume)
{
	char *slash = strchr(line, '/');
	char *space = slash != NULL ? strchr(slash, ' ') : NULL;
	char *end = space != NULL ? strchr(space + 1, ' ') : NULL;

	if (end == NULL)
		return false;
	*slash = *space = *end = '\0';
	*ret_source = line;
	*ret_machine = slash + 1;
	*ret_volume = space + 1;
	return fb_name_ok(*ret_source, strlen(*ret_source)) &&
	    fb_name_ok(*ret_machine, strlen(*ret_machine)) &&
	    fb_name_ok(*ret_volume, strlen(*ret_volume));
}
