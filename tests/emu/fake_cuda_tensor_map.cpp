// Tensor maps: made by the host alone, whatever goes on on the device.
#include "fake_cuda.h"
#include "tensor_map.h"

using namespace fake;

EXPORT int cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* base, const uint64_t* sizes,
                                  const uint64_t* pitches, const unsigned* box, const unsigned* steps, int interleave,
                                  int swizzle, int promotion, int fill) {
    return call("cuTensorMapEncodeTiled", NOTHING, [&] {
        if (settings().arch < 90) return complain(NOT_SUPPORTED, "the device has no tensor maps");
        std::string wrong = emu::encode_tensor_map(map, type, rank, base, sizes, pitches, box, steps, interleave,
                                                   swizzle, promotion, fill);
        return wrong.empty() ? 0 : complain(INVALID_VALUE, "%s", wrong.c_str());
    });
}
