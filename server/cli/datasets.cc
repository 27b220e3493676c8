// whipsnake datasets upload|list|get|delete
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/finetune/data/row_scanner.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/dataset_output.h"
#include "server/cli/dataset_upload.h"
#include "server/cli/dataset_wait.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/dataset.grpc.pb.h"

namespace whipsnake::server {
namespace {

using DatasetStub = v1::DatasetService::StubInterface;

struct DatasetsFlags {
  ClientFlags client;
  std::string file, id, task, format, model, label_column, etag;
  std::vector<std::string> labels;  // KEY=VALUE
  int64_t max_length = 0;
  bool no_header = false, no_wait = false;
};

absl::StatusOr<v1::UploadHeader> HeaderOf(const DatasetsFlags& flags) {
  v1::UploadHeader header;
  header.set_id(flags.id);
  header.set_task(flags.task);
  header.set_format(flags.format);
  if (flags.format.empty()) {
    const auto format = engine::FormatOf(flags.file);
    if (!format.ok()) {
      return engine::InvalidField("--format", "none for " + flags.file,
                                  "jsonl or csv, if the name of the file does not tell");
    }
    header.set_format(*format == engine::RowFormat::kCsv ? "csv" : "jsonl");
  }
  for (const std::string& label : flags.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) {
      return engine::InvalidField("--label", label, "KEY=VALUE");
    }
    (*header.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  header.set_model(flags.model);
  header.set_max_length(flags.max_length);
  header.set_no_header(flags.no_header);
  header.set_label_column(flags.label_column);
  return header;
}

absl::StatusOr<v1::Dataset> GetDataset(const ClientFlags& client, const std::string& id) {
  v1::GetDatasetRequest request;
  request.set_id(id);
  ASSIGN_OR_RETURN(auto response,
                   UnaryCall<v1::DatasetService>(client, &DatasetStub::GetDataset, request));
  return std::move(*response.mutable_dataset());
}

// Prints a data set. The exit code says whether jobs can use it, as far as that is known.
int Print(const v1::Dataset& dataset, const Output& output) {
  if (output.json()) {
    output.Object({{"dataset", DatasetJson(dataset)}});
  } else {
    std::cout << DatasetText(dataset);
  }
  return dataset.state() == v1::DATASET_STATE_INVALID ? 1 : 0;
}

absl::StatusOr<int> Upload(const DatasetsFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::UploadHeader header, HeaderOf(flags));
  ASSIGN_OR_RETURN(v1::Dataset dataset, UploadFile(flags.client, flags.file, header));
  if (!flags.no_wait) {
    ASSIGN_OR_RETURN(dataset, WaitForValidation(dataset, output, [&] {
                       constexpr std::chrono::milliseconds kPause{100};
                       std::this_thread::sleep_for(kPause);
                       return GetDataset(flags.client, dataset.id());
                     }));
  }
  // An upload of what the server has returns at once; the report is then that of the first one.
  return Print(dataset, output);
}

absl::StatusOr<int> Get(const DatasetsFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::Dataset dataset, GetDataset(flags.client, flags.id));
  Print(dataset, output);
  return 0;
}

absl::StatusOr<int> List(const DatasetsFlags& flags, const Output& output) {
  std::vector<v1::Dataset> datasets;
  v1::ListDatasetsRequest request;
  do {
    ASSIGN_OR_RETURN(auto response, UnaryCall<v1::DatasetService>(
                                        flags.client, &DatasetStub::ListDatasets, request));
    for (v1::Dataset& dataset : *response.mutable_datasets()) {
      datasets.push_back(std::move(dataset));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (output.json()) {
    Json list = Json::array();
    for (const v1::Dataset& dataset : datasets) list.push_back(DatasetJson(dataset));
    output.Object({{"datasets", list}});
  } else {
    std::cout << DatasetsTable(datasets);
    if (datasets.empty()) {
      std::cerr << "The server has no data sets. Upload one with 'whipsnake datasets upload FILE "
                   "--task TASK'.\n";
    }
  }
  return 0;
}

absl::StatusOr<int> Delete(const DatasetsFlags& flags, const Output& output) {
  v1::DeleteDatasetRequest request;
  request.set_id(flags.id);
  request.set_etag(flags.etag);
  RETURN_IF_ERROR(
      UnaryCall<v1::DatasetService>(flags.client, &DatasetStub::DeleteDataset, request).status());
  if (output.json()) {
    output.Object({{"deleted", flags.id}});
  } else {
    std::cout << "Deleted " << flags.id << ".\n";
  }
  return 0;
}

void AddUploadFlags(Command command, DatasetsFlags& flags) {
  command.AddOption("file", flags.file, "The file to send").TypeName("FILE").Required();
  command
      .AddOption("--task", flags.task,
                 "What the rows are for: causal-lm, classification, regression, choice or dpo")
      .TypeName("TASK")
      .Required();
  command
      .AddOption("--id", flags.id,
                 "A name for the data set (default: one that the server makes of its digest)")
      .TypeName("ID");
  command
      .AddOption("--format", flags.format, "jsonl or csv (default: by the end of the file's name)")
      .TypeName("FORMAT");
  command.AddOption("--label", flags.labels, "A note on the data set; repeatable")
      .TypeName("KEY=VALUE")
      .Repeatable();
  command
      .AddOption("--model", flags.model,
                 "The model whose tokens are counted (default: the server's only model)")
      .TypeName("NAME");
  command
      .AddOption(
          "--max-length", flags.max_length,
          "Tokens beyond which a row is counted as cut (default: 1024, or the model's limit)")
      .TypeName("N");
  command.AddFlag("--no-header", flags.no_header, "The first row of the CSV file is data");
  command
      .AddOption("--label-column", flags.label_column,
                 "The field or column of the label (default: label, or the last column)")
      .TypeName("NAME");
  command.AddFlag("--no-wait", flags.no_wait, "Does not wait for the validation");
}

}  // namespace

void AddDatasetsCommands(CommandLine& line) {
  auto flags = std::make_shared<DatasetsFlags>();
  CommandGroup datasets =
      line.AddGroup("datasets", "Uploads, lists and deletes a server's data sets");
  const auto id = [flags](Command command) {
    command.AddOption("id", flags->id, "The data set's id").TypeName("ID").Required();
  };

  Command upload = line.Add(
      datasets, "upload",
      "Sends a file of examples, and shows what its validation finds. After a cut, the "
      "same command goes on",
      "  whipsnake datasets upload reviews.jsonl --task classification --id reviews\n"
      "  whipsnake datasets upload pairs.csv --task dpo --model demo --label team=search\n",
      [flags](const Output& output) { return Upload(*flags, output); });
  AddClientFlags(upload, flags->client);
  AddUploadFlags(upload, *flags);

  Command list = line.Add(datasets, "list", "Lists the data sets, the latest first",
                          "  whipsnake datasets list\n",
                          [flags](const Output& output) { return List(*flags, output); });
  AddClientFlags(list, flags->client);

  Command get = line.Add(datasets, "get", "Shows a data set with the report of its validation",
                         "  whipsnake datasets get reviews\n",
                         [flags](const Output& output) { return Get(*flags, output); });
  AddClientFlags(get, flags->client);
  id(get);

  Command erase = line.Add(datasets, "delete", "Deletes a data set or an unfinished upload",
                           "  whipsnake datasets delete reviews\n",
                           [flags](const Output& output) { return Delete(*flags, output); });
  AddClientFlags(erase, flags->client);
  id(erase);
  erase
      .AddOption("--etag", flags->etag,
                 "Deletes only this revision, as 'datasets get --json' shows")
      .TypeName("ETAG");
}

}  // namespace whipsnake::server
