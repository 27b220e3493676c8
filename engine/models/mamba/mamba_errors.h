// The rounding errors of a model's activations, site by site.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_ERRORS_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_ERRORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/mamba/mamba_block.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/quantize/codes.h"
#include "engine/quantize/recipe.h"

namespace whipsnake::engine {

// The scales of one site in one layer and the error with which its values are rounded.
struct SiteError {
  std::vector<float> scale;  // one per column
  RoundingError error;
};

// Rounds the values that flow through a float model as the quantized model would if its own inputs
// were exact. Pass it to MakeMamba and run held-out text.
class QuantizationError : public MambaObserver {
 public:
  // `quantized` holds the scales. `norms` are those of MambaStatistics.
  static absl::StatusOr<std::unique_ptr<QuantizationError>> Make(
      const Checkpoint& quantized, const MambaConfig& config, const Recipe& recipe,
      std::vector<std::vector<float>> norms);

  void Observe(const kernels::Context& context, int64_t layer, MambaSite site,
               kernels::MatrixView<const float> values) override;

  // Ordered by layer, then as the block's equations. The head's input has the number of layers as
  // its layer.
  const std::map<std::pair<int64_t, MambaSite>, SiteError>& sites() const { return sites_; }

 private:
  QuantizationError(const MambaConfig& config, const Recipe& recipe,
                    std::vector<std::vector<float>> norms);

  const MambaConfig config_;
  const Recipe recipe_;
  const std::vector<std::vector<float>> norms_;
  std::map<std::pair<int64_t, MambaSite>, SiteError> sites_;
  std::vector<float> scratch_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_ERRORS_H_
