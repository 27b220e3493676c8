#include "kernels/matmul/streaming_matmul.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/matmul/bf16_cpu.h"

// The arrays of vectors below need a vector size that is known at compile time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/streaming_matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_
#define WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_
namespace whipsnake::kernels {

// If there are few rows of activations and they stay in the first-level cache, weight rows are
// processed one at a time: memory is then read strictly in order, which the hardware prefetches
// best. For more rows, where arithmetic dominates the cost, kRowsAtOnce weight rows share each load
// of an activation. Weight rows of few cache lines, where the start and end of a row dominate the
// cost, are processed kShortRowsAtOnce at a time: memory is still read nearly in order. Tuned with
// matmul_benchmark.
constexpr int64_t kStreamedM = 4;
constexpr int64_t kStreamedBytes = 16 << 10;
constexpr int kRowsAtOnce = 2;
constexpr int kShortRowsAtOnce = 4;
constexpr int64_t kShortRowBytes = 192;

// The kind of products: of fp32, of bf16 expanded to fp32, or of bf16 directly.
enum class Products { kFp32, kExpandedBF16, kBF16 };

// The rows of x in the layout of the dot products (see PackRow()), with zeros after the K-th
// element up to a whole step. Owns nothing.
struct PackedActivations {
  const float* data;
  int64_t m;
  int64_t stride;
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_CC_

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr int64_t kLanes = hn::MaxLanes(DF());

// Whether a masked load reads nothing where the mask is off. On HWY_SCALAR it reads its element
// regardless of the mask.
#undef WHIPSNAKE_MASKED_LOADS
#define WHIPSNAKE_MASKED_LOADS (!HWY_MEM_OPS_MIGHT_FAULT && HWY_TARGET != HWY_SCALAR)

// A step along K is two vectors with separate sums up to the end of the row. The classes below
// define, for each kind of weight, the number of elements of a step, how they are loaded into two
// vectors, and how these are multiplied with two vectors of activations that PackRow() has packed
// the same way.
struct Fp32Weight {
  using T = float;
  static constexpr int64_t kStep = 2 * kLanes;
  static HWY_INLINE void Load(const T* p, VF& first, VF& second) {
    first = hn::LoadU(DF(), p);
    second = hn::LoadU(DF(), p + kLanes);
  }
#if WHIPSNAKE_MASKED_LOADS
  static constexpr int64_t kMaskable = 1;
  static HWY_INLINE void LoadMasked(const T* p, int64_t count, VF& first, VF& second) {
    const int64_t second_count = std::max<int64_t>(count - kLanes, 0);
    first = hn::MaskedLoad(hn::FirstN(DF(), count), DF(), p);
    second = hn::MaskedLoad(hn::FirstN(DF(), second_count), DF(), p + count - second_count);
  }
#endif
  static HWY_INLINE VF MulAdd(VF w, VF x, VF sum) { return hn::MulAdd(w, x, sum); }
};

struct ExpandedBF16Weight {
  using T = uint16_t;
  using DU32 = hn::RebindToUnsigned<DF>;
  static constexpr int64_t kStep = 2 * kLanes;
  // The first vector gets the even elements, the second the odd ones. Each element is half of a
  // 32-bit lane, and a shift or a mask turns it into fp32.
  static HWY_INLINE void Split(hn::Vec<DU32> pairs, VF& first, VF& second) {
    first = hn::BitCast(DF(), hn::ShiftLeft<16>(pairs));
    second = hn::BitCast(DF(), hn::And(pairs, hn::Set(DU32(), 0xffff0000u)));
  }
  static HWY_INLINE void Load(const T* p, VF& first, VF& second) {
    Split(hn::LoadU(DU32(), reinterpret_cast<const uint32_t*>(p)), first, second);
  }
#if WHIPSNAKE_MASKED_LOADS
  static constexpr int64_t kMaskable = 2;
  static HWY_INLINE void LoadMasked(const T* p, int64_t count, VF& first, VF& second) {
    const auto mask = hn::FirstN(DU32(), count / 2);
    Split(hn::MaskedLoad(mask, DU32(), reinterpret_cast<const uint32_t*>(p)), first, second);
  }
#endif
  static HWY_INLINE VF MulAdd(VF w, VF x, VF sum) { return hn::MulAdd(w, x, sum); }
};

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define WHIPSNAKE_BF16_PRODUCTS 1
// Vectors of pairs: each lane holds two neighbouring elements.
struct BF16Weight {
  using T = uint16_t;
  using DU16 = hn::Repartition<uint16_t, DF>;
  static constexpr int64_t kStep = 4 * kLanes;
  static constexpr int64_t kMaskable = 1;
  static HWY_INLINE void Load(const T* p, VF& first, VF& second) {
    first = hn::BitCast(DF(), hn::LoadU(DU16(), p));
    second = hn::BitCast(DF(), hn::LoadU(DU16(), p + 2 * kLanes));
  }
  static HWY_INLINE void LoadMasked(const T* p, int64_t count, VF& first, VF& second) {
    const int64_t second_count = std::max<int64_t>(count - 2 * kLanes, 0);
    first = hn::BitCast(DF(), hn::MaskedLoad(hn::FirstN(DU16(), count), DU16(), p));
    second = hn::BitCast(
        DF(), hn::MaskedLoad(hn::FirstN(DU16(), second_count), DU16(), p + count - second_count));
  }
  // Inline assembly, because this target's functions are compiled for CPUs without the instruction.
  static HWY_INLINE VF MulAdd(VF w, VF x, VF sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(w.raw));
    return sum;
  }
};
#else
#define WHIPSNAKE_BF16_PRODUCTS 0
#endif

// Calls body(Weight()) with the class for `products`.
template <class Body>
HWY_INLINE void WithWeight(Products products, const Body& body) {
  switch (products) {
    case Products::kFp32:
      return body(Fp32Weight());
    case Products::kExpandedBF16:
      return body(ExpandedBF16Weight());
    case Products::kBF16:
#if WHIPSNAKE_BF16_PRODUCTS
      return body(BF16Weight());
#else
      return;  // not reached: HasBF16Products() is false
#endif
  }
}
#undef WHIPSNAKE_BF16_PRODUCTS

// Loads the first `count` elements of a step and zeros for the others. Reads nothing past a row,
// because it may be the last row of a mapped file. Uses a masked load if the target supports that
// without faults and the count allows it.
template <class Weight>
HWY_INLINE void LoadTail(const typename Weight::T* p, int64_t count, VF& first, VF& second) {
#if WHIPSNAKE_MASKED_LOADS
  if (count % Weight::kMaskable == 0) return Weight::LoadMasked(p, count, first, second);
#endif
  typename Weight::T step[Weight::kStep] = {};
  std::copy_n(p, count, step);
  Weight::Load(step, first, second);
}

// Packs a row of x, which has the weight's dtype, into the same vectors as those into which Load()
// splits the weight's rows.
void PackRow(Products products, const void* x, int64_t k, float* packed) {
  WithWeight(products, [&](auto weight) HWY_ATTR {
    using Weight = decltype(weight);
    const auto* row = static_cast<const typename Weight::T*>(x);
    for (int64_t i = 0; i < k; i += Weight::kStep) {
      VF first, second;
      LoadTail<Weight>(row + i, std::min(k - i, Weight::kStep), first, second);
      hn::Store(first, DF(), packed);
      hn::Store(second, DF(), packed + kLanes);
      packed += 2 * kLanes;
    }
  });
}

// The running sums for kRows weight rows and kM activation rows.
template <int kRows, int kM>
struct Sums {
  VF first[kRows][kM];
  VF second[kRows][kM];
};

// Adds the products of one step of each row of w: a whole step if kWhole, otherwise `count`
// elements.
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
      sums.first[r][m] = Weight::MulAdd(first[r], x_first, sums.first[r][m]);
      sums.second[r][m] = Weight::MulAdd(second[r], x_second, sums.second[r][m]);
    }
  }
}

// The sums of kLanes outputs with each row of x, before their lanes are added.
struct GroupSums {
  HWY_ALIGN float lanes[kMaxStreamedRows][kLanes * kLanes];
};

// For kCount = kLanes, lane i of the result is the sum of the lanes of vector i. For smaller
// kCount, each vector contributes partial sums in several lanes. All vectors are summed in the same
// order. Summing all outputs of a group at once takes a third of the instructions of separate sums.
template <int kCount>
HWY_INLINE VF SumEach(const float* vectors) {
  if constexpr (kCount == 1) {
    return hn::Load(DF(), vectors);
  } else {
    const VF low = SumEach<kCount / 2>(vectors);
    const VF high = SumEach<kCount / 2>(vectors + kCount / 2 * kLanes);
#if HWY_TARGET != HWY_SCALAR  // HWY_SCALAR has one lane and lacks these
    return hn::Add(hn::ConcatEven(DF(), high, low), hn::ConcatOdd(DF(), high, low));
#endif
  }
}

// Multiplies kRows consecutive weight rows with kM packed activation rows. `lanes` points to the
// place for the sums of the first output with the first row of x.
template <class Weight, int kRows, int kM>
HWY_INLINE void DotTile(const typename Weight::T* w, int64_t k, const float* x, int64_t x_stride,
                        float* lanes) {
  Sums<kRows, kM> sums;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) sums.first[r][m] = sums.second[r][m] = hn::Zero(DF());
  }
  const int64_t whole = k - k % Weight::kStep;
  for (int64_t i = 0; i < whole; i += Weight::kStep) {
    if constexpr (kRows == kRowsAtOnce) {
      // Long rows that are read side by side defeat the hardware prefetcher, so prefetch the next
      // rows in memory order.
      const auto* next = w + kRows * (k + i);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) hwy::Prefetch(next + r * Weight::kStep);
    }
    MultiplyStep<Weight, true>(w + i, k, Weight::kStep, x, x_stride, sums);
    x += 2 * kLanes;
  }
  if (whole < k) MultiplyStep<Weight, false>(w + whole, k, k - whole, x, x_stride, sums);
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      hn::Store(hn::Add(sums.first[r][m], sums.second[r][m]), DF(),
                lanes + (m * kLanes + r) * kLanes);
    }
  }
}

// Multiplies all M rows of x with kRows weight rows, starting at row `row` of their group. Takes
// blocks of M that are as large as the registers allow.
template <class Weight, int kRows>
HWY_INLINE void DotRows(const typename Weight::T* w, int64_t k, const PackedActivations& x,
                        int64_t row, GroupSums& sums) {
  constexpr int kMaxM = kRows == 1 || (kRows == 2 && kLanes >= 16) ? 4 : 2;
  int64_t m = 0;
  const auto tile = [&](auto size) HWY_ATTR {
    DotTile<Weight, kRows, size>(w + row * k, k, x.data + m * x.stride, x.stride,
                                 sums.lanes[m] + row * kLanes);
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

// Computes the sums of a group of `outputs` weight rows, with zeros up to a whole group. Not
// inlined, because the caller's variables would occupy registers that the loops need.
template <class Weight>
HWY_NOINLINE void DotGroup(const typename Weight::T* w, int64_t outputs, int64_t k,
                           const PackedActivations& x, GroupSums& sums) {
  int64_t row = 0;
  const auto rows = [&](auto count) HWY_ATTR {
    for (; row + count <= outputs; row += count) DotRows<Weight, count>(w, k, x, row, sums);
  };
  constexpr int64_t kPackedStepBytes = 2 * kLanes * sizeof(float);
  const int64_t x_bytes = x.m * k / Weight::kStep * kPackedStepBytes;
  if (x.m > 1 && (x.m > kStreamedM || x_bytes > kStreamedBytes)) {
    rows(std::integral_constant<int, kRowsAtOnce>());
  } else if (k * static_cast<int64_t>(sizeof(*w)) <= kShortRowBytes) {
    rows(std::integral_constant<int, kShortRowsAtOnce>());
  }
  rows(std::integral_constant<int, 1>());
  for (int64_t m = 0; m < x.m; ++m) {
    std::fill(sums.lanes[m] + outputs * kLanes, std::end(sums.lanes[m]), 0.0f);
  }
}

// Computes the outputs [begin, end) of y.
void MultiplyRows(Products products, const PackedActivations& x, const WeightView& w, int64_t begin,
                  int64_t end, const float* bias, const MatrixView<float>& y) {
  WithWeight(products, [&](auto weight) HWY_ATTR {
    using Weight = decltype(weight);
    const auto* data = static_cast<const typename Weight::T*>(w.data);
    GroupSums sums;
    ForEachVector(begin, end, [&](int64_t n, auto part) HWY_ATTR {
      DotGroup<Weight>(data + n * w.k, std::min(end - n, kLanes), w.k, x, sums);
      for (int64_t m = 0; m < x.m; ++m) {
        VF outputs = SumEach<kLanes>(sums.lanes[m]);
        if (bias != nullptr) outputs = hn::Add(outputs, part.Load(bias + n));
        part.Store(outputs, y.row(m) + n);
      }
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(PackRow);
HWY_EXPORT(MultiplyRows);

// Waking a team takes some microseconds. For less weight than this, one core is faster.
constexpr int64_t kTeamBytes = 64 << 10;

// A multiple of the step of every target, in elements.
constexpr int64_t kPadding = 64;

Products ProductsFor(DType weight) {
  if (weight != DType::kBF16) return Products::kFp32;
  return HasBF16Products() ? Products::kBF16 : Products::kExpandedBF16;
}

PackedActivations Pack(Products products, const MatrixView<const float>& x,
                       OperationScratch& scratch) {
  const int64_t stride = (x.cols + kPadding - 1) / kPadding * kPadding;
  auto* packed = scratch.Get<float>((x.rows + 1) * stride);
  // The space after the packed rows holds one row rounded to bf16 until it is packed.
  auto* rounded = reinterpret_cast<uint16_t*>(packed + x.rows * stride);
  for (int64_t m = 0; m < x.rows; ++m) {
    const void* row = x.row(m);
    if (products != Products::kFp32) {
      RoundToBF16(x.row(m), x.cols, rounded);
      row = rounded;
    }
    HWY_DYNAMIC_DISPATCH(PackRow)(products, row, x.cols, packed + m * stride);
  }
  return {packed, x.rows, stride};
}

}  // namespace

void StreamingMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                     const float* bias, MatrixView<float> y, ActivationFunction f) {
  const Products products = ProductsFor(w.format.dtype);
  OperationScratch scratch(context);
  const PackedActivations activations = Pack(products, x, scratch);
  // Applies f to the outputs just written, while they are in the first-level cache.
  const auto multiply = [&](const Context& own, int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(MultiplyRows)(products, activations, w, begin, end, bias, y);
    if (f.kind == Activation::kIdentity) return;
    for (int64_t m = 0; m < y.rows; ++m) {
      Activate(own, f, y.row(m) + begin, end - begin, y.row(m) + begin);
    }
  };
  // Each thread streams a contiguous part of the weight.
  const Context team = w.bytes() < kTeamBytes ? Alone(context) : context;
  const int64_t threads = Threads(team), groups = (w.n + kRowsAtOnce - 1) / kRowsAtOnce;
  ForEachShare(team, [&](const Context& own, int64_t share) {
    const int64_t begin = groups * share / threads * kRowsAtOnce;
    const int64_t end = std::min(groups * (share + 1) / threads * kRowsAtOnce, w.n);
    multiply(own, begin, end);
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
