// The wait for the validation of a data set.
#ifndef WHIPSNAKE_SERVER_CLI_DATASET_WAIT_H_
#define WHIPSNAKE_SERVER_CLI_DATASET_WAIT_H_

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/cli/output.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

// Shows the progress and, once each, why the validation has to be tried again: on stderr or, with
// --json, as an event. `next` returns the data set after a pause. Returns the data set once it is
// validated, or the error of `next`.
absl::StatusOr<v1::Dataset> WaitForValidation(
    v1::Dataset dataset, const Output& output,
    absl::FunctionRef<absl::StatusOr<v1::Dataset>()> next);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_DATASET_WAIT_H_
