// The installed C++ binding: an error arrives as an exception that names the numbers.
#include <cstdio>
#include <sampled_softmax.hpp>
#include <string>

int main() {
    sampled_softmax::Config config;
    config.num_classes = 10;
    config.num_sampled = 11;
    try {
        sampled_softmax::Handle handle(config);
    } catch (const sampled_softmax::Error &error) {
        std::printf("refused: %s\n", error.what());
        return std::string(error.what()).find("11") == std::string::npos;
    }
    return 1;
}
