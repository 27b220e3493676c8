#include "server/config/config.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "server/config/config_file.h"
#include "server/config/model_entry.h"
#include "server/config/setting.h"

namespace whipsnake::server {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

// What a file's value of each kind has to be.
std::string_view Expected(ValueKind kind) {
  switch (kind) {
    case ValueKind::kBoolean:
      return "true or false";
    case ValueKind::kInteger:
      return "an integer";
    case ValueKind::kNumber:
      return "a number";
    case ValueKind::kBytes:
      return "a number of bytes, or a text with a unit such as \"2GiB\"";
    case ValueKind::kDuration:
      return "a number of seconds, or a text with a unit such as \"25s\"";
    case ValueKind::kText:
    case ValueKind::kPath:
    case ValueKind::kAddress:
      return "a text";
    case ValueKind::kTexts:
    case ValueKind::kModels:
      return "a list";
  }
  return "";
}

bool HasType(const Json& value, ValueKind kind) {
  switch (kind) {
    case ValueKind::kBoolean:
      return value.is_boolean();
    case ValueKind::kInteger:
      return value.is_number_integer();
    case ValueKind::kNumber:
      return value.is_number();
    case ValueKind::kBytes:
      return value.is_number_integer() || value.is_string();
    case ValueKind::kDuration:
      return value.is_number() || value.is_string();
    case ValueKind::kText:
    case ValueKind::kPath:
    case ValueKind::kAddress:
      return value.is_string();
    case ValueKind::kTexts:
      return value.is_array() &&
             std::ranges::all_of(value, [](const Json& each) { return each.is_string(); });
    case ValueKind::kModels:
      return value.is_array();
  }
  return false;
}

std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Paths in a file begin at its directory.
std::string Resolved(const ConfigFile& file, ValueKind kind, std::string text) {
  constexpr std::string_view kUnix = "unix:";
  if (kind == ValueKind::kPath) return file.Resolve(text);
  if (kind == ValueKind::kAddress && text.starts_with(kUnix)) {
    return absl::StrCat("unix:", file.Resolve(text.substr(kUnix.size())));
  }
  return text;
}

// Fills in a Config, source by source.
class Reader {
 public:
  Reader(const ConfigSources& sources, ConfigChecks checks) : sources_(sources), checks_(checks) {}

  Config Read() {
    ReadFile();
    for (const Setting& setting : Settings()) {
      if (setting.kind != ValueKind::kModels) ReadSetting(setting);
    }
    ReadModels();
    Check();
    return std::move(config_);
  }

 private:
  void ReadFile() {
    if (sources_.file.empty()) return;
    absl::StatusOr<ConfigFile> file = ReadConfigFile(sources_.file);
    if (!file.ok()) {
      AddErrors(engine::ViolationsOf(file.status()).empty()
                    ? engine::WithContext(file.status(), "--config")
                    : file.status(),
                config_.errors);
      return;
    }
    file_ = *std::move(file);
    Texts known;
    for (const Setting& setting : Settings()) known.push_back(setting.field);
    CheckFields(*file_, "", file_->document, known, config_.errors);
  }

  void ReadSetting(const Setting& setting) {
    Set(setting, Origin::kDefault, setting.flag, {});
    if (file_ && file_->document.contains(setting.field)) ReadField(setting);
    if (const auto found = sources_.environment.find(setting.field);
        found != sources_.environment.end()) {
      const bool is_list = setting.kind == ValueKind::kTexts;
      Set(setting, Origin::kEnvironment, setting.variable,
          is_list ? Texts(absl::StrSplit(found->second, ',')) : Texts{found->second});
    }
    if (const auto found = sources_.flags.find(setting.field); found != sources_.flags.end()) {
      Set(setting, Origin::kFlag, setting.flag, found->second);
    }
  }

  void ReadField(const Setting& setting) {
    const Json& value = file_->document[setting.field];
    const std::string place = file_->Place(setting.field);
    if (!HasType(value, setting.kind)) {
      AddErrors(engine::InvalidField(place, engine::Described(value), Expected(setting.kind)),
                config_.errors);
      return;
    }
    Texts texts;
    if (value.is_array()) {
      for (const Json& each : value) texts.push_back(TextOf(each));
    } else {
      texts.push_back(Resolved(*file_, setting.kind, TextOf(value)));
    }
    Set(setting, Origin::kFile, place, texts);
  }

  // Without texts, notes only that the setting has its default.
  void Set(const Setting& setting, Origin origin, const std::string& place, const Texts& texts) {
    config_.origins[setting.field] = origin;
    places_[setting.flag] = place;
    if (origin == Origin::kDefault) return;
    AddErrors(setting.set(place, texts, config_.options), config_.errors);
  }

  void ReadModels() {
    const Setting& setting = *FindSetting("models");
    Set(setting, Origin::kDefault, setting.flag, {});
    if (file_ && file_->document.contains(setting.field)) {
      AddModels(Origin::kFile,
                ReadModelEntries(*file_, config_.options.model_root, config_.errors));
    }
    std::vector<NamedModel> named;
    if (const auto found = sources_.environment.find(setting.field);
        found != sources_.environment.end()) {
      for (const std::string& text : Texts(absl::StrSplit(found->second, ','))) {
        named.push_back(ParseModelFlag(setting.variable, text));
      }
      AddModels(Origin::kEnvironment, std::exchange(named, {}));
    }
    if (const auto found = sources_.flags.find(setting.field); found != sources_.flags.end()) {
      for (const std::string& text : found->second) {
        named.push_back(ParseModelFlag(setting.flag, text));
      }
      AddModels(Origin::kFlag, std::move(named));
    }
  }

  // Adds the models of a source, each in the place of the one of this name of an earlier source.
  void AddModels(Origin origin, std::vector<NamedModel> models) {
    config_.origins["models"] = origin;
    std::vector<NamedModel>& all = config_.options.models;
    const size_t earlier = all.size();
    for (NamedModel& model : models) {
      if (!ResolveModel(config_.options.model_root, model, config_.errors)) continue;
      const auto end = all.begin() + static_cast<std::ptrdiff_t>(earlier);
      const auto same = std::find_if(
          all.begin(), end, [&](const NamedModel& other) { return other.name == model.name; });
      if (same != end) {
        *same = std::move(model);
      } else {
        all.push_back(std::move(model));
      }
    }
  }

  // Checks the options, and says of each fault where its value comes from.
  void Check() {
    auto faults = checks_ == ConfigChecks::kValues ? FindWrongValues(config_.options)
                                                   : FindFaults(config_.options);
    for (engine::FieldViolation& fault : faults) {
      const auto place = places_.find(fault.field);
      if (place != places_.end() && fault.message.starts_with(fault.field)) {
        fault.message = place->second + fault.message.substr(fault.field.size());
        fault.field = place->second;
      }
      config_.errors.push_back(std::move(fault));
    }
    if (config_.errors.empty() && config_.options.models.empty() &&
        config_.options.model_root.empty()) {
      config_.errors.push_back(
          {.field = "--model",
           .message = "nothing to serve: give --model NAME=DIR, or --model-root DIR for models "
                      "that clients load"});
    }
  }

  const ConfigSources& sources_;
  const ConfigChecks checks_;
  std::optional<ConfigFile> file_;
  std::map<std::string, std::string> places_;  // by flag: where the value comes from
  Config config_;
};

}  // namespace

std::string_view Name(Origin origin) {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kFile:
      return "file";
    case Origin::kEnvironment:
      return "environment";
    case Origin::kFlag:
      return "flag";
  }
  return "";
}

std::map<std::string, std::string> ReadEnvironment() {
  std::map<std::string, std::string> values;
  for (const Setting& setting : Settings()) {
    const char* const value = std::getenv(setting.variable.c_str());
    if (value != nullptr && *value != 0) values[setting.field] = value;
  }
  return values;
}

absl::Status Config::status() const {
  if (errors.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(
      errors, "\n",
      [](std::string* text, const engine::FieldViolation& error) { text->append(error.message); }));
}

Config ReadConfig(const ConfigSources& sources, ConfigChecks checks) {
  return Reader(sources, checks).Read();
}

ConfigChanges ApplyLiveSettings(const DaemonOptions& wanted, DaemonOptions& options) {
  ConfigChanges changes;
  for (const Setting& setting : Settings()) {
    const Json before = setting.get(options), after = setting.get(wanted);
    if (before == after) continue;
    if (setting.reloads) {
      changes.live.push_back(
          absl::StrCat(setting.field, ": ", TextOf(before), " to ", TextOf(after)));
      setting.copy(wanted, options);
    } else {
      changes.restart.push_back(setting.field);
    }
  }
  return changes;
}

}  // namespace whipsnake::server
