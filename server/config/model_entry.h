// The models of a configuration: `models` in the file, --model and WHIPSNAKE_MODELS.
#ifndef WHIPSNAKE_SERVER_CONFIG_MODEL_ENTRY_H_
#define WHIPSNAKE_SERVER_CONFIG_MODEL_ENTRY_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/field_errors.h"
#include "server/config/config_file.h"
#include "server/daemon_options.h"

namespace whipsnake::server {

// The fields of an entry of `models`.
const std::vector<std::string>& ModelFields();

// Reads `models` of a file; adds to `errors` what is wrong. A directory is relative to that of the
// file, or a model of a Hugging Face cache, such as `model_root`.
std::vector<NamedModel> ReadModelEntries(const ConfigFile& file, const std::string& model_root,
                                         std::vector<engine::FieldViolation>& errors);

// Reads "[NAME=]DIR". The result has no name if the text has none.
NamedModel ParseModelFlag(std::string_view place, std::string_view text);

// Finds the directory that the operator means, which may be a model of a Hugging Face cache, such
// as `model_root`; that gives a model without a name its name. Returns whether there was such a
// directory and name; adds to `errors` why not.
bool ResolveModel(const std::string& model_root, NamedModel& model,
                  std::vector<engine::FieldViolation>& errors);

// The inverse of ReadModelEntries: what is set, as the file has it.
nlohmann::ordered_json ModelEntries(const std::vector<NamedModel>& models);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONFIG_MODEL_ENTRY_H_
