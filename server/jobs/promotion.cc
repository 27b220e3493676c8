#include "server/jobs/promotion.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/finetune/export_checkpoint.h"
#include "engine/models/config.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"
#include "engine/quantize/recipe.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/errors.h"
#include "server/registry/version_files.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxCalibrationBytes = int64_t{4} << 20;

// The texts of a data set of JSON lines, as lines of {"text"}; the first of them.
absl::StatusOr<std::string> CalibrationText(const JobDataset& dataset) {
  std::ifstream file(dataset.path);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("data set ", dataset.id, ": its file is gone"));
  }
  std::string texts, line;
  while (std::ssize(texts) < kMaxCalibrationBytes && std::getline(file, line)) {
    const json row = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object()) continue;
    std::string text = row.value("text", "");
    if (row.contains("prompt")) text = row.value("prompt", "") + row.value("chosen", "");
    if (!text.empty()) texts += json{{"text", std::move(text)}}.dump() + "\n";
  }
  if (!texts.empty()) return texts;
  return engine::InvalidField("scheme", "a job whose data set has no texts as JSON lines",
                              "one that has, to calibrate with; QuantizeModel takes other texts");
}

absl::Status NoResult(const Job& job) {
  return WithPrecondition(
      WithReason(absl::FailedPreconditionError(
                     absl::StrCat("job ", job.id, " is ", engine::ToAbsl(Name(job.state)),
                                  ", expected succeeded; a step names one of its checkpoints")),
                 "JOB_STATE"),
      "JOB_STATE", job.id);
}

absl::Status NoCheckpoint(const Job& job, int64_t step) {
  return WithResource(WithReason(absl::NotFoundError(absl::StrCat(
                                     "step: job ", job.id, " has no checkpoint of step ", step)),
                                 "CHECKPOINT_NOT_FOUND"),
                      "checkpoint", absl::StrCat(job.id, "/", step));
}

// Links the files of a directory. Returns `absent` if there is none, or no longer one.
absl::Status Link(const std::string& directory, const std::string& target,
                  const absl::Status& absent) {
  const absl::Status linked = LinkFiles(directory, target);
  if (absl::IsNotFound(linked)) return absent;
  return StorageError(linked, "the files of the job could not be kept");
}

}  // namespace

// A directory for what a promotion links and makes, removed in the end. The next start removes it
// if the process is killed (FineTuningKind::Sweep).
class Promoter::WorkDirectory {
 public:
  static absl::StatusOr<WorkDirectory> Make(std::string path) {
    WorkDirectory directory(std::move(path));
    std::error_code error;
    fs::create_directories(directory.path_, error);
    if (!error) return directory;
    return StorageError(absl::InternalError(absl::StrCat(directory.path_, ": ", error.message())),
                        "the server could not make a directory");
  }
  WorkDirectory(WorkDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  WorkDirectory& operator=(WorkDirectory&&) = delete;
  ~WorkDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit WorkDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What a promotion needs, from its start on.
struct Promoter::Inputs {
  Job job;
  WorkDirectory work;
  std::string result = {};                 // a model directory; or, to export it:
  std::string checkpoint = {}, base = {};  // directories of the checkpoint and of the first model
  std::string texts = {};                  // to calibrate with
};

absl::Status Promoter::LinkCheckpoint(const Job& job, int64_t step, Inputs& inputs) const {
  inputs.checkpoint = inputs.work.path() + "/checkpoint";
  RETURN_IF_ERROR(
      Link(kind_.CheckpointDirectory(job.uid, step), inputs.checkpoint, NoCheckpoint(job, step)));
  inputs.base = job.details.at("model_directory");
  // Others than a version are their owner's, and perhaps on another disk.
  if (!versions_.Holds(inputs.base)) return absl::OkStatus();
  const std::string version = std::exchange(inputs.base, inputs.work.path() + "/base");
  return Link(version, inputs.base,
              absl::NotFoundError(absl::StrCat("the version that job ", job.id,
                                               " began with was deleted, expected one to export a "
                                               "checkpoint with; step 0 promotes the result")));
}

absl::StatusOr<Promoter::Inputs> Promoter::TakeInputsOf(Job job,
                                                        const CheckpointPromotion& request) const {
  ASSIGN_OR_RETURN(WorkDirectory work, WorkDirectory::Make(kind_.NewPromotionDirectory()));
  Inputs inputs{.job = std::move(job), .work = std::move(work)};
  if (request.step > 0) {
    RETURN_IF_ERROR(LinkCheckpoint(inputs.job, request.step, inputs));
  } else {
    if (inputs.job.state != JobState::kSucceeded) return NoResult(inputs.job);
    inputs.result = inputs.work.path() + "/result";
    RETURN_IF_ERROR(Link(kind_.ResultDirectory(inputs.job.uid), inputs.result,
                         absl::NotFoundError(absl::StrCat("the result of job ", inputs.job.id,
                                                          " is gone, expected its files"))));
  }
  if (request.scheme.empty()) return inputs;
  ASSIGN_OR_RETURN(const JobDataset dataset, kind_.FindDataset(inputs.job.request.at("train")));
  ASSIGN_OR_RETURN(inputs.texts, CalibrationText(dataset));
  return inputs;
}

absl::StatusOr<Promoter::Inputs> Promoter::TakeInputs(const CheckpointPromotion& request) const {
  ASSIGN_OR_RETURN(Job job, find_job_(request.job));
  absl::StatusOr<Inputs> inputs = TakeInputsOf(std::move(job), request);
  if (!absl::IsNotFound(inputs.status())) return inputs;
  // Something was deleted since the look at the job, or is absent: a second look tells what.
  ASSIGN_OR_RETURN(job, find_job_(request.job));
  return TakeInputsOf(std::move(job), request);
}

absl::Status Promoter::Export(const Inputs& inputs, const std::string& out) const {
  ASSIGN_OR_RETURN(const engine::FineTuningSpec spec,
                   FineTuningKind::ParseSpec(inputs.job.request.at("spec")));
  return engine::ExportCheckpoint(inputs.checkpoint, inputs.base, spec.out_dtype, out,
                                  *environment_.ledger);
}

absl::Status Promoter::Quantize(const Inputs& inputs, const std::string& scheme,
                                const std::string& directory, const std::string& out) const {
  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));
  engine::QuantizeOptions options;
  ASSIGN_OR_RETURN(options.recipe, engine::ParseRecipe({.scheme = scheme}, &config));
  RETURN_IF_ERROR(engine::CheckRecipe(options.recipe, config));
  ASSIGN_OR_RETURN(const auto tokenizer, engine::Tokenizer::LoadDirectory(directory));
  ASSIGN_OR_RETURN(const engine::CalibrationSet calibration,
                   engine::MakeCalibrationSet(inputs.texts, *tokenizer, {}));
  return engine::QuantizeModel(directory, calibration, options, out, environment_,
                               [this](std::string_view, double) { return check_stop_(); })
      .status();
}

absl::StatusOr<ModelVersion> Promoter::Promote(const CheckpointPromotion& request) const {
  RETURN_IF_ERROR(versions_.CheckPromotion(request.promotion));
  ASSIGN_OR_RETURN(const Inputs inputs, TakeInputs(request));
  RETURN_IF_ERROR(check_stop_());
  std::string directory = inputs.result;
  if (request.step > 0) {
    directory = inputs.work.path() + "/float";
    RETURN_IF_ERROR(Export(inputs, directory));
  }
  if (!request.scheme.empty()) {
    const std::string floats = std::exchange(directory, inputs.work.path() + "/quantized");
    RETURN_IF_ERROR(Quantize(inputs, request.scheme, floats, directory));
  }
  Promotion promotion = request.promotion;
  promotion.directory = directory;
  promotion.source_job = inputs.job.id;
  promotion.checkpoint_step =
      request.step > 0 ? request.step : inputs.job.result.value("steps", int64_t{0});
  return versions_.Promote(promotion);
}

}  // namespace whipsnake::server
