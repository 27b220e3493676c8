#include "server/cli/model_defaults.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/cli/output.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<v1::Model> GetModel(ClientFlags flags, const std::string& name) {
  flags.timeout_seconds = 1;
  RETURN_IF_ERROR(PrepareClient(flags));
  v1::GetModelRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(
      v1::GetModelResponse response,
      UnaryCall<v1::ModelService>(flags, &v1::ModelService::StubInterface::GetModel, request));
  return std::move(*response.mutable_model());
}

}  // namespace

std::vector<std::pair<std::string, std::string>> DefaultsOf(
    const v1::GenerationDefaults& defaults) {
  const v1::Sampling& sampling = defaults.sampling();
  return {{"--temperature", absl::StrCat(sampling.temperature())},
          {"--top-k", absl::StrCat(sampling.top_k())},
          {"--top-p", absl::StrCat(sampling.top_p())},
          {"--min-p", absl::StrCat(sampling.min_p())},
          {"--repetition-penalty", absl::StrCat(sampling.repetition_penalty())},
          {"--no-repeat-ngram-size", absl::StrCat(sampling.no_repeat_ngram_size())},
          {"--max-tokens", absl::StrCat(defaults.max_new_tokens())}};
}

std::string DefaultsNote(const ClientFlags& flags, const std::string& model) {
  if (model.empty()) return "";
  const absl::StatusOr<v1::Model> found = GetModel(flags, model);
  const std::string subject = absl::StrCat("model '", model, "' on ", flags.server);
  if (!found.ok() || !found->has_generation_defaults()) {
    return absl::StrCat("\nThe defaults of ", subject, " are not known: ",
                        found.ok() ? "it is not loaded" : found.status().message(), ".\n");
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [option, value] : DefaultsOf(found->generation_defaults())) {
    rows.push_back({"  " + option, value});
  }
  return absl::StrCat("\nDefaults of ", subject, ":\n", Table(rows));
}

}  // namespace whipsnake::server
