// Products of codes by AVX-512 VNNI's vpdpbusd, which adds four products of bytes, unsigned by
// signed, to a 32-bit sum without saturating on the way.
//
// The unsigned operand is the weight with its sign bits flipped, which is w + 128; what that adds,
// 128 · Σ_k x[m,k], depends on the row of x alone and is taken off each sum as the row's
// correction. All of it is modulo 2^32, in which the corrected sum is exact.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_

#include <cstdint>

#include "kernels/quantized_matmul/panel.h"

namespace whipsnake::kernels::vnni {

// Whether the functions below are there. They may be called where ActiveIsa() >= Isa::kVnni.
#if defined(__x86_64__)
constexpr bool kCompiled = true;
#else
constexpr bool kCompiled = false;
#endif

// Dot products along K: each row of the weight is read once, in order. For few rows of x.
DotKernel Dot();

// For many rows of x: a panel of the weight is first brought into the order in which the register
// tiles want it.

// Rows of x in a register tile.
constexpr int64_t kTileM = 6;

// Bytes of a packed panel of `count` rows of the weight, count <= kPanel.
int64_t PanelBytes(int64_t count, int64_t k);

// w[count,K]. `panel` is on a cache line.
void PackPanel(const int8_t* w, int64_t count, int64_t k, uint8_t* panel);

// sums[m * kPanel + n], corrected, for each of x.m <= kTileM rows, packed for Dot(), and n in
// [0, count); past them, up to a multiple of 16, it writes values without meaning. Meanwhile it
// asks for as much of the memory from `ahead` as it takes K / 4 cache lines, if not null.
void MultiplyPanel(const PackedRows& x, const uint8_t* panel, int64_t count, const int8_t* ahead,
                   int32_t* sums);

}  // namespace whipsnake::kernels::vnni

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_VNNI_H_
