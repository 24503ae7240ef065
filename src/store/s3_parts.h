/*
 * Uploads in parts, as they are at the server: begun, found again, given up.
 */
#ifndef FB_SRC_STORE_S3_PARTS_H
#define FB_SRC_STORE_S3_PARTS_H

#include "s3.h"

#define S3_UPLOAD_SIZE 1024

/* Begin one of `key`. */
FB_MUST_USE int s3_upload_begin(struct s3_store *s3, const char *key,
    const char *nonce, char ret_upload[S3_UPLOAD_SIZE], struct fb_error *err);

/* The newest of this key that is neither ended nor given up; "": none. */
FB_MUST_USE int s3_upload_find(struct s3_store *s3, const char *key,
    char ret_upload[S3_UPLOAD_SIZE], struct fb_error *err);

/* What it has: visited by number, from 1 on.  FB_ENOTFOUND: it is gone. */
typedef void s3_visit_part(
    void *arg, uint64_t number, uint64_t size, const char *etag);
FB_MUST_USE int s3_upload_parts(struct s3_store *s3, const char *key,
    const char *upload, s3_visit_part *visit, void *arg, struct fb_error *err);

/*
 * What the answers say, one page of each.  *ret_more: there is another page.
 * FB_EPROTO: it is something else, which the error of an answer with status
 * 200 is, too.  s3_completed_read() tells that by *ret_done.
 */
typedef int s3_visit_upload(const char *key, const char *upload,
    const char *begun, void *arg, struct fb_error *err);
FB_MUST_USE int s3_uploads_page(struct fb_span xml, s3_visit_upload *visit,
    void *arg, bool *ret_more, struct fb_error *err);
FB_MUST_USE int s3_parts_page(struct fb_span xml, s3_visit_part *visit,
    void *arg, bool *ret_more, struct fb_error *err);
FB_MUST_USE int s3_begun_read(struct fb_span xml,
    char ret_upload[S3_UPLOAD_SIZE], struct fb_error *err);
FB_MUST_USE int s3_completed_read(
    struct fb_span xml, bool *ret_done, struct fb_error *err);

/* FB_OK also when it is gone. */
FB_MUST_USE int s3_upload_abort(struct s3_store *s3, const char *key,
    const char *upload, struct fb_error *err);

/* The tag of an answer without its quotes; false: it has none that can be
 * one. */
bool s3_take_tag(const char *from, char tag[FB_STORE_TAG_SIZE]);

#endif
