
/* Sampled softmax: the loss of a classifier with very many classes, and its gradients.
 *
 *   z_true[n,t] = <inputs[n], weights[labels[n,t]]> + biases[labels[n,t]] - ln Q(labels[n,t])
 *   z_samp[n,j] = <inputs[n], weights[ids[j]]>      + biases[ids[j]]      - ln Q(ids[j])
 *   loss[n]     = ln(sum_t exp z_true[n,t] + sum_j exp z_samp[n,j]) - mean_t z_true[n,t]
 *
 * over S sampled classes instead of all C. Q is how often a class was to be expected
 * in the sample. A sampled class that is one of row n's labels, an accidental hit, is
 * left out of that row (SSL_HITS_MASK).
 *
 * Shapes   N rows, C classes, S sampled classes, T labels a row, d elements a vector.
 *          Arrays are row-major; strides count elements. Accumulation is in float32 or
 *          better, in float64 where the inputs are.
 * Use      ssl_create once; for every batch ssl_forward then ssl_backward, or
 *          ssl_forward_backward; ssl_destroy. Begin every struct with SSL_INIT, which
 *          sets struct_size and leaves every field at its default, which is zero:
 *
 *              ssl_config config;
 *              SSL_INIT(config);
 *              config.num_classes = 793471;
 *              config.num_sampled = 8192;
 *
 *          examples/c/train.c is a complete program.
 * Memory   All arrays, the workspace included, are the caller's and are used only until
 *          the call returns (CPU) or its work on the stream is done (CUDA). From a
 *          handle's second call of a kind on, nothing is allocated (unless a larger batch
 *          than any before has more labels to exclude). Outputs must not overlap inputs,
 *          the workspace or one another. A pointer may be NULL where its array has no
 *          elements. Pointers need the alignment of their element type. The structs
 *          themselves are never written, which is what const says of them; the arrays
 *          they lead to are, where a field says so.
 * Errors   Every function returns an ssl_status; ssl_last_error has the message. A call
 *          that fails on its arguments has written nothing. 0 is the default of every
 *          field; what is named reserved must be 0. Later versions only append fields: a
 *          shorter struct is taken with defaults for what it lacks, and a longer one
 *          unless it sets fields that the library does not know.
 * Threads  A handle may be used by several threads at once; one that is destroyed while
 *          others are inside calls lives until they return. Handles are names, not
 *          addresses: one that was destroyed, or a pointer that never was one, is refused
 *          by every function (SSL_STATUS_INVALID_VALUE) and not followed.
 *          In a child process made by fork(), a CPU handle goes on working, on the calling
 *          thread alone; where another thread of the parent was drawing just then, the
 *          child's draws answer with an error instead of waiting for it. A CUDA handle
 *          answers with an error, as CUDA itself does. Either can be destroyed there.
 * Loading  Once loaded, the library stays in the process: dlclose ends nothing and takes
 *          nothing away. Copies of it under other file names, of other versions perhaps,
 *          share nothing, and refuse one another's handles.
 * Exit     A process may end at any time, with handles alive and calls under way.
 * Stack    32 KiB are enough for any call, beside what the CUDA driver and NVRTC use.
 * Floats   Results do not depend on the caller's rounding mode, flushing of subnormal
 *          numbers and floating-point traps; a call leaves all of them, and the flags that
 *          tell of exceptions, as they were.
 * Signals  The library installs no handlers. Its threads block all signals, and the masks
 *          of the caller's stay as they are.
 * Streams  CPU handles take NULL. CUDA work is queued on the given stream; no call
 *          waits for the device. Its errors are found by the device and left in
 *          ssl_loss.device_status, for the caller to read when it likes.
 * Graphs   A call on a capturing stream is captured, once the same call has run outside of
 *          a capture and its kernels are loaded. Replay r of a captured draw is that of
 *          step + r: give several draws of one graph steps that lie far apart. The handle
 *          must outlive the graph.
 * Kernels  are compiled for the device by NVRTC when first needed and kept in
 *          $SAMPLED_SOFTMAX_CACHE_DIR, or sampled-softmax/ in the user's cache directory.
 * Names    All begin with ssl_ or SSL_; none is OpenSSL's, and both headers can be
 *          included together.
 */

#if defined(SAMPLED_SOFTMAX_API)
/* defined by whoever builds the library */
#elif defined(_WIN32)
#define SAMPLED_SOFTMAX_API __declspec(dllimport)
#else
#define SAMPLED_SOFTMAX_API __attribute__((visibility("default")))
#endif

/* Sets every field of a struct of this library to its default. */
#define SSL_INIT(object)                                                                  \
    (memset(&(object), 0, sizeof(object)), (object).struct_size = sizeof(object))
