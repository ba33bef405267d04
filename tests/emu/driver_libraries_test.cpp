// The fake NVRTC refuses what a compiler would, and what it makes the fake driver loads; the fake cuBLASLt
// multiplies.
#include "driver_check.h"

extern "C" {
int nvrtcCreateProgram(void**, const char*, const char*, int, const char* const*, const char* const*);
int nvrtcCompileProgram(void*, int, const char* const*);
int nvrtcGetProgramLogSize(void*, size_t*);
int nvrtcGetProgramLog(void*, char*);
int nvrtcGetCUBINSize(void*, size_t*);
int nvrtcGetCUBIN(void*, char*);
int nvrtcDestroyProgram(void**);
int cublasLtCreate(void**);
int cublasLtMatmulDescCreate(void**, int, int);
int cublasLtMatmulDescSetAttribute(void*, int, const void*, size_t);
int cublasLtMatrixLayoutCreate(void**, int, uint64_t, uint64_t, int64_t);
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int*);
int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*,
                   const void*, void*, void*, void*, const void*, void*, size_t, void*);
}

namespace {

// Name, text.
struct Header {
    const char *name, *text;
};
const Header kernels[] = {
#include "instances/kernel_sources.inc"
};

struct Compilation {
    int code;
    std::string log, image;
};
Compilation compile(const char* source, const std::vector<Header>& headers,
                    const char* option = "--gpu-architecture=sm_90") {
    std::vector<const char*> names, texts;
    for (const Header& h : headers) names.push_back(h.name), texts.push_back(h.text);
    void* program;
    DONE(nvrtcCreateProgram(&program, source, "main.cu", (int)headers.size(), texts.data(), names.data()));
    Compilation c;
    c.code = nvrtcCompileProgram(program, 1, &option);
    size_t bytes;
    DONE(nvrtcGetProgramLogSize(program, &bytes));
    c.log.resize(bytes);
    DONE(nvrtcGetProgramLog(program, c.log.data()));
    DONE(nvrtcGetCUBINSize(program, &bytes));
    c.image.resize(bytes);
    if (bytes) DONE(nvrtcGetCUBIN(program, c.image.data()));
    DONE(nvrtcDestroyProgram(&program));
    return c;
}
std::vector<Header> all() { return {std::begin(kernels), std::end(kernels)}; }
const char* good = "#include \"gradients.cuh\"\n#include \"columns.cuh\"\nINSTANTIATE_add_sums()\nINSTANTIATE_pack()\n";

bool contains(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

}  // namespace

TEST(what_is_compiled_loads_and_has_its_kernels) {
    silent({}, [] {
        start();
        Compilation c = compile(good, all());
        void *module, *function;
        CHECK(c.code == 0, "%s", c.log.c_str());
        DONE(cuModuleLoadData(&module, c.image.data()));
        DONE(cuModuleGetFunction(&function, module, "add_sums"));
        DONE(cuModuleGetFunction(&function, module, "pack"));
        GIVES(500, cuModuleGetFunction(&function, module, "shares"));
    });
}
TEST(what_a_compiler_would_refuse_is_refused) {
    std::vector<Header> changed = all(), missing;
    for (Header& h : changed) {
        if (!strcmp(h.name, "gradients.cuh"))
            h.text = "#include \"arguments.cuh\"\n#define INSTANTIATE_add_sums()\n";
        if (strcmp(h.name, "tile.cuh")) missing.push_back(h);
    }
    const struct {
        const char *source, *option, *words;
        const std::vector<Header> headers;
    } cases[] = {
        {good, "--gpu-architecture=sm_90", "not the one the fake driver was built from", changed},
        {good, "--gpu-architecture=sm_90", "cannot open source file \"tile.cuh\"", missing},
        {"#include \"gradients.cuh\"\n", "--gpu-architecture=sm_90", "instantiates nothing", all()},
        {"#include \"sort.cuh\"\nINSTANTIATE_add_sums()\n", "--gpu-architecture=sm_90",
         "INSTANTIATE_add_sums\" is undefined", all()},
        {good, "--gpu-architecture=sm_61", "invalid value", all()},
        {good, "fast", "unknown option", all()},
    };
    for (const auto& test : cases) {
        Compilation c = compile(test.source, test.headers, test.option);
        CHECK(c.code != 0 && c.image.empty() && contains(c.log, test.words), "wanted \"%s\": %s", test.words,
              c.log.c_str());
    }
}
TEST(a_product_runs_on_its_stream) {
    silent({{"FAKE_CUDA_DEFER", "1"}}, [] {
        start();
        // Column-major: d[2x3] = a[2x4] b[3x4]^T, b read as its transpose, leading dimensions 5, 3 and 4.
        const int R_32F = 0, COMPUTE_32F = 68, TRANSB = 4;
        Address a = allocate(5 * 4 * 4), b = allocate(3 * 4 * 4), d = allocate(4 * 3 * 4);
        std::vector<float> host_a(20), host_b(12), host_d(12);
        for (int i = 0; i < 20; i++) host_a[i] = (float)i;
        for (int i = 0; i < 12; i++) host_b[i] = (float)(i * i % 7);
        DONE(cuMemcpyHtoD_v2(a, host_a.data(), 80));
        DONE(cuMemcpyHtoD_v2(b, host_b.data(), 48));
        void *handle, *operation, *la, *lb, *ld, *stream = make_stream();
        uint64_t heuristic[12];
        int transposed = 1, count;
        float one = 1, zero = 0;
        DONE(cublasLtCreate(&handle));
        DONE(cublasLtMatmulDescCreate(&operation, COMPUTE_32F, R_32F));
        DONE(cublasLtMatmulDescSetAttribute(operation, TRANSB, &transposed, 4));
        DONE(cublasLtMatrixLayoutCreate(&la, R_32F, 2, 4, 5));
        DONE(cublasLtMatrixLayoutCreate(&lb, R_32F, 3, 4, 3));
        DONE(cublasLtMatrixLayoutCreate(&ld, R_32F, 2, 3, 4));
        DONE(
            cublasLtMatmulAlgoGetHeuristic(handle, operation, la, lb, ld, ld, nullptr, 1, heuristic, &count));
        DONE(cublasLtMatmul(handle, operation, &one, (void*)a, la, (void*)b, lb, &zero, (void*)d, ld,
                            (void*)d, ld, heuristic, nullptr, 0, stream));
        DONE(cuMemcpyDtoH_v2(host_d.data(), d, 48));
        CHECK(is_nan(host_d[0]), "ran before its stream was waited for: %g", host_d[0]);
        DONE(cuStreamSynchronize(stream));
        DONE(cuMemcpyDtoH_v2(host_d.data(), d, 48));
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 3; j++) {
                float sum = 0;
                for (int k = 0; k < 4; k++) sum += host_a[k * 5 + i] * host_b[k * 3 + j];
                CHECK(host_d[j * 4 + i] == sum, "(%d, %d) is %g, not %g", i, j, host_d[j * 4 + i], sum);
            }
        CHECK(is_nan(host_d[3]), "wrote between columns: %g", host_d[3]);
    });
}
TEST(a_product_of_freed_memory_is_told) {
    loud("A = ", {}, [] {
        start();
        void *handle, *operation, *layout;
        float one = 1;
        Address gone = allocate(16), d = allocate(16);
        DONE(cuMemFree_v2(gone));
        DONE(cublasLtCreate(&handle));
        DONE(cublasLtMatmulDescCreate(&operation, 68, 0));
        DONE(cublasLtMatrixLayoutCreate(&layout, 0, 2, 2, 2));
        GIVES(13, cublasLtMatmul(handle, operation, &one, (void*)gone, layout, (void*)d, layout, &one,
                                 (void*)d, layout, (void*)d, layout, nullptr, nullptr, 0, nullptr));
    });
}
