#include "server/metrics/storage_families.h"

namespace whipsnake::server {
namespace {

// Begins the group while the first family is made.
MetricsRegistry& BeginStorageGroup(MetricsRegistry& registry) {
  registry.BeginGroup("Files");
  return registry;
}

}  // namespace

StorageFamilies::StorageFamilies(MetricsRegistry& registry)
    : saved_states(BeginStorageGroup(registry).AddComputedGauge(
          {.name = "whipsnake_saved_states",
           .help = "States that clients have saved and not deleted, and that have not expired.",
           .unit = "states"})),
      saved_state_bytes(
          registry.AddComputedGauge({.name = "whipsnake_saved_state_bytes",
                                     .help = "Bytes of saved states, in memory and on disk.",
                                     .unit = "bytes",
                                     .labels = {{.name = "place", .values = {"memory", "disk"}}}})),
      datasets(registry.AddComputedGauge(
          {.name = "whipsnake_datasets",
           .help = "Data sets by state: uploading, validating, ready or invalid.",
           .unit = "data sets",
           .labels = {{.name = "state",
                       .values = {"uploading", "validating", "ready", "invalid"}}}})),
      dataset_bytes(
          registry.AddComputedGauge({.name = "whipsnake_dataset_bytes",
                                     .help = "Bytes that have been received of all data sets.",
                                     .unit = "bytes"})),
      dataset_uploads(registry.AddCounter(
          {.name = "whipsnake_dataset_uploads_total",
           .help = "Uploads of data sets that ended: complete, cut_off, wrong_data or "
                   "storage_error.",
           .unit = "uploads",
           .labels = {{.name = "result",
                       .values = {"complete", "cut_off", "wrong_data", "storage_error"}}}})),
      data_directory_size(
          registry.AddComputedGauge({.name = "whipsnake_data_directory_size_bytes",
                                     .help = "Size of the file system of the data directory.",
                                     .unit = "bytes"})),
      data_directory_free(registry.AddComputedGauge(
          {.name = "whipsnake_data_directory_free_bytes",
           .help = "Bytes that the server can still write to the file system of the data "
                   "directory; measured every 15 seconds.",
           .unit = "bytes",
           .example = "whipsnake_data_directory_free_bytes / whipsnake_data_directory_size_bytes "
                      "< 0.1"})),
      data_directory_used(registry.AddComputedGauge(
          {.name = "whipsnake_data_directory_used_bytes",
           .help = "Disk space that the parts of the data directory take; a file that two of them "
                   "share is counted once. Measured every 15 seconds.",
           .unit = "bytes",
           .labels = {{.name = "part",
                       .values = {"states", "datasets", "jobs", "models", "store"}}}})),
      disk_errors(registry.AddComputedCounter(
          {.name = "whipsnake_disk_errors_total",
           .help =
               "Failures to write, read or remove the server's files, each with a line in the "
               "log: full (no space left), damaged (contents that are not what was written), or "
               "other.",
           .unit = "errors",
           .labels = {{.name = "kind", .values = {"full", "damaged", "other"}}},
           .example = "increase(whipsnake_disk_errors_total[10m]) > 0"})) {}

}  // namespace whipsnake::server
