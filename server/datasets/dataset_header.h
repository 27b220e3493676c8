// What a client announces before it uploads a data set.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_HEADER_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_HEADER_H_

#include <string>

#include "absl/status/status.h"
#include "engine/finetune/data/dataset_options.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

// Returns INVALID_ARGUMENT, naming all faulty fields. The model and the quotas are not checked.
absl::Status CheckHeader(const v1::UploadHeader& header);

// Makes an id of the fields that say what the data are, so that the same upload has the same id.
std::string DefaultId(const v1::UploadHeader& header);

// Whether both headers announce the same data set, from whichever offset.
bool AnnounceTheSame(const v1::UploadHeader& a, const v1::UploadHeader& b);

// How to read a file with this header, which must be valid, without a model.
engine::DatasetOptions OptionsOf(const v1::UploadHeader& header);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_HEADER_H_
