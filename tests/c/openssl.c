/* OpenSSL's header and ours in one file, in either order (OPENSSL_FIRST), with a name of
 * each in use. A macro that both define would be a warning here, and so an error. */

#ifdef OPENSSL_FIRST
#include <openssl/ssl.h>

#include "sampled_softmax.h"
#else
#include "sampled_softmax.h"

#include <openssl/ssl.h>
#endif

int handshakes_and_losses(SSL *connection, ssl_handle **handle);

int handshakes_and_losses(SSL *connection, ssl_handle **handle) {
    ssl_config config;
    SSL_INIT(config);
    config.num_classes = 70;
    config.num_sampled = 7;
    if (SSL_do_handshake(connection) != 1) return SSL_get_error(connection, SSL_ERROR_NONE);
    return ssl_create(&config, handle) == SSL_STATUS_OK ? SSL_ERROR_NONE : SSL_ERROR_SYSCALL;
}
