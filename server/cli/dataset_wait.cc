#include "server/cli/dataset_wait.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/cli/progress.h"

namespace whipsnake::server {

absl::StatusOr<v1::Dataset> WaitForValidation(
    v1::Dataset dataset, const Output& output,
    absl::FunctionRef<absl::StatusOr<v1::Dataset>()> next) {
  Progress progress("Validating");
  std::string shown;
  while (dataset.state() == v1::DATASET_STATE_VALIDATING) {
    if (!dataset.error().empty() && dataset.error() != shown) {
      shown = dataset.error();
      if (output.json()) {
        output.Object({{"event", "message"}, {"text", shown}});
      } else {
        progress.Say(absl::StrCat("data set ", dataset.id(), " ", shown));
      }
    }
    progress.Set(dataset.fraction());
    ASSIGN_OR_RETURN(dataset, next());
  }
  return dataset;
}

}  // namespace whipsnake::server
