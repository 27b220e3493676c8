#include <algorithm>
#include <cstring>

#include "kernels/attention/attention.h"

namespace whipsnake::kernels {

void ClearKvPositions(const Context& /*context*/, const KvLayout& layout, int64_t first,
                      std::byte* block) {
  const int64_t element = ByteSize(layout.dtype), count = kKvBlock - first;
  for (int64_t head = 0; head < layout.heads; ++head) {
    std::byte* at = block + head * layout.HeadBytes();
    for (int64_t d = 0; d < layout.head_dim; ++d) {
      std::memset(at + (d * kKvBlock + first) * element, 0, count * element);
    }
    const int64_t value = layout.PaddedDim() * element;
    std::memset(at + layout.ValuesBegin() + first * value, 0, count * value);
    if (layout.dtype != DType::kI8) continue;
    auto* scales = reinterpret_cast<float*>(at + layout.ScalesBegin());
    for (float* scale : {scales, scales + kKvBlock}) std::fill(scale + first, scale + kKvBlock, 0);
  }
}

}  // namespace whipsnake::kernels
