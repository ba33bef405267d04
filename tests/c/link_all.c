/* Every function of the header, linked and called. The arguments are wrong on purpose
 * where a right one would need a model: the answer must be a status with a message. */

#include "sampled_softmax.h"

#include <stdio.h>

static int failures = 0;

static void expect(int holds, const char *what) {
    if (!holds) {
        printf("does not hold: %s\n", what);
        failures++;
    }
}
#define EXPECT(condition) expect((condition), #condition)

/* Whether the last message of this thread holds `words`. */
static int message_has(const char *words) {
    char message[512];
    size_t length = ssl_last_error(message, sizeof message);
    return length == strlen(message) && strstr(message, words) != NULL;
}

static void expect_null(ssl_status status, const char *argument) {
    expect(status == SSL_STATUS_NULL_POINTER, argument);
    expect(message_has(argument), argument);
}

static void without_a_handle(void) {
    size_t size = 0;
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    ssl_gradients gradients;

    SSL_INIT(batch);
    SSL_INIT(candidates);
    SSL_INIT(loss);
    SSL_INIT(gradients);
    expect_null(ssl_forward(NULL, &batch, &candidates, &loss, NULL, 0, NULL), "handle");
    expect_null(ssl_backward(NULL, &batch, &candidates, &loss, &gradients, NULL, 0, NULL),
                "handle");
    expect_null(ssl_forward_backward(NULL, &batch, &candidates, &loss, &gradients, NULL, 0, NULL),
                "handle");
    expect_null(ssl_sample(NULL, &batch, &candidates, NULL), "handle");
    expect_null(ssl_workspace_size(NULL, &batch, &size, &size), "handle");
    expect(ssl_destroy(NULL) == SSL_STATUS_OK, "ssl_destroy(NULL)");
}

static void with_a_handle(void) {
    ssl_config config;
    ssl_handle *handle = NULL;

    expect_null(ssl_create(NULL, &handle), "config");
    EXPECT(handle == NULL);
    SSL_INIT(config);
    config.num_classes = 7;
    config.num_sampled = 8;
    EXPECT(ssl_create(&config, &handle) / 1000 == 1);
    EXPECT(message_has("num_sampled"));
    EXPECT(handle == NULL);
    config.num_sampled = 4;
    EXPECT(ssl_create(&config, &handle) == SSL_STATUS_OK);
    expect_null(ssl_create(&config, NULL), "out_handle");
    expect_null(ssl_sample(handle, NULL, NULL, NULL), "candidates");
    EXPECT(ssl_destroy(handle) == SSL_STATUS_OK);
}

int main(void) {
    const uint32_t header = (uint32_t)SSL_ABI_VERSION_MAJOR << 16 |
                            (uint32_t)SSL_ABI_VERSION_MINOR << 8 |
                            (uint32_t)SSL_ABI_VERSION_PATCH;

    EXPECT(ssl_version() == header);
    EXPECT(ssl_last_error(NULL, 0) == 0);
    EXPECT(ssl_backend_available(SSL_BACKEND_CPU) == 1);
    EXPECT(ssl_backend_available(12345) == 0);
    EXPECT(message_has("12345"));
    EXPECT(strcmp(ssl_status_string(SSL_STATUS_OK), "success") == 0);
    EXPECT(strlen(ssl_status_string(-1)) > 0);
    without_a_handle();
    with_a_handle();
    return failures != 0;
}
