// Sends a file to a server as a data set.
#ifndef WHIPSNAKE_SERVER_CLI_DATASET_UPLOAD_H_
#define WHIPSNAKE_SERVER_CLI_DATASET_UPLOAD_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/cli/client.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

// Reads the file twice: for its size and digest, which it adds to the header, and to send it. If
// the connection breaks, or the server is busy or restarts, continues from what the server has,
// until a number of attempts in a row have brought nothing further. Returns the data set, whose
// validation may not have ended.
absl::StatusOr<v1::Dataset> UploadFile(const ClientFlags& flags, const std::string& path,
                                       v1::UploadHeader header);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_DATASET_UPLOAD_H_
