#include "engine/models/parameter_spec.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kPiece = int64_t{1} << 16;  // number of floats that are drawn at a time

}  // namespace

int64_t CountParameters(std::span<const ParameterSpec> parameters) {
  int64_t count = 0;
  for (const ParameterSpec& parameter : parameters) count += parameter.elements();
  return count;
}

std::vector<NamedTensor> InitialTensors(std::span<const ParameterSpec> parameters, uint64_t seed,
                                        const std::function<void(double)>& progress) {
  const auto written = std::make_shared<int64_t>(0);
  const int64_t total = CountParameters(parameters);
  std::vector<NamedTensor> tensors;
  for (const ParameterSpec& parameter : parameters) {
    const auto produce = [&parameter, &progress, written, total,
                          random =
                              Randomness(seed, parameter.name)](const NamedTensor::Append& append) {
      const int64_t count = parameter.elements();
      std::vector<float> piece;
      for (int64_t first = 0; first < count; first += kPiece) {
        piece.resize(std::min(kPiece, count - first));
        parameter.initial(random, first, piece);
        RETURN_IF_ERROR(append(std::as_bytes(std::span(piece))));
        *written += std::ssize(piece);
        if (progress) progress(static_cast<double>(*written) / total);
      }
      return absl::OkStatus();
    };
    NamedTensor& tensor = tensors.emplace_back();
    tensor.name = parameter.name;
    tensor.tensor = {kernels::DType::kF32, parameter.shape, {}};
    tensor.produce = produce;
  }
  return tensors;
}

}  // namespace whipsnake::engine
