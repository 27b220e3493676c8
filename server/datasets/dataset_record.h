// The durable form of a data set: JSON in a record of the store, under the data set's id.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_RECORD_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_RECORD_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/store/store.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

struct DatasetRecord {
  v1::UploadHeader header;  // with an id and without an offset
  std::string model;        // whose tokenizer counts tokens, or ""
  v1::DatasetState state = v1::DATASET_STATE_UPLOADING;
  std::string error = {};      // as v1::Dataset.error
  bool out_of_memory = false;  // INVALID for lack of memory: the file may be good
  std::optional<WallTime> ready_time = {};
  std::optional<v1::DatasetReport> report = {};
};

// Messages are in it as protobuf's JSON, whose names the API does not change.
std::string ToJson(const DatasetRecord& record);
// Returns DATA_LOSS for text that ToJson does not write. Fields of a later version are ignored.
absl::StatusOr<DatasetRecord> ParseDatasetRecord(std::string_view json);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_RECORD_H_
