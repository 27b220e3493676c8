#include "server/jobs/promotion.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/finetune/export_checkpoint.h"
#include "engine/models/config.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"
#include "engine/quantize/recipe.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/errors.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxCalibrationBytes = int64_t{4} << 20;

// A directory for what a promotion makes, removed in the end. The kind removes it with the job if
// the process is killed.
class WorkDirectory {
 public:
  static absl::StatusOr<WorkDirectory> Make(const std::string& parent) {
    WorkDirectory directory(absl::StrFormat("%s/promotion-%016x", parent, engine::RandomNumber()));
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

// The texts of a data set of JSON lines, as lines of {"text"}; the first of them.
absl::StatusOr<std::string> CalibrationText(const JobDataset& dataset) {
  std::ifstream file(dataset.path);
  if (!file) {
    return StorageError(absl::InternalError(dataset.path + ": cannot be read"),
                        "the server could not read the data set");
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

}  // namespace

absl::Status Promoter::Export(const Job& job, int64_t step, const std::string& out) const {
  const std::string checkpoint = kind_.CheckpointDirectory(job.uid, step);
  std::error_code error;
  if (!fs::is_directory(checkpoint, error)) {
    return WithResource(WithReason(absl::NotFoundError(absl::StrCat(
                                       "step: job ", job.id, " has no checkpoint of step ", step)),
                                   "CHECKPOINT_NOT_FOUND"),
                        "checkpoint", absl::StrCat(job.id, "/", step));
  }
  ASSIGN_OR_RETURN(const engine::FineTuningSpec spec,
                   FineTuningKind::ParseSpec(job.request.at("spec")));
  return engine::ExportCheckpoint(checkpoint, job.details.at("model_directory"), spec.out_dtype,
                                  out, *environment_.ledger);
}

absl::Status Promoter::Quantize(const Job& job, const std::string& scheme,
                                const std::string& directory, const std::string& out) const {
  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));
  engine::QuantizeOptions options;
  ASSIGN_OR_RETURN(options.recipe, engine::ParseRecipe({.scheme = scheme}, &config));
  RETURN_IF_ERROR(engine::CheckRecipe(options.recipe, config));
  ASSIGN_OR_RETURN(const JobDataset dataset, kind_.FindDataset(job.request.at("train")));
  ASSIGN_OR_RETURN(const std::string text, CalibrationText(dataset));
  ASSIGN_OR_RETURN(const auto tokenizer, engine::Tokenizer::Load(directory + "/tokenizer.json"));
  ASSIGN_OR_RETURN(const engine::CalibrationSet calibration,
                   engine::MakeCalibrationSet(text, *tokenizer, {}));
  return engine::QuantizeModel(directory, calibration, options, out, environment_,
                               [this](std::string_view, double) { return check_stop_(); })
      .status();
}

absl::StatusOr<ModelVersion> Promoter::Promote(const Job& job,
                                               const CheckpointPromotion& request) const {
  if (request.step == 0 && job.state != JobState::kSucceeded) {
    return WithPrecondition(
        WithReason(absl::FailedPreconditionError(
                       absl::StrCat("job ", job.id, " is ", engine::ToAbsl(Name(job.state)),
                                    ", expected succeeded; a step names one of its checkpoints")),
                   "JOB_STATE"),
        "JOB_STATE", job.id);
  }
  std::string directory = kind_.ResultDirectory(job.uid);
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::Make(kind_.DirectoryOf(job.uid)));
  if (request.step > 0) {
    directory = work.path() + "/float";
    RETURN_IF_ERROR(Export(job, request.step, directory));
  }
  if (!request.scheme.empty()) {
    const std::string floats = std::exchange(directory, work.path() + "/quantized");
    RETURN_IF_ERROR(Quantize(job, request.scheme, floats, directory));
  }
  Promotion promotion = request.promotion;
  promotion.directory = directory;
  promotion.source_job = job.id;
  promotion.checkpoint_step =
      request.step > 0 ? request.step : job.result.value("steps", int64_t{0});
  return versions_.Promote(promotion);
}

}  // namespace whipsnake::server
