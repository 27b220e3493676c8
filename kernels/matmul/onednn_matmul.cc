#include "kernels/matmul/onednn_matmul.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu/onednn_thread.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/matmul/bf16_cpu.h"
#include "kernels/matmul/matmul.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace whipsnake::kernels {
namespace {

// The product is split into these tiles for any number of threads, and oneDNN multiplies each tile
// on one thread. Otherwise oneDNN would choose its split, possibly over K too, by the number of
// threads.
constexpr int64_t kTileM = 256;
constexpr int64_t kTileN = 256;

// y = x · wᵀ. Returns false if oneDNN fails, for example if memory is short.
bool Multiply(const Context&, MatrixView<const float> x, MatrixView<const float> w,
              MatrixView<float> y) {
  return dnnl_sgemm('N', 'T', x.rows, w.rows, x.cols, 1.0f, x.data, x.stride, w.data, w.stride,
                    0.0f, y.data, y.stride) == dnnl_success;
}

// oneDNN's product of bf16 matrices of any size. One primitive serves all sizes; otherwise the
// first prompt of each length would have to create one.
class BF16Product {
 public:
  BF16Product() : engine_(Engine::kind::cpu, 0), stream_(engine_) {
    const auto any = Dims(DNNL_RUNTIME_DIM_VAL, DNNL_RUNTIME_DIM_VAL);
    const Desc x(any, Type::bf16, Dims(DNNL_RUNTIME_DIM_VAL, 1));
    const Desc w(any, Type::bf16, Dims(1, DNNL_RUNTIME_DIM_VAL));
    const Desc y(any, Type::f32, Dims(DNNL_RUNTIME_DIM_VAL, 1));
#if DNNL_VERSION_MAJOR >= 3
    product_ = dnnl::matmul({engine_, x, w, y});
#else
    product_ = dnnl::matmul({dnnl::matmul::desc(x, w, y), engine_});
#endif
  }

  // y = x · wᵀ.
  void operator()(MatrixView<const uint16_t> x, MatrixView<const uint16_t> w, MatrixView<float> y) {
    const Desc x_desc({x.rows, x.cols}, Type::bf16, {x.stride, 1});
    const Desc w_desc({w.cols, w.rows}, Type::bf16, {1, w.stride});
    const Desc y_desc({y.rows, y.cols}, Type::f32, {y.stride, 1});
    product_.execute(stream_, {{DNNL_ARG_SRC, Memory(x_desc, x.data)},
                               {DNNL_ARG_WEIGHTS, Memory(w_desc, w.data)},
                               {DNNL_ARG_DST, Memory(y_desc, y.data)}});
  }

 private:
  using Engine = dnnl::engine;
  using Desc = dnnl::memory::desc;
  using Type = dnnl::memory::data_type;

  static dnnl::memory::dims Dims(int64_t a, int64_t b) { return {a, b}; }
  dnnl::memory Memory(const Desc& desc, const void* data) const {
    return {desc, engine_, const_cast<void*>(data)};
  }

  Engine engine_;
  dnnl::stream stream_;
  dnnl::matmul product_;
};

// y = x · wᵀ for bf16 matrices; w and x are contiguous. Returns false if oneDNN fails.
bool Multiply(const Context& context, MatrixView<const uint16_t> x, MatrixView<const uint16_t> w,
              MatrixView<float> y) {
  if (HasBF16Products()) {
    try {
      // One per thread, as oneDNN requires for a primitive that keeps working memory.
      thread_local BF16Product product;
      product(x, w, y);
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }
  const auto expand = [](MatrixView<const uint16_t> matrix, float* values) {
    const int64_t size = matrix.rows * matrix.cols;
    for (int64_t i = 0; i < size; ++i) values[i] = FromBF16(matrix.data[i]);
    return MatrixView<const float>(values, matrix.rows, matrix.cols);
  };
  // The expanded x comes first. Tiles have up to kTileM rows, so that w starts at the same place,
  // aligned, for all of them.
  OperationScratch scratch(context);
  auto* const values = scratch.Get<float>((kTileM + kTileN) * x.cols);
  return Multiply(context, expand(x, values), expand(w, values + kTileM * x.cols), y);
}

// y = f(y + bias).
void Finish(const Context& context, const float* bias, ActivationFunction f, MatrixView<float> y) {
  for (int64_t m = 0; m < y.rows; ++m) {
    if (bias != nullptr) {
      for (int64_t n = 0; n < y.cols; ++n) y.row(m)[n] += bias[n];
    }
    if (f.kind != Activation::kIdentity) Activate(context, f, y.row(m), y.cols, y.row(m));
  }
}

// Returns false if oneDNN failed; y is then undefined.
template <typename T>
bool MultiplyTiles(const Context& context, MatrixView<const T> x, MatrixView<const T> w,
                   const float* bias, MatrixView<float> y, ActivationFunction f) {
  const int64_t tiles_m = (x.rows + kTileM - 1) / kTileM;
  const int64_t tiles_n = (w.rows + kTileN - 1) / kTileN;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  ForEachShare(context, [&](const Context& own, int64_t) {
    KeepOneDnnOnThisThread();
    for (int64_t tile; !failed.load(std::memory_order_relaxed) &&
                       (tile = next.fetch_add(1, std::memory_order_relaxed)) < tiles_m * tiles_n;) {
      const int64_t m = tile % tiles_m * kTileM;
      const int64_t n = tile / tiles_m * kTileN;
      const int64_t rows = std::min(kTileM, x.rows - m);
      const int64_t columns = std::min(kTileN, w.rows - n);
      const MatrixView<float> part = y.Rows(m, rows).Columns(n, columns);
      if (!Multiply(own, x.Rows(m, rows), w.Rows(n, columns), part)) failed = true;
      Finish(own, bias != nullptr ? bias + n : nullptr, f, part);
    }
  });
  return !failed;
}

// Returns x rounded to bf16, contiguous, in `scratch`.
MatrixView<const uint16_t> RoundedToBF16(const Context& context, MatrixView<const float> x,
                                         OperationScratch& scratch) {
  const MatrixView<uint16_t> rounded(scratch.Get<uint16_t>(x.rows * x.cols), x.rows, x.cols);
  const int64_t threads = Threads(context);
  ForEachShare(context, [&](const Context&, int64_t share) {
    const int64_t end = x.rows * (share + 1) / threads;
    for (int64_t m = x.rows * share / threads; m < end; ++m) {
      RoundToBF16(x.row(m), x.cols, rounded.row(m));
    }
  });
  return rounded;
}

}  // namespace

void OneDnnMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                  const float* bias, MatrixView<float> y, ActivationFunction f) {
  OperationScratch scratch(context);
  const bool done =
      w.format.dtype == DType::kBF16
          ? MultiplyTiles(context, RoundedToBF16(context, x, scratch),
                          {static_cast<const uint16_t*>(w.data), w.n, w.k}, bias, y, f)
          : MultiplyTiles(context, x, {static_cast<const float*>(w.data), w.n, w.k}, bias, y, f);
  // The fallback is slower but needs little memory.
  if (!done) BatchInvariantMatmul(context, x, w, bias, y, f);
}

}  // namespace whipsnake::kernels
