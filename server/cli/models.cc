// whipsnake models list|load|unload; the other `models` commands are in model_versions.cc and
// quantizations.cc
#include <google/protobuf/util/time_util.h>

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/model_defaults.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {
namespace {

using ModelStub = v1::ModelService::StubInterface;

struct ModelsFlags {
  ClientFlags client;
  std::string path;
  std::string name;
  std::string scheme;
  std::string state_type;
};

// "READY"
std::string StateName(v1::ModelState state) {
  constexpr std::string_view kPrefix = "MODEL_STATE_";
  return v1::ModelState_Name(state).substr(kPrefix.size());
}

Json ModelJson(const v1::Model& model) {
  Json json = {{"name", model.name()},
               {"state", StateName(model.state())},
               {"path", model.path()},
               {"architecture", model.architecture()},
               {"scheme", model.scheme()},
               {"device", model.device()},
               {"isa", model.isa()},
               {"parameters", model.parameters()},
               {"weights_bytes", model.weights_bytes()},
               {"state_bytes_per_sequence", model.state_bytes_per_sequence()},
               {"vocab_size", model.vocab_size()},
               {"max_positions", model.max_positions()},
               {"max_prompt_tokens", model.max_prompt_tokens()},
               {"max_new_tokens", model.max_new_tokens()}};
  json["version"] = model.version();
  json["serving"] = model.serving();
  json["aliases"] = std::vector<std::string>(model.aliases().begin(), model.aliases().end());
  if (!model.source_job().empty()) {
    json["source_job"] = model.source_job();
    json["checkpoint_step"] = model.checkpoint_step();
  }
  if (model.has_generation_defaults()) {
    Json& defaults = json["generation_defaults"];
    for (const auto& [option, value] : DefaultsOf(model.generation_defaults())) {
      defaults[absl::StrReplaceAll(option.substr(2), {{"-", "_"}})] = Json::parse(value);
    }
  }
  if (!model.error().empty()) json["error"] = model.error();
  if (model.has_load_time()) {
    json["load_time"] = google::protobuf::util::TimeUtil::ToString(model.load_time());
  }
  return json;
}

// "support, support:stable", or "-" for a model that is reached by its own name only.
std::string ServesAs(const v1::Model& model) {
  std::vector<std::string> names(model.aliases().begin(), model.aliases().end());
  if (model.serving()) names.insert(names.begin(), model.name().substr(0, model.name().find(':')));
  return names.empty() ? "-" : absl::StrJoin(names, ", ");
}

std::string ModelsTable(const std::vector<v1::Model>& models) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "SERVES AS", "ARCHITECTURE", "SCHEME", "SIZE", "CONTEXT"}};
  std::string errors;
  for (const v1::Model& model : models) {
    rows.push_back(
        {model.name(), absl::AsciiStrToLower(StateName(model.state())), ServesAs(model),
         model.architecture(), model.scheme(), engine::HumanBytes(model.weights_bytes()),
         model.max_positions() == 0 ? "unbounded" : absl::StrCat(model.max_positions())});
    if (!model.error().empty()) absl::StrAppend(&errors, model.name(), ": ", model.error(), "\n");
  }
  return Table(rows) + errors;
}

absl::StatusOr<int> List(const ModelsFlags& flags, const Output& output) {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  do {
    ASSIGN_OR_RETURN(auto response,
                     UnaryCall<v1::ModelService>(flags.client, &ModelStub::ListModels, request));
    for (v1::Model& model : *response.mutable_models()) models.push_back(std::move(model));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (output.json()) {
    Json list = Json::array();
    for (const v1::Model& model : models) list.push_back(ModelJson(model));
    output.Object({{"models", list}});
  } else {
    std::cout << ModelsTable(models);
    if (models.empty()) {
      std::cerr << "The server has no models. Load one with 'whipsnake models load PATH'.\n";
    }
  }
  return 0;
}

// A line for each property that the model has.
std::string ModelDetails(const v1::Model& model) {
  std::vector<std::vector<std::string>> rows = {{"PROPERTY", "VALUE"}};
  const auto add = [&](const std::string& property, const std::string& value) {
    if (!value.empty()) rows.push_back({property, value});
  };
  add("name", model.name());
  add("state", absl::AsciiStrToLower(StateName(model.state())));
  add("error", model.error());
  add("serves as", ServesAs(model));
  add("architecture", model.architecture());
  add("scheme", model.scheme());
  add("computed on", absl::StrCat(model.device(), ", ", model.isa()));
  add("parameters", engine::HumanCount(model.parameters()));
  add("weights", engine::HumanBytes(model.weights_bytes()));
  add("state of a sequence", engine::HumanBytes(model.state_bytes_per_sequence()));
  add("vocabulary", absl::StrCat(engine::HumanCount(model.vocab_size()), " tokens"));
  add("context", model.max_positions() == 0
                     ? "unbounded"
                     : absl::StrCat(engine::HumanCount(model.max_positions()), " tokens"));
  add("longest prompt", absl::StrCat(engine::HumanCount(model.max_prompt_tokens()), " tokens"));
  add("longest output", absl::StrCat(engine::HumanCount(model.max_new_tokens()), " tokens"));
  if (model.has_generation_defaults()) {
    for (const auto& [option, value] : DefaultsOf(model.generation_defaults())) {
      add(absl::StrCat("default ", option), value);
    }
  }
  add("directory", model.path());
  add("fine-tuned by job", model.source_job());
  if (model.has_load_time()) {
    add("loaded at", google::protobuf::util::TimeUtil::ToString(model.load_time()));
  }
  return Table(rows);
}

absl::StatusOr<int> Show(const ModelsFlags& flags, const Output& output) {
  v1::GetModelRequest request;
  request.set_name(flags.name);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::ModelService>(flags.client, &ModelStub::GetModel, request));
  if (output.json()) {
    output.Object({{"model", ModelJson(response.model())}});
  } else {
    std::cout << ModelDetails(response.model());
  }
  return 0;
}

absl::StatusOr<int> Load(const ModelsFlags& flags, const Output& output) {
  v1::LoadModelRequest request;
  request.set_path(flags.path);
  request.set_name(flags.name);
  request.set_scheme(flags.scheme);
  request.set_state_type(flags.state_type);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::ModelService>(flags.client, &ModelStub::LoadModel, request));
  if (output.json()) {
    output.Object({{"model", ModelJson(response.model())}});
  } else {
    std::cout << ModelsTable({response.model()});
  }
  return 0;
}

absl::StatusOr<int> Unload(const ModelsFlags& flags, const Output& output) {
  v1::UnloadModelRequest request;
  request.set_name(flags.name);
  RETURN_IF_ERROR(
      UnaryCall<v1::ModelService>(flags.client, &ModelStub::UnloadModel, request).status());
  if (output.json()) {
    output.Object({{"unloaded", flags.name}});
  } else {
    std::cout << "Unloaded " << flags.name << ".\n";
  }
  return 0;
}

}  // namespace

void AddModelsCommands(CommandLine& line) {
  auto flags = std::make_shared<ModelsFlags>();
  CommandGroup models =
      line.AddGroup("models", "Lists, loads, unloads and quantizes a server's models");

  Command list = line.Add(models, "list", "Lists the server's models", "  whipsnake models list\n",
                          [flags](const Output& output) { return List(*flags, output); });
  AddClientFlags(list, flags->client);

  Command show = line.Add(models, "show", "Shows what there is to know of a model",
                          "  whipsnake models show demo\n",
                          [flags](const Output& output) { return Show(*flags, output); });
  AddClientFlags(show, flags->client);
  show.AddOption("name", flags->name, "The model's name").TypeName("NAME").Required();

  Command load =
      line.Add(models, "load", "Loads a model directory; returns when the model is ready",
               "  whipsnake models load mamba-130m\n"
               "  whipsnake models load mamba-130m --name small --scheme bf16\n",
               [flags](const Output& output) { return Load(*flags, output); });
  AddClientFlags(load, flags->client);
  load.AddOption("path", flags->path, "The directory, relative to the server's --model-root")
      .TypeName("DIR")
      .Required();
  load.AddOption("--name", flags->name, "The model's name (default: the last part of the path)")
      .TypeName("NAME");
  load.AddOption("--scheme", flags->scheme,
                 "Type of float weights: fp32 or bf16 (default: fp32). A quantized model has only "
                 "its own scheme")
      .TypeName("SCHEME");
  load.AddOption("--state-type", flags->state_type,
                 "Type of states: fp32, bf16 or int8 (default: the type of the weights for a "
                 "transformer, fp32 for a Mamba). A Mamba with float weights has only fp32")
      .TypeName("TYPE");

  Command unload =
      line.Add(models, "unload", "Unloads a model once its running requests have finished",
               "  whipsnake models unload small\n",
               [flags](const Output& output) { return Unload(*flags, output); });
  AddClientFlags(unload, flags->client);
  unload.AddOption("name", flags->name, "The model's name").TypeName("NAME").Required();

  AddVersionCommands(line, models);
  AddQuantizationCommands(line, models);
}

}  // namespace whipsnake::server
