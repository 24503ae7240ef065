#include "s3_profile.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/mem.h"

void
s3_profile_release(struct s3_profile *profile)
{
	s3_access_release(&profile->access);
	fb_freep(&profile->role_arn);
	fb_freep(&profile->source);
	fb_freep(&profile->token_file);
	fb_freep(&profile->session);
	fb_freep(&profile->external_id);
	fb_freep(&profile->process);
}

/* One line of an INI file, cut up; false: of no interest. */
static bool
split_line(char *line, char **ret_name, char **ret_value)
{
	char *sign = strchr(line, '=');
	size_t len;

	if (sign == NULL || line[0] == '#' || line[0] == ';')
		return false;
	*sign = '\0';
	for (len = (size_t)(sign - line);
	     len > 0 && strchr(" \t", line[len - 1]) != NULL; len--)
		line[len - 1] = '\0';
	*ret_name = line + strspn(line, " \t");
	*ret_value = sign + 1 + strspn(sign + 1, " \t");
	for (len = strlen(*ret_value);
	     len > 0 && strchr(" \t\r", (*ret_value)[len - 1]) != NULL; len--)
		(*ret_value)[len - 1] = '\0';
	return true;
}

/* Is `line` the head of this section? */
static bool
is_section(const char *line, const char *name)
{
	size_t len = strlen(name);

	line++;
	line += strspn(line, " \t");
	if (strncmp(line, "profile ", 8) == 0)
		line += 8 + strspn(line + 8, " \t");
	return strncmp(line, name, len) == 0 &&
	    line[len + strspn(line + len, " \t")] == ']';
}

static void
take(struct s3_profile *profile, const char *name, const char *value)
{
	const struct {
		const char *name;
		char **slot;
	} slots[] = {
		{ "aws_access_key_id", &profile->access.id },
		{ "aws_secret_access_key", &profile->access.secret },
		{ "aws_session_token", &profile->access.token },
		{ "role_arn", &profile->role_arn },
		{ "source_profile", &profile->source },
		{ "web_identity_token_file", &profile->token_file },
		{ "role_session_name", &profile->session },
		{ "external_id", &profile->external_id },
		{ "credential_process", &profile->process },
	};

	for (size_t i = 0; i < FB_COUNT(slots); i++) {
		char **slot = slots[i].slot;

		if (strcasecmp(name, slots[i].name) != 0)
			continue;
		if (*slot != NULL)
			explicit_bzero(*slot, strlen(*slot));
		free(*slot);
		*slot = fb_strdup(value);
	}
}

void
s3_profile_read(char *text, const char *name, struct s3_profile *profile)
{
	bool inside = name == NULL;
	bool any = false;
	char *rest = text;
	char *line, *key, *value;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (line[0] == '[') {
			if (name == NULL && any)
				return; /* the first section has ended */
			inside = name == NULL || is_section(line, name);
		} else if (inside && split_line(line, &key, &value)) {
			any = true;
			take(profile, key, value);
		}
	}
}
