// whipsnake tokens: between texts and token ids
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/input.h"
#include "server/cli/option_rules.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {
namespace {

using GenerationStub = v1::GenerationService::StubInterface;

struct TokensFlags {
  ClientFlags client;
  std::string model;
  std::string text;
  std::string ids;  // "70,1394,358", or "-"
};

absl::StatusOr<v1::CountTokensResponse> CountTokens(const TokensFlags& flags, bool ids) {
  v1::CountTokensRequest request;
  request.set_model(flags.model);
  request.set_token_ids(ids);
  ASSIGN_OR_RETURN(*request.mutable_text(), TextOrInput(flags.text));
  return UnaryCall<v1::GenerationService>(flags.client, &GenerationStub::CountTokens, request);
}

absl::StatusOr<int> Count(const TokensFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::CountTokensResponse counted, CountTokens(flags, /*ids=*/false));
  if (output.json()) {
    output.Object({{"tokens", counted.tokens()}});
  } else {
    std::cout << counted.tokens() << "\n";
  }
  return 0;
}

// Prints ids as --prompt-ids and `tokens decode` take them.
absl::StatusOr<int> Encode(const TokensFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::CountTokensResponse counted, CountTokens(flags, /*ids=*/true));
  if (output.json()) {
    const std::vector<int32_t> ids(counted.token_ids().begin(), counted.token_ids().end());
    output.Object({{"tokens", counted.tokens()}, {"token_ids", ids}});
  } else {
    std::cout << absl::StrJoin(counted.token_ids(), ",") << "\n";
  }
  return 0;
}

// Adds the ids of a text that has them with commas, spaces or line ends between them.
absl::Status AddIds(const std::string& text, v1::DetokenizeRequest& request) {
  for (const absl::string_view id :
       absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    for (const absl::string_view part : absl::StrSplit(absl::StripSuffix(id, ","), ',')) {
      const auto number = ReadNumber<int32_t>(std::string(part));
      if (!number.ok()) return engine::WithContext(number.status(), "ids");
      request.add_token_ids(*number);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Decode(const TokensFlags& flags, const Output& output) {
  v1::DetokenizeRequest request;
  request.set_model(flags.model);
  ASSIGN_OR_RETURN(const std::string ids, TextOrInput(flags.ids));
  RETURN_IF_ERROR(AddIds(ids, request));
  ASSIGN_OR_RETURN(const auto response, UnaryCall<v1::GenerationService>(
                                            flags.client, &GenerationStub::Detokenize, request));
  if (output.json()) {
    output.Object({{"text", response.text()}});
  } else {
    std::cout << response.text() << "\n";
  }
  return 0;
}

}  // namespace

void AddTokensCommands(CommandLine& line) {
  auto flags = std::make_shared<TokensFlags>();
  CommandGroup tokens =
      line.AddGroup("tokens", "Counts a text's tokens, and converts between texts and token ids");
  const auto add = [&](const char* name, const char* description, const char* examples,
                       absl::StatusOr<int> (*run)(const TokensFlags&, const Output&)) {
    Command command = line.Add(tokens, name, description, examples,
                               [flags, run](const Output& output) { return run(*flags, output); });
    AddClientFlags(command, flags->client);
    AddModelFlag(command, flags->model, "The model's name; optional if the server has one model");
    return command;
  };
  const auto add_text = [&](Command command) {
    command.AddOption("text", flags->text, "The text; '-' reads it from stdin")
        .MayBeEmpty()
        .Required();
  };
  add_text(add("count", "Prints how many tokens a text has",
               "  whipsnake tokens count \"It was a bright cold day\"\n"
               "  whipsnake tokens count --model demo - < letter.txt\n",
               Count));
  add_text(add("encode", "Prints the token ids of a text",
               "  whipsnake tokens encode \"It was a bright cold day\"\n", Encode));
  add("decode", "Prints the text of token ids", "  whipsnake tokens decode 70,1394,358\n", Decode)
      .AddOption("ids", flags->ids, "The token ids: 70,1394,358; '-' reads them from stdin")
      .TypeName("ID,...")
      .Required();
}

}  // namespace whipsnake::server
