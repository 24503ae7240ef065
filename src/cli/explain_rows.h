/*
 * The tables of error ids, each sorted, which explain.c makes one of.
 */
#ifndef CLI_EXPLAIN_ROWS_H
#define CLI_EXPLAIN_ROWS_H

#include "fleetbak/cli/explain.h"

size_t fb_explain_general(const struct fb_explanation **ret_rows);
size_t fb_explain_crypt(const struct fb_explanation **ret_rows);
size_t fb_explain_copy(const struct fb_explanation **ret_rows);
size_t fb_explain_store(const struct fb_explanation **ret_rows);
size_t fb_explain_import(const struct fb_explanation **ret_rows);
size_t fb_explain_guests(const struct fb_explanation **ret_rows);
size_t fb_explain_api(const struct fb_explanation **ret_rows);
size_t fb_explain_miosa(const struct fb_explanation **ret_rows);
size_t fb_explain_morpheus(const struct fb_explanation **ret_rows);
size_t fb_explain_icp(const struct fb_explanation **ret_rows);
size_t fb_explain_plugin(const struct fb_explanation **ret_rows);
size_t fb_explain_script(const struct fb_explanation **ret_rows);
size_t fb_explain_shard(const struct fb_explanation **ret_rows);

#endif
