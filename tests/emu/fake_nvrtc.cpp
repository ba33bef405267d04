// A stand-in for libnvrtc.so.13: its machine code is the main source itself (fake_image.h). What a compiler
// would refuse it refuses: a header that was not passed, an instance no header defines, an unknown option.
// And headers other than those the fake driver was built from, which would be tested without being run.
//
//     FAKE_NVRTC_VERSION=12.9      what it says it is (13.0)
//     FAKE_NVRTC_LOG=path          one line a compilation
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fake_image.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum { SUCCESS = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6 };
const int ARCHITECTURES[] = {75, 80, 86, 87, 89, 90, 100, 103, 120};

struct Program {
    std::string source, log, image;
    std::map<std::string, std::string> headers;
};

struct Built {
    const char *name, *text;
};
const Built built_from[] = {
#include "instances/kernel_sources.inc"
};

// Follows #include "..." through the headers; gives every text that belongs to the program.
bool collect(Program& p, const std::string& text, std::set<std::string>& seen) {
    const std::string word = "#include \"";
    // The other sides of tile.cuh and hopper.cuh are for a host compiler.
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
        size_t begin = at + word.size();
        std::string name = text.substr(begin, text.find('"', begin) - begin);
        if (name == "tile_host.h" || name == "hopper_host.h" || !seen.insert(name).second) continue;
        auto found = p.headers.find(name);
        if (found == p.headers.end()) {
            p.log += "error: cannot open source file \"" + name + "\"\n";
            return false;
        }
        if (!collect(p, found->second, seen)) return false;
    }
    return true;
}

bool is_current(Program& p, const std::string& name) {
    for (const Built& b : built_from)
        if (name == b.name && p.headers[name] == b.text) return true;
    p.log += "error: " + name + " is not the one the fake driver was built from: make emu\n";
    return false;
}

int compile(Program& p, int arch, const std::string& variant, bool ptx) {
    std::set<std::string> names;
    if (!collect(p, p.source, names)) return COMPILATION;
    for (const std::string& name : names)
        if (!is_current(p, name)) return COMPILATION;
    if (fake::instances_of(p.source).empty()) {
        p.log += "error: the source instantiates nothing\n";
        return COMPILATION;
    }
    // Macros that are used must be defined by what is included.
    for (size_t at = p.source.find("\nINSTANTIATE_"); at != std::string::npos;
         at = p.source.find("\nINSTANTIATE_", at + 1)) {
        std::string macro = p.source.substr(at + 1, p.source.find('(', at) - at - 1);
        bool defined = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
            return p.headers[name].find("#define " + macro + "(") != std::string::npos;
        });
        if (!defined) {
            p.log += "error: identifier \"" + macro + "\" is undefined\n";
            return COMPILATION;
        }
    }
    if (p.source.find("_wgmma(") != std::string::npos && (arch != 90 || variant != "a")) {
        p.log += "error: wgmma is not supported for sm_" + std::to_string(arch) + variant + "\n";
        return COMPILATION;
    }
    p.image = fake::make_image(arch, variant, ptx, p.source);
    return SUCCESS;
}

int read_options(Program& p, int count, const char* const* options, std::string* variant, bool* ptx) {
    int arch = 75;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        size_t at = option.find("=sm_"), virtual_at = option.find("=compute_");
        if (option.compare(0, 18, "--gpu-architecture") == 0 &&
            std::min(at, virtual_at) != std::string::npos) {
            *ptx = at == std::string::npos;
            arch = atoi(option.c_str() + option.find('_') + 1);
            if (option.back() == 'a') *variant = "a";
        } else if (option.compare(0, 1, "-")) {
            p.log += "error: unknown option " + option + "\n";
            return -1;
        }
    }
    if (std::find(std::begin(ARCHITECTURES), std::end(ARCHITECTURES), arch) != std::end(ARCHITECTURES))
        return arch;
    p.log += "error: invalid value for --gpu-architecture: sm_" + std::to_string(arch) + "\n";
    return -1;
}

void version(int* major, int* minor) {
    const char* text = getenv("FAKE_NVRTC_VERSION");
    if (!text || sscanf(text, "%d.%d", major, minor) != 2) *major = 13, *minor = 0;
}

}  // namespace

EXPORT int nvrtcVersion(int* major, int* minor) { return version(major, minor), SUCCESS; }
EXPORT int nvrtcGetNumSupportedArchs(int* count) { return *count = (int)std::size(ARCHITECTURES), SUCCESS; }
EXPORT int nvrtcGetSupportedArchs(int* all) {
    std::copy(std::begin(ARCHITECTURES), std::end(ARCHITECTURES), all);
    return SUCCESS;
}
EXPORT const char* nvrtcGetErrorString(int code) {
    static const char* names[] = {"NVRTC_SUCCESS",
                                  "NVRTC_ERROR_OUT_OF_MEMORY",
                                  "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
                                  "NVRTC_ERROR_INVALID_INPUT",
                                  "NVRTC_ERROR_INVALID_PROGRAM",
                                  "NVRTC_ERROR_INVALID_OPTION",
                                  "NVRTC_ERROR_COMPILATION"};
    return code >= 0 && code <= 6 ? names[code] : "NVRTC_ERROR unknown";
}
EXPORT int nvrtcCreateProgram(Program** out, const char* source, const char*, int count,
                              const char* const* texts, const char* const* names) {
    if (!out || !source) return INVALID_INPUT;
    auto program = new Program;
    program->source = "\n" + std::string(source);
    for (int i = 0; i < count; i++) program->headers[names[i]] = texts[i];
    return *out = program, SUCCESS;
}
EXPORT int nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return INVALID_PROGRAM;
    delete *program;
    return *program = nullptr, SUCCESS;
}
EXPORT int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    if (!program) return INVALID_PROGRAM;
    bool ptx = false;
    std::string variant;
    int arch = read_options(*program, count, options, &variant, &ptx);
    int code = arch < 0 ? (int)INVALID_OPTION : compile(*program, arch, variant, ptx);
    const char* path = getenv("FAKE_NVRTC_LOG");
    if (FILE* file = path && *path ? fopen(path, "a") : nullptr) {
        fprintf(file, "%d sm_%d%s", code, arch, variant.c_str());
        for (const std::string& symbol : fake::instances_of(program->source))
            fprintf(file, " %s", symbol.c_str());
        fprintf(file, "\n");
        fclose(file);
    }
    return code;
}
EXPORT int nvrtcGetProgramLogSize(Program* p, size_t* bytes) { return *bytes = p->log.size() + 1, SUCCESS; }
EXPORT int nvrtcGetProgramLog(Program* p, char* out) {
    return memcpy(out, p->log.c_str(), p->log.size() + 1), SUCCESS;
}
EXPORT int nvrtcGetCUBINSize(Program* p, size_t* bytes) {
    return *bytes = p->image.empty() ? 0 : p->image.size() + 1, SUCCESS;
}
EXPORT int nvrtcGetCUBIN(Program* p, char* out) {
    return memcpy(out, p->image.c_str(), p->image.size() + 1), SUCCESS;
}
EXPORT int nvrtcGetPTXSize(Program* p, size_t* bytes) { return nvrtcGetCUBINSize(p, bytes); }
EXPORT int nvrtcGetPTX(Program* p, char* out) { return nvrtcGetCUBIN(p, out); }
