/* What a prune costs: requests by class, bytes, and money. */
#include <stdio.h>
#include <string.h>

#include "fleetbak/cli/prune.h"

static void
put_requests(
    json_t *object, const char *key, const struct fb_store_usage *requests)
{
	json_t *item = json_object();

	fb_json_put_u64(item, "list", requests->lists);
	fb_json_put_u64(item, "get", requests->gets);
	fb_json_put_u64(item, "put", requests->puts);
	fb_json_put_u64(item, "delete", requests->removes);
	fb_json_put_u64(item, "read_bytes", requests->read_bytes);
	fb_json_put_u64(item, "written_bytes", requests->written_bytes);
	(void)json_object_set_new(object, key, item);
}

/* Billionths, to two digits that say something. */
static const char *
money(uint64_t amount, const char *currency, char text[FB_CLI_TEXT])
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };
	int digits = amount >= UINT64_C(1000000000) ? 2
	    : amount >= UINT64_C(10000000)          ? 4
	                                            : 6;

	fb_buf_add_fmt(&buf, "%.*f%s%s", digits, (double)amount / 1e9,
	    currency[0] != '\0' ? " " : "", currency);
	(void)snprintf(text, FB_CLI_TEXT, "%s", fb_buf_str(&buf));
	return text;
}

static void
put_money(json_t *object, const char *key, uint64_t amount)
{
	(void)json_object_set_new(object, key, json_real((double)amount / 1e9));
}

static json_t *
early_json(const struct fb_gc_early *early)
{
	json_t *item = json_object();

	fb_json_put_u64(item, "objects", early->objects);
	fb_json_put_u64(item, "bytes", early->bytes);
	return item;
}

static void
put_cost_json(struct fb_cli *cli, const struct fb_prune_cost *cost)
{
	json_t *item = json_object();

	put_requests(item, "requests", &cost->requests);
	fb_json_put_u64(item, "deleted_bytes", cost->deleted_bytes);
	if (cost->min_storage_ms > 0) {
		fb_json_put_u64(item, "min_storage_ms", cost->min_storage_ms);
		(void)json_object_set_new(
		    item, "early", early_json(&cost->early_now));
		(void)json_object_set_new(
		    item, "early_after_grace", early_json(&cost->early_later));
	}
	if (cost->priced) {
		json_t *price = json_object();

		fb_json_put_str(price, "currency", cost->currency);
		put_money(price, "requests", cost->requests_price);
		put_money(price, "early", cost->early_price);
		put_money(price, "early_after_grace", cost->early_later_price);
		put_money(
		    price, "total", cost->requests_price + cost->early_price);
		put_money(price, "saved_each_30d", cost->saved_price);
		(void)json_object_set_new(item, "price", price);
	}
	(void)json_object_set_new(cli->data, "cost", item);
}

static void
say_early(struct fb_cli *cli, const struct fb_gc_early *early,
    uint64_t min_storage_ms, const char *when)
{
	char size[FB_CLI_TEXT], span[FB_CLI_TEXT];

	if (early->objects == 0)
		return;
	fb_buf_add_fmt(&cli->text,
	    "%llu objects, %s, will not be %s old %s: the rest of that time "
	    "is paid for\n",
	    (unsigned long long)early->objects,
	    fb_cli_size(cli, early->bytes, size),
	    fb_cli_span(min_storage_ms, span), when);
}

static bool
is_counted(const struct fb_cli *cli, const struct fb_prune_cost *cost)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(&cli->engine);

	return cost->priced || cost->min_storage_ms > 0 ||
	    (config != NULL && strncmp(config->url, "s3:", 3) == 0);
}

void
fb_cli_prune_cost(struct fb_cli *cli, const struct fb_prune_cost *cost)
{
	const struct fb_store_usage *requests = &cost->requests;
	char read[FB_CLI_TEXT], deleted[FB_CLI_TEXT], sum[FB_CLI_TEXT];

	put_cost_json(cli, cost);
	if (!is_counted(cli, cost))
		return;
	fb_buf_add_fmt(&cli->text,
	    "about %llu LIST, %llu GET, %llu PUT and %llu DELETE requests; %s "
	    "read, %s deleted\n",
	    (unsigned long long)requests->lists,
	    (unsigned long long)requests->gets,
	    (unsigned long long)requests->puts,
	    (unsigned long long)requests->removes,
	    fb_cli_size(cli, requests->read_bytes, read),
	    fb_cli_size(cli, cost->deleted_bytes, deleted));
	say_early(cli, &cost->early_now, cost->min_storage_ms, "now");
	say_early(cli, &cost->early_later, cost->min_storage_ms,
	    "when their grace is over");
	if (!cost->priced)
		return;
	fb_buf_add_fmt(&cli->text, "costs about %s",
	    money(
	        cost->requests_price + cost->early_price, cost->currency, sum));
	if (cost->early_price > 0)
		fb_buf_add_fmt(&cli->text, " (%s of it for early deletion)",
		    money(cost->early_price, cost->currency, sum));
	fb_buf_add_fmt(&cli->text, ", saves %s in 30 days\n",
	    money(cost->saved_price, cost->currency, sum));
}

void
fb_cli_prune_cost_question(struct fb_cli *cli, const struct fb_prune_cost *cost,
    struct fb_buf *question)
{
	const struct fb_store_usage *requests = &cost->requests;
	uint64_t all = requests->lists + requests->gets + requests->puts +
	    requests->removes;
	char text[FB_CLI_TEXT];

	if (!is_counted(cli, cost))
		return;
	fb_buf_add_fmt(question, "; about %llu requests",
	    (unsigned long long)all);
	if (cost->priced)
		fb_buf_add_fmt(question, ", %s",
		    money(cost->requests_price + cost->early_price,
		        cost->currency, text));
	if (cost->early_now.objects > 0)
		fb_buf_add_fmt(question, ", %s of it deleted early",
		    fb_cli_size(cli, cost->early_now.bytes, text));
}

void
fb_cli_prune_requests(struct fb_cli *cli, const struct fb_store_usage *requests)
{
	put_requests(cli->data, "requests", requests);
}
