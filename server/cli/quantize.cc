// whipsnake quantize
#include "engine/quantize/quantize.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/field_errors.h"
#include "engine/base/human.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/progress.h"
#include "server/cli/quantize_flags.h"
#include "server/cli/training_flags.h"

namespace whipsnake::server {
namespace {

struct QuantizeFlags {
  std::string model;
  std::string calibration;
  std::string out;
  RecipeFlags recipe;
  int threads = engine::DetectResources().threads;
};

absl::StatusOr<engine::QuantizeOptions> MakeOptions(const RecipeFlags& flags,
                                                    const std::string& model) {
  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(model));
  engine::QuantizeOptions options;
  auto recipe = engine::ParseRecipe(NamesOf(flags), &config);
  if (!recipe.ok()) return WithFieldAsOption(recipe.status());
  options.recipe = *recipe;
  ASSIGN_OR_RETURN(options.percentile, ParsePercentile(flags.percentile));
  return options;
}

// The worst values of a site or a weight over all layers.
struct Worst {
  int64_t scales = 0;
  double clip_rate = 0;
  double snr_db = std::numeric_limits<double>::infinity();
  int64_t layer = 0;
};

// "backbone.layers.3.mixer.in_proj.weight" becomes "mixer.in_proj.weight".
std::string WithoutLayer(const std::string& site) {
  for (const std::string_view prefix : {"backbone.layers.", "transformer.h.", "h."}) {
    if (site.starts_with(prefix)) return site.substr(site.find('.', prefix.size()) + 1);
  }
  return site;
}

std::string SitesTable(const engine::QuantizationReport& report) {
  std::vector<std::string> order;
  std::map<std::string, Worst> worst;
  for (const engine::SiteReport& site : report.sites) {
    const std::string name = WithoutLayer(site.site);
    if (!worst.contains(name)) order.push_back(name);
    Worst& w = worst[name];
    w.scales = site.scales;
    w.clip_rate = std::max(w.clip_rate, site.clip_rate);
    if (site.snr_db < w.snr_db) {
      w.snr_db = site.snr_db;
      w.layer = site.layer;
    }
  }
  std::vector<std::vector<std::string>> rows = {
      {"WHAT IS ROUNDED", "SCALES", "CLIPPED", "LOWEST SNR dB", "IN LAYER"}};
  for (const std::string& name : order) {
    const Worst& w = worst[name];
    rows.push_back({name, w.scales == 0 ? "each row" : std::to_string(w.scales),
                    absl::StrFormat("%.2g", w.clip_rate),
                    std::isfinite(w.snr_db) ? absl::StrFormat("%.1f", w.snr_db) : "exact",
                    std::to_string(w.layer)});
  }
  return Table(rows);
}

void PrintReport(const engine::QuantizationReport& report, const std::string& out) {
  std::cout << SitesTable(report);
  for (const engine::PercentileTrial& trial : report.trials) {
    std::cout << absl::StrFormat("percentile %g: loss %.5f nats a token on held-out text%s\n",
                                 trial.percentile, trial.nll,
                                 trial.percentile == report.percentile ? "  <- taken" : "");
  }
  for (const engine::StateClipTrial& trial : report.state_trials) {
    std::cout << absl::StrFormat("int8 states clipped at %g of the largest: loss %.5f%s\n",
                                 trial.clip, trial.nll,
                                 trial.clip == report.state_clip ? "  <- taken" : "");
  }
  std::cout << WarningLines(report.warnings);
  std::cout << absl::StrFormat(
      "Wrote %s: %s, %.3f of the fp32 weights' %s; calibrated with %d tokens.\n", out,
      engine::HumanBytes(report.quantized_bytes),
      static_cast<double>(report.quantized_bytes) / report.float_bytes,
      engine::HumanBytes(report.float_bytes), report.calibration_tokens);
}

absl::StatusOr<int> Quantize(const QuantizeFlags& flags, const Output& output) {
  std::atomic<bool> interrupted{false};
  const OnInterrupt on_interrupt([&] { interrupted = true; });
  ASSIGN_OR_RETURN(const engine::QuantizeOptions options, MakeOptions(flags.recipe, flags.model));
  ASSIGN_OR_RETURN(const engine::CalibrationSet calibration,
                   ReadCalibration(flags.calibration, flags.model, flags.recipe.samples));
  engine::Executor executor(flags.threads);
  engine::Ledger ledger(engine::DetectResources().memory_bytes);
  engine::QuantizationReport report;
  {
    Progress progress("Calibrating");
    const absl::StatusOr<engine::QuantizationReport> quantized = engine::QuantizeModel(
        flags.model, calibration, options, flags.out, {.executor = &executor, .ledger = &ledger},
        [&, show = ShowOn(progress)](std::string_view what, double fraction) {
          show(what, fraction).IgnoreError();
          return interrupted ? absl::CancelledError("interrupted") : absl::OkStatus();
        });
    if (absl::IsCancelled(quantized.status())) {
      output.Error(absl::CancelledError("interrupted; nothing was written"));
      return kInterrupted;
    }
    ASSIGN_OR_RETURN(report, quantized);
  }
  if (output.json()) {
    Json json = Json::parse(engine::ReportJson(report));
    json["path"] = flags.out;
    output.Object(json);
  } else {
    PrintReport(report, flags.out);
  }
  return 0;
}

}  // namespace

void AddQuantizeCommand(CommandLine& line) {
  auto flags = std::make_shared<QuantizeFlags>();
  Command command = line.Add(
      "quantize", "Quantizes a model directory to 8 bits: weights, activations and a Mamba's scan",
      "  whipsnake quantize --model models/mamba --calibration texts.jsonl --out "
      "models/mamba-w8a8\n"
      "  whipsnake quantize --model models/mamba --calibration book.txt --scheme static-w8a8 \\\n"
      "    --out models/mamba-static\n"
      "  whipsnake quantize --model models/gpt2 --calibration texts.jsonl --out models/gpt2-w8a8\n",
      [flags](const Output& output) { return Quantize(*flags, output); });
  command.AddOption("--model", flags->model, "The model directory, with float weights")
      .ModelDirectory()
      .Required()
      .TypeName("DIR");
  command
      .AddOption("--calibration", flags->calibration,
                 "Text similar to the model's later input: JSON lines with \"text\", or plain "
                 "text. Its last tenth is held out")
      .Required()
      .TypeName("FILE");
  command.AddOption("--out", flags->out, "The directory to write; must not exist or be empty")
      .Required()
      .TypeName("DIR");
  AddRecipeFlags(command, flags->recipe);
  command.AddOption("--threads", flags->threads, "Threads to compute with")
      .IntegerRange(1, 1024)
      .TypeName("N")
      .ShowDefault();
}

}  // namespace whipsnake::server
