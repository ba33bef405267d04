/* The loss of one row against all of three classes, which is the plain softmax's: ln 3. */
#include <math.h>
#include <sampled_softmax.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    float inputs[1] = {0}, weights[3] = {1, 2, 3}, loss = 0, expected[3], expected_true[1];
    int64_t label = 1, ids[3];
    ssl_handle *handle = NULL;
    size_t size = 0;
    void *workspace;
    ssl_config config;
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss out;
    SSL_INIT(config);
    SSL_INIT(batch);
    SSL_INIT(candidates);
    SSL_INIT(out);
    config.num_classes = config.num_sampled = 3;
    config.sampler = SSL_SAMPLER_ALL;
    batch.num_rows = batch.dim = 1;
    batch.inputs = inputs;
    batch.weights = weights;
    batch.labels = &label;
    candidates.ids = ids;
    candidates.sampled_expected_count = expected;
    candidates.true_expected_count = expected_true;
    out.loss = &loss;
    if (ssl_create(&config, &handle) || ssl_workspace_size(handle, &batch, &size, NULL)) return 1;
    workspace = malloc(size);
    if (ssl_forward(handle, &batch, &candidates, &out, workspace, size, NULL)) return 2;
    free(workspace);
    if (ssl_destroy(handle) || fabs(loss - log(3.0)) > 1e-6) return 3;
    printf("loss %.6f\n", loss);
    return 0;
}
