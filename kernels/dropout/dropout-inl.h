// The vector form of dropout's masks, for kernels that inline it.
//
// The generator is Philox4x32-10 of Salmon et al. (SC 2011). Every lane computes the four
// words of one counter.
#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/dropout/dropout.h"

#if defined(WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_INL_H_
#undef WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_INL_H_
#else
#define WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

using Words = hn::RebindToUnsigned<Floats>;
using WordVec = hn::Vec<Words>;

// The two words of a product of words, lane by lane.
struct WordProduct {
  WordVec low, high;
};
HWY_INLINE WordProduct MultiplyWords(WordVec v, uint32_t factor) {
  const Words d;
#if HWY_TARGET == HWY_SCALAR
  const uint64_t product = uint64_t{hn::GetLane(v)} * factor;
  return {hn::Set(d, static_cast<uint32_t>(product)),
          hn::Set(d, static_cast<uint32_t>(product >> 32))};
#else
  // Each product of even lanes fills the place of two lanes.
  const hn::RepartitionToWide<Words> d64;
  const WordVec f = hn::Set(d, factor);
  const auto even = hn::MulEven(v, f);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, v))), f);
  const auto low_of_odd = hn::BitCast(d, hn::ShiftLeft<32>(odd));
  const auto high_of_even = hn::BitCast(d, hn::ShiftRight<32>(even));
  return {hn::OddEven(low_of_odd, hn::BitCast(d, even)),
          hn::OddEven(hn::BitCast(d, odd), high_of_even)};
#endif
}

// Replaces the counter in each lane of c by its four words.
HWY_INLINE void Philox(uint64_t key, WordVec (&c)[4]) {
  const Words d;
  uint32_t first_key = static_cast<uint32_t>(key), second_key = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const WordProduct first = MultiplyWords(c[0], 0xD2511F53);
    const WordProduct second = MultiplyWords(c[2], 0xCD9E8D57);
    c[0] = hn::Xor3(second.high, c[1], hn::Set(d, first_key));
    c[1] = second.low;
    c[2] = hn::Xor3(first.high, c[3], hn::Set(d, second_key));
    c[3] = first.low;
    first_key += 0x9E3779B9;
    second_key += 0xBB67AE85;
  }
}

// Computes the factors by which dropout multiplies elements: 0 or 1 / (1 - p).
class DropoutFactors {
 public:
  explicit DropoutFactors(const DropoutMask& mask)
      : seed_(mask.seed),
        stream_{static_cast<uint32_t>(mask.stream), static_cast<uint32_t>(mask.stream >> 32)},
        dropped_below_(static_cast<uint32_t>(std::ceil(double{mask.probability} * 0x1p32))),
        factor_(static_cast<float>(1 / (1 - double{mask.probability}))) {}

  // factors[w] becomes the factor of the element in column 4 · group + w of the row, lane by lane.
  HWY_INLINE void Compute(WordVec row, WordVec group, FloatVec (&factors)[4]) const {
    const Words d;
    WordVec words[4] = {group, row, hn::Set(d, stream_[0]), hn::Set(d, stream_[1])};
    Philox(seed_, words);
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) {
      const auto dropped = hn::Lt(words[w], hn::Set(d, dropped_below_));
      factors[w] =
          hn::IfThenZeroElse(hn::RebindMask(Floats(), dropped), hn::Set(Floats(), factor_));
    }
  }

 private:
  uint64_t seed_;
  uint32_t stream_[2];
  uint32_t dropped_below_;  // p · 2^32, rounded up to a whole number
  float factor_;
};

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
