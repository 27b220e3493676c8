#include "server/cli/model_defaults.h"

#include "absl/strings/str_cat.h"
#include "server/cli/output.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {

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
  ClientFlags impatient = flags;
  impatient.timeout_seconds = 1;
  v1::GetModelRequest request;
  request.set_name(model);
  const auto response =
      UnaryCall<v1::ModelService>(impatient, &v1::ModelService::StubInterface::GetModel, request);
  const std::string subject = absl::StrCat("model '", model, "' on ", flags.server);
  if (!response.ok() || !response->model().has_generation_defaults()) {
    return absl::StrCat("\nThe defaults of ", subject, " are not known: ",
                        response.ok() ? "it is not loaded" : "the server does not tell them",
                        ".\n");
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [option, value] : DefaultsOf(response->model().generation_defaults())) {
    rows.push_back({"  " + option, value});
  }
  return absl::StrCat("\nDefaults of ", subject, ":\n", Table(rows));
}

}  // namespace whipsnake::server
