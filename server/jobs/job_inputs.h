// The data sets and the models that jobs begin with.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_INPUTS_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_INPUTS_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/finetune/fine_tuning_spec.h"

namespace whipsnake::server {

struct JobDataset {
  std::string id, uid, digest;
  std::string task;
  std::string path;
  engine::FileColumns columns;
};

// Finds a data set by the client's id. NOT_FOUND; FAILED_PRECONDITION for one that is not ready.
// The messages name no field. May wait for the disk. Thread-safe.
using DatasetFinder = std::function<absl::StatusOr<JobDataset>(const std::string& id)>;

// Finds the directory of a model that a client names. NOT_FOUND, or another error; its message
// names the field "model". May wait for the disk. Thread-safe.
using ModelFinder = std::function<absl::StatusOr<std::string>(const std::string& model)>;

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_INPUTS_H_
