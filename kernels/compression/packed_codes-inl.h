// Loads and stores of codes of 8 or 4 bits together with their elements, for kernels that inline
// them.
//
// A block is the elements whose codes fill one vector of bytes: one vector of floats for codes of 8
// bits, and two for codes of 4 bits, which are the elements with even and with odd columns.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

#if defined(WHIPSNAKE_KERNELS_COMPRESSION_PACKED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_COMPRESSION_PACKED_CODES_INL_H_
#undef WHIPSNAKE_KERNELS_COMPRESSION_PACKED_CODES_INL_H_
#else
#define WHIPSNAKE_KERNELS_COMPRESSION_PACKED_CODES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

using Ints = hn::RebindToSigned<Floats>;
using IntVec = hn::Vec<Ints>;
using Bytes = hn::Rebind<uint8_t, Floats>;
using ByteVec = hn::Vec<Bytes>;

template <int bits>
using FloatBlock = std::array<FloatVec, 8 / bits>;
template <int bits>
using IntBlock = std::array<IntVec, 8 / bits>;

// Returns the codes in the low bits of `codes`, each lane's in one byte. The codes are integers.
template <int bits>
HWY_INLINE ByteVec Pack(const IntBlock<bits>& codes) {
  IntVec packed = codes[0];
  if constexpr (bits == 4) {
    packed = hn::Or(hn::And(packed, hn::Set(Ints(), 15)), hn::ShiftLeft<4>(codes[1]));
  }
  return hn::TruncateTo(Bytes(), hn::BitCast(hn::RebindToUnsigned<Ints>(), packed));
}

// Returns the bits of each code as an integer from 0 to 2^bits - 1.
template <int bits>
HWY_INLINE IntBlock<bits> Unpack(ByteVec bytes) {
  const IntVec packed = hn::PromoteTo(Ints(), bytes);
  if constexpr (bits == 4) {
    return {hn::And(packed, hn::Set(Ints(), 15)), hn::ShiftRight<4>(packed)};
  } else {
    return {packed};
  }
}

template <int bits>
struct FullBlock {
  FloatBlock<bits> Load(const float* from) const {
    FloatBlock<bits> x;
    if constexpr (bits == 4) {
      hn::LoadInterleaved2(Floats(), from, x[0], x[1]);
    } else {
      x[0] = hn::LoadU(Floats(), from);
    }
    return x;
  }
  void Store(const FloatBlock<bits>& x, float* to) const {
    if constexpr (bits == 4) {
      hn::StoreInterleaved2(x[0], x[1], Floats(), to);
    } else {
      hn::StoreU(x[0], Floats(), to);
    }
  }
  ByteVec LoadBytes(const uint8_t* from) const { return hn::LoadU(Bytes(), from); }
  void StoreBytes(ByteVec bytes, uint8_t* to) const { hn::StoreU(bytes, Bytes(), to); }
};

// The first `count` elements of a block; loads set the others to zero. Copies through memory, as
// PartOfVector does.
template <int bits>
struct PartOfBlock {
  static constexpr size_t kElements = hn::MaxLanes(Floats()) * 8 / bits;

  int64_t count;
  int64_t bytes() const { return (count * bits + 7) / 8; }

  FloatBlock<bits> Load(const float* from) const {
    HWY_ALIGN float elements[kElements] = {};
    std::memcpy(elements, from, count * sizeof(float));
    return FullBlock<bits>().Load(elements);
  }
  void Store(const FloatBlock<bits>& x, float* to) const {
    HWY_ALIGN float elements[kElements];
    FullBlock<bits>().Store(x, elements);
    std::memcpy(to, elements, count * sizeof(float));
  }
  ByteVec LoadBytes(const uint8_t* from) const {
    HWY_ALIGN uint8_t lanes[hn::MaxLanes(Bytes())] = {};
    std::memcpy(lanes, from, bytes());
    return hn::Load(Bytes(), lanes);
  }
  void StoreBytes(ByteVec v, uint8_t* to) const {
    HWY_ALIGN uint8_t lanes[hn::MaxLanes(Bytes())];
    hn::Store(v, Bytes(), lanes);
    std::memcpy(to, lanes, bytes());
  }
};

// Calls work(element, byte, FullBlock or PartOfBlock) for each block of `count` elements.
template <int bits, typename Work>
HWY_INLINE void ForEachBlock(int64_t count, const Work& work) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats())), elements = lanes * 8 / bits;
  int64_t i = 0, byte = 0;
  for (; i + elements <= count; i += elements, byte += lanes) work(i, byte, FullBlock<bits>());
  if (i < count) work(i, byte, PartOfBlock<bits>{count - i});
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
