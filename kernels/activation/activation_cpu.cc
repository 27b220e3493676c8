#include <algorithm>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/cpu/parallel.h"
#include "kernels/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

void ActivateRange(ActivationFunction f, const float* x, int64_t begin, int64_t end, float* y) {
  WithActivation(f.kind, [&](auto kind) HWY_ATTR {
    const FloatVec epsilon = hn::Set(Floats(), f.epsilon);
    ForEachVector(begin, end, [&](int64_t i, auto part) HWY_ATTR {
      part.Store(ApplyActivation<kind()>(Floats(), part.Load(x + i), epsilon), y + i);
    });
  });
}

// Converts one piece at a time to fp32 and back.
void ActivateHalves(ActivationFunction f, const uint16_t* x, int64_t begin, int64_t end,
                    uint16_t* y) {
  constexpr int64_t kPiece = 256;
  float piece[kPiece];
  for (int64_t i = begin; i < end; i += kPiece) {
    const int64_t count = std::min(kPiece, end - i);
    for (int64_t j = 0; j < count; ++j) piece[j] = FromBF16(x[i + j]);
    ActivateRange(f, piece, 0, count, piece);
    for (int64_t j = 0; j < count; ++j) y[i + j] = ToBF16(piece[j]);
  }
}

// Returns Σ g k(x) for CRReLU, else 0.
float BackwardRange(ActivationFunction f, const float* x, const float* g, int64_t count,
                    float* gx) {
  FloatVec sum = hn::Zero(Floats());
  WithActivation(f.kind, [&](auto kind) HWY_ATTR {
    const Floats d;
    const FloatVec epsilon = hn::Set(d, f.epsilon);
    ForEachVector(0, count, [&](int64_t i, auto part) HWY_ATTR {
      const FloatVec value = part.Load(x + i), gradient = part.Load(g + i);
      if constexpr (kind() == Activation::kCRRelu) {
        const FloatVec within = WithinBell(d, value);
        sum = hn::MulAdd(gradient, hn::Mul(within, Bell(d, within)), sum);
      }
      part.Store(hn::Mul(gradient, ActivationSlope<kind()>(d, value, epsilon)), gx + i);
    });
  });
  return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

void SoftplusRange(const float* x, int64_t begin, int64_t end, float* y) {
  ForEachVector(begin, end, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(Softplus(Floats(), part.Load(x + i)), y + i);
  });
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(ActivateRange);
HWY_EXPORT(ActivateHalves);
HWY_EXPORT(BackwardRange);
HWY_EXPORT(SoftplusRange);

constexpr double kNanosecondsEach = 0.3;

}  // namespace

void Activate(const Context& context, ActivationFunction f, const float* x, int64_t n, float* y) {
  ParallelChannels(context, n, kNanosecondsEach * n,
                   [=](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(ActivateRange)(f, x, begin, end, y);
                   });
}

void Activate(const Context& context, ActivationFunction f, const uint16_t* x, int64_t n,
              uint16_t* y) {
  ParallelChannels(context, n, kNanosecondsEach * n,
                   [=](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(ActivateHalves)(f, x, begin, end, y);
                   });
}

void Softplus(const Context& context, const float* x, int64_t n, float* y) {
  constexpr double kSoftplusNanoseconds = 0.44;
  ParallelChannels(context, n, kSoftplusNanoseconds * n,
                   [=](const Context&, int64_t begin, int64_t end) {
                     HWY_DYNAMIC_DISPATCH(SoftplusRange)(x, begin, end, y);
                   });
}

double ActivateBackward(const Context& context, ActivationFunction f, const float* x,
                        const float* g, int64_t n, float* gx) {
  // Each block is summed in fp32, with few additions per lane. The block sums are added in fp64 in
  // block order.
  constexpr int64_t kBlock = 512;
  std::vector<float> sums((n + kBlock - 1) / kBlock);
  ParallelRows(context, std::ssize(sums), kNanosecondsEach * n,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t block = begin; block < end; ++block) {
                   const int64_t first = block * kBlock;
                   sums[block] = HWY_DYNAMIC_DISPATCH(BackwardRange)(
                       f, x + first, g + first, std::min(kBlock, n - first), gx + first);
                 }
               });
  double sum = 0;
  for (const float block : sums) sum += block;
  return sum;
}

void MakeCodeTable(ActivationFunction f, float from, float to, int8_t table[kCodes]) {
  float values[kCodes];
  for (int code = 0; code < kCodes; ++code) values[code] = static_cast<float>(code - 128) * from;
  HWY_DYNAMIC_DISPATCH(ActivateRange)(f, values, 0, kCodes, values);
  for (int code = 0; code < kCodes; ++code) table[code] = ToCode(values[code] / to);
}

void ApplyCodeTable(const Context& context, const int8_t* table, const int8_t* x, int64_t n,
                    int8_t* y) {
  constexpr double kLookup = 0.5;  // nanoseconds
  ParallelChannels(context, n, kLookup * n, [=](const Context&, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = table[x[i] + 128];
  });
}

bool EpsilonVanishes(float epsilon, float from, float to) {
  int8_t table[kCodes];
  MakeCodeTable({Activation::kCRRelu, epsilon}, from, to, table);
  return std::all_of(table, table + kCodes / 2, [](int8_t code) { return code == 0; });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
