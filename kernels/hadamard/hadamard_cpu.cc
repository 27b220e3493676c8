#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/hadamard/hadamard.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/hadamard/hadamard_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_CPU_CC_
#define WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_CPU_CC_
namespace whipsnake::kernels {

template <int kOrder>
using Signs = std::array<std::array<int8_t, kOrder>, kOrder>;

// Returns whether a is a square modulo the prime q. a must not be a multiple of q.
constexpr bool IsSquare(int a, int q) {
  for (int root = 1; root < q; ++root) {
    if ((root * root - a) % q == 0) return true;
  }
  return false;
}

// Paley's second construction with q = 5, from a conference matrix, with blocks of 2x2.
inline constexpr Signs<12> kPaley12 = [] {
  Signs<12> signs{};
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j < 12; ++j) {
      const int a = i / 2, b = j / 2;
      const bool minus = a != b && a != 0 && b != 0 && !IsSquare(a - b, 5);
      signs[i][j] = a == b ? (i % 2 || j % 2 ? -1 : 1) : (i % 2 && j % 2) != minus ? -1 : 1;
    }
  }
  return signs;
}();

// Paley's first construction with q = 19: a circulant matrix with a border.
inline constexpr Signs<20> kPaley20 = [] {
  Signs<20> signs{};
  for (int i = 0; i < 20; ++i) {
    for (int j = 0; j < 20; ++j) {
      signs[i][j] = i == 0 ? (j == 0 ? 1 : -1) : j != 0 && j != i && IsSquare(j - i, 19) ? -1 : 1;
    }
  }
  return signs;
}();

}  // namespace whipsnake::kernels
#endif  // once for all targets

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

constexpr int kRadix = 8;  // vectors held in registers at once

// Transforms one row with 2^k elements per element of the factor. `Tag` is a full vector, or one
// lane if 2^k is smaller than a vector. All vector lengths sum in the same order, so their results
// have the same bits.
template <typename Tag>
class Row {
 public:
  using V = hn::Vec<Tag>;

  // Does the butterflies over m from x to scratch, both of n = order · m elements.
  static void Butterflies(const float* x, int64_t n, int64_t m, float* scratch) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(Tag()));
    for (int64_t stride = lanes; stride == lanes || stride < m; stride *= kRadix) {
      const float* from = stride == lanes ? x : scratch;
      switch (std::min<int64_t>(m / stride, kRadix)) {
        case 1:
          Pass<1>(from, n, stride, scratch);
          break;
        case 2:
          Pass<2>(from, n, stride, scratch);
          break;
        case 4:
          Pass<4>(from, n, stride, scratch);
          break;
        default:
          Pass<8>(from, n, stride, scratch);
      }
    }
  }

  // Applies the factor over c, then scales and stores the result in y.
  template <typename T>
  static void Factor(const float* scratch, int64_t order, int64_t m, float scale, T* y) {
    const Tag d;
    for (int64_t at = 0; at < m; at += static_cast<int64_t>(hn::Lanes(d))) {
      const auto load = [&](int64_t c) HWY_ATTR { return hn::Load(d, scratch + c * m + at); };
      const auto store = [&](int64_t c, V sum)
                             HWY_ATTR { Store(hn::Mul(sum, hn::Set(d, scale)), y + c * m + at); };
      if (order == 12) {
        Apply<12>(kPaley12, load, store);
      } else if (order == 40) {  // [[P,P],[P,-P]]
        Apply<20>(
            kPaley20, [&](int64_t c) HWY_ATTR { return hn::Add(load(c), load(c + 20)); }, store);
        Apply<20>(
            kPaley20, [&](int64_t c) HWY_ATTR { return hn::Sub(load(c), load(c + 20)); },
            [&](int64_t c, V sum) HWY_ATTR { store(c + 20, sum); });
      } else {
        store(0, load(0));
      }
    }
  }

 private:
  static HWY_INLINE void Store(V v, float* y) { hn::StoreU(v, Tag(), y); }
  static HWY_INLINE void Store(V v, int8_t* y) {
    if constexpr (hn::MaxLanes(Tag()) == 1) {
      *y = ToCode(hn::GetLane(v));
    } else {
      FullVector().StoreCodes(v, y);
    }
  }

  // Butterflies within a vector: lane i becomes v[i] + v[i ^ s] if i & s is 0, else v[i ^ s] -
  // v[i], for each power of two s. The product with ±1 is exact.
  static HWY_INLINE V WithinVector(V v) {
    const Tag d;
    const hn::RebindToSigned<Tag> di;
    const auto lane = hn::Iota(di, 0);
    for (int s = 1; s < static_cast<int>(hn::MaxLanes(d)); s *= 2) {
      const auto bit = hn::Set(di, s);
      const V sign = hn::IfThenElse(hn::RebindMask(d, hn::TestBit(lane, bit)), hn::Set(d, -1.0f),
                                    hn::Set(d, 1.0f));
      const V partner = hn::TableLookupLanes(v, hn::IndicesFromVec(d, hn::Xor(lane, bit)));
      v = hn::MulAdd(v, sign, partner);
    }
    return v;
  }

  // Does log2(kVectors) levels over vectors that are `stride` elements apart. If the stride is one
  // vector, does the levels within a vector first.
  template <int kVectors>
  static HWY_INLINE void Pass(const float* from, int64_t n, int64_t stride, float* to) {
    const Tag d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t base = 0; base < n; base += kVectors * stride) {
      for (int64_t i = base; i < base + stride; i += lanes) {
        V v[kVectors];
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) {
          v[j] = hn::LoadU(d, from + i + j * stride);
          if (stride == lanes) v[j] = WithinVector(v[j]);
        }
#pragma GCC unroll 8
        for (int s = 1; s < kVectors; s *= 2) {
#pragma GCC unroll 8
          for (int j = 0; j < kVectors; ++j) {
            if (j & s) continue;
            const V sum = hn::Add(v[j], v[j + s]);
            v[j + s] = hn::Sub(v[j], v[j + s]);
            v[j] = sum;
          }
        }
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) hn::Store(v[j], d, to + i + j * stride);
      }
    }
  }

  // Calls store(i, Σ_j signs[i][j] · load(j)) for every row i. Each row needs the sum or the
  // difference of each pair of neighbours, up to the sign. They are computed once, so that the rows
  // share half of the additions.
  template <int kOrder, typename Load, typename StoreRow>
  static HWY_INLINE void Apply(const Signs<kOrder>& signs, const Load& load,
                               const StoreRow& store) {
    constexpr int kPairs = kOrder / 2;
    V sum[kPairs], difference[kPairs];
#pragma GCC unroll 16
    for (int p = 0; p < kPairs; ++p) {
      const V even = load(2 * p), odd = load(2 * p + 1);
      sum[p] = hn::Add(even, odd);
      difference[p] = hn::Sub(even, odd);
    }
#pragma GCC unroll 32
    for (int i = 0; i < kOrder; ++i) {
      const auto pair = [&](int p) HWY_ATTR {
        return signs[i][2 * p] == signs[i][2 * p + 1] ? sum[p] : difference[p];
      };
      V total = signs[i][0] > 0 ? pair(0) : hn::Neg(pair(0));
#pragma GCC unroll 16
      for (int p = 1; p < kPairs; ++p) {
        total = signs[i][2 * p] > 0 ? hn::Add(total, pair(p)) : hn::Sub(total, pair(p));
      }
      store(i, total);
    }
  }
};

template <typename T>
HWY_INLINE void TransformRow(const float* x, int64_t order, int64_t m, float scale, float* scratch,
                             T* y) {
  if (m >= static_cast<int64_t>(hn::Lanes(Floats()))) {
    Row<Floats>::Butterflies(x, order * m, m, scratch);
    Row<Floats>::Factor(scratch, order, m, scale, y);
  } else {
    using OneLane = hn::CappedTag<float, 1>;
    Row<OneLane>::Butterflies(x, order * m, m, scratch);
    Row<OneLane>::Factor(scratch, order, m, scale, y);
  }
}

void TransformRowToFloats(const float* x, int64_t order, int64_t m, float scale, float* scratch,
                          float* y) {
  TransformRow(x, order, m, scale, scratch, y);
}
void TransformRowToCodes(const float* x, int64_t order, int64_t m, float scale, float* scratch,
                         int8_t* y) {
  TransformRow(x, order, m, scale, scratch, y);
}

void QuantizeRow(const float* x, const float* multiplier, int64_t n, int8_t* y) {
  ForEachVector(0, n, [&](int64_t i, auto part) HWY_ATTR {
    part.StoreCodes(hn::Mul(part.Load(x + i), part.Load(multiplier + i)), y + i);
  });
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(TransformRowToFloats);
HWY_EXPORT(TransformRowToCodes);
HWY_EXPORT(QuantizeRow);

// Returns the order of H's factor F: 1 for none, or 0 if there is no H of order n.
int64_t FactorOrder(int64_t n) {
  for (const int64_t order : {12, 40, 1}) {
    if (n % order == 0 && std::has_single_bit(static_cast<uint64_t>(n / order))) return order;
  }
  return 0;
}

template <typename T>
void TransformRows(const Context& context, MatrixView<const float> x, float scale, MatrixView<T> y,
                   void (*transform)(const float* x, int64_t order, int64_t m, float scale,
                                     float* scratch, T* y)) {
  constexpr double kNanosecondsEach = 0.4;
  const int64_t order = FactorOrder(x.cols);
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context& own, int64_t begin, int64_t end) {
                 OperationScratch memory(own);
                 auto* scratch = memory.Get<float>(x.cols);
                 for (int64_t t = begin; t < end; ++t) {
                   transform(x.row(t), order, x.cols / order, scale, scratch, y.row(t));
                 }
               });
}

}  // namespace

bool HasHadamard(int64_t n) { return FactorOrder(n) != 0; }

void Hadamard(const Context& context, MatrixView<const float> x, float scale, MatrixView<float> y) {
  TransformRows(context, x, scale, y, HWY_DYNAMIC_DISPATCH(TransformRowToFloats));
}

void Hadamard(const Context& context, MatrixView<const float> x, float scale,
              MatrixView<int8_t> y) {
  TransformRows(context, x, scale, y, HWY_DYNAMIC_DISPATCH(TransformRowToCodes));
}

void Quantize(const Context& context, MatrixView<const float> x, const float* multiplier,
              MatrixView<int8_t> y) {
  constexpr double kNanosecondsEach = 0.1;
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   HWY_DYNAMIC_DISPATCH(QuantizeRow)(x.row(t), multiplier, x.cols, y.row(t));
                 }
               });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
