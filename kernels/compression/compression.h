// Formats in which training stores activations for the backward pass.
//
//   fixed point   x̂ = q / 2^f,  q = clamp(round(x · 2^f))
//   groups        x̂ = q s,  q = round(x / s),  s = max|x| / 127 of 64 elements
//   bf16          x̂ = x rounded to bf16
//   pruning       x̂ = x for the k elements of largest |x| of the whole tensor, else 0
//
// round() rounds half to even. Source of fixed point and pruning: SlimFit (Ardakani et al., arXiv
// 2305.18513).
//
// Notation: T rows, D columns. x is fp32 [T,D]; its rows may have gaps, but stored tensors have
// none. Stored bytes are the same on every ISA and for any number of threads, bit for bit. T = 0
// and D = 0 are allowed. All functions are callable from any thread and run on the context's team.
#ifndef WHIPSNAKE_KERNELS_COMPRESSION_COMPRESSION_H_
#define WHIPSNAKE_KERNELS_COMPRESSION_COMPRESSION_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Codes of fixed point: two's complement if signed. Codes of 4 bits share bytes: byte j of a row
// has the code of element 2j in its low half and that of element 2j + 1 in its high half. If D is
// odd, the last half byte of a row is 0. Every row begins with a new byte.
struct FixedPoint {
  int bits = 8;           // 8 or 4
  int fraction_bits = 0;  // f, in [0,8]
  bool is_signed = true;

  constexpr int lowest() const { return is_signed ? -(1 << (bits - 1)) : 0; }
  constexpr int highest() const { return lowest() + (1 << bits) - 1; }
};

// SlimFit's formats: operands of products in steps of 1/16, probabilities in steps of 1/256, and
// arguments of GELU in steps of 1/2.
inline constexpr FixedPoint kInt8 = {.bits = 8, .fraction_bits = 4, .is_signed = true};
inline constexpr FixedPoint kUint8 = {.bits = 8, .fraction_bits = 8, .is_signed = false};
inline constexpr FixedPoint kInt4 = {.bits = 4, .fraction_bits = 1, .is_signed = true};

// The bytes of the codes of x[T,D].
constexpr int64_t EncodedBytes(const FixedPoint& format, int64_t rows, int64_t columns) {
  return rows * ((columns * format.bits + 7) / 8);
}

// Writes the codes, uint8 [EncodedBytes(format, T, D)]. NaN has code 0. Returns the number of
// elements that saturate: their rounded values are outside the range of the codes.
int64_t Encode(const Context& context, const FixedPoint& format, MatrixView<const float> x,
               uint8_t* codes);
void Decode(const Context& context, const FixedPoint& format, const uint8_t* codes,
            MatrixView<float> x);

// A group is 64 consecutive elements of a row; the last group of a row may be shorter.
inline constexpr int64_t kGroupColumns = 64;
constexpr int64_t GroupsOfRow(int64_t columns) {
  return (columns + kGroupColumns - 1) / kGroupColumns;
}

// The bytes of a tensor stored in groups: the scales, fp32 [T,GroupsOfRow(D)], and after them the
// codes, int8 [T,D].
constexpr int64_t GroupBytes(int64_t rows, int64_t columns) {
  return rows * (GroupsOfRow(columns) * static_cast<int64_t>(sizeof(float)) + columns);
}

// `bytes` has GroupBytes(T, D) bytes and the alignment of a float. |x̂ - x| is at most half of the
// group's scale, apart from rounding and from 2^-142, which matters only for subnormal scales.
// Rounding may turn a magnitude above (1 - 2^-22) 2^128 into an infinity. A group of zeros decodes
// to zeros. A group with NaN or an infinity decodes to NaN as a whole, so that a fault stays
// visible.
// With `keep_signs`, only zeros have the code 0: what would round to 0 gets the code 1 or -1, at
// most one scale away.
void EncodeGroups(const Context& context, MatrixView<const float> x, uint8_t* bytes,
                  bool keep_signs = false);
void DecodeGroups(const Context& context, const uint8_t* bytes, MatrixView<float> x);
// Decodes the rows [first, first + x.rows) of a tensor of `rows` rows.
void DecodeGroupRows(const Context& context, const uint8_t* bytes, int64_t rows, int64_t first,
                     MatrixView<float> x);

// codes: bf16 [T,D]. NaN stays NaN.
void EncodeBF16(const Context& context, MatrixView<const float> x, uint16_t* codes);
void DecodeBF16(const Context& context, const uint16_t* codes, MatrixView<float> x);

// The number of elements that pruning to a fraction in [0,1] keeps: k.
constexpr int64_t KeptElements(double fraction, int64_t rows, int64_t columns) {
  return static_cast<int64_t>(fraction * static_cast<double>(rows * columns));
}

// Writes the k elements of largest magnitude, 0 <= k <= T · D < 2^31, in the order of their
// indices: indices[k], t · D + i each, and values[k]. Of equal magnitudes those with lower indices
// come first. NaN is larger than every number, so a fault stays visible if k > 0.
void Prune(const Context& context, MatrixView<const float> x, int64_t k, int32_t* indices,
           float* values);
// Writes the kept elements, and zeros elsewhere.
void Unprune(const Context& context, const int32_t* indices, const float* values, int64_t k,
             MatrixView<float> x);

namespace reference {
int64_t Encode(const FixedPoint& format, MatrixView<const float> x, uint8_t* codes);
void Decode(const FixedPoint& format, const uint8_t* codes, MatrixView<float> x);
void EncodeGroups(MatrixView<const float> x, uint8_t* bytes, bool keep_signs = false);
void DecodeGroups(const uint8_t* bytes, MatrixView<float> x);
void EncodeBF16(MatrixView<const float> x, uint16_t* codes);
void DecodeBF16(const uint16_t* codes, MatrixView<float> x);
void Prune(MatrixView<const float> x, int64_t k, int32_t* indices, float* values);
void Unprune(const int32_t* indices, const float* values, int64_t k, MatrixView<float> x);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_COMPRESSION_COMPRESSION_H_
