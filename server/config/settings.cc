// The table of all settings.
#include <chrono>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status.h"
#include "server/config/codec.h"
#include "server/config/model_entry.h"
#include "server/config/setting.h"

namespace whipsnake::server {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// Far more than any machine needs; each costs memory or time when the server starts.
constexpr int kMostThreads = 1024;
constexpr int64_t kMostRunning = 16384;

// A function from options, constant or not, to the part of them that a setting sets.
#define WHIPSNAKE_PART(member) \
  [](auto& options) -> auto& { return options.member; }

std::string VariableOf(const std::string& field) {
  return absl::StrCat("WHIPSNAKE_", absl::AsciiStrToUpper(field));
}

// A setting whose flag is its field's name.
Setting Named(const std::string& field, ValueKind kind, std::string value_name,
              std::string description) {
  return {.field = field,
          .flag = absl::StrCat("--", absl::StrReplaceAll(field, {{"_", "-"}})),
          .variable = VariableOf(field),
          .value_name = std::move(value_name),
          .description = std::move(description),
          .kind = kind};
}

template <typename Value, typename Part>
Setting Scalar(const std::string& field, Codec<Value> codec, Part part, std::string description) {
  Setting setting = Named(field, codec.kind, codec.value_name, std::move(description));
  setting.choices = codec.choices;
  setting.set = [parse = codec.parse, part](std::string_view place,
                                            std::span<const std::string> texts,
                                            DaemonOptions& options) {
    ASSIGN_OR_RETURN(part(options), parse(place, texts.back()));
    return absl::OkStatus();
  };
  setting.get = [show = codec.show, part](const DaemonOptions& options) {
    return show(part(options));
  };
  setting.check = [check = codec.check, part, flag = setting.flag](const DaemonOptions& options) {
    return check(flag, part(options));
  };
  setting.copy = [part](const DaemonOptions& from, DaemonOptions& to) { part(to) = part(from); };
  return setting;
}

// A setting that a reload changes.
Setting Live(Setting setting) {
  setting.reloads = true;
  return setting;
}

Setting Models() {
  Setting setting =
      Named("models", ValueKind::kModels, "[NAME=]DIR",
            "A model to load at the start: its directory, or a model of a Hugging "
            "Face cache by its path or as Org/Name. NAME is otherwise Org/Name or the "
            "last part of the directory; repeatable. Replaces the model of this name in the file");
  setting.flag = "--model";
  setting.get = [](const DaemonOptions& options) { return ModelEntries(options.models); };
  setting.check = [](const DaemonOptions&) { return absl::OkStatus(); };  // by FindFaults
  setting.copy = [](const DaemonOptions& from, DaemonOptions& to) { to.models = from.models; };
  return setting;
}

Setting ConsoleHosts() {
  static constexpr auto kPart = WHIPSNAKE_PART(console_hosts);
  Setting setting = Named("console_hosts", ValueKind::kTexts, "HOST",
                          "A further host name under which browsers reach the console; repeatable");
  setting.flag = "--console-host";
  setting.set = [](std::string_view, std::span<const std::string> texts, DaemonOptions& options) {
    kPart(options).assign(texts.begin(), texts.end());
    return absl::OkStatus();
  };
  setting.get = [](const DaemonOptions& options) { return Json(kPart(options)); };
  setting.check = [](const DaemonOptions&) { return absl::OkStatus(); };
  setting.copy = [](const DaemonOptions& from, DaemonOptions& to) { kPart(to) = kPart(from); };
  return setting;
}

std::vector<Setting> ModelSettings() {
  return {
      Models(),
      Scalar("allow_missing", Boolean(), WHIPSNAKE_PART(allow_missing),
             "Serves the other models if one is missing or cannot be loaded; without it, that ends "
             "the program"),
      Scalar("model_root", Path(), WHIPSNAKE_PART(model_root),
             "Directory of the models that clients may load"),
      Scalar("scheme", Word({"fp32", "bf16"}), WHIPSNAKE_PART(scheme),
             "Type of the float weights of the models that are loaded at the start: fp32 or bf16 "
             "(default: fp32); quantized models keep theirs"),
      Scalar("state_type", Word({"fp32", "bf16", "int8"}), WHIPSNAKE_PART(state_type),
             "Type of the states of these models: fp32, bf16 or int8 (default: the type of the "
             "weights for a transformer, fp32 for a Mamba). A Mamba with float weights always has "
             "fp32"),
  };
}

std::vector<Setting> AddressSettings() {
  return {
      Scalar("listen", Address(), WHIPSNAKE_PART(listen),
             "The gRPC address; port 0 takes a free one. unix:PATH is a Unix socket"),
      Scalar("http", Address(), WHIPSNAKE_PART(http),
             "The address of /metrics, /healthz, /readyz and /console, or off"),
      Scalar("socket_mode", FileMode(), WHIPSNAKE_PART(socket_mode),
             "Permissions of the files of Unix sockets"),
      Scalar("console", OnOffAuto(), WHIPSNAKE_PART(console),
             "The page /console, which shows models and jobs and sends prompts: on, off, or auto, "
             "on if only this machine reaches the address of --http"),
      ConsoleHosts(),
      Scalar("insecure_listen", Boolean(), WHIPSNAKE_PART(insecure_listen),
             "Allows addresses that other machines can reach, although nothing is encrypted"),
      Scalar(
          "reflection", OnOffAuto(), WHIPSNAKE_PART(access.reflection),
          "Server reflection, by which clients ask for the API without a token: on, off, or auto, "
          "on if there are no tokens"),
  };
}

std::vector<Setting> AccessSettings() {
  return {
      Scalar("tokens", File(), WHIPSNAKE_PART(access.tokens),
             "File of the tokens that callers need; 'whipsnake token create' adds one. Without it, "
             "everyone who reaches a port may do everything"),
      Scalar("tls_cert", File(), WHIPSNAKE_PART(access.tls.certificate),
             "Certificate of the server, then those that lead to its authority, in PEM: both ports "
             "speak TLS"),
      Scalar("tls_key", File(), WHIPSNAKE_PART(access.tls.key),
             "Private key of --tls-cert, in PEM"),
      Scalar("tls_client_ca", File(), WHIPSNAKE_PART(access.tls.client_ca),
             "Certificates of authorities, in PEM: clients need a certificate of one of them"),
  };
}

std::vector<Setting> ResourceSettings() {
  return {
      Scalar("threads", SmallInteger(0, kMostThreads), WHIPSNAKE_PART(threads),
             "Compute threads; 0: all available"),
      Scalar("memory_fraction", Number(0, 1), WHIPSNAKE_PART(memory_fraction),
             "Fraction of the memory that models may use"),
      Scalar("max_connections", Integer(1), WHIPSNAKE_PART(max_connections),
             "Maximum number of gRPC connections; smaller if the limit of open files is low"),
      Scalar("rpc_buffer_bytes", Bytes(0), WHIPSNAKE_PART(rpc_buffer_bytes),
             "Memory for gRPC's buffers; 0: a sixteenth of the memory, 32 to 256 MiB"),
  };
}

std::vector<Setting> GenerationSettings() {
  return {
      Live(Scalar("max_prompt_tokens", Integer(1), WHIPSNAKE_PART(limits.prompt_tokens),
                  "Maximum per request")),
      Live(Scalar("max_new_tokens", Integer(1), WHIPSNAKE_PART(limits.new_tokens),
                  "Maximum per request")),
      Scalar("max_running", Integer(1, kMostRunning),
             WHIPSNAKE_PART(generator.batching.max_running),
             "Maximum number of running sequences of a model"),
      Live(Scalar("max_waiting", Integer(1), WHIPSNAKE_PART(generator.batching.max_waiting),
                  "Maximum number of requests that wait for a model; further ones are refused")),
      Live(Scalar("max_waiting_tokens", Integer(1),
                  WHIPSNAKE_PART(generator.batching.max_waiting_tokens),
                  "Prompt tokens that may wait for a model")),
      Scalar("prefill_chunk", Integer(1), WHIPSNAKE_PART(generator.batching.prefill_chunk_tokens),
             "Prompt tokens of a step in which no sequence generates"),
      Scalar("mixed_chunk", Integer(1), WHIPSNAKE_PART(generator.batching.mixed_chunk_tokens),
             "Prompt tokens of a step in which other sequences generate; fewer delay those "
             "sequences less"),
      Scalar("state_cache_bytes", Bytes(0), WHIPSNAKE_PART(generator.cache.max_bytes),
             "Memory per model for the prefix cache; 0 turns the cache off"),
      Scalar("state_cache_interval", Integer(1), WHIPSNAKE_PART(generator.cache.interval_tokens),
             "A state is cached about every so many tokens of a sequence, and at its end"),
      Scalar("max_unread_tokens", Integer(1), WHIPSNAKE_PART(generator.max_unread_tokens),
             "A request whose client leaves more tokens than this unread is cancelled"),
      Scalar("training_share", Number(0, kMaxTrainingShare), WHIPSNAKE_PART(training_share),
             "Part of the computing time, above 0 and at most 0.9, that training and quantization "
             "get while requests are served"),
  };
}

std::vector<Setting> DataSettings() {
  return {
      Scalar("data", Path(), WHIPSNAKE_PART(data),
             "Directory for what survives a restart: saved states, data sets, jobs, versions of "
             "models (default: none)"),
      Scalar("max_dataset_bytes", Bytes(1), WHIPSNAKE_PART(jobs.datasets.max_dataset_bytes),
             "Maximum size of a data set"),
      Scalar("dataset_quota_bytes", Bytes(1), WHIPSNAKE_PART(jobs.datasets.max_total_bytes),
             "Maximum size of all data sets together"),
      Scalar("max_running_jobs", SmallInteger(1, 64), WHIPSNAKE_PART(jobs.jobs.max_running),
             "Maximum number of jobs that run at once, if there is memory for them"),
      Scalar("checkpoint_interval", Duration(milliseconds(100), hours(24)),
             WHIPSNAKE_PART(jobs.checkpoint_interval),
             "Seconds of fine-tuning that a crash costs at most, and a step: without another "
             "checkpoint for so long, a job writes one"),
      Scalar("job_retry_delay", Duration(seconds(0), minutes(10)),
             WHIPSNAKE_PART(jobs.jobs.first_backoff),
             "Seconds from the failure of a job that may pass, or a crash, to its next attempt; "
             "doubles with each further one, to 10 minutes"),
  };
}

std::vector<Setting> ProcessSettings() {
  return {
      Scalar("grace_period", Duration(seconds(0), hours(1)), WHIPSNAKE_PART(grace_period),
             "Seconds that running requests have to finish after SIGTERM"),
      Live(Scalar("log_level", LevelName(), WHIPSNAKE_PART(log_level),
                  "The least severe lines that are logged")),
      Scalar("log_json", Boolean(), WHIPSNAKE_PART(log_json),
             "Logs JSON objects to stderr, one per line"),
  };
}

#undef WHIPSNAKE_PART

}  // namespace

const std::vector<Setting>& Settings() {
  static const auto& settings = *new std::vector<Setting>([] {
    std::vector<Setting> all;
    for (auto* group : {&ModelSettings, &AddressSettings, &AccessSettings, &ResourceSettings,
                        &GenerationSettings, &DataSettings, &ProcessSettings}) {
      for (Setting& setting : group()) all.push_back(std::move(setting));
    }
    return all;
  }());
  return settings;
}

const Setting* FindSetting(std::string_view field_or_flag) {
  for (const Setting& setting : Settings()) {
    if (setting.field == field_or_flag || setting.flag == field_or_flag) return &setting;
  }
  return nullptr;
}

}  // namespace whipsnake::server
