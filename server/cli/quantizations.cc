// whipsnake models quantize|quantizations|cancel-quantization
#include <google/protobuf/util/time_util.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/input.h"
#include "server/cli/progress.h"
#include "server/cli/quantize_flags.h"
#include "server/cli/unary_call.h"
#include "server/registry/quantization_request.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {
namespace {

using ModelStub = v1::ModelService::StubInterface;

struct QuantizationFlags {
  ClientFlags client;
  RecipeFlags recipe;
  std::string path;
  std::string output_path;
  std::string calibration;
  std::string calibration_path;
  bool detach = false;
  std::string id;
};

// "RUNNING"
std::string StateName(v1::QuantizationState state) {
  constexpr std::string_view kPrefix = "QUANTIZATION_STATE_";
  return v1::QuantizationState_Name(state).substr(kPrefix.size());
}

Json ReportJson(const v1::QuantizationReport& report) {
  Json json = {{"calibration_tokens", report.calibration_tokens()},
               {"calibration_digest", report.calibration_digest()},
               {"float_bytes", report.float_bytes()},
               {"quantized_bytes", report.quantized_bytes()}};
  if (report.percentile() > 0) json["percentile"] = report.percentile();
  for (const v1::PercentileTrial& trial : report.trials()) {
    json["trials"].push_back({{"percentile", trial.percentile()}, {"nll", trial.nll()}});
  }
  for (const std::string& warning : report.warnings()) json["warnings"].push_back(warning);
  return json;
}

Json QuantizationJson(const v1::Quantization& quantization) {
  using google::protobuf::util::TimeUtil;
  Json json = {{"id", quantization.id()},
               {"path", quantization.path()},
               {"output_path", quantization.output_path()},
               {"scheme", quantization.scheme()},
               {"state", StateName(quantization.state())},
               {"stage", quantization.stage()},
               {"fraction", quantization.fraction()},
               {"create_time", TimeUtil::ToString(quantization.create_time())}};
  if (!quantization.error().empty()) json["error"] = quantization.error();
  if (quantization.has_start_time()) {
    json["start_time"] = TimeUtil::ToString(quantization.start_time());
  }
  if (quantization.has_end_time()) json["end_time"] = TimeUtil::ToString(quantization.end_time());
  if (quantization.has_report()) json["report"] = ReportJson(quantization.report());
  return json;
}

std::string QuantizationsTable(const std::vector<v1::Quantization>& quantizations) {
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "DONE", "SCHEME", "MODEL", "OUTPUT"}};
  std::string errors;
  for (const v1::Quantization& quantization : quantizations) {
    rows.push_back({quantization.id(), absl::AsciiStrToLower(StateName(quantization.state())),
                    absl::StrCat(static_cast<int>(quantization.fraction() * 100), "%"),
                    quantization.scheme(), quantization.path(), quantization.output_path()});
    if (!quantization.error().empty()) {
      absl::StrAppend(&errors, quantization.id(), ": ", quantization.error(), "\n");
    }
  }
  return Table(rows) + errors;
}

// Reads a calibration file to send in a request, after checking its size and UTF-8.
absl::StatusOr<std::string> TextToSend(const std::string& file) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  if (!error && bytes > kMaxInlineCalibrationBytes) {
    return engine::InvalidField(
        "--calibration",
        absl::StrCat(file, " of ", engine::HumanBytes(static_cast<int64_t>(bytes))),
        absl::StrCat("at most ", engine::HumanBytes(kMaxInlineCalibrationBytes),
                     " to send; a larger file can be copied below the server's --model-root and "
                     "named with --calibration-path"));
  }
  ASSIGN_OR_RETURN(std::string text, ReadInput(file, kMaxInlineCalibrationBytes));
  if (!engine::IsUtf8(text)) {
    return engine::InvalidField("--calibration", file + " with bytes that are not UTF-8",
                                "UTF-8 text");
  }
  return text;
}

absl::StatusOr<v1::QuantizeModelRequest> RequestOf(const QuantizationFlags& flags) {
  const RecipeFlags& recipe = flags.recipe;
  v1::QuantizeModelRequest request;
  request.set_path(flags.path);
  request.set_output_path(flags.output_path);
  request.set_scheme(recipe.scheme);
  ASSIGN_OR_RETURN(const auto percentile, ParsePercentile(recipe.percentile));
  request.set_percentile(percentile.value_or(0));
  request.set_granularity(recipe.granularity);
  request.set_head(recipe.head);
  request.set_activations(recipe.activations);
  request.set_activation_table(recipe.activation_table);
  request.set_residual_rotation(recipe.residual_rotation);
  request.set_max_samples(static_cast<int32_t>(recipe.samples.max_samples));
  request.set_max_tokens(static_cast<int32_t>(recipe.samples.max_tokens));
  request.set_calibration_path(flags.calibration_path);
  if (!flags.calibration.empty()) {
    ASSIGN_OR_RETURN(*request.add_texts(), TextToSend(flags.calibration));
  }
  return request;
}

void PrintSuccess(const v1::Quantization& quantization, const QuantizationFlags& flags) {
  const v1::QuantizationReport& report = quantization.report();
  for (const v1::PercentileTrial& trial : report.trials()) {
    std::cout << absl::StrFormat("percentile %g: loss %.5f nats a token on held-out text%s\n",
                                 trial.percentile(), trial.nll(),
                                 trial.percentile() == report.percentile() ? "  <- taken" : "");
  }
  const std::vector<std::string> warnings(report.warnings().begin(), report.warnings().end());
  std::cout << WarningLines(warnings);
  std::cout << absl::StrFormat(
      "The server wrote %s: %s, %.3f of the fp32 weights' %s; calibrated with %d tokens.\n"
      "'whipsnake models load %s --server %s' loads it.\n",
      quantization.output_path(), engine::HumanBytes(report.quantized_bytes()),
      static_cast<double>(report.quantized_bytes()) / report.float_bytes(),
      engine::HumanBytes(report.float_bytes()), report.calibration_tokens(),
      quantization.output_path(), flags.client.server);
}

// Says how to find and cancel a quantization that continues without this command.
std::string WhereToFind(const v1::Quantization& quantization, const QuantizationFlags& flags) {
  return absl::StrCat("'whipsnake models quantizations --server ", flags.client.server,
                      "' shows it, 'whipsnake models cancel-quantization ", quantization.id(),
                      " --server ", flags.client.server, "' cancels it");
}

// Shows the progress until the quantization or the stream ends. Sets `quantization` to its last
// received state.
grpc::Status Follow(const ClientFlags& flags, grpc::ClientContext& context,
                    v1::Quantization& quantization) {
  Progress progress("Waiting for its turn");
  v1::WatchQuantizationRequest request;
  request.set_id(quantization.id());
  const auto stub = v1::ModelService::NewStub(Connect(flags));
  const auto reader = stub->WatchQuantization(&context, request);
  v1::WatchQuantizationResponse response;
  while (reader->Read(&response)) {
    quantization = response.quantization();
    if (!quantization.stage().empty()) progress.SetWhat(quantization.stage());
    progress.Set(quantization.fraction());
  }
  return reader->Finish();
}

absl::StatusOr<int> ReportEnd(const v1::Quantization& quantization, const QuantizationFlags& flags,
                              const Output& output) {
  if (quantization.state() == v1::QUANTIZATION_STATE_SUCCEEDED) {
    if (output.json()) {
      output.Object({{"quantization", QuantizationJson(quantization)}});
    } else {
      PrintSuccess(quantization, flags);
    }
    return 0;
  }
  const std::string message =
      absl::StrCat("quantization ", quantization.id(), ": ", quantization.error());
  absl::Status error = quantization.state() == v1::QUANTIZATION_STATE_CANCELLED
                           ? absl::CancelledError(message)
                           : absl::UnknownError(message);
  SetErrorDetails(error, {{"quantization", QuantizationJson(quantization)}});
  return error;
}

bool HasEnded(const v1::Quantization& quantization) {
  return quantization.state() >= v1::QUANTIZATION_STATE_SUCCEEDED;
}

absl::StatusOr<int> Quantize(const QuantizationFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::QuantizeModelRequest request, RequestOf(flags));
  grpc::ClientContext watching;
  const OnInterrupt interrupt([&] { watching.TryCancel(); });
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::ModelService>(flags.client, &ModelStub::QuantizeModel, request));
  v1::Quantization quantization = response.quantization();

  if (flags.detach) {
    if (output.json()) {
      output.Object({{"quantization", QuantizationJson(quantization)}});
    } else {
      std::cout << "Quantization " << quantization.id()
                << " runs in the server: " << WhereToFind(quantization, flags) << ".\n";
    }
    return 0;
  }
  const grpc::Status watched = Follow(flags.client, watching, quantization);
  if (HasEnded(quantization)) return ReportEnd(quantization, flags, output);
  if (!interrupt.interrupted()) return ClientError(watched, flags.client);
  absl::Status left = absl::CancelledError(
      absl::StrCat("interrupted; quantization ", quantization.id(),
                   " goes on in the server: ", WhereToFind(quantization, flags)));
  SetErrorDetails(left, {{"quantization", QuantizationJson(quantization)}});
  output.Error(left);
  return kInterrupted;
}

absl::StatusOr<int> List(const QuantizationFlags& flags, const Output& output) {
  std::vector<v1::Quantization> quantizations;
  v1::ListQuantizationsRequest request;
  do {
    ASSIGN_OR_RETURN(auto response, UnaryCall<v1::ModelService>(
                                        flags.client, &ModelStub::ListQuantizations, request));
    for (v1::Quantization& quantization : *response.mutable_quantizations()) {
      quantizations.push_back(std::move(quantization));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (output.json()) {
    Json list = Json::array();
    for (const auto& quantization : quantizations) list.push_back(QuantizationJson(quantization));
    output.Object({{"quantizations", list}});
  } else {
    std::cout << QuantizationsTable(quantizations);
  }
  return 0;
}

absl::StatusOr<int> Cancel(const QuantizationFlags& flags, const Output& output) {
  v1::CancelQuantizationRequest request;
  request.set_id(flags.id);
  ASSIGN_OR_RETURN(const auto response, UnaryCall<v1::ModelService>(
                                            flags.client, &ModelStub::CancelQuantization, request));
  if (output.json()) {
    output.Object({{"quantization", QuantizationJson(response.quantization())}});
  } else {
    std::cout << (HasEnded(response.quantization()) ? "Cancelled " : "Told to stop: ") << flags.id
              << ".\n";
  }
  return 0;
}

}  // namespace

void AddQuantizationCommands(CommandLine& line, CommandGroup models) {
  auto flags = std::make_shared<QuantizationFlags>();

  Command quantize = line.Add(
      models, "quantize", "Quantizes a model directory in the server, beside what it serves",
      "  whipsnake models quantize mamba-130m mamba-130m-w8a8 --calibration texts.jsonl\n"
      "  whipsnake models quantize mamba-130m mamba-static --scheme static-w8a8 \\\n"
      "    --calibration-path texts/book.txt --detach\n",
      [flags](const Output& output) { return Quantize(*flags, output); });
  AddClientFlags(quantize, flags->client);
  quantize.AddOption("path", flags->path, "The float model, relative to the server's --model-root")
      .TypeName("DIR")
      .Required();
  quantize
      .AddOption("output-path", flags->output_path,
                 "The directory to make, relative to the server's --model-root")
      .TypeName("OUT")
      .Required();
  OptionGroup calibration =
      quantize.AddOneOf("Calibration", "Text like what the model will see, one of the two");
  calibration
      .AddOption("--calibration", flags->calibration,
                 "A file to send: JSON lines with \"text\", or plain text; 3 MiB at most")
      .TypeName("FILE");
  calibration
      .AddOption("--calibration-path", flags->calibration_path,
                 "Such a file of the server's, relative to its --model-root; 16 MiB at most")
      .TypeName("PATH");
  AddRecipeFlags(quantize, flags->recipe);
  quantize.AddFlag("--detach", flags->detach, "Does not wait for the end");

  Command list =
      line.Add(models, "quantizations", "Lists the quantizations that the server does or has done",
               "  whipsnake models quantizations\n",
               [flags](const Output& output) { return List(*flags, output); });
  AddClientFlags(list, flags->client);

  Command cancel = line.Add(models, "cancel-quantization",
                            "Cancels a quantization that waits or runs in the server",
                            "  whipsnake models cancel-quantization q-0a1b2c3d\n",
                            [flags](const Output& output) { return Cancel(*flags, output); });
  AddClientFlags(cancel, flags->client);
  cancel.AddOption("id", flags->id, "As 'quantize --detach' and 'quantizations' show it")
      .TypeName("ID")
      .Required();
}

}  // namespace whipsnake::server
