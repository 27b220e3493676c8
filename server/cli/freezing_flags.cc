#include "server/cli/freezing_flags.h"

#include <nlohmann/json.hpp>

namespace whipsnake::server {
namespace {

constexpr char kHeading[] = "Freezing layers";

template <typename Value>
void SetOption(nlohmann::json& settings, const char* key, const std::optional<Value>& value) {
  if (value) settings[key] = *value;
}

void SetSwitch(nlohmann::json& settings, const char* key, const std::optional<std::string>& value) {
  if (value) settings[key] = *value == "true";
}

void AddSwitch(Command command, const std::string& name, std::optional<std::string>& value,
               const std::string& description) {
  command.AddOption(name, value, description).Choices({"true", "false"}).Heading(kHeading);
}

// What says which layers freeze, and how many.
void AddChoiceOfLayers(Command command, FreezingFlags& flags) {
  command
      .AddOption(
          "--scheduler", flags.scheduler,
          "Which layers train in a step; the others are frozen and cost almost no memory. "
          "Try first: --scheduler slimfit --freezing-rate 0.9. full: all layers; slimfit: "
          "those that changed most when they trained last; misa: drawn by their gradients; "
          "lisa: random blocks, with embeddings and head always; badam: one block at a time; "
          "random, round-robin, static-top (the last layers): to compare with (default: "
          "full)")
      .Choices({"full", "static-top", "random", "round-robin", "slimfit", "lisa", "badam", "misa"})
      .Heading(kHeading);
  command
      .AddOption("--freezing-rate", flags.freezing_rate,
                 "The part that is frozen, 0 to below 1: more saves more memory, and trains less "
                 "in a step. At least one layer trains. Not for badam (default: 0.9)")
      .TypeName("R")
      .Heading(kHeading);
  command
      .AddOption("--freezing-unit", flags.freezing_unit,
                 "What the rate is a part of: the bytes of saved inputs and gradients of all "
                 "layers, or their number (default: bytes; published: layers)")
      .Choices({"bytes", "layers"})
      .Heading(kHeading);
  command
      .AddOption("--switch-every", flags.switch_every,
                 "random, lisa, badam, misa: steps from one choice of layers to the next (default: "
                 "1, 20, 50, 50)")
      .TypeName("N")
      .Heading(kHeading);
  command
      .AddOption("--recipe", flags.recipe,
                 "The defaults of the other options: default, or published, those of SlimFit's "
                 "authors, to repeat the paper (default: default)")
      .Choices({"default", "published"})
      .Heading(kHeading);
}

// What single schedulers add.
void AddSchedulerOptions(Command command, FreezingFlags& flags) {
  command
      .AddOption("--score", flags.score,
                 "slimfit: how the change of a layer is measured; distance is the mean of "
                 "|change/weight| (default: guarded-distance, the same safe from weights near 0; "
                 "published: distance)")
      .Choices({"distance", "guarded-distance", "norm-ratio", "distance-per-rate", "gradient-norm"})
      .Heading(kHeading);
  AddSwitch(command, "--refresh-at-zero-rate", flags.refresh_at_zero_rate,
            "slimfit: measures layers also in a step whose learning rate is 0, as the first of a "
            "warm-up can be (default: false; published: true)");
  command
      .AddOption("--lisa-blocks", flags.lisa_blocks,
                 "lisa: blocks that train at a time (default: as many as the rate allows)")
      .TypeName("N")
      .Heading(kHeading);
  command
      .AddOption("--badam-order", flags.badam_order,
                 "badam: the order of the blocks; ascending is from the input to the output "
                 "(default: random)")
      .Choices({"random", "ascending", "descending"})
      .Heading(kHeading);
  command
      .AddOption(
          "--misa-temperature", flags.misa_temperature,
          "misa: higher draws layers more evenly, lower more by their gradients (default: 1)")
      .TypeName("T")
      .Heading(kHeading);
}

// What happens to the parameters of frozen layers.
void AddFrozenParameters(Command command, FreezingFlags& flags) {
  AddSwitch(command, "--train-biases", flags.train_biases,
            "Trains biases, and what else a layer has beside its weight, in every step (default: "
            "false; published: true)");
  AddSwitch(command, "--legacy-drift", flags.legacy_drift,
            "Lets frozen weights go on by their momentum and weight decay, as an optimizer does "
            "that gets gradients of zero (default: false)");
}

}  // namespace

void AddFreezingFlags(Command command, FreezingFlags& flags) {
  AddChoiceOfLayers(command, flags);
  AddSchedulerOptions(command, flags);
  AddFrozenParameters(command, flags);
}

void SetFreezing(const FreezingFlags& flags, nlohmann::json& settings) {
  SetOption(settings, "scheduler", flags.scheduler);
  SetOption(settings, "recipe", flags.recipe);
  SetOption(settings, "freezing_rate", flags.freezing_rate);
  SetOption(settings, "freezing_unit", flags.freezing_unit);
  SetOption(settings, "score", flags.score);
  SetSwitch(settings, "refresh_at_zero_rate", flags.refresh_at_zero_rate);
  SetSwitch(settings, "legacy_drift", flags.legacy_drift);
  SetSwitch(settings, "train_biases", flags.train_biases);
  SetOption(settings, "switch_every", flags.switch_every);
  SetOption(settings, "lisa_blocks", flags.lisa_blocks);
  SetOption(settings, "badam_order", flags.badam_order);
  SetOption(settings, "misa_temperature", flags.misa_temperature);
}

}  // namespace whipsnake::server
