// The emulator: CUDA C++ kernels written on kernels/tile.cuh, run on the CPU by g++ with the order of
// threads, the landing of asynchronous copies and the contents of fresh memory under a test's control.
//
//     fiber.h          a stack for each CUDA thread
//     shared_memory.h  poisoned and guarded
//     block.h          one block: threads, warps, barrier, scheduler, errors
//     warp.h           shuffles, votes, ldmatrix, mma
//     async_copy.h     cp.async
//     race.h           copies and matrix loads that no barrier orders
//     hopper.h         what compute capability 9.0 adds:
//         mbarrier.h        mbarriers, named barriers
//         tile_copy.h       cp.async.bulk.tensor, by tensor_map.h
//         wgmma.h           products of warpgroups, by descriptors
//         happens_before.h, shared_lines.h     what barriers order of all this
//     guarded_memory.h device memory, between pages that cannot be touched
//     fault.h          a kernel's memory fault as an error
//     launch.h         a grid
//     registry.h       kernels by symbol
//     tile_host.h      the names of kernels/tile.cuh
//     hopper_host.h    those of kernels/hopper.cuh
//     check.h          for tests of kernels
#pragma once
#include "../../kernels/tile.cuh"
