#include "kernels/streaming_read/streaming_read.h"

#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

uint64_t PlainSum(std::span<const std::byte> buffer) {
  uint64_t sum = 0;
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= buffer.size(); i += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, buffer.data() + i, sizeof(word));
    sum += word;
  }
  for (; i < buffer.size(); ++i) sum += std::to_integer<uint64_t>(buffer[i]);
  return sum;
}

// Reads buffers of every length below 1200 and one of 64 KiB, at many alignments, with one to three
// threads.
TEST(StreamingRead, ReadsEveryByteOnce) {
  Random random(1);
  std::vector<std::byte> memory(1 << 16);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(random.Integer(0, 255));
  const std::span<const std::byte> all = memory;
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    std::vector<std::span<const std::byte>> buffers;
    uint64_t want = 0;
    for (size_t size = 0; size < 1200; ++size) {
      buffers.push_back(all.subspan(size % 37, size));
      want += PlainSum(buffers.back());
      ASSERT_EQ(StreamingRead(cpu.context(), {&buffers.back(), 1}), PlainSum(buffers.back()))
          << size;
    }
    buffers.push_back(all);
    EXPECT_EQ(StreamingRead(cpu.context(), buffers), want + PlainSum(all));
  }
  EXPECT_EQ(StreamingRead(Context(), {}), 0u);
}

}  // namespace
}  // namespace whipsnake::kernels
