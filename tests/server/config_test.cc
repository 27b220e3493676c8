// The configuration: the file, the environment and the flags, which set the same options.
#include "server/config/config.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/config/config_file.h"
#include "server/config/setting.h"
#include "whipsnake/v1/config.pb.h"

namespace whipsnake::server {
namespace {

using google::protobuf::FieldDescriptor;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

// Two values for each setting, other than its default, as a file has them and as text.
struct Sample {
  Json json;
  Texts texts;
};

std::vector<Sample> SamplesOf(const Setting& setting) {
  switch (setting.kind) {
    case ValueKind::kBoolean:
      return {{true, {"true"}}, {false, {"off"}}};
    case ValueKind::kInteger:
      return {{7, {"7"}}, {9, {"9"}}};
    case ValueKind::kNumber:
      return {{0.25, {"0.25"}}, {0.125, {"1.25e-1"}}};
    case ValueKind::kBytes:
      return {{1 << 26, {"64MiB"}}, {"1.5GiB", {"1610612736"}}};
    case ValueKind::kDuration:
      return {{2, {"2s"}}, {"1500ms", {"1.5"}}};
    case ValueKind::kAddress:
      return {{"127.0.0.1:1", {"127.0.0.1:1"}}, {"[::1]:2", {"[::1]:2"}}};
    case ValueKind::kTexts:
      return {{Json::parse(R"(["a", "b"])"), {"a", "b"}}, {Json::parse(R"(["c"])"), {"c"}}};
    case ValueKind::kPath:
      return {{"/", {"/"}}, {"/tmp", {"/tmp"}}};
    case ValueKind::kText:
      if (!setting.choices.empty()) {
        return {{setting.choices.front(), {setting.choices.front()}},
                {setting.choices.back(), {setting.choices.back()}}};
      }
      return {{"0600", {"0600"}}, {"0666", {"666"}}};
    case ValueKind::kModels:
      break;
  }
  return {};
}

// The text of a file with one field.
std::string OneField(const std::string& field, const Json& value) {
  Json object = Json::object();
  object[field] = value;
  return object.dump();
}

class ConfigTest : public testing::Test {
 protected:
  ~ConfigTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& text, const std::string& name = "serve.json") const {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  std::string WriteModel(const std::string& name) const {
    std::filesystem::create_directories(directory_ / name);
    std::ofstream(directory_ / name / "config.json")
        << R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 16,
               "intermediate_size": 32, "state_size": 4, "num_hidden_layers": 2,
               "conv_kernel": 4, "time_step_rank": 2, "tie_word_embeddings": true})";
    return directory_ / name;
  }
  // Adds a model root, without which there is nothing to serve.
  static ConfigSources Sources(ConfigSources sources) {
    if (!sources.flags.contains("model_root")) sources.environment.try_emplace("model_root", "/");
    return sources;
  }
  static Config Read(const ConfigSources& sources, const Setting& setting) {
    return ReadConfig(setting.field == "model_root" ? sources : Sources(sources));
  }
  Config ReadText(const std::string& text, ConfigSources others = {}) const {
    others.file = Write(text);
    return ReadConfig(Sources(std::move(others)));
  }
  static Texts Messages(const Config& config) {
    Texts messages;
    for (const auto& error : config.errors) messages.push_back(error.message);
    return messages;
  }

  static std::filesystem::path MakeDirectory() {
    std::string path = testing::TempDir() + "/config-XXXXXX";
    return mkdtemp(path.data());
  }

  const std::filesystem::path directory_ = MakeDirectory();
};

TEST_F(ConfigTest, FieldsFlagsVariablesAndTheMessageAreTheSameSet) {
  std::set<std::string> fields, flags, variables;
  const auto* const message = v1::ServerConfig::descriptor();
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(fields.insert(setting.field).second) << setting.field;
    EXPECT_TRUE(flags.insert(setting.flag).second) << setting.flag;
    EXPECT_TRUE(variables.insert(setting.variable).second) << setting.variable;
    EXPECT_FALSE(setting.description.empty()) << setting.field;
    const FieldDescriptor* const field = message->FindFieldByName(setting.field);
    ASSERT_NE(field, nullptr) << setting.field << " is not in config.proto";
    const bool is_list = setting.kind == ValueKind::kTexts || setting.kind == ValueKind::kModels;
    EXPECT_EQ(field->is_repeated(), is_list) << setting.field;
    const Json value = setting.get(DaemonOptions());
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        EXPECT_EQ(setting.kind, ValueKind::kBoolean) << setting.field;
        break;
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
        EXPECT_TRUE(setting.kind == ValueKind::kInteger || setting.kind == ValueKind::kBytes)
            << setting.field;
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        EXPECT_TRUE(setting.kind == ValueKind::kNumber || setting.kind == ValueKind::kDuration)
            << setting.field;
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        EXPECT_TRUE(value.is_string() || is_list) << setting.field;
        break;
      default:
        EXPECT_EQ(setting.kind, ValueKind::kModels) << setting.field;
    }
  }
  EXPECT_EQ(message->field_count(), std::ssize(Settings()));
  // Those that mean something to client commands.
  for (const char* taken : {"WHIPSNAKE_SERVER", "WHIPSNAKE_MODEL", "WHIPSNAKE_CONFIG",
                            "WHIPSNAKE_TOKEN", "WHIPSNAKE_TOKEN_FILE", "WHIPSNAKE_TLS_CA"}) {
    EXPECT_FALSE(variables.contains(taken)) << taken;
  }
}

TEST_F(ConfigTest, EverySourceGivesTheSameOptionsAndTheLaterOneWins) {
  for (const Setting& setting : Settings()) {
    if (setting.kind == ValueKind::kModels) continue;
    SCOPED_TRACE(setting.field);
    const std::vector<Sample> samples = SamplesOf(setting);
    Texts seen;
    for (const Sample& sample : samples) {
      const std::string file = Write(OneField(setting.field, sample.json));
      const Config from_file = Read({.file = file}, setting);
      const Config from_flag =
          Read({.file = "", .flags = {{setting.field, sample.texts}}}, setting);
      ConfigSources variable{.file = ""};
      variable.environment[setting.field] = absl::StrJoin(sample.texts, ",");
      const Config from_variable = Read(variable, setting);
      const Json value = setting.get(from_flag.options);
      EXPECT_EQ(setting.get(from_file.options), value);
      EXPECT_EQ(setting.get(from_variable.options), value);
      EXPECT_EQ(from_file.origins.at(setting.field), Origin::kFile);
      EXPECT_EQ(from_variable.origins.at(setting.field), Origin::kEnvironment);
      EXPECT_EQ(from_flag.origins.at(setting.field), Origin::kFlag);
      // What is shown can be a file again.
      const Config again = Read({.file = Write(OneField(setting.field, value))}, setting);
      EXPECT_EQ(setting.get(again.options), value);
      // The setting changes its part of the options and no other.
      for (const Setting& other : Settings()) {
        if (other.field == setting.field || other.field == "model_root") continue;
        EXPECT_EQ(other.get(from_flag.options), other.get(DaemonOptions())) << other.field;
      }
      seen.push_back(value.dump());
    }
    EXPECT_NE(seen[0], seen[1]);
    // The file has one value, the variable the other, and the flag the first again.
    ConfigSources all{.file = Write(OneField(setting.field, samples[0].json))};
    all.environment[setting.field] = absl::StrJoin(samples[1].texts, ",");
    EXPECT_EQ(setting.get(Read(all, setting).options).dump(), seen[1]);
    all.flags[setting.field] = samples[0].texts;
    EXPECT_EQ(setting.get(Read(all, setting).options).dump(), seen[0]);
  }
}

TEST_F(ConfigTest, NoFieldTakesAValueOfAnotherType) {
  const std::vector<Json> values = {true, 7, 0.5, "text", nullptr, Json::array(), Json::object()};
  for (const Setting& setting : Settings()) {
    for (const Json& value : values) {
      const bool number = value.is_number();
      const bool may_fit = (setting.kind == ValueKind::kBoolean && value.is_boolean()) ||
                           (setting.kind == ValueKind::kInteger && value.is_number_integer()) ||
                           (setting.kind == ValueKind::kBytes && value.is_number_integer()) ||
                           (setting.kind == ValueKind::kNumber && number) ||
                           (setting.kind == ValueKind::kDuration && number) || value.is_array() ||
                           (value.is_string() && (setting.kind == ValueKind::kPath ||
                                                  setting.kind == ValueKind::kAddress));
      if (may_fit) continue;
      const Config config = ReadText(OneField(setting.field, value));
      ASSERT_THAT(config.errors, SizeIs(1)) << setting.field << " " << value;
      EXPECT_EQ(config.errors[0].field,
                absl::StrCat((directory_ / "serve.json").string(), ":1: ", setting.field));
      EXPECT_THAT(config.errors[0].message, HasSubstr(" seen, expected ")) << setting.field;
    }
  }
}

TEST_F(ConfigTest, AllErrorsAreNamedWithTheirPlaces) {
  const std::string file = Write(
      "{\n"
      "  // comments are allowed\n"
      "  \"max_runing\": 3,\n"
      "  \"threads\": \"four\",\n"
      "  \"memory_fraction\": 1.5,\n"
      "  \"models\": [\n"
      "    {\"name\": \"a\", \"directory\": \"/nowhere\", \"schema\": \"bf16\"},\n"
      "    {\"name\": \"b\",\n"
      "     \"directory\": \"/nowhere\", \"state_type\": \"fp64\", \"preload\": 1},\n"
      "    {\"name\": \"c\"}\n"
      "  ]\n"
      "}\n");
  ConfigSources sources{.file = file};
  sources.environment["max_waiting"] = "0";
  sources.flags["max_connections"] = {"-1"};
  const Texts messages = Messages(ReadConfig(sources));
  const auto at = [&](int line, const std::string& rest) {
    return HasSubstr(absl::StrCat(file, ":", line, ": ", rest));
  };
  EXPECT_THAT(messages, Contains(at(3,
                                    "max_runing: there is no such field; did you mean "
                                    "max_running?")));
  EXPECT_THAT(messages, Contains(at(4, "threads: \"four\" seen, expected an integer")));
  EXPECT_THAT(messages, Contains(at(5, "memory_fraction: 1.5 seen, expected a number above 0")));
  EXPECT_THAT(messages, Contains(at(7,
                                    "models[0].schema: there is no such field; did you mean "
                                    "scheme?")));
  EXPECT_THAT(messages, Contains(at(7, "models[0]: /nowhere seen, expected a model directory")));
  EXPECT_THAT(messages, Contains(at(9, "models[1].state_type: \"fp64\" seen, expected one of")));
  EXPECT_THAT(messages, Contains(at(9, "models[1].preload: 1 seen, expected true or false")));
  EXPECT_THAT(messages, Contains(at(10, "models[2]: no directory seen")));
  EXPECT_THAT(messages, Contains(HasSubstr("WHIPSNAKE_MAX_WAITING: 0 seen, expected an integer")));
  EXPECT_THAT(messages, Contains(HasSubstr("--max-connections: -1 seen")));
  EXPECT_THAT(messages, SizeIs(11)) << absl::StrJoin(messages, "\n");
}

TEST_F(ConfigTest, MalformedFilesAreRefusedWithTheLine) {
  const std::string file = directory_ / "serve.json";
  const auto message = [&](const std::string& text) {
    const Config config = ReadText(text);
    return config.errors.size() == 1 ? config.errors[0].message : "";
  };
  EXPECT_THAT(message("{\n\"threads\": 1,\n\"data\": \"/\",\n\"threads\": 2}"),
              HasSubstr(file + ":4: threads: given again, after line 2"));
  EXPECT_THAT(message("{\"models\": [{\n\"name\": \"a\",\n\"name\": \"b\"}]}"),
              HasSubstr(file + ":3: models[0].name: given again, after line 2"));
  EXPECT_THAT(message("{\n\"threads\": 1,\n}"), HasSubstr(file + ":3: malformed JSON"));
  EXPECT_THAT(message("{} {}"), HasSubstr("malformed JSON"));
  EXPECT_THAT(message(std::string("{}\0{", 4)), HasSubstr("malformed JSON"));
  EXPECT_THAT(message(""), HasSubstr("malformed JSON"));
  EXPECT_THAT(message("[]"), HasSubstr("an array seen, expected a JSON object"));
  const Config missing = ReadConfig({.file = "/nowhere/serve.json"});
  EXPECT_THAT(Messages(missing), Contains(HasSubstr("/nowhere/serve.json")));
}

TEST_F(ConfigTest, PathsBeginAtTheFilesDirectory) {
  WriteModel("tiny");
  const std::string here = directory_.string();
  const Config config = ReadText(R"({"data": "data", "model_root": ".", "listen": "unix:g.sock",
                                     "http": "127.0.0.1:0",
                                     "models": [{"name": "tiny", "directory": "tiny"}]})");
  EXPECT_THAT(Messages(config), IsEmpty());
  EXPECT_EQ(config.options.data, here + "/data");
  EXPECT_EQ(config.options.listen, "unix:" + here + "/g.sock");
  EXPECT_EQ(config.options.http, "127.0.0.1:0");
  EXPECT_EQ(config.options.models.at(0).directory, here + "/tiny");
}

TEST_F(ConfigTest, ModelsOfTheFlagsAreAddedOrReplace) {
  const std::string a = WriteModel("a"), b = WriteModel("b"), c = WriteModel("c");
  ConfigSources sources{
      .file = Write(absl::StrCat(R"({"models": [{"name": "one", "directory": ")", a,
                                 R"("}, {"name": "two", "scheme": "bf16", "preload": false,
                                         "directory": ")",
                                 a, "\"}]}"))};
  sources.environment["models"] = absl::StrCat("three=", b, ",four=", b);
  sources.flags["models"] = {absl::StrCat("three=", c), absl::StrCat("one=", c)};
  const Config config = ReadConfig(sources);
  EXPECT_THAT(Messages(config), IsEmpty());
  Texts models;
  for (const NamedModel& model : config.options.models) {
    models.push_back(absl::StrCat(model.name, "=", model.directory.substr(a.size() - 1),
                                  model.scheme, model.preload ? "" : " later"));
  }
  EXPECT_THAT(models, ElementsAre("one=c", "two=abf16 later", "three=c", "four=b"));
  // Those that are not preloaded are left out; the others are loaded in this order.
  EXPECT_THAT(StartupModels(config.options), SizeIs(3));

  sources.flags["models"] = {absl::StrCat("x=", c), absl::StrCat("x=", b)};
  EXPECT_THAT(Messages(ReadConfig(sources)), ElementsAre(HasSubstr("--model: x twice seen")));
}

TEST_F(ConfigTest, AModelsOwnOptionMustFitIt) {
  WriteModel("m");
  const auto with = [&](const std::string& more) {
    return ReadText(R"({"state_type": "bf16", "models": [{"name": "m", "directory": "m")" + more +
                    "}]}");
  };
  // A Mamba with float weights always has states in fp32: the option for all models is left out,
  // its own is refused.
  EXPECT_THAT(Messages(with("")), IsEmpty());
  EXPECT_THAT(Messages(with(R"(, "state_type": "bf16")")),
              ElementsAre(HasSubstr("serve.json:1: models[0]: ")));
}

TEST_F(ConfigTest, AnUnreadableModelIsAnErrorUnlessItMayBeMissing) {
  std::filesystem::create_directories(directory_ / "bad");
  std::ofstream(directory_ / "bad/config.json") << "{}";
  ConfigSources sources{.file = ""};
  sources.flags["models"] = {"bad=" + (directory_ / "bad").string()};
  EXPECT_THAT(Messages(ReadConfig(sources)), ElementsAre(HasSubstr("--model: ")));
  sources.flags["allow_missing"] = {"true"};
  EXPECT_THAT(Messages(ReadConfig(sources)), IsEmpty());
}

TEST_F(ConfigTest, AddressesAndDirectoriesAreChecked) {
  const auto messages = [&](const std::string& fields) {
    return Messages(ReadText("{" + fields + "}"));
  };
  EXPECT_THAT(messages(R"("listen": "0.0.0.0:1")"),
              ElementsAre(HasSubstr("listen: 0.0.0.0:1 seen, expected a loopback address")));
  EXPECT_THAT(messages(R"("listen": "0.0.0.0:1", "insecure_listen": true)"), IsEmpty());
  EXPECT_THAT(messages(R"("listen": "unix:/nowhere/at/all")"),
              ElementsAre(HasSubstr("a path in a directory that exists")));
  EXPECT_THAT(messages(R"("listen": "unix:same", "http": "unix:same")"),
              ElementsAre(HasSubstr("another address")));
  EXPECT_THAT(messages(R"("http": "off", "console": "on")"), ElementsAre(HasSubstr("console")));
  EXPECT_THAT(messages(R"("http": "off")"), IsEmpty());
  EXPECT_THAT(messages(R"("data": "serve.json")"), ElementsAre(HasSubstr("data: ")));
  EXPECT_THAT(messages(R"("data": "not/there/yet")"), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "not"));
  EXPECT_THAT(Messages(ReadConfig({.file = Write(R"({"model_root": "nowhere"})")})),
              ElementsAre(HasSubstr("serve.json:1: model_root: ")));
}

TEST_F(ConfigTest, AReloadTakesOverWhatItCanAndNamesTheRest) {
  DaemonOptions options, wanted;
  wanted.limits.new_tokens = 5;
  wanted.log_level = LogLevel::kDebug;
  wanted.threads = 3;
  wanted.models.push_back({.name = "m", .directory = "/m"});
  const ConfigChanges changes = ApplyLiveSettings(wanted, options);
  EXPECT_THAT(changes.live, ElementsAre("max_new_tokens: 16384 to 5", "log_level: info to debug"));
  EXPECT_THAT(changes.restart, ElementsAre("models", "threads"));
  EXPECT_EQ(options.limits.new_tokens, 5);
  EXPECT_EQ(options.log_level, LogLevel::kDebug);
  EXPECT_EQ(options.threads, 0);
  EXPECT_THAT(ApplyLiveSettings(wanted, options).live, IsEmpty());
}

TEST_F(ConfigTest, ReadsTheVariablesOfTheEnvironment) {
  setenv("WHIPSNAKE_MAX_RUNNING", "3", 1);
  setenv("WHIPSNAKE_DATA", "", 1);
  setenv("WHIPSNAKE_MODEL", "of a client", 1);
  const auto found = ReadEnvironment();
  for (const char* name : {"WHIPSNAKE_MAX_RUNNING", "WHIPSNAKE_DATA", "WHIPSNAKE_MODEL"}) {
    unsetenv(name);
  }
  EXPECT_EQ(found.at("max_running"), "3");
  EXPECT_FALSE(found.contains("data"));
  EXPECT_FALSE(found.contains("models"));
}

}  // namespace
}  // namespace whipsnake::server
