// Products of codes with AVX-512 VNNI's vpdpbusd, which adds four products of an unsigned and a
// signed byte to a 32-bit sum without intermediate saturation.
//
// The unsigned operand is the weight with its sign bits flipped, which is w + 128. This adds
// 128 · Σ_k x[m,k] to each sum, which depends on the row of x alone; the row's correction subtracts
// it. All sums are modulo 2^32, so the corrected sum is exact.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_

#include <cstdint>

#include "kernels/quantized_matmul/panel.h"

namespace whipsnake::kernels::vnni {

// Whether the functions below exist. Call them only if ActiveIsa() >= Isa::kVnni.
#if defined(__x86_64__)
constexpr bool kCompiled = true;
#else
constexpr bool kCompiled = false;
#endif

// Dot products along K, for few rows of x. Each row of the weight is read once, in order.
DotKernel Dot();

// For many rows of x, a panel of the weight is first packed into the order in which the register
// tiles read it.

// The number of rows of x in a register tile.
constexpr int64_t kTileM = 6;

// The bytes of a packed panel of `count` rows of the weight, count <= kPanel.
int64_t PanelBytes(int64_t count, int64_t k);

// Packs w[count,K] into `panel`, which must be aligned to a cache line.
void PackPanel(const int8_t* w, int64_t count, int64_t k, uint8_t* panel);

// Writes the corrected sums[m * kPanel + n] for each of x.m <= kTileM rows, packed for Dot(), and n
// in [0, count). Past count, up to a multiple of 16, it writes undefined values. Also prefetches
// K / 4 cache lines from `ahead` on, unless `ahead` is null.
void MultiplyPanel(const PackedRows& x, const uint8_t* panel, int64_t count, const int8_t* ahead,
                   int32_t* sums);

}  // namespace whipsnake::kernels::vnni

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_
