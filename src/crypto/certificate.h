/* Certificates around public keys: for whom an envelope is sealed. */
#ifndef FB_SRC_CRYPTO_CERTIFICATE_H
#define FB_SRC_CRYPTO_CERTIFICATE_H

#include <openssl/x509.h>

/* Encrypted keys are refused: nothing here may ask a terminal. */
int fb_no_password(char *bytes, int size, int writing, void *arg);

/* A certificate with this key and its identifier, which nobody vouches for:
 * a recipient is named by one. */
X509 *fb_certificate_shell(EVP_PKEY *pkey);

/* Append one in PEM, signed with the key itself. */
struct fb_buf;
void fb_certificate_write(
    EVP_PKEY *pkey, const char *subject, struct fb_buf *certificate_pem);

#endif
