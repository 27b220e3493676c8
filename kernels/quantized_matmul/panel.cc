#include "kernels/quantized_matmul/panel.h"

#include "kernels/cpu/team.h"

namespace whipsnake::kernels {

PackedRows PackRows(const DotKernel& kernel, MatrixView<const int8_t> x) {
  // Packing fewer codes takes less time than waking a team.
  constexpr int64_t kTeamCodes = 256 << 10;
  thread_local Scratch codes, corrections;
  // The stride is an odd number of cache lines: rows a power of two apart would compete for one set
  // of the cache.
  const int64_t stride =
      ((x.cols + PackedRows::kPadding - 1) / PackedRows::kPadding | 1) * PackedRows::kPadding;
  auto* packed = codes.Get<std::byte>(x.rows * stride * kernel.element_bytes);
  auto* correction = corrections.Get<int32_t>(x.rows);
  const auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      correction[m] = kernel.pack_row(x.row(m), x.cols, packed + m * stride * kernel.element_bytes);
    }
  };
  Team& team = Team::Current();
  if (x.rows * x.cols < kTeamCodes) {
    pack(0, x.rows);
  } else {
    team.Run([&](int64_t share) {
      pack(x.rows * share / team.threads(), x.rows * (share + 1) / team.threads());
    });
  }
  return {packed, correction, x.rows, x.cols, stride};
}

}  // namespace whipsnake::kernels
