// Data sets as the commands print them.
#ifndef WHIPSNAKE_SERVER_CLI_DATASET_OUTPUT_H_
#define WHIPSNAKE_SERVER_CLI_DATASET_OUTPUT_H_

#include <string>
#include <vector>

#include "server/cli/output.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

// The report is in it if the data set has one.
Json DatasetJson(const v1::Dataset& dataset);

std::string DatasetsTable(const std::vector<v1::Dataset>& datasets);

// The table of one data set, and what its validation found.
std::string DatasetText(const v1::Dataset& dataset);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_DATASET_OUTPUT_H_
