#include "kernels/matmul/streaming_matmul.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/team.h"

// Arrays of vectors below need vectors of a size known to the compiler.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/streaming_matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/aligned_allocator.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#ifndef WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_
#define WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_
namespace whipsnake::kernels {

// Up to kStreamedM rows of activations, one weight row at a time: memory is then read strictly in
// order, which the hardware prefetches best. For more of them, where arithmetic is the cost,
// kRowsAtOnce weight rows share each load of an activation.
constexpr int64_t kStreamedM = 2;
constexpr int kRowsAtOnce = 2;

// The rows of x as the dot products read them: for bf16 weights rounded, and in the order in which
// a vector of the weight comes apart; zeros after the K-th up to a whole vector.
struct PackedActivations {
  const float* data;
  int64_t m;
  int64_t k;
  int64_t stride;
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU32 = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
constexpr int64_t kLanes = hn::MaxLanes(DF());

// A step along K is two vectors of fp32, summed apart from each other up to the end of the row.
constexpr int64_t kStep = 2 * kLanes;

// How a step of a weight row becomes two vectors of fp32. PackRow() gives the activations that
// order.
struct Fp32Weight {
  using T = float;
  static HWY_INLINE void Load(const T* p, VF& first, VF& second) {
    first = hn::LoadU(DF(), p);
    second = hn::LoadU(DF(), p + kLanes);
  }
#if !HWY_MEM_OPS_MIGHT_FAULT
  static constexpr int64_t kMaskable = 1;
  static HWY_INLINE void LoadMasked(const T* p, int64_t count, VF& first, VF& second) {
    const int64_t second_count = std::max<int64_t>(count - kLanes, 0);
    first = hn::MaskedLoad(hn::FirstN(DF(), count), DF(), p);
    second = hn::MaskedLoad(hn::FirstN(DF(), second_count), DF(), p + count - second_count);
  }
#endif
};

struct BF16Weight {
  using T = uint16_t;
  // Even elements, then odd ones: each is half of a 32-bit lane, and a shift or a mask makes it
  // fp32.
  static HWY_INLINE void Split(hn::Vec<DU32> pairs, VF& first, VF& second) {
    first = hn::BitCast(DF(), hn::ShiftLeft<16>(pairs));
    second = hn::BitCast(DF(), hn::And(pairs, hn::Set(DU32(), 0xffff0000u)));
  }
  static HWY_INLINE void Load(const T* p, VF& first, VF& second) {
    Split(hn::LoadU(DU32(), reinterpret_cast<const uint32_t*>(p)), first, second);
  }
#if !HWY_MEM_OPS_MIGHT_FAULT
  static constexpr int64_t kMaskable = 2;
  static HWY_INLINE void LoadMasked(const T* p, int64_t count, VF& first, VF& second) {
    const auto mask = hn::FirstN(DU32(), count / 2);
    Split(hn::MaskedLoad(mask, DU32(), reinterpret_cast<const uint32_t*>(p)), first, second);
  }
#endif
};

// The first `count` elements of a step, zeros for the others. Nothing past a row is read: it may be
// the last of a mapped file. Masked where the target can do that without a fault and the count
// allows it.
template <class Weight>
HWY_INLINE void LoadTail(const typename Weight::T* p, int64_t count, VF& first, VF& second) {
#if !HWY_MEM_OPS_MIGHT_FAULT
  if (count % Weight::kMaskable == 0) return Weight::LoadMasked(p, count, first, second);
#endif
  typename Weight::T step[kStep] = {};
  std::copy_n(p, count, step);
  Weight::Load(step, first, second);
}

// As ToBF16() and back.
HWY_INLINE VF RoundToBF16(VF value) {
  const DU32 d;
  const auto bits = hn::BitCast(d, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fff)));
  const auto quiet_nan = hn::Or(bits, hn::Set(d, 0x400000));
  const auto is_nan = hn::RebindMask(d, hn::IsNaN(value));
  return hn::BitCast(DF(),
                     hn::And(hn::IfThenElse(is_nan, quiet_nan, rounded), hn::Set(d, 0xffff0000u)));
}

// The K values of one row in the order in which Load() gives the weight's, zeros up to a whole
// step.
void PackRow(const float* x, int64_t k, bool bf16, float* packed) {
  const int64_t whole = k & ~(kStep - 1);
  if (!bf16) {
    std::copy_n(x, k, packed);
    if (whole < k) std::fill(packed + k, packed + whole + kStep, 0.0f);
    return;
  }
  const auto pack_step = [packed](const float* from, int64_t at) HWY_ATTR {
    VF even, odd;
    hn::LoadInterleaved2(DF(), from, even, odd);
    hn::Store(RoundToBF16(even), DF(), packed + at);
    hn::Store(RoundToBF16(odd), DF(), packed + at + kLanes);
  };
  for (int64_t i = 0; i < whole; i += kStep) pack_step(x + i, i);
  if (whole < k) {
    float tail[kStep] = {};
    std::copy_n(x + whole, k - whole, tail);
    pack_step(tail, whole);
  }
}

// The running sums of kRows weight rows with kM activation rows.
template <int kRows, int kM>
struct Sums {
  VF first[kRows][kM];
  VF second[kRows][kM];
};

// Adds `count` elements of each of the rows of w, a step where kWhole.
template <class Weight, bool kWhole, int kRows, int kM>
HWY_INLINE void MultiplyStep(const typename Weight::T* w, int64_t w_stride, int64_t count,
                             const float* x, int64_t x_stride, Sums<kRows, kM>& sums) {
  VF first[kRows], second[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    if constexpr (kWhole) {
      Weight::Load(w + r * w_stride, first[r], second[r]);
    } else {
      LoadTail<Weight>(w + r * w_stride, count, first[r], second[r]);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
    const VF x_first = hn::Load(DF(), x + m * x_stride);
    const VF x_second = hn::Load(DF(), x + m * x_stride + kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sums.first[r][m] = hn::MulAdd(first[r], x_first, sums.first[r][m]);
      sums.second[r][m] = hn::MulAdd(second[r], x_second, sums.second[r][m]);
    }
  }
}

// The dot products of kRows consecutive weight rows with kM packed activation rows.
template <class Weight, int kRows, int kM>
HWY_INLINE void DotTile(const typename Weight::T* w, int64_t k, const float* x, int64_t x_stride,
                        const float* bias, float* y, int64_t y_stride) {
  Sums<kRows, kM> sums;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) sums.first[r][m] = sums.second[r][m] = hn::Zero(DF());
  }
  const int64_t whole = k & ~(kStep - 1);
  for (int64_t i = 0; i < whole; i += kStep) {
    if constexpr (kRows > 1) {
      // Rows read side by side confuse the hardware prefetcher: fetch the next ones, in memory
      // order.
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) hwy::Prefetch(w + kRows * (k + i) + r * kStep);
    }
    MultiplyStep<Weight, true>(w + i, k, kStep, x + i, x_stride, sums);
  }
  if (whole < k) MultiplyStep<Weight, false>(w + whole, k, k - whole, x + whole, x_stride, sums);
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const VF sum = hn::SumOfLanes(DF(), hn::Add(sums.first[r][m], sums.second[r][m]));
      y[m * y_stride + r] = hn::GetLane(sum) + (bias != nullptr ? bias[r] : 0.0f);
    }
  }
}

// All M rows with kRows weight rows; a block of M as large as the registers take.
template <class Weight, int kRows>
HWY_INLINE void DotRows(const typename Weight::T* w, const PackedActivations& x, const float* bias,
                        float* y, int64_t y_stride) {
  constexpr int kMaxM = kLanes >= 16 || kRows == 1 ? 4 : 2;
  int64_t m = 0;
  const auto tile = [&](auto size) HWY_ATTR {
    DotTile<Weight, kRows, size>(w, x.k, x.data + m * x.stride, x.stride, bias, y + m * y_stride,
                                 y_stride);
    m += size;
  };
  while (x.m - m >= kMaxM) tile(std::integral_constant<int, kMaxM>());
  switch (x.m - m) {
    case 3:
      return tile(std::integral_constant<int, 3>());
    case 2:
      return tile(std::integral_constant<int, 2>());
    case 1:
      return tile(std::integral_constant<int, 1>());
  }
}

template <class Weight>
void MultiplyRowsOf(const PackedActivations& x, const WeightView& w, int64_t begin, int64_t end,
                    const float* bias, const MatrixView<float>& y) {
  const auto* data = static_cast<const typename Weight::T*>(w.data);
  const auto rows = [&](auto count, int64_t n) HWY_ATTR {
    DotRows<Weight, count>(data + n * w.k, x, bias != nullptr ? bias + n : nullptr, y.data + n,
                           y.stride);
  };
  int64_t n = begin;
  if (x.m > kStreamedM) {
    for (; n + kRowsAtOnce <= end; n += kRowsAtOnce) {
      rows(std::integral_constant<int, kRowsAtOnce>(), n);
    }
  }
  for (; n < end; ++n) rows(std::integral_constant<int, 1>(), n);
}

void MultiplyRows(const PackedActivations& x, const WeightView& w, int64_t begin, int64_t end,
                  const float* bias, const MatrixView<float>& y) {
  if (w.dtype == DType::kBF16) {
    MultiplyRowsOf<BF16Weight>(x, w, begin, end, bias, y);
  } else {
    MultiplyRowsOf<Fp32Weight>(x, w, begin, end, bias, y);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(PackRow);
HWY_EXPORT(MultiplyRows);

// A team costs some microseconds; below this much weight one core is done sooner.
constexpr int64_t kTeamBytes = 64 << 10;

// At least a vector of any target longer than K, and a multiple of one.
constexpr int64_t kPadding = 64;

// Memory that a thread keeps from call to call.
float* Scratch(int64_t size) {
  thread_local hwy::AlignedFreeUniquePtr<float[]> scratch;
  thread_local int64_t capacity = 0;
  if (capacity < size) {
    scratch = hwy::AllocateAligned<float>(size);
    capacity = size;
  }
  return scratch.get();
}

}  // namespace

void StreamingMatmul(MatrixView<const float> x, WeightView w, const float* bias,
                     MatrixView<float> y) {
  const int64_t stride = (w.k + kPadding - 1) / kPadding * kPadding;
  float* packed = Scratch(x.rows * stride);
  for (int64_t m = 0; m < x.rows; ++m) {
    HWY_DYNAMIC_DISPATCH(PackRow)(x.row(m), w.k, w.dtype == DType::kBF16, packed + m * stride);
  }
  const PackedActivations activations{packed, x.rows, w.k, stride};
  const auto multiply = HWY_DYNAMIC_DISPATCH(MultiplyRows);
  const int64_t groups = (w.n + kRowsAtOnce - 1) / kRowsAtOnce;
  Team& team = Team::Current();
  if (w.bytes() < kTeamBytes) return multiply(activations, w, 0, w.n, bias, y);
  // Each thread streams a contiguous part of the weight.
  team.Run([&](int64_t share) {
    const int64_t begin = groups * share / team.threads() * kRowsAtOnce;
    const int64_t end = std::min(groups * (share + 1) / team.threads() * kRowsAtOnce, w.n);
    multiply(activations, w, begin, end, bias, y);
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
