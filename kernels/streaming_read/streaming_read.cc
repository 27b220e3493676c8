#include "kernels/streaming_read/streaming_read.h"

#include <atomic>
#include <cstring>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/streaming_read/streaming_read.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums 64-bit words with the widest loads, and with enough loads in flight to hide the latency of
// the cache, so that it is no slower than any product that reads the same bytes.
uint64_t SumOfWords(const std::byte* data, size_t words) {
  const hn::ScalableTag<uint64_t> d;
  using Vec = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const auto* word = reinterpret_cast<const uint64_t*>(data);
  Vec a = hn::Zero(d), b = a, c = a, e = a;
  size_t i = 0;
  for (; i + 8 * lanes <= words; i += 8 * lanes) {
    const auto load = [&](size_t v) HWY_ATTR { return hn::LoadU(d, word + i + v * lanes); };
    a = hn::Add(a, load(0));
    b = hn::Add(b, load(1));
    c = hn::Add(c, load(2));
    e = hn::Add(e, load(3));
    a = hn::Add(a, load(4));
    b = hn::Add(b, load(5));
    c = hn::Add(c, load(6));
    e = hn::Add(e, load(7));
  }
  uint64_t sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  for (; i < words; ++i) {
    uint64_t one;
    std::memcpy(&one, data + i * sizeof(one), sizeof(one));
    sum += one;
  }
  return sum;
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(SumOfWords);

constexpr size_t kWord = sizeof(uint64_t);

}  // namespace

uint64_t StreamingRead(const Context& context,
                       std::span<const std::span<const std::byte>> buffers) {
  const auto sum_of_words = HWY_DYNAMIC_DISPATCH(SumOfWords);
  std::atomic<uint64_t> total{0};
  const int64_t threads = Threads(context);
  ForEachShare(context, [&](const Context&, int64_t share) {
    uint64_t part = 0;
    for (const std::span<const std::byte> buffer : buffers) {
      const size_t words = buffer.size() / kWord;
      const size_t begin = words * share / threads;
      const size_t end = words * (share + 1) / threads;
      part += sum_of_words(buffer.data() + begin * kWord, end - begin);
    }
    total.fetch_add(part, std::memory_order_relaxed);
  });
  uint64_t sum = total;
  for (const std::span<const std::byte> buffer : buffers) {
    for (const std::byte byte : buffer.subspan(buffer.size() / kWord * kWord)) {
      sum += std::to_integer<uint64_t>(byte);
    }
  }
  return sum;
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
