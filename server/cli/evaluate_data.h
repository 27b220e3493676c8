// whipsnake evaluate --data: how well a model does a task.
#ifndef WHIPSNAKE_SERVER_CLI_EVALUATE_DATA_H_
#define WHIPSNAKE_SERVER_CLI_EVALUATE_DATA_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/models/model.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/cli/command.h"
#include "server/cli/output.h"

namespace whipsnake::server {

struct TaskFlags {
  std::string data;
  std::string task;
  std::string reference;
  double dpo_beta = 0.1;
  std::optional<int64_t> max_length;
  int64_t batch = 8;
  std::string label_column;
  bool no_header = false;
};

// Adds the options that belong to `data`, the option --data.
void AddTaskFlags(Command command, Option data, TaskFlags& flags);

// A model directory that is being evaluated, and what it was loaded with.
struct EvaluatedModel {
  std::string directory;
  engine::ModelOptions options;
  engine::ModelEnvironment environment;
  engine::Model* model = nullptr;
  const engine::Tokenizer* tokenizer = nullptr;
};

// What an evaluation found: the keys for tools, and lines for people, of which the last has no end
// yet.
struct Findings {
  Json json;
  std::string text;
};

absl::StatusOr<Findings> EvaluateData(const TaskFlags& flags, const EvaluatedModel& evaluated);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_EVALUATE_DATA_H_
