#include "server/cli/command.h"
#include "server/cli/input.h"

int main(int argc, char** argv) {
  using namespace whipsnake::server;  // NOLINT: this file only lists commands
  ReserveStandardStreams();
  CommandLine line;
  AddServeCommand(line);
  AddCheckConfigCommand(line);
  AddStatesCommands(line);
  AddTrainCommand(line);
  AddDatasetsCommands(line);
  AddFinetuneCommands(line);
  AddGenerateCommand(line);
  AddChatCommand(line);
  AddTokensCommands(line);
  AddTokenCommands(line);
  AddModelsCommands(line);
  AddServerCommands(line);
  AddHealthCommand(line);
  AddLoadCommand(line);
  AddInitCommand(line);
  AddQuantizeCommand(line);
  AddConvertCommand(line);
  AddEvaluateCommand(line);
  AddBenchCommand(line);
  AddVersionCommand(line);
  AddDocumentCommands(line);
  return line.Run(argc, argv);
}
