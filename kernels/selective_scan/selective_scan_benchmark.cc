// The scan at the shapes of Mamba models: decode (a batch of runs of one token) and prefill, from
// fp32 and from codes with each dtype of the state. "each" is the time per token, channel and
// thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/cpu/cpu_context.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kStates = 16;

struct Shape {
  explicit Shape(const benchmark::State& state)
      : runs(state.range(0)), length(state.range(1)), channels(state.range(2)) {}

  int64_t rows() const { return runs * length; }
  int64_t state_size() const { return kStates * channels; }
  // In decode, a model goes through all its layers, and so through the cache, before it uses a
  // state again.
  int64_t layers() const { return length == 1 ? 24 : 1; }

  int64_t runs, length, channels;
};

std::vector<float> Uniform(int64_t n, float low, float high) {
  std::minstd_rand engine(n);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> v(n);
  for (float& x : v) x = uniform(engine);
  return v;
}

// The operands that are fp32 in all forms.
struct Weights {
  explicit Weights(const Shape& shape)
      : a(shape.layers() * shape.state_size()),
        bias(Uniform(shape.channels, -6, -2)),  // steps of about 0.002 to 0.1, as in trained models
        d(shape.channels, 1.0f) {
    for (size_t i = 0; i < a.size(); ++i) a[i] = -1.0f - i / shape.channels % kStates;
  }

  std::vector<float> a, bias, d;
};

// Runs the scan over the layers in turn. `states` holds the states of all layers and runs.
template <class Run, class T, class Operands>
void Measure(benchmark::State& state, const Shape& shape, const Weights& weights, T* states,
             Operands& operands) {
  const CpuContext cpu(state.range(3));
  operands.delta_bias = weights.bias.data();
  operands.d = weights.d.data();
  std::vector<Run> batch(shape.runs);
  int64_t layer = 0;
  for (auto _ : state) {
    for (int64_t r = 0; r < shape.runs; ++r) {
      batch[r] = {r * shape.length, shape.length,
                  states + (layer * shape.runs + r) * shape.state_size()};
    }
    operands.a = weights.a.data() + layer * shape.state_size();
    SelectiveScan(cpu.context(), batch, operands);
    layer = (layer + 1) % shape.layers();
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * shape.rows() * shape.channels / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_SelectiveScan(benchmark::State& state) {
  const Shape shape(state);
  const Weights weights(shape);
  const int64_t rows = shape.rows(), channels = shape.channels;
  std::vector<float> xz = Uniform(rows * 2 * channels, -2, 2),
                     delta = Uniform(rows * channels, -1, 1),
                     bc = Uniform(rows * 2 * kStates, -1, 1), out(rows * channels),
                     states(shape.layers() * shape.runs * shape.state_size());
  const MatrixView<float> both(xz.data(), rows, 2 * channels), dbc(bc.data(), rows, 2 * kStates);
  SelectiveScanOperands operands{.x = both.Columns(0, channels),
                                 .delta = MatrixView<float>(delta.data(), rows, channels),
                                 .b = dbc.Columns(0, kStates),
                                 .c = dbc.Columns(kStates, kStates),
                                 .z = both.Columns(channels, channels),
                                 .y = {out.data(), rows, channels}};
  Measure<ScanRun>(state, shape, weights, states.data(), operands);
}

template <class T, DType dtype>
void BM_QuantizedSelectiveScan(benchmark::State& state) {
  const Shape shape(state);
  const Weights weights(shape);
  const int64_t rows = shape.rows(), channels = shape.channels;
  const auto codes = [](int64_t n) {
    const std::vector<float> values = Uniform(n, -128, 127);
    return std::vector<int8_t>(values.begin(), values.end());
  };
  const std::vector<int8_t> x = codes(rows * channels), z = codes(rows * 2 * channels),
                            delta = codes(rows * channels), bc = codes(rows * 2 * kStates);
  const std::vector<float> wide(channels, 2.0f / 127), unit(channels, 1.0f / 127);
  std::vector<float> out(rows * channels);
  std::vector<T> states(shape.layers() * shape.runs * shape.state_size());
  const MatrixView<const int8_t> dbc(bc.data(), rows, 2 * kStates);
  QuantizedScanOperands operands{
      .x = {{x.data(), rows, channels}, wide.data()},
      .delta = {{delta.data(), rows, channels}, unit.data()},
      .b = {dbc.Columns(0, kStates), unit.data()},
      .c = {dbc.Columns(kStates, kStates), unit.data()},
      .z = {{z.data() + channels, rows, channels, 2 * channels}, wide.data()},
      .state_dtype = dtype,
      .state_scale = dtype == DType::kI8 ? unit.data() : nullptr,
      .y = {out.data(), rows, channels}};
  Measure<QuantizedScanRun>(state, shape, weights, states.data(), operands);
}

// The passes of a training step over whole sequences.
enum class Pass { kInference, kForward, kBackward };

void BM_SelectiveScanTraining(benchmark::State& state, Pass pass) {
  const CpuContext cpu(state.range(3));
  const Shape shape(state);
  const Weights weights(shape);
  const int64_t rows = shape.rows(), channels = shape.channels;
  std::vector<float> x = Uniform(rows * channels, -2, 2), z = Uniform(rows * channels, -2, 2),
                     delta = Uniform(rows * channels, -1, 1), g = Uniform(rows * channels, -1, 1),
                     b = Uniform(rows * kStates, -1, 1), c = Uniform(rows * kStates, -1, 1);
  std::vector<float> y(rows * channels), gx(y), gdelta(y), gz(y), gb(b), gc(c), gbias(channels),
      ga(shape.state_size()), gd(channels);
  const auto wide = [&](std::vector<float>& v) {
    return MatrixView<float>(v.data(), rows, channels);
  };
  const auto narrow = [&](std::vector<float>& v) {
    return MatrixView<float>(v.data(), rows, kStates);
  };
  const SelectiveScanOperands operands{.x = wide(x),
                                       .delta = wide(delta),
                                       .delta_bias = weights.bias.data(),
                                       .a = weights.a.data(),
                                       .b = narrow(b),
                                       .c = narrow(c),
                                       .d = weights.d.data(),
                                       .z = wide(z),
                                       .y = wide(y)};
  const SelectiveScanGradients gradients{.x = wide(gx),
                                         .delta = wide(gdelta),
                                         .b = narrow(gb),
                                         .c = narrow(gc),
                                         .z = wide(gz),
                                         .delta_bias = gbias.data(),
                                         .a = ga.data(),
                                         .d = gd.data()};
  std::vector<float> h(shape.runs * shape.state_size());
  std::vector<ScanRun> runs;
  std::vector<RowRange> sequences;
  for (int64_t r = 0; r < shape.runs; ++r) {
    runs.push_back({r * shape.length, shape.length, h.data() + r * shape.state_size()});
    sequences.push_back({r * shape.length, shape.length});
  }
  std::vector<float> states(ScanChunks(sequences) * shape.state_size());
  SelectiveScanForTraining(cpu.context(), sequences, operands, states.data());
  for (auto _ : state) {
    switch (pass) {
      case Pass::kInference:
        SelectiveScan(cpu.context(), runs, operands);
        break;
      case Pass::kForward:
        SelectiveScanForTraining(cpu.context(), sequences, operands, states.data());
        break;
      case Pass::kBackward:
        SelectiveScanBackward(cpu.context(), sequences, operands, states.data(), wide(g),
                              gradients);
    }
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * rows * channels / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"runs", "length", "channels", "threads"})
      ->ArgsProduct({{1, 32}, {1}, {1536, 4096}, {1, 2}})
      ->ArgsProduct({{1}, {16, 512}, {1536, 4096}, {1, 2}})
      ->UseRealTime();
}
BENCHMARK(BM_SelectiveScan)->Apply(Shapes);
BENCHMARK_TEMPLATE(BM_QuantizedSelectiveScan, float, DType::kF32)->Apply(Shapes);
BENCHMARK_TEMPLATE(BM_QuantizedSelectiveScan, uint16_t, DType::kBF16)->Apply(Shapes);
BENCHMARK_TEMPLATE(BM_QuantizedSelectiveScan, int8_t, DType::kI8)->Apply(Shapes);

void TrainingShapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "length", "channels", "threads"})
      ->ArgsProduct({{4}, {256}, {1536}, {1, 2}})
      ->UseRealTime();
}
BENCHMARK_CAPTURE(BM_SelectiveScanTraining, inference, Pass::kInference)->Apply(TrainingShapes);
BENCHMARK_CAPTURE(BM_SelectiveScanTraining, forward, Pass::kForward)->Apply(TrainingShapes);
BENCHMARK_CAPTURE(BM_SelectiveScanTraining, backward, Pass::kBackward)->Apply(TrainingShapes);

}  // namespace
}  // namespace whipsnake::kernels
