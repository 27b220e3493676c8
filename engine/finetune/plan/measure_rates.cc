#include "engine/finetune/plan/measure_rates.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/models/family.h"
#include "kernels/activation/activation.h"
#include "kernels/addition/addition.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/product/product.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/sequence_attention/sequence_attention.h"

namespace whipsnake::engine {
namespace {

using kernels::Context;
using kernels::MatrixView;

constexpr int64_t kMaxRows = 1024;
constexpr int64_t kMaxParameters = 1 << 22;
constexpr int64_t kHeadWidth = 64;
constexpr int64_t kStates = 16;
constexpr double kSecondsOfPart = 0.06;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The seconds of the fastest of several runs, after one that fetches memory.
double FastestRun(const std::function<void()>& run) {
  run();
  double fastest = INFINITY;
  const double start = Now();
  for (double begin = start; begin - start < kSecondsOfPart;) {
    run();
    const double end = Now();
    fastest = std::min(fastest, end - begin);
    begin = end;
  }
  return fastest;
}

// A matrix of small numbers, so that no sum or exponential leaves its range.
class Operand {
 public:
  Operand(int64_t rows, int64_t cols) : cols_(cols), values_(rows * cols) {
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = static_cast<float>(i * 7 % 31) / 310 - 0.05f;
    }
  }
  MatrixView<float> operator*() { return {values_.data(), std::ssize(values_) / cols_, cols_}; }
  float* data() { return values_.data(); }

 private:
  int64_t cols_;
  std::vector<float> values_;
};

// The three products of a linear layer in training: y = x Wᵀ, gx = g W, gW = gᵀ x.
double ProductRate(const Context& context, const RateShape& shape, int64_t rows) {
  const int64_t inner = 4 * shape.width;
  Operand x(rows, shape.width), w(inner, shape.width), y(rows, inner), g(rows, inner);
  Operand gx(rows, shape.width), gw(inner, shape.width);
  const auto product = [&](Operand& a, bool transpose_a, Operand& b, bool transpose_b, Operand& c) {
    kernels::ProductOperands operands;
    operands.a = {*a, transpose_a};
    operands.b = {*b, transpose_b};
    operands.c = *c;
    kernels::Product(context, shape.arithmetic, operands);
  };
  const double seconds = FastestRun([&] {
    product(x, false, w, true, y);
    product(g, false, w, false, gx);
    product(g, true, x, false, gw);
  });
  return 3 * PassCost::Product(rows, inner, shape.width).product_flops / seconds;
}

// Forward, with two products of each query and key, and backward, with five.
double AttentionRate(const Context& context, const RateShape& shape,
                     const std::vector<kernels::RowRange>& sequences, int64_t rows) {
  const int64_t heads = std::max<int64_t>(shape.width / kHeadWidth, 1);
  const int64_t d = heads * kHeadWidth;
  Operand qkv(rows, 3 * d), gradients(rows, 3 * d), y(rows, d), g(rows, d), row_sums(rows, heads);
  const auto columns = [&](Operand& of, int64_t i) { return (*of).Columns(i * d, d); };
  const kernels::SequenceAttentionOperands operands{.q = columns(qkv, 0),
                                                    .k = columns(qkv, 1),
                                                    .v = columns(qkv, 2),
                                                    .heads = heads,
                                                    .scale = 0.125f,
                                                    .dropout = {}};
  const double seconds = FastestRun([&] {
    kernels::SequenceAttention(context, sequences, operands, *y, row_sums.data());
    kernels::SequenceAttentionBackward(
        context, sequences, operands, *y, row_sums.data(), *g,
        {columns(gradients, 0), columns(gradients, 1), columns(gradients, 2)});
  });
  const auto length = static_cast<double>(shape.length);
  const double pairs = static_cast<double>(sequences.size()) * length * (length + 1) / 2;
  return 2 * 7 * pairs * static_cast<double>(d) / seconds;
}

// Forward, and backward, which counts twice.
double ScanRate(const Context& context, const RateShape& shape,
                const std::vector<kernels::RowRange>& sequences, int64_t rows) {
  const int64_t E = 2 * shape.width, N = kStates;
  Operand x(rows, E), delta(rows, E), z(rows, E), y(rows, E), g(rows, E), b(rows, N), c(rows, N);
  Operand a(N, E), skip(1, E), bias(1, E), states(kernels::ScanChunks(sequences), N * E);
  Operand gx(rows, E), gdelta(rows, E), gz(rows, E), gb(rows, N), gc(rows, N);
  const kernels::SelectiveScanOperands operands{.x = *x,
                                                .delta = *delta,
                                                .delta_bias = bias.data(),
                                                .a = a.data(),
                                                .b = *b,
                                                .c = *c,
                                                .d = skip.data(),
                                                .z = *z,
                                                .y = *y};
  const double seconds = FastestRun([&] {
    kernels::SelectiveScanForTraining(context, sequences, operands, states.data());
    kernels::SelectiveScanBackward(context, sequences, operands, states.data(), *g,
                                   {.x = *gx, .delta = *gdelta, .b = *gb, .c = *gc, .z = *gz});
  });
  return 3 * static_cast<double>(rows * E * N) / seconds;
}

// The kernels between the products of a block, and the update of parameters.
double ByteRate(const Context& context, const RateShape& shape, int64_t rows) {
  const int64_t d = shape.width, inner = 4 * d;
  Operand x(rows, d), g(rows, d), gx(rows, d), u(rows, inner), gu(rows, inner), y(rows, inner);
  const int64_t n = shape.parameters;
  Operand gamma(1, d), w(1, n), gw(1, n), m(1, n), v(1, n);
  std::fill_n(v.data(), n, 1.0f);
  const kernels::LayerNormWeights norm{gamma.data(), gamma.data(), 1e-5f};
  const kernels::ActivationFunction gelu{kernels::Activation::kGeluNew};
  const double seconds = FastestRun([&] {
    kernels::LayerNormBackward(context, *x, norm, *g, {.x = *gx});
    kernels::Add(context, *x, *g, *gx);
    kernels::Activate(context, gelu, u.data(), rows * inner, y.data());
    kernels::ActivateBackward(context, gelu, u.data(), y.data(), rows * inner, gu.data());
    kernels::Update(context, kernels::AdamW{}, gw.data(), n, w.data(), m.data(), v.data());
  });
  const int64_t numbers = (4 + 3) * rows * d + (2 + 3) * rows * inner + 7 * n;
  return PassCost::Numbers(numbers).bytes / seconds;
}

}  // namespace

RateShape RateShape::Of(const PlannedRun& run) {
  int64_t length = 1;
  for (const Example& example : run.training.examples) {
    for (const auto& sequence : example.sequences) {
      length = std::max(length, std::ssize(sequence));
    }
  }
  length = std::min(length, kMaxRows);
  return {.sequences = std::clamp<int64_t>(run.training.tokens() / length, 1, kMaxRows / length),
          .length = length,
          .width = run.config->family->parameters(*run.config).front().shape.back(),
          .parameters = std::clamp<int64_t>(run.config->parameters, 1, kMaxParameters),
          .arithmetic = run.options.arithmetic};
}

ComputeRates MeasureRates(Executor& executor, const RateShape& shape) {
  std::vector<kernels::RowRange> sequences;
  for (int64_t i = 0; i < shape.sequences; ++i) {
    sequences.push_back({i * shape.length, shape.length});
  }
  const int64_t rows = shape.sequences * shape.length;
  ComputeRates rates;
  executor.Run(Priority::kTraining, [&](const Context& context) {
    rates.product_flops = ProductRate(context, shape, rows);
    rates.attention_flops = AttentionRate(context, shape, sequences, rows);
    rates.scan_elements = ScanRate(context, shape, sequences, rows);
    rates.bytes = ByteRate(context, shape, rows);
  });
  return rates;
}

double EstimateSeconds(const PassCost& cost, const ComputeRates& rates) {
  return cost.product_flops / rates.product_flops + cost.attention_flops / rates.attention_flops +
         cost.scan_elements / rates.scan_elements + cost.bytes / rates.bytes;
}

}  // namespace whipsnake::engine
