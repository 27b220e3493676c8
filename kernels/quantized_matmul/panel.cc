#include "kernels/quantized_matmul/panel.h"

#include "kernels/cpu/parallel.h"

namespace whipsnake::kernels {

PackedRows PackRows(const Context& context, const DotKernel& kernel, MatrixView<const int8_t> x,
                    OperationScratch& scratch) {
  // Packing fewer codes takes less time than waking a team.
  constexpr int64_t kTeamCodes = 256 << 10;
  // The stride is an odd number of cache lines: rows a power of two apart would compete for one set
  // of the cache.
  const int64_t stride =
      ((x.cols + PackedRows::kPadding - 1) / PackedRows::kPadding | 1) * PackedRows::kPadding;
  // The corrections follow the codes.
  const int64_t code_bytes = x.rows * stride * kernel.element_bytes;
  auto* packed =
      scratch.Get<std::byte>(code_bytes + x.rows * static_cast<int64_t>(sizeof(int32_t)));
  auto* correction = reinterpret_cast<int32_t*>(packed + code_bytes);
  const auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      correction[m] = kernel.pack_row(x.row(m), x.cols, packed + m * stride * kernel.element_bytes);
    }
  };
  const Context team = x.rows * x.cols < kTeamCodes ? Alone(context) : context;
  const int64_t threads = Threads(team);
  ForEachShare(team, [&](const Context&, int64_t share) {
    pack(x.rows * share / threads, x.rows * (share + 1) / threads);
  });
  return {packed, correction, x.rows, x.cols, stride};
}

}  // namespace whipsnake::kernels
