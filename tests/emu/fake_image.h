// What the fake NVRTC hands out as machine code or PTX and the fake driver loads: the main source of the
// program, between a line that names the architecture (sm_90 or compute_90) and a last line, ended by NUL.
#pragma once
#include <string>
#include <vector>

namespace fake {

inline const std::string IMAGE_HEAD = "fake image ", IMAGE_TAIL = "\nend of fake image\n";

// `variant`: "a" for code that runs on this architecture alone.
inline std::string make_image(int arch, const std::string& variant, bool ptx, const std::string& source) {
    return IMAGE_HEAD + (ptx ? "compute_" : "sm_") + std::to_string(arch) + variant + "\n" + source + IMAGE_TAIL;
}

// "INSTANTIATE_attend(Bf16, 128, ONLINE)" is attend_Bf16_128_ONLINE. Every such line of a source, in order.
inline std::vector<std::string> instances_of(const std::string& source) {
    std::vector<std::string> all;
    const std::string word = "INSTANTIATE_";
    for (size_t line = 0; line < source.size();) {
        size_t end = std::min(source.find('\n', line), source.size());
        std::string text = source.substr(line, end - line);
        line = end + 1;
        size_t open = text.find('('), close = text.rfind(')');
        if (text.compare(0, word.size(), word) || open == std::string::npos || close == std::string::npos)
            continue;
        std::string symbol = text.substr(word.size(), open - word.size());
        std::string argument;
        for (char c : text.substr(open + 1, close - open - 1) + ",") {
            if (c == ',') {
                if (!argument.empty()) symbol += "_" + argument;
                argument.clear();
            } else if (c != ' ') {
                argument += c;
            }
        }
        all.push_back(symbol);
    }
    return all;
}

}  // namespace fake
