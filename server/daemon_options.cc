#include "server/daemon_options.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "server/access/exposure.h"
#include "server/config/setting.h"
#include "server/registry/model_name.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using engine::FieldViolation;
using engine::InvalidField;

constexpr std::string_view kOff = "off";

// Collects what is wrong.
class Faults {
 public:
  // The status is OK or names its fields.
  void Add(const absl::Status& status) {
    for (FieldViolation& each : engine::ViolationsOf(status)) found_.push_back(std::move(each));
  }
  void Add(FieldViolation fault) { found_.push_back(std::move(fault)); }
  std::vector<FieldViolation> Take() { return std::move(found_); }

 private:
  std::vector<FieldViolation> found_;
};

absl::StatusOr<ListenAddress> CheckedAddress(const std::string& text, std::string_view flag,
                                             const DaemonOptions& options) {
  ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(text, flag));
  RETURN_IF_ERROR(CheckExposure(flag, address, options.access, options.insecure_listen));
  std::error_code error;
  if (address.is_unix() && !fs::is_directory(engine::ParentOf(address.path()), error)) {
    return InvalidField(flag, text, "a path in a directory that exists");
  }
  return address;
}

void CheckAddresses(const DaemonOptions& options, Faults& faults) {
  const auto grpc = CheckedAddress(options.listen, "--listen", options);
  faults.Add(grpc.status());
  if (options.http == kOff) {
    if (options.console.value_or(false)) {
      faults.Add(InvalidField("--console", "on", "off or auto if --http is off"));
    }
    return;
  }
  const auto http = CheckedAddress(options.http, "--http", options);
  faults.Add(http.status());
  if (grpc.ok() && http.ok() && grpc->ToString() == http->ToString() &&
      (grpc->is_unix() || grpc->port() != 0)) {
    faults.Add(InvalidField("--http", options.http, "another address than that of --listen"));
  }
}

// Whether the data directory is there, or can be made: its nearest ancestor that exists is a
// directory to write to.
absl::Status CheckDataDirectory(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  std::error_code error;
  std::string existing = engine::StripTrailingSlashes(path);
  while (!fs::exists(existing, error) && existing != engine::ParentOf(existing)) {
    existing = engine::ParentOf(existing);
  }
  const char* const reason = !fs::is_directory(existing, error)           ? std::strerror(ENOTDIR)
                             : access(existing.c_str(), W_OK | X_OK) != 0 ? std::strerror(errno)
                                                                          : nullptr;
  if (reason == nullptr) return absl::OkStatus();
  return InvalidField("--data", path,
                      absl::StrCat("a directory to write to: ", existing, ": ", reason));
}

// Those of the options for all models that apply to the model, and its own. All of them if its
// config cannot be read: loading the model then reports the error.
engine::ModelOptions OptionsOf(const NamedModel& model, const DaemonOptions& options,
                               std::vector<absl::Status>& left_out) {
  const auto own = engine::ParseModelOptions(model.scheme, model.state_type);
  const auto all = engine::ParseModelOptions(options.scheme, options.state_type);
  engine::ModelOptions merged = all.ok() ? *all : engine::ModelOptions();
  if (const auto config = engine::ReadModelConfig(model.directory); config.ok()) {
    merged = engine::ApplicableOptions(merged, *config, left_out);
  }
  if (own.ok() && own->scheme) merged.scheme = own->scheme;
  if (own.ok() && own->state_type) merged.state_type = own->state_type;
  return merged;
}

// The directory has a config.json that can be read, and the model supports the options that it was
// given for itself.
absl::Status CheckDirectory(const NamedModel& model, const DaemonOptions& options) {
  const std::string file = model.directory + "/config.json";
  if (const absl::Status opened = engine::OpenRegularFile(file).status(); !opened.ok()) {
    const bool flag = model.place == "--model";
    return InvalidField(model.place,
                        flag ? absl::StrCat(model.name, "=", model.directory) : model.directory,
                        absl::StrCat("a model directory, but ",
                                     absl::IsNotFound(opened) ? absl::StrCat("there is no ", file)
                                                              : std::string(opened.message()),
                                     " (--allow-missing serves without it)"));
  }
  const auto at_place = [&](const absl::Status& status) {
    return engine::InvalidFields(
        {{.field = model.place, .message = absl::StrCat(model.place, ": ", status.message())}});
  };
  const auto config = engine::ReadModelConfig(model.directory);
  if (!config.ok()) return at_place(config.status());
  std::vector<absl::Status> left_out;
  const absl::Status fits = engine::CheckOptions(OptionsOf(model, options, left_out), *config);
  return fits.ok() ? fits : at_place(fits);
}

void CheckModels(const DaemonOptions& options, Faults& faults) {
  for (size_t i = 0; i < options.models.size(); ++i) {
    const NamedModel& model = options.models[i];
    faults.Add(CheckModelName(model.name, model.place));
    const auto same = [&](const NamedModel& other) { return other.name == model.name; };
    const auto end = options.models.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(options.models.begin(), end, same)) {
      faults.Add(InvalidField(model.place, model.name + " twice", "different names"));
    }
    if (options.loader == nullptr && !options.allow_missing) {
      faults.Add(CheckDirectory(model, options));
    }
  }
}

}  // namespace

std::vector<FieldViolation> FindWrongValues(const DaemonOptions& options) {
  Faults faults;
  for (const Setting& setting : Settings()) faults.Add(setting.check(options));
  if (options.rpc_buffer_bytes != 0 && options.rpc_buffer_bytes < kMinRpcBufferBytes) {
    faults.Add(InvalidField("--rpc-buffer-bytes", std::to_string(options.rpc_buffer_bytes),
                            absl::StrCat("0 (by the memory) or at least ", kMinRpcBufferBytes)));
  }
  return faults.Take();
}

std::vector<FieldViolation> FindFaults(const DaemonOptions& options) {
  Faults faults;
  for (FieldViolation& each : FindWrongValues(options)) faults.Add(std::move(each));
  std::error_code error;
  if (!options.model_root.empty() && !fs::is_directory(options.model_root, error)) {
    faults.Add(InvalidField("--model-root", options.model_root, "a directory"));
  }
  faults.Add(CheckDataDirectory(options.data));
  CheckAddresses(options, faults);
  for (FieldViolation& each : FindAccessFaults(options.access)) faults.Add(std::move(each));
  CheckModels(options, faults);
  return faults.Take();
}

ListenAddress GrpcAddress(const DaemonOptions& options) {
  return *ListenAddress::Parse(options.listen, "--listen");
}

std::optional<ListenAddress> HttpAddress(const DaemonOptions& options) {
  if (options.http == kOff) return std::nullopt;
  return *ListenAddress::Parse(options.http, "--http");
}

std::vector<ModelSource> StartupModels(const DaemonOptions& options) {
  std::vector<ModelSource> sources;
  for (const NamedModel& model : options.models) {
    if (!model.preload) continue;
    std::vector<absl::Status> left_out;
    sources.push_back({.name = model.name,
                       .directory = model.directory,
                       .shown_path = model.directory,
                       .options = OptionsOf(model, options, left_out),
                       .at_startup = true});
    for (const absl::Status& reason : left_out) {
      Log(LogLevel::kInfo, "an option for all models does not apply to a model",
          {{"model", model.name}, {"reason", std::string(reason.message())}});
    }
  }
  return sources;
}

}  // namespace whipsnake::server
