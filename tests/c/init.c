/* SSL_INIT, in C and in C++: every byte cleared but struct_size, whatever was there. */

#include "sampled_softmax.h"

#include <stdio.h>

static int failures = 0;

/* Whether `size` bytes are the number `size` as a uint32_t and zeros behind it. */
static void expect_initial(const char *name, const void *object, size_t size) {
    const unsigned char *bytes = (const unsigned char *)object;
    uint32_t struct_size;
    size_t i;

    memcpy(&struct_size, object, sizeof struct_size);
    if (struct_size != size) {
        printf("%s: struct_size is %lu, sizeof is %lu\n", name, (unsigned long)struct_size,
               (unsigned long)size);
        failures++;
    }
    for (i = sizeof struct_size; i < size; i++) {
        if (bytes[i] != 0) {
            printf("%s: byte %lu is %d\n", name, (unsigned long)i, bytes[i]);
            failures++;
            return;
        }
    }
}

#define CHECK(type)                                                                       \
    do {                                                                                  \
        type object;                                                                      \
        type *pointer = &object;                                                          \
        memset(&object, 0xAB, sizeof object);                                             \
        SSL_INIT(object);                                                                 \
        expect_initial(#type, &object, sizeof object);                                    \
        memset(&object, 0xAB, sizeof object);                                             \
        SSL_INIT(*pointer);                                                               \
        expect_initial("*" #type, &object, sizeof object);                                \
    } while (0)

int main(void) {
    CHECK(ssl_config);
    CHECK(ssl_batch);
    CHECK(ssl_candidates);
    CHECK(ssl_loss);
    CHECK(ssl_gradients);
    return failures != 0;
}
